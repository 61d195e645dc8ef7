package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
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

// TestGroup finds the worker processes of a program, their memory and CPU time, and ends them all.
func TestGroup(t *testing.T) {
	const loop = `i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo worked; sleep 60`
	p, err := start(t.Context(), "sh", nil, "/bin/sh", "-c", "echo started; read x; ("+loop+") & wait")
	require.NoError(t, err)
	_, err = p.await("started")
	require.NoError(t, err)
	before, err := p.cpu()
	require.NoError(t, err)
	_, err = io.WriteString(p.stdin, "go\n")
	require.NoError(t, err)
	_, err = p.await("worked")
	require.NoError(t, err)
	pids, err := p.pids()
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(pids), 2)
	after, err := p.cpu()
	require.NoError(t, err)
	require.Greater(t, after-before, 10*time.Millisecond, "200,000 turns of a shell's loop, in a worker")
	peak, err := p.peak()
	require.NoError(t, err)
	require.Positive(t, peak)
	require.NoError(t, p.stop())
	require.Eventually(t, func() bool {
		left, err := p.pids()
		return err == nil && len(left) == 0
	}, time.Minute, time.Millisecond)
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

// costing returns a result with the given CPU cost per call for each target, over two rounds.
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

// TestUnread checks that the benchmark waits for delivery and for the totals.
func TestUnread(t *testing.T) {
	const name = "caddy_tollgate_spool_unread_records"
	text := "# TYPE " + name + " gauge\n" + name + `{account="a",consumer="books"} 0` + "\n" + name + `{account="a",consumer="spend"} `
	require.NoError(t, unread(text+"0\n"))
	require.ErrorContains(t, unread(text+"10\n"), `consumer="spend"} 10`)
	require.Error(t, unread(""))
}

// TestCheck checks the goals: a goal missed by less than the noise is not a failure.
func TestCheck(t *testing.T) {
	k := &kind{Name: "unstreamed"}
	for want, us := range map[string][]int{"": {99, 99}, "unstreamed, CPU µs/call, to that of " + plainSame + ": 1.20": {120, 120}} {
		err := check(io.Discard, verdicts([]*result{costing(k, map[string][]int{gateway: us, plainSame: {100, 100}, plain: {100, 100}})}))
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
	}
	var text strings.Builder
	require.NoError(t, check(&text, verdicts([]*result{costing(k, map[string][]int{gateway: {95, 115}, plainSame: {100, 100}, plain: {100, 100}})})))
	require.Contains(t, text.String(), "within the noise  unstreamed, CPU")
	require.Contains(t, text.String(), "reached           unstreamed, peak MB")
	chunks := costing(kinds(&options{rate: 1})[5], map[string][]int{gateway: {190, 190}, plain: {100, 100}})
	require.ErrorContains(t, check(io.Discard, verdicts([]*result{chunks})), "chunks at a fixed rate, p99 µs, beyond that of reverse_proxy: 90.00 ± 0.00; the goal is 50.00")
}

// TestReport checks the printed table and that the JSON has the same ratio.
func TestReport(t *testing.T) {
	results := []*result{
		costing(&kind{Name: "unstreamed"}, map[string][]int{gateway: {150, 150}, plain: {100, 100}, plainSame: {75, 75}, tuned: {75, 75}}),
		costing(&kind{Name: "at a fixed rate", every: time.Second}, map[string][]int{gateway: {150, 150}, plain: {120, 120}, direct: {100, 100}}),
	}
	var table strings.Builder
	require.NoError(t, report(&table, &options{rounds: 2}, new(stage), results, proof{Calls: 4, Events: 4}))
	require.Contains(t, strings.Join(strings.Fields(table.String()), " "), "tollgate / reverse_proxy, GOGC 150 1.00 2.00 2.00 2.00 2.00 2.00")
	require.Contains(t, strings.Join(strings.Fields(table.String()), " "), "tollgate less reverse_proxy ± 0 30 30..30 ± 0 30 30..30")
	require.Contains(t, table.String(), "Lago has 4 events")
	var text strings.Builder
	require.NoError(t, report(&text, &options{json: true}, new(stage), results, proof{}))
	var got struct {
		Results map[string]struct {
			Figures, Ratios map[string]map[string]spread
			Added           map[string]map[string]spread `json:"added_us"`
			Beside          map[string]map[string]spread `json:"beside_us"`
		}
		Goals []verdict
	}
	require.NoError(t, json.Unmarshal([]byte(text.String()), &got))
	require.InDelta(t, 1.5, got.Results["unstreamed"].Ratios[plain]["cpu_us"].Median, 1e-9)
	require.InDelta(t, 75, got.Results["unstreamed"].Figures[tuned]["cpu_us"].Median, 1e-9)
	require.InDelta(t, 50, got.Results["at a fixed rate"].Added[gateway]["p99_us"].Median, 1e-9)
	require.InDelta(t, 30, got.Results["at a fixed rate"].Beside[plain]["p99_us"].Median, 1e-9)
	require.Equal(t, "missed", got.Goals[0].Held)
}

// TestLoader checks that the loader makes complete calls at the given rate and accepts no incomplete answer.
func TestLoader(t *testing.T) {
	text := "{}"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			_, _ = io.WriteString(w, text)
		}
	}))
	t.Cleanup(s.Close)
	addr := s.Listener.Addr().String()
	k := &kind{bytes: 600, connections: 4, every: 40 * time.Millisecond}
	l := k.loader(new(options), &target{addr: addr, keys: []string{"sk-a", "sk-b"}, asks: asked})
	timings, _, err := l.run(t.Context(), 300*time.Millisecond)
	require.NoError(t, err)
	require.NotEmpty(t, timings)
	require.LessOrEqual(t, len(timings), 4*8, "no more calls than are due")
	text = "{"
	_, _, err = l.run(t.Context(), 300*time.Millisecond)
	require.ErrorContains(t, err, "not whole")
	require.False(t, errors.Is(err, os.ErrDeadlineExceeded))
}

// TestTranslatedRatios compares each pair with untranslated streams of the caller's API.
func TestTranslatedRatios(t *testing.T) {
	r := costing(&kind{Name: "translated", translated: true}, map[string][]int{
		"chat completions": {100, 100}, "Messages": {100, 100}, "Responses": {200, 200}, "chat completions on Messages": {140, 140},
		"Messages on chat completions": {160, 160}, "Responses on chat completions": {240, 240}, "Responses on Messages": {220, 220},
	})
	var table strings.Builder
	require.NoError(t, report(&table, &options{rounds: 2}, new(stage), []*result{r}, proof{}))
	require.Contains(t, strings.Join(strings.Fields(table.String()), " "), "Responses on chat completions / Responses 1.00 1.20 1.20 1.20 1.20 1.20")
	var held []string
	for _, v := range verdicts([]*result{r}) {
		held = append(held, v.Held)
	}
	require.Equal(t, []string{"reached", "missed", "reached", "reached"}, held)
	require.ErrorContains(t, check(io.Discard, verdicts([]*result{r})), "Messages on chat completions, CPU, to that of Messages: 1.60 ± 0.00; the goal is 1.50")
}
