package audit_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/audit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/settle"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/tariff"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// books is an account that bills through a fake Lago, which knows the metric `tokens` and the subscription sub-1, whose billing
// period began an hour ago.
type books struct {
	t       *testing.T
	lago    *fakelago.Server
	account *account.Account
	tariff  *tariff.Tariff
}

func keep(t *testing.T, o fakelago.Options, c tariff.Config) *books {
	t.Helper()
	b := &books{t: t, lago: fakelago.New(t, o)}
	b.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens"})
	b.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", PeriodStart: time.Now().Add(-time.Hour)})
	var err error
	b.tariff, err = tariff.New(c)
	require.NoError(t, err)
	b.account, err = account.Open(account.Settings{
		Name: "a", Dir: t.TempDir(), Durability: "process", SpoolMax: 1 << 30, Retain: 24 * time.Hour, APIBase: b.lago.URL, APIKey: b.lago.Key(),
		Late: "keep", PayerCheck: "off",
	}, nil, account.Options{Logger: zap.NewNop(), Exiting: func() bool { return false }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.account.Close()) })
	return b
}

func (b *books) audited() *audit.Account {
	return &audit.Account{Name: "a", Spool: b.account.Spool(), Lago: b.account.Lago(), Retain: 24 * time.Hour, Tariffs: []*tariff.Tariff{b.tariff}}
}

// calls bills n calls of 1,050 tokens to a payer, and waits until Lago has, or has rejected, all of them. It returns their ids.
func (b *books) calls(n int, payer string) (ids []string) {
	b.t.Helper()
	target := &llm.Target{Model: "m", Backend: "b", Provider: "openai", Upstream: "gpt-4o", Prices: map[string]string{"input": "1000000", "output": "1000000"}}
	body := []byte(`{"model":"gpt-4o","choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1000,"completion_tokens":50,"total_tokens":1050}}`)
	for range n {
		call := &llm.Call{ID: llm.NewID(), Start: time.Now(), Endpoint: &llm.Endpoint{Name: "chat/completions", Reader: usage.OpenAIChat}, Request: llm.Request{Asked: "m"}}
		call.Plan(target)
		var bill settle.Bill
		bill.Init(b.account, b.tariff, call)
		require.NoError(b.t, bill.Open(payer, "end_user_id", nil))
		call.Begin(target).SetAnswered()
		reader := usage.NewReader(usage.Options{API: usage.OpenAIChat, Provider: "openai", Status: 200, ContentType: "application/json", Model: "gpt-4o"})
		reader.Next(body)
		require.NoError(b.t, bill.Settle(&settle.Answer{Status: 200, End: settle.Ended, Bytes: int64(len(body)), Reader: reader}))
		ids = append(ids, call.ID)
	}
	require.Eventually(b.t, func() bool { return b.account.Spool().Stats().Pending == 0 }, time.Minute, time.Millisecond)
	return ids
}

// sent returns the events of the ledger as they were sent.
func (b *books) sent() (bodies []string) {
	b.t.Helper()
	require.NoError(b.t, b.account.Spool().Scan(time.Time{}, time.Time{}, func(rec spool.Record) error {
		events, err := record.Events(rec.Payload)
		for _, e := range events {
			bodies = append(bodies, string(e))
		}
		return err
	}))
	return bodies
}

// foreign sends an event to Lago as another sender does.
func (b *books) foreign(body string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.lago.URL+"/api/v1/events/batch", strings.NewReader(`{"events":[`+body+`]}`))
	require.NoError(b.t, err)
	req.Header.Set("Authorization", "Bearer "+b.lago.Key())
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	require.NoError(b.t, res.Body.Close())
	require.Equal(b.t, http.StatusOK, res.StatusCode)
}

func silent(string, int, int) {}

func (b *books) reconciled(q audit.Query) audit.Line {
	b.t.Helper()
	lines, err := b.audited().Reconcile(b.t.Context(), q, silent)
	require.NoError(b.t, err)
	require.Len(b.t, lines, 1)
	return lines[0]
}

// TestCheck has one thing after the other wrong at Lago, each of which it accepts in silence and does not bill.
func TestCheck(t *testing.T) {
	tokens := fakelago.Metric{Code: "tokens", Field: "total_tokens"}
	for name, c := range map[string]struct {
		payer   string
		wrong   func(b *books)
		level   string
		about   string
		message string
	}{
		"nothing":              {level: audit.LevelOK, about: "payers", message: "1 of 1 payers"},
		"unknown subscription": {payer: "stranger", level: audit.LevelProblem, about: "payer stranger", message: "2 events"},
		"metric of a text": {
			wrong: func(b *books) { m := tokens; m.Field = "model"; b.lago.AddMetric(m) },
			level: audit.LevelProblem, about: "metric tokens", message: "holds a text",
		},
		"no charge": {
			wrong: func(b *books) { m := tokens; m.Uncharged = true; b.lago.AddMetric(m) },
			level: audit.LevelProblem, about: "plan plan", message: "has no charge for the metric tokens",
		},
		"two charges": {
			wrong: func(b *books) { m := tokens; m.Twice = true; b.lago.AddMetric(m) },
			level: audit.LevelProblem, about: "plan plan", message: "each of them bills every event",
		},
		"started late": {
			wrong: func(b *books) {
				b.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", Started: time.Now().Add(time.Hour)})
			},
			level: audit.LevelProblem, about: "payer sub-1", message: "after its first event",
		},
		"key": {wrong: func(b *books) { b.lago.SetKey("another") }, level: audit.LevelProblem, about: "API key", message: "401"},
	} {
		t.Run(name, func(t *testing.T) {
			b := keep(t, fakelago.Options{}, tariff.Config{Code: "tokens"})
			if c.payer == "" {
				c.payer = "sub-1"
			}
			b.calls(2, c.payer)
			if c.wrong != nil {
				c.wrong(b)
			}
			events := b.lago.EventCount()
			report, err := b.audited().Check(t.Context(), silent)
			require.NoError(t, err)
			require.Equal(t, c.level == audit.LevelOK, report.OK, "%v", report.Findings)
			require.True(t, slices.ContainsFunc(report.Findings, func(f audit.Finding) bool {
				return f.Level == c.level && f.About == c.about && strings.Contains(f.Message, c.message)
			}), "%v", report.Findings)
			require.NotContains(t, fmt.Sprint(report), b.lago.Key())
			require.Equal(t, events, b.lago.EventCount(), "a check stores nothing")
		})
	}
}

// TestCheckWithoutALago warns that nothing is billed.
func TestCheckWithoutALago(t *testing.T) {
	b := keep(t, fakelago.Options{}, tariff.Config{Code: "tokens"})
	a := b.audited()
	a.Lago = nil
	report, err := a.Check(t.Context(), silent)
	require.NoError(t, err)
	require.True(t, report.OK)
	require.Equal(t, audit.LevelWarning, report.Findings[0].Level)
	require.Contains(t, report.Findings[0].Message, "nothing is billed")
	require.NotEmpty(t, a.SetUp(t.Context(), false, silent).Error)
}

// TestSetUp creates what is missing, once, and leaves a metric that could not bill the events as it is. What is sent then is billed.
func TestSetUp(t *testing.T) {
	b := keep(t, fakelago.Options{}, tariff.Config{Code: "calls"})
	states := func(dry bool) string {
		report := b.audited().SetUp(t.Context(), dry, silent)
		require.Empty(t, report.Error)
		require.Len(t, report.Metrics, 1)
		require.Equal(t, "calls", report.Metrics[0].Code)
		require.Equal(t, report.Metrics[0].State != audit.MetricDiffers, report.OK)
		return report.Metrics[0].State
	}
	require.Equal(t, audit.MetricMissing, states(true))
	require.NotContains(t, b.lago.Metrics(), "calls", "a dry run creates nothing")
	require.Equal(t, audit.MetricCreated, states(false))
	require.Equal(t, audit.MetricExists, states(false))
	require.Equal(t, "total_tokens", b.lago.Metrics()["calls"].Field)
	b.calls(2, "sub-1")
	require.Equal(t, "2100", b.lago.Billed("sub-1", "calls", "total_tokens"))

	b.lago.AddMetric(fakelago.Metric{Code: "calls", Field: "model"})
	require.Equal(t, audit.MetricDiffers, states(false))
	require.Equal(t, "model", b.lago.Metrics()["calls"].Field, "the metric is the operator's")
}

// TestReconcileFindsNoDifference compares a ledger with a Lago that has all of it, and bills it.
func TestReconcileFindsNoDifference(t *testing.T) {
	for _, store := range []string{fakelago.Postgres, fakelago.ClickHouse} {
		t.Run(store, func(t *testing.T) {
			b := keep(t, fakelago.Options{Store: store}, tariff.Config{Code: "tokens"})
			b.calls(3, "sub-1")
			require.Equal(t, audit.Line{
				Account: "a", Payer: "sub-1", Code: "tokens", Events: 3, Units: "3150", AtLago: 3, UsageEvents: 3, UsageUnits: "3150",
			}, b.reconciled(audit.Query{}))
			none, err := b.audited().Reconcile(t.Context(), audit.Query{Subscription: "another"}, silent)
			require.NoError(t, err)
			require.Empty(t, none)
		})
	}
}

// TestReconcileFindsDrift has Lago lose, double and count events otherwise than the ledger does.
func TestReconcileFindsDrift(t *testing.T) {
	t.Run("an event that Lago took is lost", func(t *testing.T) {
		b := keep(t, fakelago.Options{}, tariff.Config{Code: "tokens"})
		b.lago.Next(fakelago.FaultLost)
		lost := b.calls(1, "sub-1")
		b.calls(2, "sub-1")
		l := b.reconciled(audit.Query{})
		require.Equal(t, 3, l.Events)
		require.Equal(t, 2, l.AtLago)
		require.EqualValues(t, 2, l.UsageEvents)
		require.Len(t, l.Missing, 1)
		require.Contains(t, b.sent()[slices.Index(b.ids(), lost[0])], l.Missing[0], "the lost one is named")
		require.Contains(t, strings.Join(l.Differences, "; "), "Lago bills 2 events in the current period; its events make 3")
	})
	t.Run("or may be under way yet", func(t *testing.T) {
		b := keep(t, fakelago.Options{}, tariff.Config{Code: "tokens"})
		b.lago.Next(fakelago.FaultLost)
		b.calls(1, "sub-1")
		require.Empty(t, b.reconciled(audit.Query{Lag: audit.DefaultLag}).Differences)
	})
	t.Run("an event is sent again with another timestamp", func(t *testing.T) {
		b := keep(t, fakelago.Options{Store: fakelago.ClickHouse}, tariff.Config{Code: "tokens"})
		b.calls(1, "sub-1")
		body := b.sent()[0]
		b.foreign(body)
		require.Empty(t, b.reconciled(audit.Query{}).Differences, "the same bytes are the same event")
		head, rest, found := strings.Cut(body, `"timestamp":"`)
		require.True(t, found)
		_, rest, _ = strings.Cut(rest, `"`)
		b.foreign(fmt.Sprintf(`%s"timestamp":"%d.001"%s`, head, time.Now().Unix(), rest))
		l := b.reconciled(audit.Query{})
		require.Len(t, l.Twice, 1)
		require.NotEmpty(t, l.Differences)
	})
	t.Run("another sender has sent more", func(t *testing.T) {
		b := keep(t, fakelago.Options{}, tariff.Config{Code: "tokens"})
		b.calls(1, "sub-1")
		b.foreign(fmt.Sprintf(`{"transaction_id":"x","external_subscription_id":"sub-1","code":"tokens","timestamp":"%d","properties":{"total_tokens":"7"}}`, time.Now().Unix()))
		l := b.reconciled(audit.Query{})
		require.Equal(t, 1, l.Others)
		require.Equal(t, "1057", l.UsageUnits)
		require.Empty(t, l.Differences, "it is listed, and so no difference")
	})
	t.Run("the metric is gone", func(t *testing.T) {
		b := keep(t, fakelago.Options{}, tariff.Config{Code: "other"})
		b.calls(1, "sub-1")
		require.Contains(t, b.reconciled(audit.Query{}).Differences[0], "no billable metric other")
	})
	t.Run("events are rejected", func(t *testing.T) {
		b := keep(t, fakelago.Options{}, tariff.Config{Code: "tokens"})
		b.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens", Needs: []string{"region"}})
		b.calls(2, "sub-1")
		l := b.reconciled(audit.Query{})
		require.Equal(t, 2, l.Rejected)
		require.Zero(t, l.AtLago)
		require.NotEmpty(t, l.Differences)
	})
}

// ids returns the calls' ids in the order of sent.
func (b *books) ids() (ids []string) {
	b.t.Helper()
	require.NoError(b.t, b.account.Spool().Scan(time.Time{}, time.Time{}, func(rec spool.Record) error {
		r, err := record.Parse(rec.Payload)
		if err == nil {
			ids = append(ids, r.ID)
		}
		return err
	}))
	return ids
}

// TestAnAuditEndsWithItsContext holds that an operator who gives up does not leave an audit running.
func TestAnAuditEndsWithItsContext(t *testing.T) {
	b := keep(t, fakelago.Options{}, tariff.Config{Code: "tokens"})
	b.calls(1, "sub-1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.audited().Reconcile(ctx, audit.Query{}, silent)
	require.ErrorIs(t, err, context.Canceled)
	report, err := b.audited().Check(ctx, silent)
	require.True(t, err != nil || !report.OK)
}
