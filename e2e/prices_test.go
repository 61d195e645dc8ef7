package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestPricesCommand asks a running gateway which of its models and calls have no price, and what a price file would change.
func TestPricesCommand(t *testing.T) {
	bin, err := gateway.Build()
	require.NoError(t, err)
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	today := file("today.json", `{"models": [{"provider": "openai", "model": "tts-1", "prices": {"input": 1, "output": 2}}]}`)
	m := meter(t, answerJSON(200, `{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],`+
		`"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}`), "prices "+today)
	for _, model := range []string{"tts-1", "house-model", "house-model"} {
		m.Must(200, "POST", "/v1/chat/completions", "", gateway.Chat(model, "hi", false))
	}
	m.ledger(3)
	run := func(args ...string) string {
		out, err := exec.Command(bin, append([]string{"tollgate", "prices", "--address", m.Admin}, args...)...).Output()
		require.NoError(t, err, "%s", args)
		return string(out)
	}

	list := run("list", "--json")
	require.Contains(t, list, `{"model":"tts-1","provider":"openai","upstream":"tts-1","prices":{"input":"1","output":"2"}}`)
	unpriced := run("list", "--unpriced", "--json")
	require.Contains(t, unpriced, `"where":"configuration","model":"house-model","provider":"openai","upstream":"house-model"`)
	require.Contains(t, unpriced, `"where":"ledger","model":"house-model","provider":"openai","upstream":"house-model","calls":2`)
	require.NotContains(t, unpriced, "tts-1")

	next := file("next.json", `{"models": [{"provider": "openai", "model": "tts-1", "prices": {"input": 1.5, "output": 2}},
		{"provider": "openai", "model": "house-model", "prices": {"input": 1, "output": 1}}]}`)
	// 1000 input and 100 output tokens at 1 and 2 dollars a million, then at 1.50 and 2; two calls without a price, then at 1.
	require.Equal(t, `{"provider":"openai","model":"house-model","name":"input","after":"1"}
{"provider":"openai","model":"house-model","name":"output","after":"1"}
{"provider":"openai","model":"tts-1","name":"input","before":"1","after":"1.5","percent":"+50.00%"}
{"calls":3,"before":"0.0012","after":"0.0039","percent":"+225.00%","stated":0,"unpriced":2,"unpriced_after":0}
`, run("diff", next, "--json"))
	require.Contains(t, run("diff", next), "+225.00%")
}

// TestPricesOffline uses what needs no running gateway.
func TestPricesOffline(t *testing.T) {
	bin, err := gateway.Build()
	require.NoError(t, err)
	run := func(args ...string) (string, error) {
		out, err := exec.Command(bin, append([]string{"tollgate", "prices", "--address", "127.0.0.1:1"}, args...)...).CombinedOutput()
		return string(out), err
	}
	out, err := run("show", "claude-opus-4-6", "--provider", "anthropic", "--json")
	require.NoError(t, err)
	require.Contains(t, out, `"name":"cache_read","price":"0.5","unit":"million","source":"genai-prices `)
	require.Contains(t, out, `"name":"input@geo-us","price":"5.5","unit":"million","source":"litellm `)
	out, err = run("show", "claude-haiku-4-5", "--provider", "vertex", "--base-url", "https://us-east5-aiplatform.googleapis.com", "--json")
	require.NoError(t, err)
	require.Contains(t, out, `"name":"output","price":"5.5"`)
	out, err = run("show", "gemini-3.8-flash", "--provider", "gemini", "--at", "2027-01-02")
	require.NoError(t, err)
	require.Regexp(t, `input +1\.5 +million`, out)
	out, err = run("show", "gpt-4o")
	require.NoError(t, err)
	require.Contains(t, out, "azure")
	require.Contains(t, out, "openai")
	_, err = run("show", "no-such-model")
	require.Error(t, err)

	file := filepath.Join(t.TempDir(), "prices.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"models": [{"provider": "openai", "model": "gpt-4o", "prices": {"input": 2.25}}]}`), 0o600))
	out, err = run("check", file)
	require.NoError(t, err)
	require.Contains(t, out, "1 models")
	out, err = run("diff", file)
	require.NoError(t, err)
	require.Contains(t, out, "-10.00%")
	require.Contains(t, out, "no running instance")
	require.NoError(t, os.WriteFile(file, []byte(`{"models": [{"model": "gpt-4o", "prices": {"inputt": 2.25}}]}`), 0o600))
	out, err = run("check", file)
	require.Error(t, err)
	require.Contains(t, out, "inputt")
	require.Equal(t, 1, strings.Count(out, "unknown price name"))
}

// TestPriceFileIsHeld reloads with a price file that changes a price a hundredfold: the accepted copy is billed by, also after a start, until
// the operator allows the change.
func TestPriceFileIsHeld(t *testing.T) {
	bin, err := gateway.Build()
	require.NoError(t, err)
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	file := filepath.Join(t.TempDir(), "prices.json")
	write := func(usd string) {
		require.NoError(t, os.WriteFile(file, []byte(`{"models": [{"provider": "openai", "model": "house-model", "prices": {"input": `+usd+`, "output": `+usd+`}}]}`), 0o600))
	}
	write("1")
	m := meter(t, answerJSON(200, answered), "prices "+file+"\nprices_max_change 10")
	cost := func() string {
		return m.Must(200, "POST", "/v1/chat/completions", "", gateway.Chat("house-model", "hi", false)).Header.Get("X-Litellm-Response-Cost")
	}
	status := func() string {
		out, err := exec.Command(bin, "tollgate", "prices", "--address", m.Admin, "status", "--json").Output()
		require.NoError(t, err)
		return string(out)
	}
	first := cost()
	require.Equal(t, "0.00105", first, "1000 and 50 tokens at 1 dollar a million")
	require.Contains(t, status(), file)
	write("100")
	m.Load()
	m.AwaitAnswer()
	require.Equal(t, first, cost())
	require.Contains(t, status(), `"problem":`)
	require.Contains(t, status(), "house-model would go from 1 to 100")
	gateway.Stop(t)
	m.Load()
	m.AwaitAnswer()
	require.Equal(t, first, cost(), "the copy outlives the process")
	m.Caddyfile = strings.Replace(m.Caddyfile, "prices_max_change 10", "prices_max_change off", 1)
	m.Load()
	m.AwaitAnswer()
	require.Equal(t, "0.105", cost())
	require.NotContains(t, status(), `"problem":`)
}
