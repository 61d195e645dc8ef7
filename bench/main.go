// Command bench measures what the gateway costs: it loads plain reverse_proxy and the whole gateway (keys in Redis,
// metering, records on disk, delivery to a fake Lago) in turn, before the same fake provider, and prints the second as
// ratios to the first. See docs/performance.md.
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
	profile     string
	json        bool
	check       bool
}

// The most that a call may cost, as a ratio to plain reverse_proxy, for -check.
const (
	mostUnstreamed = 1.35
	mostStreamed   = 1.20
)

func main() {
	if len(os.Args) == 2 {
		// The same program is the servers behind the gateway, each a process of its own.
		switch os.Args[1] {
		case "provider":
			serveProvider()
			return
		case "lago":
			serveLago()
			return
		}
	}
	var o options
	flag.StringVar(&o.caddy, "caddy", "", "the binary to measure; default: cmd/caddy is built")
	flag.IntVar(&o.rounds, "rounds", 33, "how often each target is loaded, in turn")
	flag.DurationVar(&o.duration, "duration", time.Second, "how long each time")
	flag.IntVar(&o.concurrency, "concurrency", 32, "calls at a time")
	flag.IntVar(&o.chunks, "chunks", 20, "content events of a stream")
	flag.DurationVar(&o.delay, "delay", 2*time.Millisecond, "the provider's pause before each event of a stream")
	flag.BoolVar(&o.askUsage, "ask-usage", false, "clients ask for usage in streams themselves")
	flag.StringVar(&o.profile, "profile", "", "write CPU profiles of the last loads to this file name with .reverse_proxy or .tollgate, and .unstreamed or .streamed")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.BoolVar(&o.check, "check", false, fmt.Sprintf("fail above %.2f times the CPU of reverse_proxy for a call, %.2f for a stream",
		mostUnstreamed, mostStreamed))
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
	if flag.NArg() > 0 || o.rounds < 1 || o.duration <= 0 || o.concurrency < 1 || o.chunks < 1 || o.delay < 0 {
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

	scenarios := []*scenario{{name: "unstreamed"}, {name: "streamed", stream: true}}
	if err := measure(ctx, o, s, scenarios); err != nil {
		return err
	}
	proof, err := s.reconcile(ctx)
	if err != nil {
		return err
	}
	if err := report(os.Stdout, o, scenarios, proof); err != nil {
		return err
	}
	if o.check {
		return check(scenarios)
	}
	return nil
}

// scenario is a kind of call, with what was measured of it.
type scenario struct {
	name     string
	stream   bool
	proxy    []sample // of plain reverse_proxy, by round
	tollgate []sample // of the gateway, by round
}

// measure loads both targets in every round, in alternating order: what the machine does besides hits both alike.
func measure(ctx context.Context, o *options, s *stage, scenarios []*scenario) error {
	for round := range o.rounds + 1 { // the first warms up and is not counted
		for _, sc := range scenarios {
			duration := o.duration
			if round == 0 {
				duration = min(duration, time.Second)
				say("warming up, %s ...", sc.name)
			} else {
				say("round %d of %d, %s ...", round, o.rounds, sc.name)
			}
			targets := []*target{s.proxy, s.gateway}
			if round%2 == 0 {
				slices.Reverse(targets)
			}
			for _, t := range targets {
				wait := func() error { return nil }
				if o.profile != "" && round == o.rounds {
					wait = t.profile(ctx, o.profile+"."+t.name+"."+sc.name, duration)
				}
				m, err := s.load(ctx, o, t, sc.stream, duration)
				err = errors.Join(err, wait())
				if err != nil {
					return fmt.Errorf("%s, %s: %w", t.name, sc.name, err)
				}
				switch {
				case round == 0:
				case t == s.proxy:
					sc.proxy = append(sc.proxy, m)
				default:
					sc.tollgate = append(sc.tollgate, m)
				}
			}
		}
	}
	return nil
}
