package tollgate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/tollgate-llm/tollgate"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

const masterKey = "sk-master-of-the-test"

// freeAddr returns an address of this machine that nobody listens on.
func freeAddr(t testing.TB) string {
	t.Helper()
	addr, err := testkit.FreeAddr()
	require.NoError(t, err)
	return addr
}

// gateway is a running gateway: Caddy in this process, or the binary in another.
type gateway struct {
	t         testing.TB
	addr      string // host:port of the site
	admin     string
	caddyfile string
}

// site returns a Caddyfile with one site; directives may hold the site's three directives.
func site(addr, admin, options, directives string) string {
	return fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tauto_https off\n%s\n}\nhttp://%s {\n%s\n}\n", admin, options, addr, directives)
}

// start loads the directives into Caddy in this process.
func start(t testing.TB, options, directives string) *gateway {
	t.Helper()
	g := &gateway{t: t, addr: freeAddr(t), admin: freeAddr(t)}
	g.caddyfile = site(g.addr, g.admin, options, directives)
	g.load()
	t.Cleanup(func() { stop(t) })
	return g
}

// stop stops Caddy in this process and waits for what it was doing.
func stop(t testing.TB) {
	t.Helper()
	require.NoError(t, caddy.Stop())
}

// load loads the Caddyfile (again).
func (g *gateway) load() {
	g.t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(g.caddyfile), map[string]any{"filename": "Caddyfile"})
	require.NoError(g.t, err)
	require.NoError(g.t, caddy.Load(config, true))
}

var buildOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tollgate")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "caddy")
	out, err := exec.Command("go", "build", "-o", bin, "./cmd/caddy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

// run runs the built binary with the directives; it is killed when the test ends.
func run(t testing.TB, directives string) *gateway {
	t.Helper()
	bin, err := buildOnce()
	require.NoError(t, err)
	g := &gateway{t: t, addr: freeAddr(t), admin: freeAddr(t)}
	g.caddyfile = site(g.addr, g.admin, "", directives)
	g.launch(bin, "caddyfile")
	return g
}

// launch runs the binary with the gateway's configuration, which that adapter reads, until the test ends.
func (g *gateway) launch(bin, adapter string, env ...string) {
	t := g.t
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	require.NoError(t, os.WriteFile(file, []byte(g.caddyfile), 0o600))
	cmd := exec.Command(bin, "run", "--config", file, "--adapter", adapter)
	cmd.Env = append(append(os.Environ(), "HOME="+t.TempDir(), "XDG_DATA_HOME="+t.TempDir()), env...)
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Log(log.String())
		}
	})
	g.awaitAnswer()
}

// awaitAnswer waits until the gateway answers: not yet where it starts, and not where a connection was taken by the server of
// the configuration before, which closes it unread if a reload ends it in that moment.
func (g *gateway) awaitAnswer() {
	g.t.Helper()
	require.Eventually(g.t, func() bool {
		resp, err := http.Get("http://" + g.addr + "/v1/models")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	}, 20*time.Second, 20*time.Millisecond, "the gateway does not answer")
}

func (g *gateway) url(path string) string { return "http://" + g.addr + path }

// answer is what a call got.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// do makes one call; bodies are JSON.
func (g *gateway) do(method, path, key, body string, header ...string) (answer, error) {
	req, err := http.NewRequest(method, g.url(path), strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b)}, errors.Join(err, resp.Body.Close())
}

// must makes a call that must get that status.
func (g *gateway) must(status int, method, path, key, body string, header ...string) answer {
	g.t.Helper()
	a, err := g.do(method, path, key, body, header...)
	require.NoError(g.t, err)
	require.Equal(g.t, status, a.Status, a.Body)
	return a
}

// newKey makes a key with the master key.
func (g *gateway) newKey(fields string) string {
	g.t.Helper()
	a := g.must(http.StatusOK, http.MethodPost, "/key/generate", masterKey, fields)
	var key struct {
		Key string `json:"key"`
	}
	require.NoError(g.t, json.Unmarshal([]byte(a.Body), &key))
	return key.Key
}

// chat returns the body of a chat call.
func chat(model, plan string, stream bool) string {
	return fmt.Sprintf(`{"model":%q,"stream":%v,"messages":[{"role":"user","content":%q}]}`, model, stream, plan)
}

func timeout(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
