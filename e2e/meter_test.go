package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// metered is a gateway that keeps its records in the ledger, before a provider that answers as it is told.
type metered struct {
	*gateway.Gateway
	log      string // the access log
	upstream atomic.Int64
}

// meter starts one. answer is the provider; billing holds further lines of lagobilling.
func meter(t *testing.T, answer http.HandlerFunc, billing string) *metered {
	t.Helper()
	m := &metered{log: filepath.Join(t.TempDir(), "access.log")}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.upstream.Add(1)
		answer(w, r)
	}))
	t.Cleanup(provider.Close)
	var appended strings.Builder
	for _, name := range []string{"id", "payer", "model", "upstream", "backend", "provider", "outcome", "cost", "usage", "input_tokens", "output_tokens", "total_tokens"} {
		fmt.Fprintf(&appended, "\tlog_append %s {http.tollgate.%[1]s}\n", name)
	}
	for k := range usage.Kind(usage.NumKinds) {
		fmt.Fprintf(&appended, "\tlog_append kinds.%s {http.tollgate.kinds.%[1]s}\n", k)
	}
	m.Gateway = gateway.Start(t, "\tmetrics\n", fmt.Sprintf(`
	log {
		output file %s
	}
	%s
	lagobilling {
		missing_payer default sub-1
		spool %s
		%s
	}
	llmroute {
		anonymous
		model gpt-4o {
			backend openai %s/v1 {
				price input 2.50
				price cache_read 1.25
				price output 10
			}
		}
		model house-model tts-1 omni-moderation-latest {
			backend openai %[5]s/v1
		}
		model claude-sonnet-4-5 {
			backend anthropic %[5]s
		}
		model mixed {
			backend openai %[5]s/v1 {
				price input 1
				price output 1
			}
			backend vllm %[5]s/v1 {
				model house-model
			}
			fallback house-model
			retries 5
		}
	}`, m.log, appended.String(), t.TempDir(), billing, provider.URL))
	return m
}

// entry is a record of the ledger, as far as these tests look at it.
type entry struct {
	ID, Endpoint, Outcome, Source, How, Cost, Unpriced, State string
	NotBilled                                                 string `json:"not_billed"`
	Counts                                                    map[string]int64
	Events                                                    []struct{ Properties map[string]string }
}

// ledger returns the records once there are n, all finished.
func (m *metered) ledger(n int) []entry {
	m.T.Helper()
	var all []entry
	require.Eventually(m.T, func() bool {
		a, err := (&gateway.Gateway{T: m.T, Addr: m.Admin}).Do(http.MethodGet, "/tollgate/billing/events", "", "")
		require.NoError(m.T, err)
		all = nil
		for lines := bufio.NewScanner(strings.NewReader(a.Body)); lines.Scan(); {
			var e entry
			require.NoError(m.T, json.Unmarshal(lines.Bytes(), &e))
			if e.State != "open" {
				all = append(all, e)
			}
		}
		return len(all) >= n
	}, 10*time.Second, 5*time.Millisecond)
	require.Len(m.T, all, n)
	return all
}

func (m *metered) metrics() string {
	m.T.Helper()
	a, err := (&gateway.Gateway{T: m.T, Addr: m.Admin}).Do(http.MethodGet, "/metrics", "", "")
	require.NoError(m.T, err)
	return a.Body
}

const answered = `{"id":"c","model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],` +
	`"usage":{"prompt_tokens":1000,"completion_tokens":50,"total_tokens":1050,"prompt_tokens_details":{"cached_tokens":400},"completion_tokens_details":{"reasoning_tokens":20}}}`

// answerJSON answers with a JSON body of unstated length, as most providers do.
func answerJSON(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, body)
	}
}

// TestNotBillableIsNotBilled calls what costs nothing, or was billed before: none of it has an event, whatever usage the
// answer claims.
func TestNotBillableIsNotBilled(t *testing.T) {
	status := http.StatusOK
	m := meter(t, func(w http.ResponseWriter, r *http.Request) { answerJSON(status, answered)(w, r) }, "")

	// A poll of a stored response or of a batch shows usage that was billed with the call that made it. None is served.
	for _, poll := range [][2]string{
		{http.MethodGet, "/v1/responses/resp_1"},
		{http.MethodGet, "/v1/responses/resp_1/input_items"},
		{http.MethodPost, "/v1/responses/resp_1/cancel"},
		{http.MethodDelete, "/v1/responses/resp_1"},
		{http.MethodGet, "/v1/chat/completions/chatcmpl-1"},
		{http.MethodPost, "/v1/batches"},
		{http.MethodGet, "/v1/batches/batch_1"},
		{http.MethodGet, "/v1/files/file_1/content"},
		{http.MethodPost, "/v1/messages/batches"},
		{http.MethodGet, "/v1/messages/batches/b_1"},
		{http.MethodGet, "/v1/messages/batches/b_1/results"},
	} {
		a := m.Must(http.StatusNotFound, poll[0], poll[1], "", "")
		require.Contains(t, a.Body, "unknown path", poll[1])
		require.NotEmpty(t, a.Header.Get("X-Litellm-Call-Id"))
	}
	a := m.Must(http.StatusBadRequest, http.MethodPost, "/v1/responses", "", `{"model":"gpt-4o","input":"hi","background":true}`)
	require.Contains(t, a.Body, "background")
	require.Zero(t, m.upstream.Load(), "nothing was forwarded")
	m.ledger(0)

	free := map[string]string{
		"responses/input_tokens": `{"model":"gpt-4o","input":"hi"}`,
		"moderations":            `{"model":"omni-moderation-latest","input":"hi"}`,
		"messages/count_tokens":  `{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"hi"}]}`,
	}
	for path, body := range free {
		a := m.Must(http.StatusOK, http.MethodPost, "/v1/"+path, "", body)
		require.NotEmpty(t, a.Header.Get("X-Litellm-Call-Id"))
		require.Empty(t, a.Header.Get("X-Litellm-Response-Cost"))
	}
	failed := []int{400, 401, 404, 429}
	for _, status = range failed {
		m.Must(status, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("gpt-4o", "hi", false))
	}
	status = http.StatusOK
	a = m.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("gpt-4o", "hi", false))
	require.Equal(t, "0.0025", a.Header.Get("X-Litellm-Response-Cost"), "600 at 2.50, 400 at 1.25 and 50 at 10 USD per million")

	billed := 0
	for _, e := range m.ledger(len(free) + len(failed) + 1) {
		switch {
		case free[e.Endpoint] != "":
			require.Equal(t, "free endpoint", e.NotBilled)
		case e.Outcome == "error":
			require.Equal(t, "the answer is an error", e.NotBilled)
		default:
			require.Empty(t, e.NotBilled)
			require.Len(t, e.Events, 1)
			require.Equal(t, "0.0025", e.Cost)
			require.Equal(t, "0.0025", e.Events[0].Properties["response_cost"])
			billed++
			continue
		}
		require.Empty(t, e.Events)
		require.Empty(t, e.Counts)
		require.Empty(t, e.Cost)
	}
	require.Equal(t, 1, billed)
}

// TestAccessLog reads Caddy's own access log: it has the call's model, backend, kinds, cost and outcome.
func TestAccessLog(t *testing.T) {
	status := http.StatusOK
	m := meter(t, func(w http.ResponseWriter, r *http.Request) { answerJSON(status, answered)(w, r) }, "")
	a := m.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("gpt-4o", "hi", false))
	status = http.StatusTeapot
	m.Must(http.StatusTeapot, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("gpt-4o", "hi", false))

	var lines []map[string]any
	require.Eventually(t, func() bool {
		log, err := os.ReadFile(m.log)
		if err != nil || strings.Count(string(log), "\n") < 2 {
			return false
		}
		for text := range strings.Lines(string(log)) {
			var line map[string]any
			require.NoError(t, json.Unmarshal([]byte(text), &line))
			lines = append(lines, line)
		}
		return true
	}, 10*time.Second, 5*time.Millisecond)
	require.Len(t, lines, 2)
	for name, want := range map[string]any{
		"id": a.Header.Get("X-Litellm-Call-Id"), "payer": "sub-1", "model": "gpt-4o", "upstream": "gpt-4o", "backend": "openai",
		"provider": "openai", "outcome": "completed", "cost": "0.0025", "usage": "reported",
		"input_tokens": 1000.0, "output_tokens": 50.0, "total_tokens": 1050.0,
	} {
		require.Equal(t, want, lines[0][name], name)
	}
	kinds := map[string]any{"input": 600.0, "cache_read": 400.0, "output": 30.0, "reasoning": 20.0}
	for k := range usage.Kind(usage.NumKinds) {
		want, ok := kinds[k.String()]
		if !ok {
			want = "" // absent is not zero
		}
		require.Equal(t, want, lines[0]["kinds."+k.String()], k)
	}
	require.Equal(t, "error", lines[1]["outcome"])
	require.Equal(t, "", lines[1]["cost"])
	require.Equal(t, "", lines[1]["total_tokens"])
}

// TestUnpriced calls a model without a price: its tokens are billed without an amount and counted in a metric, or it is
// refused before anything is forwarded.
func TestUnpriced(t *testing.T) {
	const counted = `(?m)^caddy_tollgate_unpriced_total\{backend="openai",model="house-model"\} [1-9]`
	t.Run("allow", func(t *testing.T) {
		m := meter(t, answerJSON(200, strings.ReplaceAll(answered, "gpt-4o-2024-08-06", "house-model")), "unpriced allow")
		a := m.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("house-model", "hi", false))
		require.Empty(t, a.Header.Get("X-Litellm-Response-Cost"))
		e := m.ledger(1)[0]
		require.Empty(t, e.Cost)
		require.Contains(t, e.Unpriced, `no price for model "house-model"`)
		require.Len(t, e.Events, 1)
		require.Equal(t, "1050", e.Events[0].Properties["total_tokens"])
		require.NotContains(t, e.Events[0].Properties, "response_cost")
		require.Regexp(t, counted, m.metrics())
	})
	for name, billing := range map[string]string{"reject": "unpriced reject", "cost": "events cost"} {
		t.Run(name, func(t *testing.T) {
			m := meter(t, answerJSON(200, answered), billing)
			a := m.Must(http.StatusBadRequest, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("house-model", "hi", false))
			require.Contains(t, a.Body, "unpriced_model")
			// Nor may a client choose a tier that has no price.
			m.Must(http.StatusBadRequest, http.MethodPost, "/v1/chat/completions", "", strings.Replace(gateway.Chat("gpt-4o", "hi", false), "{", `{"service_tier":"flex",`, 1))
			require.Zero(t, m.upstream.Load(), "nothing was forwarded")
			m.ledger(0)
			m.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("gpt-4o", "hi", false))
			require.Len(t, m.ledger(1), 1)
		})
	}
}

// TestFailoverStaysPriced has the one backend with a price fail: the call does not go on to one without.
func TestFailoverStaysPriced(t *testing.T) {
	m := meter(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		status := http.StatusServiceUnavailable
		if strings.Contains(string(body), "house-model") {
			status = http.StatusOK
		}
		answerJSON(status, answered)(w, r)
	}, "events cost")
	m.Must(http.StatusServiceUnavailable, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("mixed", "hi", false))
	e := m.ledger(1)[0]
	require.Equal(t, "error", e.Outcome)
	require.Positive(t, m.upstream.Load())
}

// TestTierOfTheAnswer has a provider serve another tier than the standard one: it is never billed at the standard price.
func TestTierOfTheAnswer(t *testing.T) {
	served := strings.Replace(answered, `"usage"`, `"service_tier":"priority","usage"`, 1)
	m := meter(t, answerJSON(200, served), "")
	m.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("gpt-4o", "hi", false))
	e := m.ledger(1)[0]
	require.Empty(t, e.Cost)
	require.Contains(t, e.Unpriced, `no price for tier "priority"`)
	require.Len(t, e.Events, 1, "its tokens are billed all the same")
}

// TestSpeechByCharacters has binary speech, which reports no usage, billed by the characters of its text.
func TestSpeechByCharacters(t *testing.T) {
	prices := filepath.Join(t.TempDir(), "prices.json")
	require.NoError(t, os.WriteFile(prices, []byte(`{"models":[{"provider":"openai","model":"tts-1","prices":{"input_characters":15}}]}`), 0o600))
	m := meter(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "audio/mpeg")
		_, _ = w.Write([]byte{0xff, 0xf3, 0x44, 0xc4, '"', 'u', 's', 'a', 'g', 'e', '"'})
	}, "prices "+prices)
	a := m.Must(http.StatusOK, http.MethodPost, "/v1/audio/speech", "", `{"model":"tts-1","voice":"alloy","input":"Gr\u00f6\u00dfe 你好 😀"}`)
	require.Equal(t, "\xff\xf3\x44\xc4\"usage\"", a.Body)
	e := m.ledger(1)[0]
	require.Equal(t, "estimated", e.Source)
	require.Contains(t, e.How, "characters of the request")
	require.EqualValues(t, 10, e.Counts["input_characters"])
	require.Equal(t, "0.00015", e.Cost)
	require.Len(t, e.Events, 1)

	// A client that hangs up before there is an answer has used the provider all the same.
	arrived := make(chan struct{})
	m = meter(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		<-r.Context().Done()
	}, "on_disconnect cancel\nprices "+prices)
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL("/v1/audio/speech"), strings.NewReader(`{"model":"tts-1","voice":"alloy","input":"Hello"}`))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	go func() {
		<-arrived
		hangUp()
	}()
	_, err = http.DefaultClient.Do(req) //nolint:bodyclose // there is none
	require.ErrorIs(t, err, context.Canceled)
	e = m.ledger(1)[0]
	require.Equal(t, "client_gone", e.Outcome)
	require.EqualValues(t, 5, e.Counts["input_characters"])
	require.Equal(t, "0.000075", e.Cost)
}
