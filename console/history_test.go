package console_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// pastDays is how many days of history writePast makes up.
const pastDays = 24

// past describes daily calls: who calls which model how often, with which usage and at which prices in USD per million tokens.
var past = []struct {
	team, alias, model, upstream, provider string
	calls, input, output                   int64
	inputPrice, outputPrice                string
}{
	{"support", "helpdesk", "gpt-4o", "gpt-4o-2024-08-06", "openai", 9, 2_400, 610, "2.5", "10"},
	{"support", "helpdesk", "claude", "claude-sonnet-4-5", "anthropic", 3, 8_100, 1_250, "3", "15"},
	{"research", "notebook", "claude", "claude-sonnet-4-5", "anthropic", 6, 11_800, 2_900, "3", "15"},
	{"research", "indexer", "text-embedding-3-small", "text-embedding-3-small", "openai", 12, 7_900, 0, "0.02", "0"},
	{"website", "search", "gpt-4o", "gpt-4o-2024-08-06", "openai", 7, 900, 240, "2.5", "10"},
}

// writePast writes a spool with some weeks of calls, which differ from day to day only in number, and one interrupted call.
func writePast(t *testing.T, dir string, interrupted string) {
	t.Helper()
	now := time.Now().UTC()
	var clock atomic.Pointer[time.Time] // the spool's goroutine also reads it
	set := func(at time.Time) time.Time {
		clock.Store(&at)
		return at
	}
	at := set(now)
	s, err := spool.Open(spool.Options{Dir: dir, Now: func() time.Time { return *clock.Load() }})
	require.NoError(t, err)
	for day := pastDays; day > 0; day-- {
		at = set(now.AddDate(0, 0, -day))
		weekend := at.Weekday() == time.Saturday || at.Weekday() == time.Sunday
		for i, p := range past {
			n := p.calls + int64((day*7+i*5)%4)
			if weekend && p.team != "website" {
				n /= 3
			}
			for range n {
				at = set(at.Add(time.Second))
				pastCall(t, s, i, at)
			}
		}
	}
	for ago := 28; ago > 1; ago-- {
		at = set(now.Add(-time.Duration(ago) * time.Minute))
		for i := range 2 + (ago*5)%4 {
			pastCall(t, s, (i+ago)%len(past), at)
		}
	}
	at = set(now.Add(-2 * time.Hour))
	r := &record.Record{
		ID: interrupted, Account: "default", Opened: at, Endpoint: "chat/completions", Asked: "gpt-4o", Model: "gpt-4o", Upstream: "gpt-4o-2024-08-06",
		Backend: "openai", Provider: "openai", Stream: true, Payer: "support", Team: "support", KeyAlias: "helpdesk",
		Tariff: &record.Tariff{Events: "per_request", Code: "llm", Estimate: []record.Line{
			{Kind: "input", Count: "2400", Price: "2.5", Per: "million", Base: "0.006"},
		}},
	}
	require.NoError(t, s.Begin(spool.ID(uuid.MustParse(interrupted)), r.Append(nil, nil)))
	require.NoError(t, s.Close())
}

func pastCall(t testing.TB, s *spool.Spool, i int, at time.Time) {
	t.Helper()
	p := past[i]
	id := uuid.Must(uuid.NewV7())
	r := &record.Record{
		ID: id.String(), Account: "default", Opened: at, Settled: at.Add(2 * time.Second), Outcome: record.OutcomeCompleted, Status: 200,
		Endpoint: "chat/completions", Asked: p.model, Model: p.model, Upstream: p.upstream, Backend: p.provider, Provider: p.provider, Attempts: 1,
		Payer: p.team, Team: p.team, KeyAlias: p.alias, KeyID: fmt.Sprintf("%064d", i), Source: usage.Reported, Duration: 2000, TTFT: 300,
	}
	sum := price.Amount{}
	for _, kind := range []struct {
		kind  usage.Kind
		n     int64
		price string
	}{{usage.Input, p.input, p.inputPrice}, {usage.Output, p.output, p.outputPrice}} {
		per, err := price.ParseUSD(kind.price)
		require.NoError(t, err)
		cost, err := per.Scale(kind.n, 1_000_000)
		require.NoError(t, err)
		sum, err = sum.Add(cost)
		require.NoError(t, err)
		r.Counts.Set(kind.kind, kind.n)
		r.Lines = append(r.Lines, record.Line{Kind: kind.kind.String(), Count: fmt.Sprint(kind.n), Price: kind.price, Per: "million", Base: cost.String()})
	}
	r.Cost = sum.String()
	require.NoError(t, s.Begin(spool.ID(id), nil))
	require.NoError(t, s.Settle(spool.ID(id), r.Append(nil, nil), false))
}
