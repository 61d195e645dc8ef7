// Command bench measures the gateway's cost. It loads plain reverse_proxy at several settings, the whole gateway (keys in
// Redis, metering, records on disk, delivery to a fake Lago) and other gateways in turn, in front of the same fake
// provider, and prints ratios within each round. See docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	caddy       string
	rounds      int
	duration    time.Duration
	concurrency int
	chunks      int
	delay       time.Duration
	askUsage    bool
	limits      bool
	traces      bool
	streams     int
	instances   int
	rate        int
	peers       []peer
	only        string
	profile     string
	json        bool
	check       bool
}

func main() {
	if len(os.Args) == 2 {
		// The same program runs the servers behind the gateway, each in its own process.
		switch os.Args[1] {
		case "provider":
			serveProvider()
			return
		case "lago":
			serveLago()
			return
		case "collector":
			serveCollector()
			return
		}
	}
	var o options
	flag.StringVar(&o.caddy, "caddy", "", "the binary to measure; default: cmd/caddy is built")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each target is loaded, in turn")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "how long each time; twice that at a fixed rate")
	flag.IntVar(&o.concurrency, "concurrency", 32, "calls at a time; streams are twice as many")
	flag.IntVar(&o.chunks, "chunks", 20, "content events of a stream")
	flag.DurationVar(&o.delay, "delay", 2*time.Millisecond, "the provider's pause before each event of a stream")
	flag.BoolVar(&o.askUsage, "ask-usage", false, "clients ask for usage in streams themselves")
	flag.IntVar(&o.rate, "rate", 200, "calls a second where delay is measured: far fewer than go")
	flag.BoolVar(&o.limits, "limits", false, "load the gateway also with keys that have five limits each")
	flag.BoolVar(&o.traces, "traces", false, "load also a gateway with the console and with traces of every call, which it exports by OTLP")
	flag.IntVar(&o.streams, "streams", 0, "open that many streams at once in place of all else, and print what memory each takes")
	flag.IntVar(&o.instances, "instances", 0, "load one instance of the gateway, and then that many at once, in place of all else")
	flag.StringVar(&o.only, "only", "", "one kind of load alone: unstreamed, 4 KB bodies, streamed, translated, at a fixed rate, or chunks at a fixed rate")
	flag.Func("peer", "another gateway as `NAME=CMD`; its command finds HOST, PORT, LISTEN (both) and PROVIDER (a base URL) in its environment", func(text string) error {
		p, err := parsePeer(text)
		o.peers = append(o.peers, p)
		return err
	})
	flag.StringVar(&o.profile, "profile", "", "write CPU profiles of the last loads to this file name with the target's name and the kind's")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.BoolVar(&o.check, "check", false, "print what became of the goals of this project, and fail where one is missed by more than the noise")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

func run(ctx context.Context, o *options) (err error) {
	if runtime.GOOS != "linux" {
		return errors.New("CPU time and memory are read from /proc: Linux is needed")
	}
	if flag.NArg() > 0 || o.rounds < 1 || o.duration <= 0 || o.concurrency < 1 || o.chunks < 1 || o.delay < 0 || o.rate < 1 || o.streams < 0 || o.instances < 0 {
		return errors.New("flags are out of range; see -help")
	}
	dir, err := os.MkdirTemp("", "tollgate-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.caddy == "" {
		o.caddy = filepath.Join(dir, "caddy")
		say("building cmd/caddy ...")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-w -s", "-tags", "nobadger,nomysql,nopgx", //nolint:gosec // our own path
			"-o", o.caddy, "./cmd/caddy")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("building cmd/caddy: %w", err)
		}
	}
	s, err := startStage(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	if o.streams > 0 {
		return s.openStreams(ctx, os.Stdout, o)
	}
	if o.instances > 0 {
		return s.instances(ctx, os.Stdout, o)
	}
	results, err := measure(ctx, o, s)
	if err != nil {
		return err
	}
	proof, err := s.reconcile(ctx)
	if err != nil {
		return err
	}
	if err := report(os.Stdout, o, s, results, proof); err != nil {
		return err
	}
	if o.check {
		return check(os.Stderr, verdicts(results))
	}
	return nil
}

// measure loads all targets in every round, in alternating order, so other load on the machine affects them alike.
func measure(ctx context.Context, o *options, s *stage) ([]*result, error) {
	var results []*result
	for _, k := range kinds(o) {
		if o.only == "" || o.only == k.Name {
			results = append(results, &result{kind: k, samples: make(map[string][]sample)})
		}
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("-only %s: no such kind; see -help", o.only)
	}
	var p progress
	for round := range o.rounds + 1 {
		for _, r := range results {
			p.whole += time.Duration(len(s.loaded(r, round))) * planned(r.time(o, round))
		}
	}
	for round := range o.rounds + 1 { // the first warms up and is not counted
		for _, r := range results {
			p.begin("round %d of %d, %s", round, o.rounds, r.Name)
			for _, t := range s.loaded(r, round) {
				m, err := s.round(ctx, o, t, r.kind, round)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", t.name, r.Name, err)
				}
				if round > 0 {
					r.samples[t.name] = append(r.samples[t.name], m)
				}
				p.ended(r.time(o, round))
			}
		}
	}
	for _, r := range results {
		for _, t := range slices.Concat(s.targets, s.translated) {
			if r.samples[t.name] != nil {
				r.names = append(r.names, t.name)
			}
		}
	}
	return results, nil
}

// loaded returns the targets of a kind in the order of a round.
func (s *stage) loaded(r *result, round int) []*target {
	targets := slices.DeleteFunc(slices.Clone(s.targets), func(t *target) bool {
		return t.name == direct && !r.alone() || (t.name == limited || t.name == traced) && !r.limits
	})
	if r.translated {
		targets = slices.Clone(s.translated)
	}
	if round%2 == 0 {
		slices.Reverse(targets)
	}
	return targets
}

// time returns how long a load takes. A warm-up may be short.
func (k *kind) time(o *options, round int) time.Duration {
	d := k.duration(o)
	if round == 0 {
		d = min(d, time.Second)
	}
	return d
}

// round loads one target. In the last round it takes a profile if requested.
func (s *stage) round(ctx context.Context, o *options, t *target, k *kind, round int) (sample, error) {
	duration := k.time(o, round)
	wait := func() error { return nil }
	if o.profile != "" && round == o.rounds && t.admin != "" {
		wait = t.profile(ctx, o.profile+"."+strings.ReplaceAll(t.name+"."+k.Name, " ", "-"), duration)
	}
	m, err := s.load(ctx, o, t, k, duration)
	return m, errors.Join(err, wait())
}
