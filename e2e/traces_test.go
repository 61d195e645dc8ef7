package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collectmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collecttraces "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// collector is an OTLP receiver.
type collector struct {
	mu      sync.Mutex
	spans   []*traces.Span
	metrics map[string]*metrics.Metric // the last of each name
	faults  []string
}

// newCollector starts a receiver, to which the gateway that is started next exports.
func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{metrics: make(map[string]*metrics.Metric)}
	s := httptest.NewServer(c)
	t.Cleanup(func() {
		s.Close()
		require.Empty(t, c.faults)
	})
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	return c
}

func (c *collector) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.faults = append(c.faults, err.Error())
		return
	}
	switch r.URL.Path {
	case "/v1/traces":
		var got collecttraces.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &got); err != nil {
			c.faults = append(c.faults, err.Error())
		}
		for _, of := range got.ResourceSpans {
			for _, scope := range of.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	case "/v1/metrics":
		var got collectmetrics.ExportMetricsServiceRequest
		if err := proto.Unmarshal(body, &got); err != nil {
			c.faults = append(c.faults, err.Error())
		}
		for _, of := range got.ResourceMetrics {
			for _, scope := range of.ScopeMetrics {
				for _, m := range scope.Metrics {
					c.metrics[m.Name] = m
				}
			}
		}
	default:
		c.faults = append(c.faults, r.URL.Path)
	}
}

// attributes returns attributes as texts and numbers.
func attributes(list []*common.KeyValue) map[string]any {
	out := make(map[string]any, len(list))
	for _, kv := range list {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			out[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.Key] = v.IntValue
		case *common.AnyValue_BoolValue:
			out[kv.Key] = v.BoolValue
		case *common.AnyValue_DoubleValue:
			out[kv.Key] = v.DoubleValue
		}
	}
	return out
}

// below returns the spans below another.
func (c *collector) below(parent *traces.Span) (list []*traces.Span) {
	for _, s := range c.spans {
		if string(s.ParentSpanId) == string(parent.SpanId) {
			list = append(list, s)
		}
	}
	return list
}

// TestTraces makes a streamed call whose first backend fails: the trace of the client has Caddy's span, that of the call below it and
// one for each attempt, with what the record has. Nothing of the trace goes to the provider.
func TestTraces(t *testing.T) {
	c := newCollector(t)
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", "tracing\n"+w.Routed(t.TempDir(), "", strings.NewReplacer("URL", w.Provider.URL, "KEY", gateway.ProviderKey).Replace(`
		model gpt-4o {
			backend openai URL/v1 {
				api_key KEY
				model gpt-4o-2024-08-06
				price input 2.5
				price cache_read 1.25
				price output 10
			}
			retries 1
		}`)))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `","key_alias":"traced"}`)
	w.Provider.Next(fakeprovider.FaultStatus(http.StatusServiceUnavailable))
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	a := w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key,
		gateway.Chat("gpt-4o", "tokens=in:1000,cached:400,out:300,reasoning:120 chunks=5", true), "traceparent", parent, "baggage", "user=ann")
	record := w.Record()
	w.Settled(1)
	for _, call := range w.Provider.Calls() {
		for _, name := range []string{"Traceparent", "Tracestate", "Baggage"} {
			require.Empty(t, call.Header.Get(name))
		}
	}
	gateway.Stop(t) // which flushes

	c.mu.Lock()
	defer c.mu.Unlock()
	var server *traces.Span
	for _, s := range c.spans {
		if s.Kind == traces.Span_SPAN_KIND_SERVER && string(s.ParentSpanId) == "\x00\xf0\x67\xaa\x0b\xa9\x02\xb7" {
			server = s
		}
	}
	require.NotNil(t, server, "Caddy's own")
	calls := c.below(server)
	require.Len(t, calls, 1)
	of := attributes(calls[0].Attributes)
	require.Equal(t, map[string]any{
		"tollgate.call.id": a.Header.Get("X-Litellm-Call-Id"), "tollgate.endpoint": "chat/completions", "tollgate.attempts": int64(2),
		"tollgate.model": "gpt-4o", "tollgate.team": gateway.Payer, "tollgate.key_alias": "traced", "tollgate.outcome": "completed",
		"tollgate.cost": record.Cost, "tollgate.cost.currency": "USD",
	}, of)
	require.Equal(t, "0.005", record.Cost)

	attempts := c.below(calls[0])
	require.Len(t, attempts, 2)
	if attributes(attempts[0].Attributes)["tollgate.attempt"] == int64(2) {
		attempts[0], attempts[1] = attempts[1], attempts[0]
	}
	first, second := attributes(attempts[0].Attributes), attributes(attempts[1].Attributes)
	for i, s := range attempts {
		require.Equal(t, "chat gpt-4o-2024-08-06", s.Name)
		require.Equal(t, traces.Span_SPAN_KIND_CLIENT, s.Kind)
		require.LessOrEqual(t, s.StartTimeUnixNano, s.EndTimeUnixNano, i)
		require.LessOrEqual(t, calls[0].StartTimeUnixNano, s.StartTimeUnixNano)
		require.GreaterOrEqual(t, calls[0].EndTimeUnixNano, s.EndTimeUnixNano)
	}
	require.LessOrEqual(t, attempts[0].EndTimeUnixNano, attempts[1].StartTimeUnixNano)
	require.Equal(t, "503", first["error.type"])
	require.Equal(t, traces.Status_STATUS_CODE_ERROR, attempts[0].Status.Code)
	require.NotContains(t, first, "gen_ai.usage.input_tokens", "it is not billed")
	for name, want := range map[string]any{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-2024-08-06", "gen_ai.request.stream": true,
		"gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.usage.input_tokens": int64(1000), "gen_ai.usage.output_tokens": int64(300),
		"gen_ai.usage.cache_read.input_tokens": int64(400), "gen_ai.usage.reasoning.output_tokens": int64(120), "server.address": "127.0.0.1",
	} {
		require.Equal(t, want, second[name], name)
	}
	require.NotContains(t, second, "error.type")
	require.Contains(t, second, "gen_ai.response.id")
	require.Contains(t, second, "gen_ai.response.time_to_first_chunk")
	for _, s := range c.spans {
		require.NotContains(t, s.String(), key)
		require.NotContains(t, s.String(), gateway.ProviderKey)
	}
}

// TestForwardTrace has the gateway send the trace upstream.
func TestForwardTrace(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", strings.Replace(w.Directives(t.TempDir(), ""), "llmroute {", "llmroute {\nforward_trace", 1))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false), "traceparent", parent, "baggage", "user=ann")
	calls := w.Provider.Calls()
	require.Len(t, calls, 1)
	require.Equal(t, parent, calls[0].Header.Get("Traceparent"))
	require.Equal(t, "user=ann", calls[0].Header.Get("Baggage"))
	w.Settled(1)
}
