package lagobilling

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/jsonscan"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/settle"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/usage"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

func TestBilledThroughLago(t *testing.T) {
	const calls = 25
	lago := fakelago.New(t, fakelago.Options{})
	lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens"})
	lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", Started: time.Now().Add(-time.Hour)})
	b := newBench(t, &Handler{APIBase: lago.URL, APIKey: lago.Key(), EventCode: "tokens"})
	for range calls {
		_, _, err := b.post(chatRoute(plain("application/json", jsonAnswer)))
		require.NoError(t, err)
		b.wait()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, lago.Await(ctx, func() bool { return lago.EventCount() == calls }))
	require.Empty(t, lago.Violations())
	require.Eventually(t, func() bool { return b.account.Spool().Stats().Finished == calls }, 10*time.Second, time.Millisecond)
	st := operator.StatusOf(b.account, time.Now())
	require.EqualValues(t, calls, st.Delivered)
	require.Zero(t, st.Pending)
	for _, e := range b.records() {
		var event struct {
			TransactionID string `json:"transaction_id"`
		}
		require.NoError(t, json.Unmarshal(e.Events[0], &event))
		require.Equal(t, 1, lago.BilledTimes(event.TransactionID))
	}
}

// TestReloadTriesAgainAtOnce is an operator who had Lago's rate limit lifted and reloads: nothing of the configuration
// changed, and nothing waits for the end of the pause that Lago asked for.
func TestReloadTriesAgainAtOnce(t *testing.T) {
	lago := fakelago.New(t, fakelago.Options{})
	lago.Always(func(c *fakelago.Call) fakelago.Fault {
		if c.Batch() {
			return fakelago.FaultRateLimit(time.Hour)
		}
		return nil
	})
	b := newBench(t, &Handler{APIBase: lago.URL, APIKey: lago.Key(), EventCode: "tokens"})
	_, _, err := b.post(chatRoute(plain("application/json", jsonAnswer)))
	require.NoError(t, err)
	paused := func() bool { return !b.account.DeliveryStatus().DeliveryPaused.IsZero() }
	require.Eventually(t, paused, 10*time.Second, time.Millisecond)
	lago.Always(nil)
	b.account.Configure(b.account.Settings())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, lago.Await(ctx, func() bool { return lago.EventCount() == 1 }))
}

func TestUnknownPayerIsRefused(t *testing.T) {
	lago := fakelago.New(t, fakelago.Options{})
	lago.AddSubscription(fakelago.Subscription{ExternalID: "known", Started: time.Now().Add(-time.Hour)})
	b := newBench(t, &Handler{APIBase: lago.URL, APIKey: lago.Key(), EventCode: "tokens", PayerCheck: "reject"})
	for payer, status := range map[string]int{"known": http.StatusOK, "stranger": http.StatusForbidden} {
		rt := chatRoute(plain("application/json", jsonAnswer))
		rt.request.User = payer
		res, body, err := b.post(rt)
		require.NoError(t, err)
		b.wait()
		require.Equal(t, status, res.StatusCode, body)
	}
	require.Len(t, b.records(), 1)
}

// TestDamageIsAnErrorOnce opens a spool with a damaged record again and again: the operator is alarmed by the first start.
func TestDamageIsAnErrorOnce(t *testing.T) {
	dir := t.TempDir()
	leaveOpen(t, dir)
	segments, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	require.NoError(t, err)
	require.Len(t, segments, 1)
	content, err := os.ReadFile(segments[0])
	require.NoError(t, err)
	content[len(content)-1] ^= 1
	require.NoError(t, os.WriteFile(segments[0], content, 0o600))

	for _, want := range []string{"damage in the spool was set aside", ""} {
		core, logs := observer.New(zap.ErrorLevel)
		h := &Handler{Spool: dir}
		s, err := h.accountSettings()
		require.NoError(t, err)
		a, err := account.Open(s, nil, account.Options{Logger: zap.New(core), Exiting: caddy.Exiting})
		require.NoError(t, err)
		require.NoError(t, a.Close())
		said := ""
		for _, e := range logs.All() {
			said += e.Message
		}
		require.Equal(t, want, said)
	}
}

// leaveOpen is a process of an earlier version, which froze no tariff, that ends between the two records of a call.
func leaveOpen(t *testing.T, dir string) string {
	t.Helper()
	sp, err := spool.Open(spool.Options{Dir: dir})
	require.NoError(t, err)
	r := record.Record{
		ID: llm.NewID(), Account: "default", Opened: time.Now(), Endpoint: "chat/completions", Asked: "gpt-4", Upstream: "gpt-4o", Provider: "openai",
		Payer: "sub-1", ChargeBy: byEndUser, KeyAlias: "ci", Team: "team-1", Written: map[string]string{"input": "1000000"}, InputUnits: 7_400,
		Properties: []record.Property{{Name: "region", Value: "eu"}},
	}
	require.NoError(t, sp.Begin(spool.ID(uuid.MustParse(r.ID)), r.Append(nil, nil)))
	require.NoError(t, sp.Close())
	return r.ID
}

func TestInterruptedCallsAreHeld(t *testing.T) {
	dir := t.TempDir()
	id := leaveOpen(t, dir)
	b := newBench(t, &Handler{Spool: dir})
	require.EqualValues(t, 1, operator.StatusOf(b.account, time.Now()).Interrupted)
	all := b.records()
	require.Len(t, all, 1)
	require.Equal(t, id, all[0].ID)
	require.Equal(t, "interrupted", all[0].State)
	require.Empty(t, all[0].Events)
}

func TestInterruptedCallsAreEstimated(t *testing.T) {
	dir := t.TempDir()
	id := leaveOpen(t, dir)
	b := newBench(t, &Handler{Spool: dir, Interrupted: "estimate", EventCode: "tokens"})
	all := b.records()
	require.Len(t, all, 1)
	e := all[0]
	require.Equal(t, id, e.ID)
	require.Equal(t, "done", e.State)
	require.Equal(t, record.OutcomeInterrupted, e.Outcome)
	require.Equal(t, usage.Estimated, e.Source)
	require.NotEmpty(t, e.How)
	require.EqualValues(t, 8, e.Counts.N(usage.Input))
	require.Equal(t, "ci", e.KeyAlias)
	require.Equal(t, "8", e.Cost, "at the price that the backend had when the call came")
	require.Len(t, e.Events, 1)
	var event struct {
		Subscription string            `json:"external_subscription_id"`
		Properties   map[string]string `json:"properties"`
	}
	require.NoError(t, json.Unmarshal(e.Events[0], &event))
	require.Equal(t, "sub-1", event.Subscription)
	require.Equal(t, "8", event.Properties["prompt_tokens"])
	require.Equal(t, "eu", event.Properties["region"])
	require.Equal(t, "estimated", event.Properties["usage"])
}

func TestSecondProcessIsRefused(t *testing.T) {
	b := newBench(t, &Handler{})
	_, err := account.Open(account.Settings{Name: "default", Dir: b.account.Dir()}, nil, account.Options{Logger: zap.NewNop(), Exiting: caddy.Exiting})
	require.ErrorContains(t, err, "account default")
	require.ErrorContains(t, err, b.account.Dir(), "the operator must see which spool it is")
}

// TestRecordRoundTrip reads a record back as it was written, with text that JSON must escape.
func TestRecordRoundTrip(t *testing.T) {
	r := record.Record{
		V: record.Version, ID: llm.NewID(), Account: "a", Opened: time.UnixMilli(1741219251590).UTC(), Settled: time.UnixMilli(1741219251999).UTC(),
		Outcome: record.OutcomeClientGone, Hangup: settle.Drained, Status: 200, Endpoint: "messages", Asked: "a\"b\\c\n\u2028é😀\x01", Model: "m",
		Upstream: "u", Backend: "b", Provider: "p", ResponseModel: "rm", ResponseID: "ri", Tier: "flex", Stream: true, Attempts: 2,
		Payer: "p", ChargeBy: byTeam, Key: "sk-...abcd", KeyHash: "0123456789ab", KeyAlias: "ka", Team: "t", User: "u", EndUser: "e",
		InputUnits: 7, BaseURL: "https://x/v1", Written: map[string]string{"input": "1", "output": "2"}, Source: usage.Partial, How: "h", Cost: "0.1", BaseCost: "0.09", ProviderCost: "9e-2", Unpriced: "x",
		Prices: "v1", PriceNote: "n", NotBilled: "nb", Bytes: 1, TTFT: 2, Duration: 3,
		Events: []json.RawMessage{json.RawMessage(`{"a":1}`), json.RawMessage(`{"b":2}`)},
	}
	r.Counts.Set(usage.Input, 0)
	r.Counts.Set(usage.Reasoning, 9)
	got, err := record.Parse(r.Append(nil, []byte(`{"a":1},{"b":2}`)))
	require.NoError(t, err)
	require.Equal(t, &r, got)
	_, known := got.Counts.Get(usage.Input)
	require.True(t, known, "zero is not absent")
	_, known = got.Counts.Get(usage.Output)
	require.False(t, known, "absent is not zero")
	_, err = record.Parse([]byte(`{"v":99,"id":"x"}`))
	require.ErrorContains(t, err, "newer")
	require.True(t, json.Valid(jsonscan.AppendString(nil, "\xff\xfe\x00")))
}

// TestTimesAreWrittenAsPackageTimeDoes compares with the layout that appendTime stands for.
func TestTimesAreWrittenAsPackageTimeDoes(t *testing.T) {
	const layout = "2006-01-02T15:04:05.000Z07:00"
	check := func(at time.Time) {
		t.Helper()
		require.Equal(t, at.UTC().Format(layout), string(record.AppendTime(nil, at)))
	}
	zone := time.FixedZone("", 5*3600+45*60)
	first, last := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
	for _, at := range []time.Time{first, last, {}, time.Unix(0, 0), time.Unix(0, 999_999), time.Unix(0, -1), time.UnixMilli(1741219251590), last.Add(time.Hour)} {
		check(at)
		check(at.In(zone))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		at := time.Unix(first.Unix()+random.Int64N(last.Unix()-first.Unix()), random.Int64N(1e9))
		check(at)
		check(at.In(zone))
	}
}
