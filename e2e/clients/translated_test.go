//go:build clients

package clients

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// conversation is what a provider answers: in each of its first turns calls of a tool, and then text.
type conversation struct {
	turns int
	tool  string // the name of the tool; empty for the first that is offered
	args  string // a JSON object
	end   string // the text of the last turn
	twice bool   // every other turn has two calls, beginning with the first
}

// weather is the conversation of the SDKs' programs.
func weather(turns int) *conversation {
	return &conversation{turns: turns, args: `{"city":"Oslo"}`, end: "Hello there", twice: true}
}

// ids returns those of the calls of a turn.
func (c *conversation) ids(kind string, turn int) []string {
	ids := []string{fmt.Sprintf("%s_%d", kind, turn)}
	if c.twice && turn%2 == 0 {
		ids = append(ids, ids[0]+"b")
	}
	return ids
}

// next returns the tool to call in the turn of that number; else none and the text to end with.
func (c *conversation) next(turn int, names, format gjson.Result) (tool, text string) {
	for _, name := range names.Array() {
		if turn < c.turns && (c.tool == "" || c.tool == name.Str) {
			return name.Str, ""
		}
	}
	if format.Exists() {
		return "", c.args
	}
	return "", c.end
}

// signature is that of a turn's thinking, which comes back byte for byte or not at all.
func signature(kind string, turn int) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "\xfb\xff %s of turn %d~", kind, turn))
}

// newTranslated starts a gateway before one provider that has Messages alone, one that has chat completions alone, and Gemini with its chat
// completions. Each checks every request against its schema. Models are named on-claude-..., on-chat-... and on-gemini-....
func newTranslated(t *testing.T, c *conversation) *world {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDOFTHETEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	scripted.ServiceAccount(t, "ya29.token-of-the-test")
	w := &world{World: gateway.NewBooks(t, fakelago.Options{})}
	w.upstream = scripted.New(t, func(n int, call scripted.Call) scripted.Answer {
		answer := c.chat
		b := gjson.ParseBytes(call.Body)
		switch call.URI {
		case "/v1/messages":
			answer = c.messages
		case "/v1/chat/completions":
		case geminiChat:
			answer = c.gemini
		case bedrockInvoke, bedrockStream, vertexRaw, vertexStream:
			answer = c.messages
		default:
			t.Errorf("the provider has no %s", call.URI)
			return refused(http.StatusNotFound, "no such path")
		}
		fault := scripted.Refusal(t, call)
		if fault == "" && call.URI == geminiChat {
			fault = changedSignature(b)
		}
		if fault != "" {
			t.Errorf("the provider refuses %s: %s: %s", call.URI, fault, call.Body)
			return refused(http.StatusBadRequest, fault)
		}
		if call.URI == bedrockStream {
			b = gjson.Parse(strings.Replace(b.Raw, "{", `{"stream":true,`, 1)) // which the path says
		}
		a := answer(b)
		for _, id := range []string{`"id":"c1"`, `"id":"msg_1"`} { // agents take answers of one id for the same
			a.Body = bytes.ReplaceAll(a.Body, []byte(id), fmt.Appendf(nil, "%s_%d\"", id[:len(id)-1], n))
		}
		if call.URI == bedrockStream {
			a = framed(t, a)
		}
		return a
	})
	var routes strings.Builder
	for _, m := range []struct{ names, backend, model string }{
		{"on-claude-*", "anthropic " + w.upstream.URL, "claude-opus-4-6"},
		{"on-chat-* claude-on-chat", "openai " + w.upstream.URL + "/v1", "up"},
		{"on-gemini-* claude-on-gemini", "openai " + w.upstream.URL + "/v1beta/openai", "gemini-3-pro-preview"},
		{"on-bedrock-*", "bedrock " + w.upstream.URL, "global.anthropic.claude-opus-4-6-v1"},
		{"on-vertex-*", "vertex " + w.upstream.URL, "claude-opus-4-6"},
	} {
		account := "api_key " + gateway.ProviderKey
		switch {
		case strings.HasPrefix(m.backend, "bedrock"):
			account = "region us-east-1"
		case strings.HasPrefix(m.backend, "vertex"):
			account = "project p\nlocation global"
		}
		fmt.Fprintf(&routes, "model %s {\nbackend %s {\n%s\nmodel %s\nprice input 1\nprice output 2\ntranslate {\ncalls responses\n}\n}\n}\n", m.names, m.backend, account, m.model)
	}
	w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "", routes.String()))
	w.key = w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	return w
}

// The paths of the clouds, which have Messages for Claude.
const (
	bedrockPath   = "/model/global.anthropic.claude-opus-4-6-v1/"
	bedrockInvoke = bedrockPath + "invoke"
	bedrockStream = bedrockPath + "invoke-with-response-stream"
	vertexPath    = "/v1/projects/p/locations/global/publishers/anthropic/models/claude-opus-4-6:"
	vertexRaw     = vertexPath + "rawPredict"
	vertexStream  = vertexPath + "streamRawPredict"
)

// framed puts the events of an answer into Bedrock's frames.
func framed(t *testing.T, a scripted.Answer) scripted.Answer {
	frames := scripted.Answer{ContentType: "application/vnd.amazon.eventstream"}
	for line := range bytes.Lines(a.Body) {
		if data, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("data: ")); ok {
			frames.Body = append(frames.Body, scripted.EventFrame(t, "chunk", fmt.Appendf(nil, `{"bytes":%q,"p":"abc"}`, base64.StdEncoding.EncodeToString(data)))...)
		}
	}
	return frames
}

// messages answers a call of Messages: with thinking, some of it redacted, before each call of the tool.
func (c *conversation) messages(b gjson.Result) scripted.Answer {
	turn := len(b.Get(`messages.#.content.#(type=="tool_use")`).Array())
	name, text := c.next(turn, b.Get("tools.#.name"), b.Get("output_config.format"))
	if name == "" {
		return messageOf(b, `{"type":"text","text":""}`, `{"type":"text_delta","text":`+quoted(text)+`}`, "end_turn")
	}
	blocks := thinking(turn)
	for _, id := range c.ids("toolu", turn) {
		blocks = append(blocks, `{"type":"tool_use","id":"`+id+`","name":"`+name+`","input":`+c.args+`}`)
	}
	const usage = `"usage":{"input_tokens":11,"output_tokens":7,"cache_creation_input_tokens":0,"cache_read_input_tokens":0}`
	head := `{"id":"msg_1","type":"message","role":"assistant","model":"claude-up","stop_sequence":null,`
	if !b.Get("stream").Bool() {
		return whole(head + `"content":[` + strings.Join(blocks, ",") + `],"stop_reason":"tool_use",` + usage + `}`)
	}
	events := []string{`{"type":"message_start","message":` + head + `"content":[],"stop_reason":null,` + usage + `}}`}
	for i, block := range blocks {
		begin, deltas := block, []string(nil)
		piece := func(kind, member, text string) {
			deltas = append(deltas, `{"type":"`+kind+`","`+member+`":`+quoted(text)+`}`)
		}
		switch v := gjson.Parse(block); v.Get("type").Str {
		case "thinking":
			begin = `{"type":"thinking","thinking":"","signature":""}`
			text := v.Get("thinking").Str
			piece("thinking_delta", "thinking", text[:3])
			piece("thinking_delta", "thinking", text[3:])
			piece("signature_delta", "signature", v.Get("signature").Str)
		case "tool_use":
			begin = strings.Replace(block, c.args, "{}", 1)
			piece("input_json_delta", "partial_json", c.args[:5])
			piece("input_json_delta", "partial_json", c.args[5:])
		}
		events = append(events, fmt.Sprintf(`{"type":"content_block_start","index":%d,"content_block":%s}`, i, begin))
		for _, delta := range deltas {
			events = append(events, fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":%s}`, i, delta))
		}
		events = append(events, fmt.Sprintf(`{"type":"content_block_stop","index":%d}`, i))
	}
	return named(append(events,
		`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":7}}`,
		`{"type":"message_stop"}`)...)
}

// thinking returns the blocks of Claude's thinking in a turn.
func thinking(turn int) []string {
	text := `{"type":"thinking","thinking":"It rains, ` + fmt.Sprint(turn) + `.","signature":"` + signature("text", turn) + `"}`
	redacted := `{"type":"redacted_thinking","data":"` + signature("redacted", turn) + `"}`
	return [][]string{{text}, {text, redacted}, {redacted, text}, {redacted}}[turn%4]
}

// chat answers a call of chat completions, and shows the reasoning before each call of the tool.
func (c *conversation) chat(b gjson.Result) scripted.Answer {
	return c.chatWith(b, func(turn int) (message, call string) {
		return `"reasoning_content":"It rains, ` + fmt.Sprint(turn) + `.",`, ""
	})
}

const geminiChat = "/v1beta/openai/chat/completions"

// gemini answers a call of Gemini's chat completions, which sign the call and show no reasoning.
func (c *conversation) gemini(b gjson.Result) scripted.Answer {
	return c.chatWith(b, func(turn int) (message, call string) {
		return "", `,"extra_content":{"google":{"thought_signature":"` + signature("call", turn) + `"}}`
	})
}

// placeholder is what Gemini takes in place of a call's signature.
const placeholder = "skip_thought_signature_validator"

// changedSignature is what Gemini refuses beside a call without a signature: one that is not the one that it came with.
func changedSignature(b gjson.Result) string {
	turn := 0
	for _, m := range b.Get("messages").Array() {
		call := m.Get("tool_calls.0")
		if !call.Exists() {
			continue
		}
		if s := call.Get("extra_content.google.thought_signature").Str; s != signature("call", turn) && s != placeholder {
			return "Thought signature is not valid: " + call.Raw
		}
		turn++
	}
	return ""
}

// unsigned returns how many requests to Gemini had a call that came back without its signature.
func (w *world) unsigned() int {
	n := 0
	for _, c := range w.upstream.Calls() {
		if bytes.Contains(c.Body, []byte(placeholder)) {
			n++
		}
	}
	return n
}

func (c *conversation) chatWith(b gjson.Result, more func(turn int) (message, call string)) scripted.Answer {
	turn := len(b.Get("messages.#.tool_calls").Array())
	name, text := c.next(turn, b.Get("tools.#.function.name"), b.Get("response_format.json_schema"))
	if name == "" {
		a := chat(gjson.Parse(`{"stream":` + fmt.Sprint(b.Get("stream").Bool()) + `,"stream_options":{"include_usage":true}}`))
		a.Body = bytes.ReplaceAll(a.Body, []byte(`"Hello there"`), []byte(quoted(text)))
		return a
	}
	message, call := more(turn)
	var calls, pieces []string
	for i, id := range c.ids("call", turn) {
		calls = append(calls, `"id":"`+id+`","type":"function","function":{"name":"`+name+`","arguments":`+quoted(c.args)+`}`+call)
		pieces = append(pieces, fmt.Sprintf(`{"index":%d,%s}`, i, calls[i]))
		call = "" // Gemini signs the first call of a message alone
	}
	head := `{"id":"c1","created":1,"model":"up","object":"chat.completion`
	if !b.Get("stream").Bool() {
		return whole(head + `","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant",` + message + `"content":null,"tool_calls":[{` + strings.Join(calls, "},{") + `}]}}],` + chatUsage + `}`)
	}
	return events(
		head+`.chunk","choices":[{"index":0,"delta":{"role":"assistant",`+message+`"content":null},"finish_reason":null}]}`,
		head+`.chunk","choices":[{"index":0,"delta":{"tool_calls":[`+strings.Join(pieces, ",")+`]},"finish_reason":null}]}`,
		head+`.chunk","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
		head+`.chunk","choices":[],`+chatUsage+`}`, "[DONE]")
}

func quoted(text string) string {
	b, _ := json.Marshal(text) // it is a string
	return string(b)
}

// thought returns how many calls with results of tools came to a path, or below it, and in how many of them the thinking of each turn before was as
// it was given, byte for byte.
func (w *world) thought(path string) (whole, all int) {
	for _, c := range w.upstream.Calls() {
		body := gjson.ParseBytes(c.Body)
		if !strings.Contains(c.URI, path) {
			continue
		}
		turn, same := 0, true
		for _, m := range body.Get("messages").Array() {
			if m.Get("tool_calls").Exists() {
				same = same && m.Get("reasoning_content").Str == fmt.Sprintf("It rains, %d.", turn)
				turn++
			}
			var blocks []string
			called := false
			for _, b := range m.Get("content").Array() {
				switch b.Get("type").Str {
				case "thinking":
					blocks = append(blocks, `{"type":"thinking","thinking":`+b.Get("thinking").Raw+`,"signature":`+b.Get("signature").Raw+`}`)
				case "redacted_thinking":
					blocks = append(blocks, `{"type":"redacted_thinking","data":`+b.Get("data").Raw+`}`)
				case "tool_use":
					same = same && (called || slices.Equal(blocks, thinking(turn)))
					called = true
				}
			}
			if called {
				turn++
			}
		}
		if turn > 0 {
			all++
		}
		if turn > 0 && same {
			whole++
		}
	}
	return whole, all
}

// keptThinking checks that all calls with results of tools had the thinking of the turns before.
func (w *world) keptThinking(path string) {
	w.T.Helper()
	whole, all := w.thought(path)
	require.Positive(w.T, all)
	require.Equal(w.T, all, whole, "calls of %s in which the thinking comes back as it was", path)
}

// translatedSDKs runs a program of conversations over translated models of that many turns with calls of a tool, and checks the bill.
func translatedSDKs(t *testing.T, turns int, program string, args ...string) *world {
	w := newTranslated(t, weather(turns))
	var calls []seen
	for line := range strings.Lines(w.run("", []string{fmt.Sprintf("TURNS=%d", turns)}, program, args...)) {
		var c seen
		require.NoError(t, json.Unmarshal([]byte(line), &c), line)
		calls = append(calls, c)
	}
	require.NotEmpty(t, calls)
	w.billed(calls)
	for _, c := range w.upstream.Calls() {
		if gjson.GetBytes(c.Body, "tools").Exists() {
			require.Contains(t, string(c.Body), picture, "the image of the question")
		}
	}
	return w
}

// picture is the image of the programs' questions.
const picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// TestTranslatedPythonSDKs has the official SDKs of Python hold conversations of ten turns with calls of a tool over each pair of APIs, whole
// and streamed, with images, thinking and answers by a schema.
func TestTranslatedPythonSDKs(t *testing.T) {
	w := translatedSDKs(t, 10, installed(t, "python", "bin", "python"), "translated.py")
	for _, path := range []string{"/v1/messages", "/v1/chat/completions", bedrockPath, vertexPath} {
		w.keptThinking(path)
	}
	require.Positive(t, w.unsigned(), "calls of a client of Responses that does not include signatures, which Gemini takes all the same")
}

// TestTranslatedGoSDKs has those of Go do the same. Theirs of chat completions gives no thinking back.
func TestTranslatedGoSDKs(t *testing.T) {
	w := translatedSDKs(t, 10, installed(t, "go", "client"))
	w.keptThinking("/v1/chat/completions")
	whole, all := w.thought("/v1/messages")
	require.Equal(t, all, 2*whole)
	require.Positive(t, whole)
}

// TestTranslatedPythonLangChain has agents of LangChain do the same with three. Its chat completions give no thinking back.
func TestTranslatedPythonLangChain(t *testing.T) {
	w := translatedSDKs(t, 3, installed(t, "python", "bin", "python"), "agents.py")
	w.keptThinking("/v1/chat/completions")
	whole, all := w.thought("/v1/messages")
	require.Equal(t, all, 2*whole)
	require.Positive(t, whole)
}

// TestTranslatedJavaScriptSDKs does the same with those of JavaScript and three turns, and with the `ai` SDK, whose chat completions give no
// thinking back.
func TestTranslatedJavaScriptSDKs(t *testing.T) {
	program := filepath.Join(t.TempDir(), "translated.mjs")
	text, err := os.ReadFile("translated.mjs")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, text, 0o600))
	require.NoError(t, os.Symlink(installed(t, "js", "node_modules"), filepath.Join(filepath.Dir(program), "node_modules")))
	w := translatedSDKs(t, 3, "node", program)
	w.keptThinking("/v1/chat/completions")
	// Both clients of Responses keep all, as chat completions do whole; streamed they keep the last of several blocks, and those of `ai` none.
	whole, all := w.thought("/v1/messages")
	require.Equal(t, []int{6 + 6 + 3 + 1, 6 + 6 + 6 + 6}, []int{whole, all})
}

// TestTranslatedClaudeCode has Claude Code run commands with models that are served by chat completions alone.
func TestTranslatedClaudeCode(t *testing.T) {
	for model, path := range map[string]string{"claude-on-chat": "/v1/chat/completions", "claude-on-gemini": geminiChat} {
		t.Run(model, func(t *testing.T) {
			args, err := json.Marshal(map[string]string{"command": command, "description": "makes a file"})
			require.NoError(t, err)
			w := newTranslated(t, &conversation{turns: 3, tool: "Bash", args: string(args), end: "all done"})
			dir := t.TempDir()
			out, log, err := w.try(dir, []string{
				"ANTHROPIC_BASE_URL=http://" + w.Addr, "ANTHROPIC_AUTH_TOKEN=" + w.key, "ANTHROPIC_MODEL=" + model, "ANTHROPIC_SMALL_FAST_MODEL=" + model,
				"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1",
			}, installed(t, "js", "node_modules", ".bin", "claude"), "-p", "make a file", "--allowedTools", "Bash", "--output-format", "json")
			require.NoError(t, err, "%s\n%s", out, log)
			require.Equal(t, "all done", gjson.Get(out, "result").String(), out)
			w.checkTool(dir)
			if path != geminiChat { // which refuses what is not signed
				w.keptThinking(path)
			}
		})
	}
}

// TestTranslatedCodex has Codex run commands with models that are served by chat completions alone, and by Messages alone.
func TestTranslatedCodex(t *testing.T) {
	args, err := json.Marshal(map[string]any{"cmd": command})
	require.NoError(t, err)
	for model, path := range map[string]string{"on-chat-codex": "/v1/chat/completions", "on-claude-codex": "/v1/messages", "on-gemini-codex": geminiChat, "on-bedrock-codex": bedrockPath, "on-vertex-codex": vertexPath} {
		t.Run(model, func(t *testing.T) {
			w := newTranslated(t, &conversation{turns: 3, tool: "exec_command", args: string(args), end: "all done"})
			dir, home := t.TempDir(), t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(home, "config.toml"), []byte(`
model = "`+model+`"
model_provider = "gw"
check_for_update_on_startup = false
web_search = "disabled"

[model_providers.gw]
name = "gw"
base_url = "http://`+w.Addr+`/v1"
env_key = "GW_KEY"
wire_api = "responses"

[analytics]
enabled = false
[features]
apps = false
plugins = false
`), 0o600))
			out, log, err := w.try(dir, []string{"CODEX_HOME=" + home, "GW_KEY=" + w.key},
				"node", installed(t, "js", "node_modules", ".bin", "codex"), "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "make a file")
			require.NoError(t, err, "%s\n%s", out, log)
			require.Contains(t, out, "all done")
			w.checkTool(dir)
			if path != geminiChat { // which refuses what is not signed
				w.keptThinking(path)
			}
		})
	}
}
