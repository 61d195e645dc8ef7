//go:build clients

package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// world is a gateway before a provider of all APIs, with a key for the clients.
type world struct {
	*gateway.World
	upstream *scripted.Server
	key      string
}

// providers are the presets whose models the clients ask for, by the beginning of their names, with the path of the base URL.
var providers = []struct{ prefix, preset, path string }{
	{"openai", "openai", "/v1"},
	{"claude", "anthropic", ""},
	{"gemini", "gemini", ""},
	{"mistral", "mistral", "/v1"},
	{"cohere", "cohere", ""},
	{"groq", "groq", "/openai/v1"},
	{"ollama", "ollama", "/v1"},
}

func newWorld(t *testing.T, upstream *scripted.Server) *world {
	t.Helper()
	w := &world{World: gateway.NewBooks(t, fakelago.Options{}), upstream: upstream}
	var routes strings.Builder
	for _, p := range providers {
		for _, names := range []string{p.prefix + "-*", fmt.Sprintf("%[1]s-known %[1]s-known-2 %[1]s-known-3", p.prefix)} {
			fmt.Fprintf(&routes, "model %s {\nbackend %s %s%s {\napi_key %s\nmodel up-rerank\nprice input 1\nprice output 2\nprice pages 1000\nprice search_units 1000\nprice input_characters 1\n}\n}\n",
				names, p.preset, upstream.URL, p.path, gateway.ProviderKey)
		}
	}
	w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "", routes.String()))
	w.key = w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	return w
}

// seen is a call as its client saw it.
type seen struct {
	Model  string
	Free   bool
	Counts map[string]int64
}

// record is a record of the ledger.
type record struct {
	Asked, Outcome, State, Session string
	Counts                         map[string]int64
	Events                         []json.RawMessage
}

// records waits until all calls are settled and delivered, and returns their records by the model that was asked for.
func (w *world) records() map[string][]record {
	t := w.T
	t.Helper()
	admin := &gateway.Gateway{T: t, Addr: w.Admin}
	var out map[string][]record
	require.Eventually(t, func() bool {
		ledger := admin.Must(http.StatusOK, http.MethodGet, "/tollgate/billing/events", "", "")
		out = make(map[string][]record)
		for line := range strings.Lines(ledger.Body) {
			var r record
			require.NoError(t, json.Unmarshal([]byte(line), &r))
			if r.State != "done" {
				return false
			}
			out[r.Asked] = append(out[r.Asked], r)
		}
		return true
	}, 30*time.Second, 20*time.Millisecond, "every call is settled, and Lago has its events")
	return out
}

// billed checks that what the clients saw, what the ledger has and what Lago got are the same calls, each once.
func (w *world) billed(calls []seen) {
	t := w.T
	t.Helper()
	records := w.records()
	times, events := make(map[string]int), 0
	for _, c := range calls {
		times[c.Model]++
		if !c.Free {
			events++
		}
	}
	for _, c := range calls {
		require.True(t, c.Free || len(records[c.Model]) == times[c.Model], "%d records of %d calls of %s", len(records[c.Model]), times[c.Model], c.Model)
		for _, r := range records[c.Model] {
			if c.Free {
				require.Empty(t, r.Events, "%s is free", c.Model)
				continue
			}
			require.Equal(t, "completed", r.Outcome, c.Model)
			require.Len(t, r.Events, 1, c.Model)
			for kind, n := range c.Counts {
				require.Equal(t, n, r.Counts[kind], "%s of %s: the client saw %v, the ledger has %v", kind, c.Model, c.Counts, r.Counts)
			}
		}
	}
	w.agree(records, events)
}

// agree checks that the ledger bills that many calls, and Lago the same.
func (w *world) agree(records map[string][]record, events int) {
	t := w.T
	t.Helper()
	var billed int
	var tokens int64
	for _, rs := range records {
		for _, r := range rs {
			billed += len(r.Events)
			for _, e := range r.Events {
				tokens += gjson.GetBytes(e, "properties.total_tokens").Int()
			}
		}
	}
	require.Equal(t, events, billed, "calls that the ledger bills")
	w.Settled(events)
	require.Equal(t, fmt.Sprint(tokens), w.Lago.Billed(gateway.Payer, "llm", "total_tokens"))
}

// installed returns where ./test.sh has put a client.
func installed(t *testing.T, parts ...string) string {
	t.Helper()
	dir := os.Getenv("TOLLGATE_CLIENTS")
	require.NotEmpty(t, dir, "run by ./test.sh clients, which installs the clients")
	return filepath.Join(append([]string{dir}, parts...)...)
}

// run runs a client with the gateway as its only neighbour: what it sends to other hosts goes to a proxy that refuses it, and
// fails the test. It returns what the client printed.
func (w *world) run(dir string, env []string, program string, args ...string) string {
	w.T.Helper()
	out, log, err := w.try(dir, env, program, args...)
	require.NoError(w.T, err, "%s\n%s", out, log)
	return out
}

// try is run for a client that may fail.
func (w *world) try(dir string, env []string, program string, args ...string) (stdout, stderr string, err error) {
	t := w.T
	t.Helper()
	outside := scripted.New(t, func(int, scripted.Call) scripted.Answer { return refused(http.StatusForbidden, "no network") })
	cmd := exec.CommandContext(gateway.Timeout(t, 5*time.Minute), program, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "GATEWAY=http://" + w.Addr, "KEY=" + w.key,
		"HTTP_PROXY=" + outside.URL, "HTTPS_PROXY=" + outside.URL, "http_proxy=" + outside.URL, "https_proxy=" + outside.URL,
		"NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost",
	}, env...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err = cmd.Run()
	for _, c := range outside.Calls() {
		t.Errorf("%s asked for %s %s", filepath.Base(program), c.Method, c.URI)
	}
	return out.String(), log.String(), err
}

// sdks runs a program that calls the gateway by SDKs, and checks the bill.
func sdks(t *testing.T, env []string, program string, args ...string) {
	w := newWorld(t, newUpstream(t))
	var calls []seen
	for line := range strings.Lines(w.run("", env, program, args...)) {
		var c seen
		require.NoError(t, json.Unmarshal([]byte(line), &c), line)
		calls = append(calls, c)
	}
	require.NotEmpty(t, calls)
	w.billed(calls)
}

// TestPythonSDKs calls every API by the official SDKs of Python.
func TestPythonSDKs(t *testing.T) {
	sdks(t, nil, installed(t, "python", "bin", "python"), "sdks.py")
}

// TestJavaScriptSDKs calls every API by the official SDKs of JavaScript, and by the `ai` SDK.
func TestJavaScriptSDKs(t *testing.T) {
	// Node looks for packages beside the program.
	program := filepath.Join(t.TempDir(), "sdks.mjs")
	text, err := os.ReadFile("sdks.mjs")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, text, 0o600))
	require.NoError(t, os.Symlink(installed(t, "js", "node_modules"), filepath.Join(filepath.Dir(program), "node_modules")))
	sdks(t, nil, "node", program)
}
