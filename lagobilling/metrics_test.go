package lagobilling

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spend"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// figures returns what Prometheus is shown of calls.
func (m *callMetrics) figures(t *testing.T) (lines []string) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m.requests, m.firstByte, m.duration, m.unpriced, m.inference, m.firstChunk)
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, s := range f.GetMetric() {
			// When a series was made is no figure.
			if c := s.GetCounter(); c != nil {
				c.CreatedTimestamp = nil
			}
			if h := s.GetHistogram(); h != nil {
				h.CreatedTimestamp = nil
			}
			lines = append(lines, f.GetName()+" "+s.String())
		}
	}
	return lines
}

// TestTotalsAreOfAllAccounts: where the books of one account never answered, there are no totals, which would be those of the others
// alone. An account without a call is no such one.
func TestTotalsAreOfAllAccounts(t *testing.T) {
	one, err := price.ParseUSD("1")
	require.NoError(t, err)
	served := []spend.Served{{Model: "m", Backend: "b", Outcome: record.OutcomeCompleted, Sums: spend.Sums{spend.Cost: one}}}
	for want, accounts := range []map[string][]spend.Served{{"a": served, "b": nil}, {"a": served, "b": {}}} {
		shown := make(chan prometheus.Metric, 10)
		servedTotals.collect(accounts, shown)
		require.Len(t, shown, want)
	}
}

// TestSeriesOfCalls counts calls of many kinds at once, and compares with looking each series up by its labels.
func TestSeriesOfCalls(t *testing.T) {
	bills := make([]*record.Record, 0, 4*3*7)
	for i, model := range []string{"", "gpt-4o", "gpt-4o-mini", "a b"} {
		for j, backend := range []string{"", "openai", "gpt-4o"} {
			for k, outcome := range []string{record.OutcomeCompleted, record.OutcomeError, record.OutcomeCut, record.OutcomeClientGone, record.OutcomeInterrupted} {
				b := &record.Record{Model: model, Backend: backend, Outcome: outcome}
				b.Counts.Set(usage.Kind((i+j+k)%usage.NumKinds), int64(1+i))
				b.Counts.Set(usage.Input, int64(j))
				if k%2 == 0 {
					b.Cost = "0." + strconv.Itoa(25*(1+j)) // sums of quarters and their likes are exact in any order
				} else {
					b.Unpriced = "no price"
				}
				bills = append(bills, b)
			}
		}
	}
	const times = 8
	took := func(i int) (time.Duration, time.Duration) {
		return time.Duration(i) * time.Second / 4, time.Duration(i%3-1) * time.Second / 4
	}
	m, want := newCallMetrics(), newCallMetrics()
	var running sync.WaitGroup
	for range times {
		running.Go(func() {
			for i, b := range bills {
				all, first := took(i)
				m.observe(&llm.Settlement{
					Endpoint: &llm.Endpoint{Name: "chat/completions"}, Stream: true,
					Target: &llm.Target{Model: b.Model, Backend: b.Backend, Provider: "openai"}, Outcome: b.Outcome, Counts: &b.Counts.Counts,
					Cost: b.Cost, Unpriced: b.Unpriced, Duration: all, FirstByte: first,
				})
			}
		})
	}
	running.Wait()
	for range times {
		for i, b := range bills {
			all, first := took(i)
			want.requests.WithLabelValues(b.Model, b.Backend, b.Outcome).Inc()
			want.duration.WithLabelValues(b.Model, b.Backend, b.Outcome).Observe(all.Seconds())
			if first >= 0 {
				want.firstByte.WithLabelValues(b.Model, b.Backend, b.Outcome).Observe(first.Seconds())
			}
			fault := b.Outcome
			if fault == record.OutcomeCompleted {
				fault = ""
			}
			want.inference.WithLabelValues("chat", "openai", b.Model, fault).Observe(all.Seconds())
			if first >= 0 {
				want.firstChunk.WithLabelValues("chat", "openai", b.Model, fault).Observe(first.Seconds())
			}
			if b.Unpriced != "" {
				want.unpriced.WithLabelValues(b.Model, b.Backend).Inc()
			}
		}
	}
	require.NotEmpty(t, want.figures(t))
	require.Equal(t, want.figures(t), m.figures(t))
}
