//go:build clients

package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// coding starts a gateway before a provider that has a coding tool make a file by a command, and then says that it is done.
func coding(t *testing.T, answer func(body gjson.Result) scripted.Answer) *world {
	return newWorld(t, scripted.New(t, func(_ int, c scripted.Call) scripted.Answer {
		if strings.HasSuffix(c.URI, "/count_tokens") {
			return whole(`{"input_tokens":11}`)
		}
		return answer(gjson.ParseBytes(c.Body))
	}))
}

const command = "echo made by a tool > made.txt"

// checkTool checks what came of a coding tool's run: the file, and one bill for each call that it made.
func (w *world) checkTool(dir string) {
	t := w.T
	t.Helper()
	made, err := os.ReadFile(filepath.Join(dir, "made.txt"))
	require.NoError(t, err, "the tool was called")
	require.Equal(t, "made by a tool\n", string(made))
	records, calls := w.records(), 0
	for _, c := range w.upstream.Calls() {
		for name, values := range c.Header {
			require.NotContains(t, strings.Join(values, " "), w.key, "%s goes upstream", name)
		}
		if !strings.HasSuffix(c.URI, "/count_tokens") {
			calls++
		}
	}
	require.GreaterOrEqual(t, calls, 2, "the call of the tool, and its result")
	for name, rs := range records {
		for _, r := range rs {
			require.Equal(t, "completed", r.Outcome, name)
			require.NotEmpty(t, r.Session, "the conversation is on the record")
			if len(r.Events) > 0 {
				require.Equal(t, map[string]int64{"input": 11, "output": 7}, map[string]int64{"input": r.Counts["input"], "output": r.Counts["output"]}, name)
			}
		}
	}
	w.agree(records, calls)
}

// TestClaudeCode has Claude Code run a command.
func TestClaudeCode(t *testing.T) {
	w := coding(t, func(b gjson.Result) scripted.Answer {
		input, err := json.Marshal(map[string]string{"command": command, "description": "makes a file"})
		require.NoError(t, err)
		if offers(b, "Bash") && !strings.Contains(b.Raw, `"tool_result"`) {
			delta, err := json.Marshal(map[string]string{"type": "input_json_delta", "partial_json": string(input)})
			require.NoError(t, err)
			return messageOf(b, `{"type":"tool_use","id":"toolu_1","name":"Bash","input":{}}`, string(delta), "tool_use")
		}
		return messageOf(b, `{"type":"text","text":""}`, `{"type":"text_delta","text":"all done"}`, "end_turn")
	})
	dir := t.TempDir()
	claude := func(key string) (stdout, stderr string, err error) {
		return w.try(dir, []string{
			"ANTHROPIC_BASE_URL=http://" + w.Addr, "ANTHROPIC_AUTH_TOKEN=" + key, "ANTHROPIC_MODEL=claude-code",
			"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1",
		}, installed(t, "js", "node_modules", ".bin", "claude"), "-p", "make a file", "--allowedTools", "Bash", "--output-format", "json")
	}
	out, log, err := claude(w.key)
	require.NoError(t, err, "%s\n%s", out, log)
	require.Equal(t, "all done", gjson.Get(out, "result").String(), out)
	w.checkTool(dir)

	out, _, err = claude("sk-not-of-the-gateway")
	require.Error(t, err)
	require.Contains(t, gjson.Get(out, "result").String(), "Authentication Error", out)
}

// offers reports whether a call offers a tool of that name.
func offers(b gjson.Result, name string) bool {
	for _, tool := range b.Get("tools").Array() {
		if tool.Get("name").String() == name {
			return true
		}
	}
	return false
}

// TestCodex has Codex run a command.
func TestCodex(t *testing.T) {
	w := coding(t, func(b gjson.Result) scripted.Answer {
		if strings.Contains(b.Raw, `"function_call_output"`) || strings.Contains(b.Raw, `"custom_tool_call_output"`) {
			return responseOf(b, `{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"all done","annotations":[]}]}`)
		}
		for name, arguments := range map[string]map[string]any{
			"exec_command": {"cmd": command}, "shell": {"command": []string{"bash", "-lc", command}}, "shell_command": {"command": command},
		} {
			if !offers(b, name) {
				continue
			}
			text, err := json.Marshal(arguments)
			require.NoError(t, err)
			quoted, err := json.Marshal(string(text))
			require.NoError(t, err)
			return responseOf(b, `{"type":"function_call","id":"fc_1","call_id":"call_1","name":"`+name+`","arguments":`+string(quoted)+`,"status":"completed"}`)
		}
		t.Errorf("Codex offers no tool that is known here: %s", b.Get("tools.#.name"))
		return refused(400, "no tool")
	})
	dir, home := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(home, "config.toml"), []byte(`
model = "openai-codex"
model_provider = "gw"
check_for_update_on_startup = false

[model_providers.gw]
name = "gw"
base_url = "http://`+w.Addr+`/v1"
env_key = "GW_KEY"
wire_api = "responses"

# What would ask other hosts.
[analytics]
enabled = false
[features]
apps = false
plugins = false
`), 0o600))
	codex := func(key string) (stdout, stderr string, err error) {
		return w.try(dir, []string{"CODEX_HOME=" + home, "GW_KEY=" + key},
			"node", installed(t, "js", "node_modules", ".bin", "codex"), "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "make a file")
	}
	out, log, err := codex(w.key)
	require.NoError(t, err, "%s\n%s", out, log)
	require.Contains(t, out, "all done")
	w.checkTool(dir)

	_, log, err = codex("sk-not-of-the-gateway")
	require.Error(t, err)
	require.Contains(t, log, "401 Unauthorized: Authentication Error")
}
