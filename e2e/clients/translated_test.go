//go:build clients

package clients

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// The signature of a thinking block, which comes back byte for byte or not at all.
const signature = "EqMDCkYIBxgCKkA+/signed=="

// newTranslated starts a gateway before one provider that has Messages alone and one that has chat completions alone. Each checks every
// request against its schema. Models are named on-claude-... and on-chat-....
func newTranslated(t *testing.T, chatAnswer, claudeAnswer func(b gjson.Result) testkit.RawAnswer) *world {
	t.Helper()
	w := &world{World: gateway.NewBooks(t, testkit.LagoOptions{})}
	w.upstream = testkit.NewScript(t, func(_ int, c testkit.RawCall) testkit.RawAnswer {
		if fault := testkit.StrictFault(t, c); fault != "" {
			t.Errorf("the provider refuses %s: %s: %s", c.URI, fault, c.Body)
			return refused(http.StatusBadRequest, fault)
		}
		b := gjson.ParseBytes(c.Body)
		if c.URI == "/v1/messages" {
			return claudeAnswer(b)
		}
		if c.URI == "/v1/chat/completions" {
			return chatAnswer(b)
		}
		t.Errorf("the provider has no %s", c.URI)
		return refused(http.StatusNotFound, "no such path")
	})
	var routes strings.Builder
	for _, m := range []struct{ names, backend, model string }{
		{"on-claude-*", "anthropic " + w.upstream.URL, "claude-opus-4-6"},
		{"on-chat-* claude-on-chat", "openai " + w.upstream.URL + "/v1", "up"},
	} {
		fmt.Fprintf(&routes, "model %s {\nbackend %s {\napi_key %s\nmodel %s\nprice input 1\nprice output 2\ntranslate {\ncalls responses\n}\n}\n}\n", m.names, m.backend, gateway.ProviderKey, m.model)
	}
	w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "", routes.String()))
	w.key = w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	return w
}

// chatThatCalls is chat with an answer in JSON where that is asked for.
func chatThatCalls(b gjson.Result) testkit.RawAnswer {
	a := chat(b)
	if b.Get("response_format.type").String() == "json_schema" {
		a.Body = []byte(strings.ReplaceAll(string(a.Body), `"Hello there"`, `"{\"city\":\"Oslo\"}"`))
	}
	return a
}

// claudeThatThinks thinks before it calls the tool that it is offered.
func claudeThatThinks(b gjson.Result) testkit.RawAnswer {
	name := tool(b)
	if name == "" {
		text := "Hello there"
		if b.Get("output_config.format").Exists() {
			text = `{\"city\":\"Oslo\"}`
		}
		return messageOf(b, `{"type":"text","text":""}`, `{"type":"text_delta","text":"`+text+`"}`, "end_turn")
	}
	const usage = `"usage":{"input_tokens":11,"output_tokens":7,"cache_creation_input_tokens":0,"cache_read_input_tokens":0}`
	head := `{"id":"msg_1","type":"message","role":"assistant","model":"claude-up","stop_sequence":null,`
	if !b.Get("stream").Bool() {
		return whole(head + `"content":[{"type":"thinking","thinking":"It rains.","signature":"` + signature + `"},{"type":"tool_use","id":"toolu_1","name":"` + name +
			`","input":{"city":"Oslo"}}],"stop_reason":"tool_use",` + usage + `}`)
	}
	return named(
		`{"type":"message_start","message":`+head+`"content":[],"stop_reason":null,`+usage+`}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"It "}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"rains."}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"`+signature+`"}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"`+name+`","input":{}}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"city\":"}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"\"Oslo\"}"}}`,
		`{"type":"content_block_stop","index":1}`,
		`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":7}}`,
		`{"type":"message_stop"}`)
}

// translatedSDKs runs a program of conversations over translated models, and checks the bill. It returns how many of the calls to Claude
// with a tool's result had the signed thinking of the turn before, and how many there were.
func translatedSDKs(t *testing.T, program string, args ...string) (signed, results int) {
	w := newTranslated(t, chatThatCalls, claudeThatThinks)
	var calls []seen
	for line := range strings.Lines(w.run("", nil, program, args...)) {
		var c seen
		require.NoError(t, json.Unmarshal([]byte(line), &c), line)
		calls = append(calls, c)
	}
	require.NotEmpty(t, calls)
	w.billed(calls)
	for _, c := range w.upstream.Calls() {
		if c.URI == "/v1/messages" && strings.Contains(string(c.Body), `"tool_result"`) {
			results++
			if strings.Contains(string(c.Body), `"thinking":"It rains."`) && strings.Contains(string(c.Body), `"signature":"`+signature+`"`) {
				signed++
			}
		}
	}
	return signed, results
}

// TestTranslatedPythonSDKs has the official SDKs of Python hold conversations over each pair of APIs: tools, streams, images, thinking and
// answers by a schema.
func TestTranslatedPythonSDKs(t *testing.T) {
	signed, results := translatedSDKs(t, installed(t, "python", "bin", "python"), "translated.py")
	require.Positive(t, results)
	require.Equal(t, results, signed, "thinking comes back with its signature")
}

// TestTranslatedJavaScriptSDKs does the same with those of JavaScript, and with the `ai` SDK, whose chat completions give no thinking back.
func TestTranslatedJavaScriptSDKs(t *testing.T) {
	program := filepath.Join(t.TempDir(), "translated.mjs")
	text, err := os.ReadFile("translated.mjs")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, text, 0o600))
	require.NoError(t, os.Symlink(installed(t, "js", "node_modules"), filepath.Join(filepath.Dir(program), "node_modules")))
	signed, results := translatedSDKs(t, "node", program)
	require.Positive(t, signed)
	require.Positive(t, results)
}

// TestTranslatedClaudeCode has Claude Code run a command with a model that is served by chat completions alone.
func TestTranslatedClaudeCode(t *testing.T) {
	input, err := json.Marshal(map[string]string{"command": command, "description": "makes a file"})
	require.NoError(t, err)
	w := newTranslated(t, func(b gjson.Result) testkit.RawAnswer {
		offered := b.Get(`tools.#(function.name=="Bash")`).Exists()
		if !offered || strings.Contains(b.Raw, `"role":"tool"`) {
			a := chat(gjson.Parse(`{"stream":` + fmt.Sprint(b.Get("stream").Bool()) + `,"stream_options":{"include_usage":true}}`))
			a.Body = []byte(strings.ReplaceAll(string(a.Body), "Hello there", "all done"))
			return a
		}
		quoted, _ := json.Marshal(string(input)) // it is a string
		a := chat(gjson.Parse(`{"stream":` + fmt.Sprint(b.Get("stream").Bool()) + `,"stream_options":{"include_usage":true},"tools":[{"function":{"name":"Bash"}}]}`))
		a.Body = []byte(strings.ReplaceAll(string(a.Body), `"{\"city\":\"Oslo\"}"`, string(quoted)))
		return a
	}, claudeThatThinks)
	dir := t.TempDir()
	out, log, err := w.try(dir, []string{
		"ANTHROPIC_BASE_URL=http://" + w.Addr, "ANTHROPIC_AUTH_TOKEN=" + w.key, "ANTHROPIC_MODEL=claude-on-chat", "ANTHROPIC_SMALL_FAST_MODEL=claude-on-chat",
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1",
	}, installed(t, "js", "node_modules", ".bin", "claude"), "-p", "make a file", "--allowedTools", "Bash", "--output-format", "json")
	require.NoError(t, err, "%s\n%s", out, log)
	require.Equal(t, "all done", gjson.Get(out, "result").String(), out)
	w.checkTool(dir)
}

// TestTranslatedCodex has Codex run a command with models that are served by chat completions alone, and by Messages alone.
func TestTranslatedCodex(t *testing.T) {
	text, err := json.Marshal(map[string]any{"cmd": command})
	require.NoError(t, err)
	quoted, err := json.Marshal(string(text))
	require.NoError(t, err)
	for _, model := range []string{"on-chat-codex", "on-claude-codex"} {
		t.Run(model, func(t *testing.T) {
			w := newTranslated(t, func(b gjson.Result) testkit.RawAnswer {
				asks := `{"stream":true,"stream_options":{"include_usage":true}`
				if strings.Contains(b.Raw, `"role":"tool"`) {
					a := chat(gjson.Parse(asks + `}`))
					a.Body = []byte(strings.ReplaceAll(string(a.Body), "Hello there", "all done"))
					return a
				}
				if !b.Get(`tools.#(function.name=="exec_command")`).Exists() {
					t.Errorf("Codex offers no exec_command: %s", b.Get("tools.#.function.name"))
				}
				a := chat(gjson.Parse(asks + `,"tools":[{"function":{"name":"exec_command"}}]}`))
				a.Body = []byte(strings.ReplaceAll(string(a.Body), `"{\"city\":\"Oslo\"}"`, string(quoted)))
				return a
			}, func(b gjson.Result) testkit.RawAnswer {
				if strings.Contains(b.Raw, `"tool_result"`) {
					if !strings.Contains(b.Raw, signature) {
						t.Errorf("the thinking of the turn before is lost: %s", b.Get("messages"))
					}
					return messageOf(b, `{"type":"text","text":""}`, `{"type":"text_delta","text":"all done"}`, "end_turn")
				}
				a := claudeThatThinks(gjson.Parse(`{"stream":true,"tools":[{"name":"exec_command"}]}`))
				a.Body = []byte(strings.ReplaceAll(strings.ReplaceAll(string(a.Body), `"{\"city\":"`, `""`), `"\"Oslo\"}"`, string(quoted)))
				return a
			})
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
		})
	}
}
