package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// target is a proxy in front of the provider, or the provider itself.
type target struct {
	name  string
	addr  string
	admin string // base URL of the admin API; empty if it is not Caddy
	keys  []string
	calls *int // calls answered so far
	start time.Duration
	size  int64 // size of its program in bytes; 0 if unknown
	asks  question
	*process
}

// The names of targets that others are compared with.
const (
	direct  = "provider alone"
	plain   = "reverse_proxy"
	tuned   = "reverse_proxy, tuned"
	gateway = "tollgate"
	limited = "tollgate, limits"
	traced  = "tollgate, traces and console"
)

// gatewayGOGC is the gateway's GOGC: its default unless the environment sets another. plainSame uses it as well.
var (
	gatewayGOGC = cmp.Or(os.Getenv("GOGC"), "150")
	plainSame   = "reverse_proxy, GOGC " + gatewayGOGC
)

const proxyConfig = `{
	admin %s
	persist_config off
}
http://%s {
	reverse_proxy %s {
		%s
	}
}
`

// tunedBlock is reverse_proxy tuned for this load.
const tunedBlock = `flush_interval -1
		transport http {
			keepalive_idle_conns_per_host 256
		}`

const gatewayConfig = `{
	admin %s
	persist_config off
}
http://%s {
	%s
	keyauth {
		store redis %s
		master_key %s
	}
	lagobilling {
		account %s
		api_base %s
		api_key %s
		event_code %s
		charge_by team_id
		spool %s
	}
	llmroute {
		model gpt-4o {
			backend openai %[11]s/v1 {
				api_key sk-bench-provider
				price input 2.5
				price output 10
			}
		}
		model chat-only {
			backend deepseek %[11]s/v1 {
				api_key sk-bench-provider
				price input 2.5
				price output 10
				translate
			}
		}
		model messages-only {
			backend anthropic %[11]s {
				api_key sk-bench-provider
				price input 2.5
				price output 10
				translate
			}
		}
	}
}
`

const nginxConfig = `worker_processes auto;
error_log stderr error;
pid %[1]s/nginx.pid;
daemon off;
events { worker_connections 1024; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path %[1]s/nginx-body;
	proxy_temp_path %[1]s/nginx-proxy;
	fastcgi_temp_path %[1]s/nginx-fastcgi;
	uwsgi_temp_path %[1]s/nginx-uwsgi;
	scgi_temp_path %[1]s/nginx-scgi;
	upstream provider { server %[3]s; keepalive 256; keepalive_requests 1000000000; }
	server {
		listen %[2]s;
		location / {
			proxy_pass http://provider;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_buffering off;
		}
	}
}
`

// startTargets starts everything that is compared.
func (s *stage) startTargets(ctx context.Context, o *options) error {
	// Load the binary into the page cache before any start is measured.
	if out, err := exec.CommandContext(ctx, o.caddy, "version").CombinedOutput(); err != nil { //nolint:gosec // the binary to measure
		return fmt.Errorf("%s version: %w: %s", o.caddy, err, out)
	}
	at := strings.TrimPrefix(s.at.provider, "http://")
	s.add(&target{name: direct, addr: at, process: s.provider})
	for _, p := range []struct{ name, gogc, block string }{{plain, "100", ""}, {plainSame, gatewayGOGC, ""}, {tuned, gatewayGOGC, tunedBlock}} {
		if err := s.startCaddy(ctx, o, p.name, p.gogc, func(admin, addr string) string {
			return fmt.Sprintf(proxyConfig, admin, addr, at, p.block)
		}); err != nil {
			return err
		}
	}
	if err := s.startCaddy(ctx, o, gateway, "", s.gatewayConfig("", gateway)); err != nil {
		return err
	}
	if o.traces {
		if err := s.startTraced(ctx, o); err != nil {
			return err
		}
	}
	if program, err := exec.LookPath("nginx"); err == nil {
		if err := s.startNginx(ctx, program, s.at.dir, at); err != nil {
			return err
		}
	} else {
		say("no nginx on PATH: it is left out")
	}
	for _, p := range o.peers {
		if err := s.startPeer(ctx, p, s.at.provider); err != nil {
			return err
		}
	}
	return s.makeKeys(ctx, o)
}

// notOfNames matches characters that are invalid in an account name.
var notOfNames = regexp.MustCompile(`[^a-z0-9]+`)

// gatewayConfig returns the configuration of a named instance with its own spool and further directives.
func (s *stage) gatewayConfig(directives, name string) func(admin, addr string) string {
	return func(admin, addr string) string {
		return fmt.Sprintf(gatewayConfig, admin, addr, directives, s.at.redis, masterKey, notOfNames.ReplaceAllString(name, "-"), s.at.lago, lagoKey, lagoMetric,
			strconv.Quote(filepath.Join(s.at.dir, "spool", name)), s.at.provider)
	}
}

// startTraced starts a gateway that exports traces.
func (s *stage) startTraced(ctx context.Context, o *options) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	collector, err := s.run(ctx, "collector", nil, self, "collector")
	if err != nil {
		return err
	}
	url, err := collector.await("URL ")
	if err != nil {
		return err
	}
	return s.startCaddy(ctx, o, traced, "", s.gatewayConfig("tracing\n\tconsole", traced), "OTEL_EXPORTER_OTLP_ENDPOINT="+url, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
}

func (s *stage) add(t *target) {
	if t.keys == nil {
		t.keys = []string{"sk-any"}
	}
	if t.asks.path == "" {
		t.asks = asked
	}
	if t.calls == nil {
		t.calls = new(int)
	}
	s.targets = append(s.targets, t)
}

// startCaddy starts a Caddy. An empty gogc leaves GOGC to the configuration.
func (s *stage) startCaddy(ctx context.Context, o *options, name, gogc string, config func(admin, addr string) string, env ...string) error {
	admin, err := testkit.FreeAddr()
	if err != nil {
		return err
	}
	own := filepath.Join(s.at.dir, name)
	if err := os.MkdirAll(own, 0o700); err != nil {
		return err
	}
	file := filepath.Join(own, "caddyfile")
	// Keep the data apart from the user's own Caddy.
	env = append(env, "XDG_DATA_HOME="+own, "XDG_CONFIG_HOME="+own)
	if gogc != "" {
		env = append(env, "GOGC="+gogc)
	}
	t := &target{name: name, admin: "http://" + admin}
	return s.launch(ctx, t, env, func(addr string) ([]string, error) {
		return []string{o.caddy, "run", "--config", file, "--adapter", "caddyfile"}, os.WriteFile(file, []byte(config(admin, addr)), 0o600)
	})
}

func (s *stage) startNginx(ctx context.Context, program, dir, provider string) error {
	file := filepath.Join(dir, "nginx.conf")
	return s.launch(ctx, &target{name: "nginx"}, nil, func(addr string) ([]string, error) {
		return []string{program, "-c", file, "-e", "stderr"}, os.WriteFile(file, fmt.Appendf(nil, nginxConfig, dir, addr, provider), 0o600)
	})
}

// peer is another gateway to compare with: a shell command that finds its listen address in LISTEN (host:port, also HOST
// and PORT) and the provider's base URL in PROVIDER.
type peer struct{ name, command string }

// parsePeer reads NAME=CMD.
func parsePeer(text string) (peer, error) {
	name, command, ok := strings.Cut(text, "=")
	if !ok || strings.TrimSpace(name) == "" || strings.TrimSpace(command) == "" {
		return peer{}, errors.New("NAME=CMD is expected")
	}
	return peer{strings.TrimSpace(name), command}, nil
}

const shell = "/bin/sh"

func (s *stage) startPeer(ctx context.Context, p peer, provider string) error {
	t := &target{name: p.name}
	env := []string{"PROVIDER=" + provider}
	return s.launch(ctx, t, env, func(string) ([]string, error) { return []string{shell, "-c", p.command}, nil })
}

// launch starts a target and waits until it answers.
func (s *stage) launch(ctx context.Context, t *target, env []string, command func(addr string) ([]string, error)) error {
	addr, err := testkit.FreeAddr()
	if err != nil {
		return err
	}
	args, err := command(addr)
	if err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(addr)
	begun := time.Now()
	if t.process, err = s.run(ctx, t.name, append(env, "LISTEN="+addr, "HOST="+host, "PORT="+port), args[0], args[1:]...); err != nil {
		return err
	}
	t.addr = addr
	if err := t.awaitAnswer(ctx); err != nil {
		return err
	}
	t.start = time.Since(begun)
	t.size, err = t.programSize()
	s.add(t)
	return err
}

// programSize returns the size of the largest executable among the process and its workers, not counting a peer's shell.
func (t *target) programSize() (size int64, err error) {
	pids, err := t.pids()
	if err != nil {
		return 0, err
	}
	sh, err := os.Stat(shell)
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		info, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			return 0, err
		}
		if !os.SameFile(info, sh) {
			size = max(size, info.Size())
		}
	}
	return size, nil
}

// awaitAnswer waits for any answer from the target.
func (t *target) awaitAnswer(ctx context.Context) error {
	ctx, stop := context.WithTimeoutCause(ctx, time.Minute, fmt.Errorf("%s does not answer", t.name))
	defer stop()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() { // ends with the program's output, or with the wait
		for {
			select {
			case _, ok := <-t.lines:
				if !ok {
					end(fmt.Errorf("%s ended", t.name))
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return poll(ctx, 5*time.Millisecond, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.addr+"/", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		return res.Body.Close()
	}, func() string { return t.output.String() })
}

// find returns the target of that name, or nil.
func (s *stage) find(name string) *target {
	for _, t := range s.targets {
		if t.name == name {
			return t
		}
	}
	return nil
}

func redisServer() string { return cmp.Or(os.Getenv("TOLLGATE_REDIS_SERVER"), "redis-server") }
