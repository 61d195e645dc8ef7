package proof

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// built and builtRace build the binary that users run, with the build tags of this test.
var (
	built     = sync.OnceValues(func() (string, error) { return build() })
	builtRace = sync.OnceValues(func() (string, error) { return build("-race") })
)

func build(flags ...string) (string, error) {
	dir, err := os.MkdirTemp("", "tollgate-proof")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "caddy")
	args := append([]string{"build", "-o", bin}, flags...)
	if tags := setting("-tags"); tags != "" {
		args = append(args, "-tags", tags)
	}
	cmd := exec.Command("go", append(args, "./cmd/caddy")...)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return bin, nil
}

// setting returns the value of a build flag of this test binary.
func setting(name string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == name {
			return s.Value
		}
	}
	return ""
}

// process runs a gateway in its own process. Its data and addresses survive kills and restarts.
type process struct {
	t                 testing.TB
	bin, dir          string
	plain, tls, admin string // addresses: HTTP, HTTPS and the admin API
	caddyfile         string

	mu     sync.Mutex
	cmd    *exec.Cmd // nil while it is down
	exited chan struct{}
	up     chan struct{} // closed while it serves
	out    *output
	logs   []string // the last output of processes that have ended
}

// newProcess prepares a gateway that runs the binary returned by built. caddyfile writes its configuration and addresses.
func newProcess(t testing.TB, built func() (string, error), caddyfile func(p *process) string) *process {
	t.Helper()
	bin, err := built()
	require.NoError(t, err)
	p := &process{t: t, bin: bin, dir: t.TempDir(), up: make(chan struct{})}
	p.plain, p.tls, p.admin = freePort(t), freePort(t), freePort(t)
	p.caddyfile = caddyfile(p)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			for _, l := range p.logs[max(0, len(p.logs)-3):] {
				t.Log(l)
			}
		}
	})
	return p
}

// freePort returns a port that is unused and stays free between a kill and the next start.
func freePort(t testing.TB) string {
	t.Helper()
	addr, err := testkit.FreeAddr()
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return port
}

// start starts the gateway and returns once it serves.
func (p *process) start() error {
	file := filepath.Join(p.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(p.caddyfile), 0o600); err != nil {
		return err
	}
	cmd := exec.Command(p.bin, "run", "--config", file, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+p.dir, "XDG_DATA_HOME="+filepath.Join(p.dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(p.dir, "config"))
	out := &output{serving: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // whoever ended the process checks how it ended
		close(exited)
	}()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	select {
	case <-out.serving:
	case <-exited:
		return fmt.Errorf("the gateway does not start: %s", out)
	case <-patience.C:
		return errors.Join(fmt.Errorf("the gateway does not serve: %s", out), cmd.Process.Kill())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.exited, p.out = cmd, exited, out
	close(p.up)
	return nil
}

// await waits until the gateway serves.
func (p *process) await(ctx context.Context) error {
	p.mu.Lock()
	up := p.up
	p.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kill sends SIGKILL. It reports whether the process was running.
func (p *process) kill() bool {
	return p.end(func(proc *os.Process) { _ = proc.Signal(syscall.SIGKILL) }) // end notices a process that is already gone
}

// stop shuts the gateway down as an operator would.
func (p *process) stop() bool {
	return p.end(func(proc *os.Process) { _ = proc.Signal(syscall.SIGTERM) })
}

// awaitRefusal waits until the gateway refuses new calls.
func (p *process) awaitRefusal() {
	require.Eventually(p.t, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+p.plain)
		return err != nil || conn.Close() != nil
	}, time.Minute, 5*time.Millisecond)
}

func (p *process) end(how func(*os.Process)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		p.t.Errorf("the gateway ended by itself: %s", p.out)
	default:
	}
	how(p.cmd.Process)
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	select {
	case <-p.exited:
	case <-patience.C:
		p.t.Errorf("the gateway does not end: %s", p.out)
		_ = p.cmd.Process.Kill() // it may have just ended
		<-p.exited
	}
	for _, fault := range []string{"panic serving", "DATA RACE", "fatal error:"} {
		if text := p.out.String(); strings.Contains(text, fault) {
			p.t.Errorf("the gateway says %q: %s", fault, text)
		}
	}
	p.logs = append(p.logs[max(0, len(p.logs)-2):], p.out.String())
	p.cmd, p.up = nil, make(chan struct{})
	return true
}

// freeze suspends the process.
func (p *process) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(syscall.SIGSTOP) // an ended process needs no freezing
	}
}

// reload applies a changed configuration, as `caddy reload` does.
func (p *process) reload(ctx context.Context, caddyfile string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:"+p.admin+"/load", strings.NewReader(caddyfile))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	_, err = body(req)
	return err
}

// get requests a path of the admin API.
func (p *process) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+p.admin+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	return body(req)
}

// adminClient dials anew for each call because the process may have been replaced in between.
var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// body returns the body of an answer with status 200.
func body(req *http.Request) ([]byte, error) {
	res, err := adminClient.Do(req)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: status %d: %s", req.Method, req.URL, res.StatusCode, b)
	}
	return b, err
}

// roots returns the certificate pool to trust: Caddy's own CA.
func (p *process) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(filepath.Join(p.dir, "data", "caddy", "pki", "authorities", "local", "root.crt"))
	require.NoError(p.t, err)
	require.True(p.t, pool.AppendCertsFromPEM(pem))
	return pool
}

// output keeps the tail of a process's output and detects when the process serves.
type output struct {
	mu      sync.Mutex
	text    []byte
	seen    bool
	serving chan struct{}
}

const outputKept = 32 << 10

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	if !o.seen && bytes.Contains(o.text, []byte("serving initial configuration")) {
		o.seen = true
		close(o.serving)
	}
	if len(o.text) > 2*outputKept {
		o.text = append(o.text[:0], o.text[len(o.text)-outputKept:]...)
	}
	return len(b), nil
}

// String returns the output kept.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// running reports whether the process is up.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}
