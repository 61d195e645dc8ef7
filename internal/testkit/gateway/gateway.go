// Package gateway runs whole gateways for tests: Caddy with all of Tollgate's modules, in this process or as the built
// binary, with a real Redis, a fake provider and a fake Lago. It is the only part of the test kit that imports Caddy.
package gateway

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

// MasterKey is the master key of the gateways that have one.
const MasterKey = "sk-master-of-the-test"

// FreeAddr returns an unused address of this machine.
func FreeAddr(t testing.TB) string {
	t.Helper()
	addr, err := testkit.FreeAddr()
	require.NoError(t, err)
	return addr
}

// Gateway is a running gateway: Caddy in this process, or the binary in another.
type Gateway struct {
	T         testing.TB
	Addr      string // host:port of the site
	Admin     string // host:port of the admin API
	Caddyfile string

	process *exec.Cmd // nil if the gateway runs in this process
}

// Site returns a Caddyfile with one site; directives may hold the three directives of Tollgate.
func Site(addr, admin, options, directives string) string {
	return fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tauto_https off\n%s\n}\nhttp://%s {\n%s\n}\n", admin, options, addr, directives)
}

// DemoSite returns the directives of a site with the given key and spool directories. Its built-in model demo has a
// price; models holds further model blocks.
func DemoSite(keys, spool, models string) string {
	return fmt.Sprintf(`
	keyauth {
		store file %s
		master_key %s
	}
	lagobilling {
		charge_by team_id
		spool %s
	}
	llmroute {
		model demo {
			backend mock {
				price input 1
				price output 2
			}
		}
		%s
	}`, keys, MasterKey, spool, models)
}

// Start loads the directives into Caddy in this process.
func Start(t testing.TB, options, directives string) *Gateway {
	t.Helper()
	g := &Gateway{T: t, Addr: FreeAddr(t), Admin: FreeAddr(t)}
	g.Caddyfile = Site(g.Addr, g.Admin, options, directives)
	g.Load()
	t.Cleanup(func() { Stop(t) })
	return g
}

// Stop stops Caddy in this process and waits for it to finish its work.
func Stop(t testing.TB) {
	t.Helper()
	require.NoError(t, caddy.Stop())
}

// Load loads or reloads the Caddyfile.
func (g *Gateway) Load() {
	g.T.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(g.Caddyfile), map[string]any{"filename": "Caddyfile"})
	require.NoError(g.T, err)
	require.NoError(g.T, caddy.Load(config, true))
}

// Build and BuildRace build the binary, plain and with the race detector, once for all tests of a package, and return its path.
var (
	Build     = sync.OnceValues(func() (string, error) { return build() })
	BuildRace = sync.OnceValues(func() (string, error) { return build("-race") })
)

func build(flags ...string) (string, error) {
	dir, err := os.MkdirTemp("", "tollgate")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "caddy")
	out, err := exec.Command("go", append(append([]string{"build"}, flags...), "-o", bin, "github.com/tollgate-llm/tollgate/cmd/caddy")...).CombinedOutput() // #nosec G204 -- a test's own flags
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
}

// Run runs the built binary with the directives; it is killed when the test ends.
func Run(t testing.TB, directives string) *Gateway {
	t.Helper()
	bin, err := Build()
	require.NoError(t, err)
	g := &Gateway{T: t, Addr: FreeAddr(t), Admin: FreeAddr(t)}
	g.Caddyfile = Site(g.Addr, g.Admin, "", directives)
	g.Launch(bin, "caddyfile")
	return g
}

// Launch runs the binary with the gateway's configuration, read by the given adapter, until the test ends.
func (g *Gateway) Launch(bin, adapter string, env ...string) {
	t := g.T
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	require.NoError(t, os.WriteFile(file, []byte(g.Caddyfile), 0o600))
	cmd := exec.Command(bin, "run", "--config", file, "--adapter", adapter)
	cmd.Env = append(append(os.Environ(), "HOME="+t.TempDir(), "XDG_DATA_HOME="+t.TempDir()), env...)
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	g.process = cmd
	t.Cleanup(func() {
		if g.process == cmd {
			g.Kill()
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	g.AwaitAnswer()
}

// Kill kills the gateway's process, as a crash would.
func (g *Gateway) Kill() {
	g.T.Helper()
	require.NoError(g.T, g.process.Process.Kill())
	_ = g.process.Wait() // it was killed
	g.process = nil
}

// AwaitAnswer waits until the gateway answers. A call can fail during the start, and also during a reload: a connection
// accepted by the previous server is closed unread if that server ends at that moment.
func (g *Gateway) AwaitAnswer() {
	g.T.Helper()
	require.Eventually(g.T, func() bool {
		resp, err := http.Get("http://" + g.Addr + "/v1/models")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	}, 20*time.Second, 20*time.Millisecond, "the gateway does not answer")
}

// URL returns the URL of a path of the site.
func (g *Gateway) URL(path string) string { return "http://" + g.Addr + path }

// Answer is the answer to a call.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Do makes one call with a JSON body.
func (g *Gateway) Do(method, path, key, body string, header ...string) (Answer, error) {
	req, err := http.NewRequest(method, g.URL(path), strings.NewReader(body))
	if err != nil {
		return Answer{}, err
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
		return Answer{}, err
	}
	b, err := io.ReadAll(resp.Body)
	return Answer{resp.StatusCode, resp.Header, string(b)}, errors.Join(err, resp.Body.Close())
}

// Must makes a call that must be answered with the given status.
func (g *Gateway) Must(status int, method, path, key, body string, header ...string) Answer {
	g.T.Helper()
	a, err := g.Do(method, path, key, body, header...)
	require.NoError(g.T, err)
	require.Equal(g.T, status, a.Status, a.Body)
	return a
}

// NewKey creates a key, using the master key.
func (g *Gateway) NewKey(fields string) string {
	g.T.Helper()
	a := g.Must(http.StatusOK, http.MethodPost, "/key/generate", MasterKey, fields)
	var key struct {
		Key string `json:"key"`
	}
	require.NoError(g.T, json.Unmarshal([]byte(a.Body), &key))
	return key.Key
}

// Chat returns the body of a chat call.
func Chat(model, plan string, stream bool) string {
	return fmt.Sprintf(`{"model":%q,"stream":%v,"messages":[{"role":"user","content":%q}]}`, model, stream, plan)
}

// Timeout returns a context that ends with the test, or after d.
func Timeout(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// Keys runs `caddy tollgate keys` against a gateway.
func (g *Gateway) Keys(args ...string) (stdout, stderr string, err error) {
	g.T.Helper()
	bin, err := Build()
	require.NoError(g.T, err)
	cmd := exec.Command(bin, append([]string{"tollgate", "keys", "--address", g.Admin}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}
