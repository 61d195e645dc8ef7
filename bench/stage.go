package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// teams are the payers, each with a key of its own.
const teams = 8

func team(i int) string { return fmt.Sprintf("team-%d", i) }

const masterKey = "sk-bench-master"

// target is a Caddy to be loaded.
type target struct {
	name  string
	addr  string
	admin string // base URL of its admin API
	keys  []string
	calls int // made so far
	*process
}

// stage is all that runs during the benchmark, each a process of its own.
type stage struct {
	redis, lago, provider *process
	proxy, gateway        *target
	running               []*process // in order of their start
}

const proxyConfig = `{
	admin %s
	persist_config off
}
http://%s {
	reverse_proxy %s
}
`

const gatewayConfig = `{
	admin %s
	persist_config off
}
http://%s {
	keyauth {
		store redis %s
		master_key %s
	}
	lagobilling {
		account bench
		api_base %s
		api_key %s
		event_code %s
		charge_by team_id
		spool %s
	}
	llmroute {
		model gpt-4o {
			backend openai %s/v1 {
				api_key sk-bench-provider
			}
		}
	}
}
`

// startStage starts everything and makes the keys. What it started is stopped when it fails.
func startStage(ctx context.Context, o *options, dir string) (s *stage, err error) {
	s = new(stage)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	say("starting the fake provider, the fake Lago, Redis and two Caddys ...")
	if s.provider, err = s.run(ctx, "provider", nil, self, "provider"); err != nil {
		return s, err
	}
	providerURL, err := s.provider.await("URL ")
	if err != nil {
		return s, err
	}
	if s.lago, err = s.run(ctx, "lago", nil, self, "lago"); err != nil {
		return s, err
	}
	lagoURL, err := s.lago.await("URL ")
	if err != nil {
		return s, err
	}
	redisAddr, err := s.startRedis(ctx, dir)
	if err != nil {
		return s, err
	}
	s.proxy, err = s.startCaddy(ctx, o, dir, "reverse_proxy", func(admin, addr string) string {
		return fmt.Sprintf(proxyConfig, admin, addr, strings.TrimPrefix(providerURL, "http://"))
	})
	if err != nil {
		return s, err
	}
	s.gateway, err = s.startCaddy(ctx, o, dir, "tollgate", func(admin, addr string) string {
		return fmt.Sprintf(gatewayConfig, admin, addr, redisAddr, masterKey, lagoURL, lagoKey, lagoMetric,
			filepath.Join(dir, "spool"), providerURL)
	})
	if err != nil {
		return s, err
	}
	s.proxy.keys = []string{"sk-any"}
	return s, s.makeKeys(ctx)
}

func (s *stage) run(ctx context.Context, name string, env []string, program string, args ...string) (*process, error) {
	p, err := start(ctx, name, env, program, args...)
	if err == nil {
		s.running = append(s.running, p)
	}
	return p, err
}

func (s *stage) startRedis(ctx context.Context, dir string) (addr string, err error) {
	if addr, err = testkit.FreeAddr(); err != nil {
		return "", err
	}
	host, port, _ := strings.Cut(addr, ":")
	program := cmp.Or(os.Getenv("TOLLGATE_REDIS_SERVER"), "redis-server")
	s.redis, err = s.run(ctx, "redis-server", nil, program, "--bind", host, "--port", port, "--dir", dir, "--save", "",
		"--appendonly", "no", "--daemonize", "no")
	if err != nil {
		return "", err
	}
	_, err = s.redis.await("Ready to accept connections")
	return addr, err
}

func (s *stage) startCaddy(ctx context.Context, o *options, dir, name string, config func(admin, addr string) string) (*target, error) {
	addr, err := testkit.FreeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := testkit.FreeAddr()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, name+".caddyfile")
	if err := os.WriteFile(file, []byte(config(admin, addr)), 0o600); err != nil {
		return nil, err
	}
	// Data of its own: a Caddy of the user's keeps its own to itself.
	env := []string{"XDG_DATA_HOME=" + filepath.Join(dir, name), "XDG_CONFIG_HOME=" + filepath.Join(dir, name)}
	p, err := s.run(ctx, name, env, o.caddy, "run", "--config", file, "--adapter", "caddyfile")
	if err != nil {
		return nil, err
	}
	t := &target{name: name, addr: addr, admin: "http://" + admin, process: p}
	return t, t.awaitReady(ctx)
}

// awaitReady waits until the admin API tells a configuration.
func (t *target) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return poll(ctx, 20*time.Millisecond, func() error {
		var config map[string]any
		return getJSON(ctx, t.admin+"/config/", &config)
	}, func() string { return t.output.String() })
}

// poll asks until there is no error.
func poll(ctx context.Context, every time.Duration, ask func() error, words func() string) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w\n%s", ctx.Err(), err, words())
		}
	}
}

// makeKeys makes a key for each team.
func (s *stage) makeKeys(ctx context.Context) error {
	for i := range teams {
		body, err := json.Marshal(map[string]string{"team_id": team(i)})
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.gateway.addr+"/key/generate", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+masterKey)
		req.Header.Set("Content-Type", "application/json")
		var made struct{ Key string }
		if err := doJSON(req, &made); err != nil {
			return fmt.Errorf("making a key: %w\n%s", err, s.gateway.output.String())
		}
		s.gateway.keys = append(s.gateway.keys, made.Key)
	}
	return nil
}

// requests returns the bytes of the calls to make, one a key.
func (t *target) requests(o *options, stream bool) [][]byte {
	content := fmt.Sprintf("tokens=in:256,out:128,cached:64 chunks=%d bytes=512", o.chunks)
	options := ""
	if stream {
		content += " delay=" + o.delay.String()
		options = `,"stream":true`
		if o.askUsage {
			options += `,"stream_options":{"include_usage":true}`
		}
	}
	content += " " + strings.Repeat("What does a call cost? ", 24)
	body := `{"model":"gpt-4o","messages":[{"role":"user","content":"` + content + `"}]` + options + `}`
	all := make([][]byte, 0, len(t.keys))
	for _, key := range t.keys {
		all = append(all, fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\n"+
			"Authorization: Bearer %s\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n%s",
			t.addr, key, len(body), body))
	}
	return all
}

// load loads a target for that long and returns what it cost. The time in which the gateway delivers what is left is
// part of its cost, not of its throughput.
func (s *stage) load(ctx context.Context, o *options, t *target, stream bool, duration time.Duration) (sample, error) {
	l := &loader{addr: t.addr, requests: t.requests(o, stream), concurrency: o.concurrency, tail: []byte("}")}
	if stream {
		l.tail = []byte("data: [DONE]\n\n")
	}
	if err := t.resetPeak(); err != nil {
		return sample{}, err
	}
	before, err := t.cpu()
	if err != nil {
		return sample{}, err
	}
	timings, took, err := l.run(ctx, duration)
	if err != nil {
		return sample{}, fmt.Errorf("%w\n%s", err, t.output.String())
	}
	t.calls += len(timings)
	m := summarise(timings, took)
	if t == s.gateway {
		ended := time.Now()
		if err := s.awaitDelivery(ctx); err != nil {
			return sample{}, err
		}
		m.Lag = time.Since(ended)
	}
	after, err := t.cpu()
	if err != nil {
		return sample{}, err
	}
	m.CPU = (after - before) / time.Duration(max(1, len(timings)))
	m.Peak, err = t.peak()
	return m, err
}

// awaitDelivery waits until no record waits for Lago.
func (s *stage) awaitDelivery(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return poll(ctx, 100*time.Millisecond, func() error {
		var b struct {
			Accounts []struct{ Open, Pending, Rejected int64 }
		}
		if err := getJSON(ctx, s.gateway.admin+"/tollgate/billing", &b); err != nil {
			return err
		}
		for _, a := range b.Accounts {
			if a.Open+a.Pending > 0 || a.Rejected > 0 {
				return fmt.Errorf("%d open, %d pending, %d rejected", a.Open, a.Pending, a.Rejected)
			}
		}
		return nil
	}, func() string { return s.gateway.output.String() })
}

// proof is the reconciliation at the end: what was measured must have worked.
type proof struct {
	Calls  int `json:"gateway_calls"` // answered whole
	Events int `json:"lago_events"`
}

// reconcile asks the fake Lago what it has.
func (s *stage) reconcile(ctx context.Context) (p proof, err error) {
	if err := s.awaitDelivery(ctx); err != nil {
		return p, err
	}
	var lago lagoAccount
	if err := s.lago.close(&lago); err != nil {
		return p, err
	}
	var provider providerAccount
	if err := s.provider.close(&provider); err != nil {
		return p, err
	}
	p = proof{Calls: s.gateway.calls, Events: lago.Events}
	if p.Calls != p.Events || len(lago.Twice) > 0 || len(lago.Violations) > 0 {
		return p, fmt.Errorf("the gateway answered %d calls and Lago has %d events, %d of them twice; %q",
			p.Calls, p.Events, len(lago.Twice), lago.Violations[:min(3, len(lago.Violations))])
	}
	if want := p.Calls + s.proxy.calls; provider.Whole != want {
		return p, fmt.Errorf("clients had %d answers, the provider gave %d", want, provider.Whole)
	}
	return p, nil
}

// close ends a server's standard input and reads its account.
func (p *process) close(into any) error {
	if err := p.stdin.Close(); err != nil {
		return err
	}
	text, err := p.await("ACCOUNT ")
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}

// stop ends all processes, the last started first.
func (s *stage) stop() error {
	var errs []error
	for _, p := range slices.Backward(s.running) {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

func getJSON(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	return doJSON(req, into)
}

func doJSON(req *http.Request, into any) (err error) {
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d: %s", req.URL.Path, res.StatusCode, b)
	}
	return json.Unmarshal(b, into)
}
