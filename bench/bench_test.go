package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParsePeer(t *testing.T) {
	got, err := parsePeer(" other =run --port=$PORT")
	require.NoError(t, err)
	require.Equal(t, peer{"other", "run --port=$PORT"}, got)
	for _, text := range []string{"", "run", "=run", "other=", "other= "} {
		_, err := parsePeer(text)
		require.Error(t, err, text)
	}
}

// TestStatTicks reads a process whose name is made to be misread.
func TestStatTicks(t *testing.T) {
	ticks, err := statTicks([]byte("7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 9 9 20 0 1 0 100"))
	require.NoError(t, err)
	require.Equal(t, int64(300), ticks)
	for _, text := range []string{"", "7 (a) S 1 7", "7 (a) S 1 7 7 0 -1 4194560 1 0 0 0 x 50 9"} {
		_, err := statTicks([]byte(text))
		require.Error(t, err, text)
	}
}

// TestGroup finds the workers of a program, and their memory.
func TestGroup(t *testing.T) {
	p, err := start(t.Context(), "sh", nil, "/bin/sh", "-c", "sleep 60 & echo started; wait")
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL))
		var killed *exec.ExitError
		require.ErrorAs(t, p.cmd.Wait(), &killed)
	})
	_, err = p.await("started")
	require.NoError(t, err)
	pids, err := p.pids()
	require.NoError(t, err)
	require.Len(t, pids, 2)
	peak, err := p.peak()
	require.NoError(t, err)
	require.Positive(t, peak)
	_, err = p.cpu()
	require.NoError(t, err)
}

func TestAppendDelays(t *testing.T) {
	sent := time.Unix(1_800_000_000, 5)
	event := func(at time.Time) string {
		return fmt.Sprintf("data: {\"id\":\"chatcmpl-%016x\",\"x\":1}\n\n", at.UnixNano())
	}
	text := event(sent) + event(sent.Add(time.Millisecond)) + "data: [DONE]\n\n"
	now := sent.Add(3 * time.Millisecond)
	require.Equal(t, []time.Duration{3 * time.Millisecond, 2 * time.Millisecond}, appendDelays(nil, []byte(text), now))
	require.Empty(t, appendDelays(nil, []byte(text[:30]), now), "an id in two pieces is not guessed")
}

func TestSpread(t *testing.T) {
	require.Equal(t, spread{Median: 3, Least: 1, Most: 5, Noise: 1}, spreadOf([]float64{5, 1, 4, 2, 3}))
	require.Equal(t, spread{Median: 2, Least: 2, Most: 2}, spreadOf([]float64{2}))
}

// costing is a result in which a call of each target costs that much CPU, in two rounds.
func costing(k *kind, us map[string][]int) *result {
	r := &result{kind: k, samples: make(map[string][]sample)}
	for name, all := range us {
		for _, n := range all {
			d := time.Duration(n) * time.Microsecond
			r.samples[name] = append(r.samples[name], sample{CPU: d, P50: d, P99: d, First: d, Peak: int64(n), PerSecond: 1})
		}
		r.names = append(r.names, name)
	}
	return r
}

// TestCheck holds the goals: one that is missed by less than the noise is no failure.
func TestCheck(t *testing.T) {
	k := &kind{Name: "unstreamed"}
	for want, us := range map[string][]int{"": {99, 99}, "unstreamed, CPU µs/call, to that of " + plainSame + ": 1.20": {120, 120}} {
		err := check(io.Discard, []*result{costing(k, map[string][]int{gateway: us, plainSame: {100, 100}, plain: {100, 100}})})
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, check(io.Discard, []*result{costing(k, map[string][]int{gateway: {95, 115}, plainSame: {100, 100}, plain: {100, 100}})}))
}

// TestReport prints a table, and JSON that holds the same ratio.
func TestReport(t *testing.T) {
	results := []*result{
		costing(&kind{Name: "unstreamed"}, map[string][]int{gateway: {150, 150}, plain: {100, 100}, plainSame: {75, 75}, tuned: {75, 75}}),
		costing(&kind{Name: "at a fixed rate", rate: 1}, map[string][]int{gateway: {150, 150}, direct: {100, 100}}),
	}
	var table strings.Builder
	require.NoError(t, report(&table, &options{rounds: 2}, new(stage), results, proof{Calls: 4, Events: 4}))
	require.Contains(t, strings.Join(strings.Fields(table.String()), " "), "tollgate / reverse_proxy, GOGC 150 1.00 2.00 2.00 2.00 2.00 2.00")
	require.Contains(t, table.String(), "Lago has 4 events")
	var text strings.Builder
	require.NoError(t, report(&text, &options{json: true}, new(stage), results, proof{}))
	var got struct {
		Results map[string]struct {
			Ratios map[string]map[string]spread
			Added  map[string]map[string]spread `json:"added_us"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(text.String()), &got))
	require.InDelta(t, 1.5, got.Results["unstreamed"].Ratios[plain]["cpu_us"].Median, 1e-9)
	require.InDelta(t, 50, got.Results["at a fixed rate"].Added[gateway]["p99_us"].Median, 1e-9)
}

// TestLoader makes whole calls, as many as the rate says, and takes no other for one.
func TestLoader(t *testing.T) {
	text := "{}"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			_, _ = io.WriteString(w, text)
		}
	}))
	t.Cleanup(s.Close)
	addr := s.Listener.Addr().String()
	k := &kind{bytes: 600, rate: 100}
	l := &loader{addr: addr, requests: k.requests(&options{chunks: 2}, addr, []string{"sk-a", "sk-b"}), concurrency: 4, tail: k.tail(), rate: k.rate}
	timings, _, err := l.run(t.Context(), 300*time.Millisecond)
	require.NoError(t, err)
	require.NotEmpty(t, timings)
	require.LessOrEqual(t, len(timings), 34, "no more calls than the rate says, and one a connection that was begun")
	text = "{"
	_, _, err = l.run(t.Context(), 300*time.Millisecond)
	require.ErrorContains(t, err, "not whole")
	require.False(t, errors.Is(err, os.ErrDeadlineExceeded))
}
