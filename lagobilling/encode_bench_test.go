package lagobilling

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// aCall is what one call leaves to be priced, billed and counted.
func aCall(baseURL string) (record.Record, *llm.Target, usage.Result) {
	now := time.UnixMilli(1741219251590)
	target := &llm.Target{Provider: "openai", Upstream: "gpt-4o", BaseURL: baseURL}
	r := record.Record{
		ID: "0199b3a0-0000-7000-8000-000000000000", Account: "default", Opened: now, Settled: now.Add(time.Second), Outcome: record.OutcomeCompleted,
		Status: http.StatusOK, Endpoint: "chat/completions", Asked: "gpt-4o", Model: "gpt-4o", Upstream: "gpt-4o",
		Backend: "openai", Provider: "openai", Attempts: 1, Payer: "team-42", ChargeBy: byTeam, Key: "sk-...abcd",
		KeyHash: "0123456789ab", KeyAlias: "ci", Team: "team-42", User: "user-1", Bytes: 4096, TTFT: 210, Duration: 4200,
	}
	res := usage.Result{Source: usage.Reported, Complete: true, Model: "gpt-4o-2024-08-06", ID: "chatcmpl-BxW5CYcMYc5wBv0eNnHv7QKp2hUqs", Tier: "default"}
	res.Counts.Set(usage.Input, 420)
	res.Counts.Set(usage.CacheRead, 400)
	res.Counts.Set(usage.Output, 311)
	return r, target, res
}

// BenchmarkEncode measures what a call's opened and settled record cost without the spool: usage, price, events, text and
// metrics.
func BenchmarkEncode(b *testing.B) {
	for name, baseURL := range map[string]string{"priced": "https://api.openai.com/v1", "unpriced": "http://127.0.0.1:8080/v1"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			h := &Handler{metrics: newCallMetrics()}
			require.NoError(b, h.resolveTariff(account.Settings{}))
			first, target, res := aCall(baseURL)
			var opened, events, settled []byte
			for b.Loop() {
				r := first
				r.Settled = time.Time{}
				h.tariff.Open(&r, target)
				opened = r.Append(opened[:0], nil)
				r.ForgetOpened()
				r.Settled = first.Settled
				events = h.tariff.Settle(events[:0], &r, target, &res, true)
				settled = r.Append(settled[:0], events)
				h.metrics.observe(&llm.Settlement{
					Target: target, Outcome: r.Outcome, Counts: &r.Counts.Counts, Cost: r.Cost, Unpriced: r.Unpriced,
					Duration: time.Second, FirstByte: time.Millisecond,
				})
			}
		})
	}
}
