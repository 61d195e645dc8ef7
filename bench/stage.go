package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// teams is the number of payers, each with its own key.
const teams = 8

func team(i int) string { return fmt.Sprintf("team-%d", i) }

const masterKey = "sk-bench-master"

// stage is everything that runs during the benchmark, each in its own process.
type stage struct {
	redis, lago, provider *process
	targets               []*target
	translated            []*target  // the gateway, by question; they share calls and process with the gateway's target
	running               []*process // in order of their start
	at                    places
}

// places holds the working directory, the servers' base URLs, and Redis's host:port.
type places struct{ dir, provider, lago, redis string }

// startStage starts everything and creates the keys. If it fails, it stops what it started.
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
	say("starting the fake provider, the fake Lago, Redis and what is compared ...")
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
	s.at = places{dir, providerURL, lagoURL, redisAddr}
	return s, s.startTargets(ctx, o)
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
	s.redis, err = s.run(ctx, "redis-server", nil, redisServer(), "--bind", host, "--port", port, "--dir", dir, "--save", "",
		"--appendonly", "no", "--daemonize", "no")
	if err != nil {
		return "", err
	}
	_, err = s.redis.await("Ready to accept connections")
	return addr, err
}

// poll retries until ask returns no error.
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
			return fmt.Errorf("%w: %w\n%s", context.Cause(ctx), err, words())
		}
	}
}

// fiveLimits are the limits of a key with -limits. None of them is reached.
const fiveLimits = `,"max_budget":1000000,"budget_duration":"30d","rpm_limit":1000000000,"tpm_limit":100000000000,` +
	`"max_parallel_requests":100000,"model_max_budget":{"gpt-4o":{"budget_limit":1000000,"time_period":"1d"}}`

// makeKeys creates a key for each team, and with -limits another one with limits.
func (s *stage) makeKeys(ctx context.Context, o *options) error {
	t := s.find(gateway)
	var err error
	if t.keys, err = t.makeKeys(ctx, teams, ""); err != nil {
		return err
	}
	s.translated = t.translated()
	if other := s.find(traced); other != nil {
		other.keys = t.keys
	}
	if !o.limits {
		return nil
	}
	with := *t
	with.name = limited
	if with.keys, err = t.makeKeys(ctx, teams, fiveLimits); err != nil {
		return err
	}
	s.add(&with)
	return nil
}

// makeKeys creates a number of keys with the given fields, alternating between the teams.
func (t *target) makeKeys(ctx context.Context, count int, fields string) (keys []string, err error) {
	for i := range count {
		body := fmt.Sprintf(`{"team_id":%q%s}`, team(i%teams), fields)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+t.addr+"/key/generate", strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+masterKey)
		req.Header.Set("Content-Type", "application/json")
		var made struct{ Key string }
		if err := doJSON(req, &made); err != nil {
			return nil, fmt.Errorf("making a key: %w\n%s", err, t.output.String())
		}
		keys = append(keys, made.Key)
	}
	return keys, nil
}

// load loads a target for the given time and returns its cost. The time the gateway needs afterwards to deliver the
// remaining records and add them to its totals counts as cost, but not towards throughput.
func (s *stage) load(ctx context.Context, o *options, t *target, k *kind, duration time.Duration) (sample, error) {
	l := k.loader(o, t)
	if err := t.resetPeak(); err != nil {
		return sample{}, err
	}
	before, err := s.spent(t)
	if err != nil {
		return sample{}, err
	}
	timings, took, err := l.run(ctx, duration)
	if err != nil {
		return sample{}, fmt.Errorf("%w\n%s", err, t.output.String())
	}
	*t.calls += len(timings)
	m := summarise(timings, took)
	if t.bills() {
		ended := time.Now()
		if err := s.awaitDelivery(ctx, t); err != nil {
			return sample{}, err
		}
		m.Lag = time.Since(ended)
	}
	after, err := s.spent(t)
	if err != nil {
		return sample{}, err
	}
	n := time.Duration(max(1, len(timings)))
	m.CPU, m.Redis = (after.targets-before.targets)/n, (after.redis-before.redis)/n
	m.Peak, err = t.peak()
	return m, err
}

// spent is CPU time since the processes started.
type spent struct{ targets, redis time.Duration }

// spent returns the CPU time of targets, and of Redis.
func (s *stage) spent(targets ...*target) (sum spent, err error) {
	for _, t := range targets {
		used, err := t.cpu()
		if err != nil {
			return sum, err
		}
		sum.targets += used
	}
	sum.redis, err = s.redis.cpu()
	return sum, err
}

// bills reports whether the target of that name is the gateway.
func bills(name string) bool { return name == gateway || name == limited || name == traced }

func (t *target) bills() bool { return bills(t.name) || t.asks.name != "" }

// awaitDelivery waits until every record of an instance is delivered to Lago and added to all totals.
func (s *stage) awaitDelivery(ctx context.Context, t *target) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return poll(ctx, 100*time.Millisecond, func() error {
		var b struct {
			Accounts []struct{ Open, Pending, Rejected int64 }
		}
		if err := getJSON(ctx, t.admin+"/tollgate/billing", &b); err != nil {
			return err
		}
		for _, a := range b.Accounts {
			if a.Open+a.Pending > 0 || a.Rejected > 0 {
				return fmt.Errorf("%d open, %d pending, %d rejected", a.Open, a.Pending, a.Rejected)
			}
		}
		text, err := t.get(ctx, "/metrics")
		if err != nil {
			return err
		}
		return unread(string(text))
	}, t.output.String)
}

// unread returns an error if an instance's metrics show a reader of records that has not caught up.
func unread(metrics string) error {
	const name = "caddy_tollgate_spool_unread_records{"
	if !strings.Contains(metrics, name) {
		return errors.New("/metrics has no " + name)
	}
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, name) && !strings.HasSuffix(line, "} 0\n") {
			return errors.New(strings.TrimSpace(line))
		}
	}
	return nil
}

// proof is the final reconciliation: it shows that the measured calls were billed.
type proof struct {
	Calls  int `json:"gateway_calls"` // answered in full
	Events int `json:"lago_events"`
}

// reconcile compares the calls made with the events in the fake Lago.
func (s *stage) reconcile(ctx context.Context) (p proof, err error) {
	for _, t := range s.targets {
		if !t.bills() {
			continue
		}
		if err := s.awaitDelivery(ctx, t); err != nil {
			return p, err
		}
	}
	var lago lagoAccount
	if err := s.lago.close(&lago); err != nil {
		return p, err
	}
	var provider providerAccount
	if err := s.provider.close(&provider); err != nil {
		return p, err
	}
	p = proof{Calls: *s.find(gateway).calls, Events: lago.Events}
	if t := s.find(traced); t != nil {
		p.Calls += *t.calls
	}
	if p.Calls != p.Events || len(lago.Twice) > 0 || len(lago.Violations) > 0 {
		return p, fmt.Errorf("the gateway answered %d calls and Lago has %d events, %d of them twice; %q",
			p.Calls, p.Events, len(lago.Twice), lago.Violations[:min(3, len(lago.Violations))])
	}
	want, counted := 0, make(map[*int]bool)
	for _, t := range s.targets {
		if !counted[t.calls] { // targets that share the gateway count once
			want += *t.calls
		}
		counted[t.calls] = true
	}
	if provider.Whole != want {
		return p, fmt.Errorf("clients had %d answers, the provider gave %d", want, provider.Whole)
	}
	return p, nil
}

// close closes a server's standard input and reads its totals.
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

// stop ends all processes in reverse order of their start.
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
