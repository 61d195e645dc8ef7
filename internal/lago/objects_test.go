package lago_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
)

// Each call takes a turn, so that Lago's rate limit is not met, except those that send events.
func TestTurns(t *testing.T) {
	l := fakelago.New(t, fakelago.Options{Key: key})
	c := client(t, l.URL)
	c.StopTurns(3)
	_, err := c.Organization(t.Context())
	require.NoError(t, err)
	_, err = c.BillableMetrics(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, c.TurnsLeft())
	c.Batch(t.Context(), [][]byte{[]byte(`{"transaction_id":"1"}`)})
	assert.Equal(t, 1, c.TurnsLeft())
	require.NoError(t, c.Events(t.Context(), lago.EventsQuery{Code: "tokens"}, func(lago.Event) error { return nil }))
	assert.Zero(t, c.TurnsLeft(), "the first page of a list takes a turn too")
}

func TestObjects(t *testing.T) {
	now := time.Unix(1741219300, 0)
	for _, store := range []string{fakelago.Postgres, fakelago.ClickHouse} {
		l := fakelago.New(t, fakelago.Options{Key: key, Store: store, Now: func() time.Time { return now }})
		l.AddSubscription(fakelago.Subscription{ExternalID: "ann@example.com/1 ?", Plan: "pro.v1"})
		c := client(t, l.URL)
		c.StopTurns(1000)
		ctx := t.Context()

		org, err := c.Organization(ctx)
		require.NoError(t, err)
		assert.Equal(t, store, org.EventsStore)

		sub, err := c.Subscription(ctx, "ann@example.com/1 ?")
		require.NoError(t, err)
		assert.Equal(t, "ann@example.com/1 ?", sub.ExternalID)
		assert.Equal(t, "2025-03-01T00:00:00Z", sub.PeriodStart.Format(time.RFC3339))
		for _, unknown := range []string{"nobody", "..", "."} {
			_, err = c.Subscription(ctx, unknown)
			assert.ErrorIs(t, err, lago.ErrNotFound, unknown)
		}

		for i := range 250 {
			m := lago.BillableMetric{Name: "n", Code: "m." + string(rune('a'+i/26)) + string(rune('a'+i%26)), AggregationType: "sum_agg", FieldName: "value"}
			_, err = c.CreateBillableMetric(ctx, m)
			require.NoError(t, err)
		}
		_, err = c.CreateBillableMetric(ctx, lago.BillableMetric{Name: "n", Code: "m.aa", AggregationType: "sum_agg", FieldName: "value"})
		var e *lago.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 422, e.Status)
		assert.Contains(t, e.Words, "value_already_exist")
		all, err := c.BillableMetrics(ctx)
		require.NoError(t, err)
		assert.Len(t, all, 250)
		m, err := c.BillableMetric(ctx, "m.ab")
		require.NoError(t, err)
		assert.Equal(t, "value", m.FieldName)
		_, err = c.BillableMetric(ctx, "none")
		assert.ErrorIs(t, err, lago.ErrNotFound)
		p, err := c.Plan(ctx, "pro.v1")
		require.NoError(t, err)
		assert.Len(t, p.Charges, 250)

		ev := []byte(`{"transaction_id":"t/1","external_subscription_id":"ann@example.com/1 ?","code":"m.ab","timestamp":"1741219251.590","properties":{"value":"0.1"}}`)
		require.Equal(t, lago.Accepted, c.Batch(ctx, [][]byte{ev}).Verdict)
		use, err := c.CurrentUsage(ctx, sub.ExternalCustomerID, sub.ExternalID)
		require.NoError(t, err)
		assert.Equal(t, "m.ab", use.Charges[1].Metric.Code)
		assert.Equal(t, "0.1", use.Charges[1].Units)
		assert.EqualValues(t, 1, use.Charges[1].EventsCount)
		got, err := c.Event(ctx, "t/1")
		require.NoError(t, err)
		assert.Equal(t, "2025-03-06T00:00:51.59Z", got.Timestamp.Format(time.RFC3339Nano))
		_, err = c.Event(ctx, "t/2")
		assert.ErrorIs(t, err, lago.ErrNotFound)
		for i := range 7 {
			more := []byte(`{"transaction_id":"m` + string(rune('0'+i)) + `","external_subscription_id":"ann@example.com/1 ?","code":"m.ab","timestamp":"1741219251","properties":{}}`)
			require.Equal(t, lago.Accepted, c.Batch(ctx, [][]byte{more}).Verdict)
		}
		n := 0
		q := lago.EventsQuery{ExternalSubscriptionID: "ann@example.com/1 ?", Code: "m.ab", From: now.Add(-time.Hour), To: now, PerPage: 3}
		require.NoError(t, c.Events(ctx, q, func(lago.Event) error { n++; return nil }))
		assert.Equal(t, 8, n)
		stop := errors.New("enough")
		assert.ErrorIs(t, c.Events(ctx, q, func(lago.Event) error { return stop }), stop)
		assert.Empty(t, l.Violations())
	}
}

func TestNotLago(t *testing.T) {
	for _, c := range []struct {
		status  int
		body    string
		verdict lago.Verdict
	}{
		{404, "<html>", lago.Stop},
		{404, `{"status":404,"error":"Not Found"}`, lago.Stop},
		{200, "<html>", lago.Retry},
		{200, `{}`, lago.Retry},
		{401, `{"status":401,"error":"Unauthorized ` + key + `"}`, lago.Stop},
		{500, ``, lago.Retry},
		{302, ``, lago.Stop},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/")
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		_, err := client(t, s.URL).Subscription(t.Context(), "payer-7")
		s.Close()
		var e *lago.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, c.verdict, e.Verdict, c)
		assert.NotErrorIs(t, err, lago.ErrNotFound)
		assert.NotContains(t, err.Error(), key)
	}
	_, err := client(t, "http://127.0.0.1:1").Subscription(t.Context(), "payer-7")
	assert.Error(t, err)
	assert.NotContains(t, err.Error(), "payer-7")
}
