package e2e

import (
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// scrape returns the sum of the series of a metric whose labels have these values, by the values of one label.
func scrape(t *testing.T, g *gateway.Gateway, name, by string) map[string]float64 {
	t.Helper()
	text := (&gateway.Gateway{T: t, Addr: g.Admin}).Must(http.StatusOK, http.MethodGet, "/metrics", "", "").Body
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(t, err)
	out := make(map[string]float64)
	for _, m := range families[name].GetMetric() {
		value := ""
		for _, l := range m.Label {
			if l.GetName() == by {
				value = l.GetValue()
			}
		}
		out[value] += m.GetCounter().GetValue()
	}
	return out
}

// costs adds up what the ledger has.
func costs(t *testing.T, g *gateway.Gateway) float64 {
	t.Helper()
	sum := new(big.Rat)
	for _, r := range g.Ledger() {
		if r.Cost != "" {
			c, ok := new(big.Rat).SetString(r.Cost)
			require.True(t, ok)
			sum.Add(sum, c)
		}
	}
	f, _ := sum.Float64()
	return f
}

// TestTotalsOutliveTheProcess kills a gateway right after its calls and starts it again: the totals of tokens and money go on from
// where they were, and are those of the ledger.
func TestTotalsOutliveTheProcess(t *testing.T) {
	keys, spool := t.TempDir(), t.TempDir()
	g := gateway.Run(t, gateway.DemoSite(keys, spool, ""))
	bin, err := gateway.Build()
	require.NoError(t, err)
	key := g.NewKey(`{"team_id":"blue"}`)
	var before float64
	for round := range 3 {
		for range 5 {
			g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("demo", "hello", round%2 == 0))
		}
		if round == 1 {
			before = scrape(t, g, "caddy_tollgate_cost_usd_total", "model")["demo"]
			require.InDelta(t, costs(t, g), before, 1e-12)
		}
		g.Kill()
		g.Launch(bin, "caddyfile")
	}
	after := scrape(t, g, "caddy_tollgate_cost_usd_total", "model")["demo"]
	require.Greater(t, after, before)
	require.InDelta(t, costs(t, g), after, 1e-12)
	tokens := map[string]int64{}
	for _, r := range g.Ledger() {
		for kind, n := range r.Counts {
			tokens[kind] += n
		}
	}
	require.NotZero(t, tokens["output"])
	for kind, n := range scrape(t, g, "caddy_tollgate_tokens_total", "kind") {
		require.InDelta(t, tokens[kind], n, 0, kind)
	}
	require.InDelta(t, tokens["output"], scrape(t, g, "gen_ai_client_inference_usage_output_tokens", "gen_ai_provider_name")["mock"], 0)
}

// TestMetricsByOTLP exports the metrics by Caddy's own exporter: those of OpenTelemetry's conventions have their own names there.
func TestMetricsByOTLP(t *testing.T) {
	c := newCollector(t)
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "metrics {\n\totlp\n}", w.Directives(t.TempDir(), ""))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "tokens=in:1000,cached:400,out:300,reasoning:120", true))
	w.Must(http.StatusOK, http.MethodPost, "/v1/messages", key,
		`{"model":"claude","max_tokens":400,"messages":[{"role":"user","content":"tokens=in:50,out:20"}]}`, "anthropic-version", "2023-06-01")
	w.Settled(2)
	before := scrape(t, w.Gateway, "gen_ai_client_inference_usage_input_tokens", "gen_ai_provider_name")
	require.Equal(t, map[string]float64{"openai": 1000, "anthropic": 50}, before)
	gateway.Stop(t) // which flushes

	c.mu.Lock()
	defer c.mu.Unlock()
	sums := func(name string) map[string]float64 {
		m := c.metrics[name]
		require.NotNil(t, m, name)
		out := make(map[string]float64)
		for _, p := range m.Data.(*metrics.Metric_Sum).Sum.DataPoints {
			of := attributes(p.Attributes)
			require.Equal(t, "text", of["gen_ai.token.modality"])
			require.Equal(t, "chat", of["gen_ai.operation.name"])
			out[of["gen_ai.provider.name"].(string)] += p.GetAsDouble()
		}
		return out
	}
	require.Equal(t, before, sums("gen_ai.client.inference.usage.input_tokens"))
	require.Equal(t, map[string]float64{"openai": 300, "anthropic": 20}, sums("gen_ai.client.inference.usage.output_tokens"))
	require.Equal(t, map[string]float64{"openai": 400}, sums("gen_ai.client.inference.usage.cache_read.input_tokens"))
	require.Equal(t, map[string]float64{"openai": 120}, sums("gen_ai.client.inference.usage.reasoning.output_tokens"))
	require.NotNil(t, c.metrics["gen_ai.client.inference.duration"])
	require.NotNil(t, c.metrics["gen_ai.client.inference.time_to_first_chunk"])
}

// scrapeGauge returns the value of a gauge that has a label of that value; zero where there is none.
func scrapeGauge(t *testing.T, g *gateway.Gateway, name, label string) float64 {
	t.Helper()
	text := (&gateway.Gateway{T: t, Addr: g.Admin}).Must(http.StatusOK, http.MethodGet, "/metrics", "", "").Body
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(t, err)
	for _, m := range families[name].GetMetric() {
		for _, l := range m.Label {
			if l.GetValue() == label {
				return m.GetGauge().GetValue()
			}
		}
	}
	return 0
}
