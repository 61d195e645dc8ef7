package fakelago_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
)

func post(t *testing.T, l *fakelago.Server, events ...string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.URL+"/api/v1/events/batch",
		strings.NewReader(`{"events":[`+strings.Join(events, ",")+`]}`))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+l.Key())
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(b)
}

func ev(id, sub, code, ts, value string) string {
	return fmt.Sprintf(`{"transaction_id":%q,"external_subscription_id":%q,"code":%q,"timestamp":%q,"precise_total_amount_cents":"0.01","properties":{"value":%q}}`,
		id, sub, code, ts, value)
}

const ts = "1741219251.590"

func lagoOf(t *testing.T, o fakelago.Options) *fakelago.Server {
	o.Now = func() time.Time { return time.Unix(1741219300, 0) }
	l := fakelago.New(t, o)
	l.AddMetric(fakelago.Metric{Code: "in", Field: "value"})
	l.AddMetric(fakelago.Metric{Code: "out", Field: "value"})
	l.AddMetric(fakelago.Metric{Code: "expr", Needs: []string{"b"}})
	l.AddSubscription(fakelago.Subscription{ExternalID: "s"})
	l.AddSubscription(fakelago.Subscription{ExternalID: "s2"})
	return l
}

func TestFakeLagoPostgres(t *testing.T) {
	l := lagoOf(t, fakelago.Options{})
	status, _ := post(t, l, ev("a", "s", "in", ts, "1.5"))
	assert.Equal(t, 200, status)

	status, body := post(t, l, ev("b", "s", "in", ts, "1"), ev("a", "s", "in", ts, "1.5"), ev("b", "s", "in", ts, "1"))
	assert.Equal(t, 422, status)
	assert.Contains(t, body, `"error_details":{"1":{"transaction_id":["value_already_exist"]},"2":{"transaction_id":["value_already_exist"]}}`)
	assert.Equal(t, 1, l.EventCount(), "all or nothing")

	_, body = post(t, l, ev("a", "s", "in", ts, "1.5"), ev("c", "s", "in", "2025-01-01T00:00:00Z", "1"))
	assert.Contains(t, body, `"error_details":{"1":{"timestamp":["invalid_format"]}}`, "the duplicate is told in the next round")

	status, body = post(t, l, ev("a", "s", "out", ts, "7"))
	assert.Equal(t, 422, status, "the code is no part of the key")
	assert.Contains(t, body, "value_already_exist")
	status, _ = post(t, l, ev("a", "s2", "in", ts, "2"))
	assert.Equal(t, 200, status, "the subscription is")
	assert.Equal(t, "1.5", l.Billed("s", "in", "value"))
	assert.Equal(t, "3.5", l.Billed("", "in", "value"))

	status, _ = post(t, l, strings.Replace(ev("nul", "s", "in", ts, "1"), `"value"`, `"x":"\u0000","value"`, 1), ev("d", "s", "in", ts, "1"))
	assert.Equal(t, 500, status)
}

func TestFakeLagoPartialStore(t *testing.T) {
	l := lagoOf(t, fakelago.Options{PartialStore: true})
	post(t, l, ev("a", "s", "in", ts, "1"))
	status, body := post(t, l, ev("a", "s", "in", ts, "1"), ev("b", "s", "in", ts, "1"))
	assert.Equal(t, 422, status)
	assert.NotContains(t, body, `"1":`)
	assert.Equal(t, 2, l.EventCount())
}

func TestFakeLagoClickHouse(t *testing.T) {
	l := lagoOf(t, fakelago.Options{Store: fakelago.ClickHouse})
	post(t, l, ev("a", "s", "in", ts, "1"))
	status, body := post(t, l, ev("a", "s", "in", ts, "2"))
	assert.Equal(t, 200, status)
	assert.Contains(t, body, `"lago_id":null`)
	assert.Equal(t, "2", l.Billed("s", "in", "value"), "the last one wins")
	assert.Equal(t, 1, l.BilledTimes("a"))
	assert.Len(t, l.Violations(), 1, "sent again with other bytes")
	post(t, l, ev("a", "s", "in", "1741219251.591", "2"))
	assert.Equal(t, []string{"a"}, l.BilledTwice(), "another timestamp is another event")
	assert.Equal(t, "4", l.Billed("s", "in", "value"))

	off := lagoOf(t, fakelago.Options{Store: fakelago.ClickHouse, NoDeduplication: true})
	post(t, off, ev("a", "s", "in", ts, "1"))
	post(t, off, ev("a", "s", "in", ts, "1"))
	assert.Equal(t, "2", off.Billed("s", "in", "value"))
	assert.Equal(t, 1, off.Copies())
}

func TestFakeLagoBothStores(t *testing.T) {
	for _, store := range []string{fakelago.Postgres, fakelago.ClickHouse} {
		t.Run(store, func(t *testing.T) {
			l := lagoOf(t, fakelago.Options{Store: store})
			many := make([]string, 101)
			for i := range many {
				many[i] = ev(fmt.Sprint("m", i), "s", "out", ts, "1")
			}
			status, body := post(t, l, many...)
			assert.Equal(t, 422, status)
			assert.Contains(t, body, "too_many_events")
			status, body = post(t, l)
			assert.Equal(t, 422, status)
			assert.Contains(t, body, "no_events")
			_, body = post(t, l, ev("ok", "s", "in", ts, "1"), ev("x", "s", "expr", ts, "1"))
			assert.Contains(t, body, `"error_details":{"1":"expression_evaluation_failed: Variable: b not found"}`)
			_, body = post(t, l, `{"timestamp":"1","external_subscription_id":"s"}`)
			assert.Contains(t, body, "value_is_mandatory")
			assert.Zero(t, l.EventCount())

			for i, silent := range []string{ev("u1", "nobody", "in", ts, "1"), ev("u2", "s", "nocode", ts, "1"), ev("u3", "s", "in", "1741219251590", "1")} {
				status, _ = post(t, l, silent)
				assert.Equal(t, 200, status)
				assert.Equal(t, i+1, l.EventCount())
				assert.Zero(t, l.BilledCount("", ""), silent)
			}
			post(t, l, ev("q1", "s", "in", ts, "1e3"), ev("q2", "s", "in", ts, " 5"), ev("q3", "s", "in", ts, "1,000"))
			if store == fakelago.Postgres {
				assert.Equal(t, "0", l.Billed("s", "in", "value"))
			}
			assert.Len(t, l.Violations(), 4, "three quantities and an empty batch: %s", l.Violations())
			assert.Equal(t, "0.03", l.BilledAmountCents("s", "in"))
			post(t, l, strings.Replace(ev("q4", "s", "out", ts, "1"), `"0.01"`, `"asdfa"`, 1))
			assert.Equal(t, "0", l.BilledAmountCents("s", "out"))

			l.Finalise("s", time.Unix(1741219260, 0))
			status, _ = post(t, l, ev("late", "s", "out", ts, "1"))
			assert.Equal(t, 200, status)
			assert.Equal(t, 1, l.BilledCount("s", "out"), "what comes after the invoice is final is not billed")
			post(t, l, ev("next", "s", "out", "1741219261", "1"))
			assert.Equal(t, "2", l.Billed("s", "out", "value"))

			l.SetKey("other")
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.URL+"/api/v1/organizations", http.NoBody)
			require.NoError(t, err)
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			assert.Equal(t, 401, res.StatusCode)
		})
	}
}
