package lagobilling

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/audit"
	"github.com/tollgate-llm/tollgate/internal/tariff"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/usage"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// checked runs `check` and returns its table and whether it found a problem.
func (o *office) checked() (out string, problem bool) {
	o.t.Helper()
	out, err := o.command("check")
	if err != nil {
		require.ErrorContains(o.t, err, "not everything is billed", out)
	}
	require.NotContains(o.t, out, o.lago.Key())
	return out, err != nil
}

func TestCheckFindsNothing(t *testing.T) {
	for _, store := range []string{fakelago.Postgres, fakelago.ClickHouse} {
		t.Run(store, func(t *testing.T) {
			o := openOffice(t, fakelago.Options{Store: store}, "")
			o.calls(1, "sub-1")
			o.finished(1)
			out, problem := o.checked()
			require.False(t, problem, out)
			require.Contains(t, out, "the organization Fake")
			require.Contains(t, out, store)
			require.Contains(t, out, "100 in a batch")
			require.Contains(t, out, "metric tokens: sum_agg of total_tokens")
			require.Contains(t, out, "1 of 1 payers")
			require.NotContains(t, out, "PROBLEM")
			require.NotContains(t, out, "WARNING")
			require.Equal(t, 1, o.lago.EventCount(), "the check stores nothing")
			require.Empty(t, o.lago.Violations())
			var list audit.CheckList
			require.NoError(t, json.Unmarshal([]byte(o.run("check", "--json")), &list))
			require.True(t, list.OK)
		})
	}
}

// TestCheckFindsWhatIsNeverBilled puts one thing wrong at a time.
func TestCheckFindsWhatIsNeverBilled(t *testing.T) {
	tokens := fakelago.Metric{Code: "tokens", Field: "total_tokens"}
	with := func(change func(*fakelago.Metric)) func(*office) {
		return func(o *office) {
			m := tokens
			change(&m)
			o.lago.AddMetric(m)
		}
	}
	for name, c := range map[string]struct {
		o       fakelago.Options
		billing string
		payer   string
		wrong   func(*office)
		says    string
		warning bool
	}{
		"key":     {wrong: func(o *office) { o.lago.SetKey("other") }, says: "status 401"},
		"no Lago": {wrong: func(o *office) { o.load("event_code tokens") }, says: "nothing is billed", warning: true},
		"read only key": {
			wrong: func(o *office) {
				o.lago.Always(func(c *fakelago.Call) fakelago.Fault {
					if c.Batch() {
						return fakelago.FaultStatus(403, `{"status":403,"error":"Forbidden","code":"write_action_not_allowed_for_event"}`)
					}
					return nil
				})
			},
			says: "write_action_not_allowed_for_event",
		},
		"key that may not read": {
			wrong: func(o *office) {
				o.lago.Always(func(c *fakelago.Call) fakelago.Fault {
					if c.Request.Method == http.MethodGet {
						return fakelago.FaultStatus(403, `{"status":403,"error":"Forbidden","code":"read_action_not_allowed_for_plan"}`)
					}
					return nil
				})
			},
			says: "may not read this, so it was not checked", warning: true,
		},
		"down":                 {wrong: func(o *office) { o.lago.Close() }, says: "connection refused"},
		"batches":              {o: fakelago.Options{BatchMax: 30}, says: "takes only 25 events", warning: true},
		"deduplication off":    {o: fakelago.Options{Store: fakelago.ClickHouse, NoDeduplication: true}, says: "may be billed twice"},
		"deduplication unsaid": {o: fakelago.Options{Store: fakelago.ClickHouse, SilentDeduplication: true}, says: "see that clickhouse_deduplication_enabled is on", warning: true},
		"metric of another code": {
			billing: "event_code other", says: "metric other: Lago has no such billable metric: accepted and never billed, 1 event",
		},
		"metric of a text": {wrong: with(func(m *fakelago.Metric) { m.Field = "model" }), says: "holds a text"},
		"metric of no one": {wrong: with(func(m *fakelago.Metric) { m.Field = "tokens" }), says: "which the events do not have"},
		"metric of some":   {wrong: with(func(m *fakelago.Metric) { m.Field = "response_cost" }), says: "not every event has", warning: true},
		"expression":       {wrong: with(func(m *fakelago.Metric) { m.Needs = []string{"region"} }), says: "expression region", warning: true},
		"filter":           {wrong: with(func(m *fakelago.Metric) { m.Filters = []string{"colour"} }), says: "filtered by colour", warning: true},
		"count":            {billing: "events cost\nevent_code tokens", wrong: with(func(m *fakelago.Metric) { m.Aggregation, m.Field = "count_agg", "" }), says: "counts events, not quantities"},
		"no charge":        {wrong: with(func(m *fakelago.Metric) { m.Uncharged = true }), says: "plan plan: it has no charge for the metric tokens"},
		"two charges":      {wrong: with(func(m *fakelago.Metric) { m.Twice = true }), says: "plan plan: it has 2 charges for the metric tokens: each of them bills every event"},
		"two exact charges": {
			billing: "events cost\nevent_code tokens", wrong: with(func(m *fakelago.Metric) { m.Field, m.Charge, m.Twice = "unit", "dynamic", true }),
			says: "so they are billed 2 times",
		},
		"changed plan": {
			wrong: func(o *office) {
				o.lago.AddSubscription(fakelago.Subscription{ExternalID: "old", Plan: "starter"})
				o.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", Previous: "starter", Started: time.Now().Add(time.Hour)})
			},
			says: "its plan changed from starter to plan at", warning: true,
		},
		"changed from a plan that is gone": {
			wrong: func(o *office) {
				o.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", Previous: "starter", Started: time.Now().Add(time.Hour)})
			},
			says: "plan starter: Lago no longer has it", warning: true,
		},
		"next plan": {
			wrong: func(o *office) {
				with(func(m *fakelago.Metric) { m.Twice = true })(o)
				o.lago.AddSubscription(fakelago.Subscription{ExternalID: "new", Plan: "pro"})
				o.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", Next: "pro"})
			},
			says: "plan pro: it has 2 charges",
		},
		"charge in advance":    {wrong: with(func(m *fakelago.Metric) { m.InAdvance = true }), says: "charge in arrears", warning: true},
		"amounts by standard":  {billing: "events cost\nevent_code tokens", wrong: with(func(m *fakelago.Metric) { m.Field = "unit" }), says: "use a dynamic charge"},
		"unknown subscription": {payer: "stranger", says: "payer stranger: Lago knows no active subscription"},
		"started later": {
			wrong: func(o *office) {
				o.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", Started: time.Now().Add(time.Hour)})
			},
			says: "before the start is accepted and never billed",
		},
		"terminated": {
			wrong: func(o *office) {
				o.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", Terminated: time.Now()})
			},
			says: "no active subscription",
		},
		"unsent of a closed period": {
			billing: "late keep",
			wrong: func(o *office) {
				o.lago.Always(func(c *fakelago.Call) fakelago.Fault {
					if c.Batch() && !strings.Contains(strings.Join(c.IDs(), ""), "-") { // the probe has no ids
						return nil
					}
					if c.Batch() {
						return fakelago.FaultStatus(503, "")
					}
					return nil
				})
				o.calls(1, "sub-1")
				o.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", Started: time.Now().Add(-time.Hour)})
				o.lago.Finalise("sub-1", time.Now().Add(time.Second).Truncate(time.Second).Add(time.Second))
			},
			says: "see `late`", warning: true,
		},
		"kinds": {
			billing: "events per_token_type",
			wrong: func(o *office) {
				o.lago.AddMetric(fakelago.Metric{Code: "llm_input_tokens", Field: "value"})
				o.lago.AddMetric(fakelago.Metric{Code: "llm_output_tokens", Field: "value"})
			},
			says: "metric llm_cached_input_tokens: Lago has no such billable metric: accepted and never billed, 1 event",
		},
		"kinds that never came": {
			billing: "events per_token_type",
			wrong: func(o *office) {
				for _, code := range []string{"llm_input_tokens", "llm_output_tokens", "llm_cached_input_tokens", "llm_reasoning_tokens"} {
					o.lago.AddMetric(fakelago.Metric{Code: code, Field: "value"})
				}
			},
			says: "llm_pages", warning: true,
		},
		"value": {
			billing: "events per_token_type",
			wrong:   func(o *office) { o.lago.AddMetric(fakelago.Metric{Code: "llm_input_tokens", Field: "tokens"}) },
			says:    "metric llm_input_tokens: it aggregates tokens",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := openOffice(t, c.o, c.billing)
			payer := c.payer
			if payer == "" {
				payer = "sub-1"
			}
			o.calls(1, payer)
			o.finished(1)
			if c.wrong != nil {
				c.wrong(o)
			}
			out, problem := o.checked()
			require.Contains(t, out, c.says)
			require.NotEqual(t, c.warning, problem, out)
			require.Empty(t, o.lago.Violations())
		})
	}
}

func TestSetupCreatesWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		billing string
		codes   int
		field   string
	}{
		"per request":    {"event_code calls", 1, "total_tokens"},
		"per token type": {"events per_token_type", int(usage.NumKinds), "value"},
		"cost":           {"events cost\nevent_code costs", 1, "unit"},
	} {
		t.Run(name, func(t *testing.T) {
			o := openOffice(t, fakelago.Options{}, c.billing)
			out := o.run("setup", "--dry-run")
			require.Equal(t, c.codes, strings.Count(out, "would be created"))
			require.Len(t, o.lago.Metrics(), 1, "a dry run creates nothing")
			out = o.run("setup")
			require.Equal(t, c.codes, strings.Count(out, "created"), out)
			require.Len(t, o.lago.Metrics(), 1+c.codes)
			for code, m := range o.lago.Metrics() {
				if code != "tokens" {
					require.Equal(t, c.field, m.Field)
					require.Equal(t, "sum_agg", m.Aggregation)
				}
			}
			requests := o.lago.RequestCount()
			var list audit.SetupList
			require.NoError(t, json.Unmarshal([]byte(o.run("setup", "--json")), &list))
			require.True(t, list.OK)
			for _, m := range list.Accounts[0].Metrics {
				require.Equal(t, audit.MetricExists, m.State)
			}
			require.Equal(t, requests+1, o.lago.RequestCount(), "nothing was left to create")
			o.calls(1, "sub-1")
			o.finished(1)
			billed := o.lago.BilledCount("sub-1", "")
			require.Positive(t, billed)
			require.Equal(t, o.lago.EventCount(), billed, "everything is billed")
		})
	}
}

func TestSetupLeavesAnotherMetricAsItIs(t *testing.T) {
	o := openOffice(t, fakelago.Options{}, "")
	o.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "model"})
	out, err := o.command("setup")
	require.ErrorContains(t, err, "not every billable metric")
	require.Contains(t, out, "differs")
	require.Contains(t, out, "Let it sum total_tokens")
	require.Equal(t, "model", o.lago.Metrics()["tokens"].Field)
}

func TestReconcile(t *testing.T) {
	for _, store := range []string{fakelago.Postgres, fakelago.ClickHouse} {
		for name, c := range map[string]struct {
			billing string
			before  func(*office) // the calls
			after   func(*office) // they are delivered
			flags   []string
			differs []string
		}{
			"nothing": {},
			"nothing, per token type": {
				billing: "events per_token_type",
				before: func(o *office) {
					h := &Handler{Events: tariff.PerTokenType}
					require.NoError(t, provision(t, h))
					for _, m := range h.tariff.Metrics() {
						o.lago.AddMetric(fakelago.Metric{Code: m.Code, Field: m.Field})
					}
				},
			},
			"nothing, cost": {
				billing: "events cost\nevent_code tokens",
				before: func(o *office) {
					o.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "unit", Charge: "dynamic"})
				},
			},
			"lost": {
				before:  func(o *office) { o.lago.Next(fakelago.FaultLost) },
				differs: []string{"accepted by Lago but not listed", "Lago bills "},
			},
			"lost so recently that it may yet come": {
				before: func(o *office) { o.lago.Next(fakelago.FaultLost) },
				flags:  []string{"--lag", "5m"},
			},
			"subscription": {
				after: func(o *office) {
					o.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", Terminated: time.Now()})
				},
				differs: []string{"Lago knows no active subscription sub-1"},
			},
			"charge": {
				before: func(o *office) {
					o.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens", Uncharged: true})
				},
				differs: []string{"has no charge for the metric tokens"},
			},
			"metric": {
				billing: "event_code other",
				differs: []string{"Lago has no billable metric other"},
			},
			"uncounted": {
				after: func(o *office) { // Lago counts from a later moment on than the ledger has events of
					o.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", Started: time.Now().Add(time.Hour), PeriodStart: time.Now().Add(-time.Hour)})
				},
				differs: []string{"Lago bills 0 events in the current period; its events make 4", "Lago bills 0 units in the current period; its events make 4200"},
			},
			"events of others": {
				before: func(o *office) {
					id := strings.Repeat("f", 32)
					o.foreign(fmt.Sprintf(`{"transaction_id":%q,"external_subscription_id":"sub-1","code":"tokens","timestamp":"%d.000","properties":{"total_tokens":"7"}}`, id, time.Now().Unix()))
				},
			},
		} {
			t.Run(name+" "+store, func(t *testing.T) {
				o := openOffice(t, fakelago.Options{Store: store}, c.billing)
				o.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", PeriodStart: time.Now().Add(-time.Hour)})
				if c.before != nil {
					c.before(o)
				}
				o.calls(4, "sub-1")
				o.finished(4)
				if c.after != nil {
					c.after(o)
				}
				args := append([]string{"reconcile", "--lag", "0s"}, c.flags...)
				out, err := o.command(args...)
				if len(c.differs) == 0 {
					require.NoError(t, err, out)
					require.Contains(t, out, "none")
				} else {
					require.ErrorContains(t, err, " between the ledger and Lago", out)
				}
				for _, words := range c.differs {
					require.Contains(t, out, words)
				}
				if name == "events of others" {
					require.Regexp(t, `sub-1 +tokens +4 +4200 +0 +4 +1 +5 +4207 +none`, out)
				}
			})
		}
	}
}

// foreign sends an event as another instance does.
func (o *office) foreign(body string) {
	o.t.Helper()
	req, err := http.NewRequestWithContext(o.t.Context(), http.MethodPost, o.lago.URL+"/api/v1/events/batch", strings.NewReader(`{"events":[`+body+`]}`))
	require.NoError(o.t, err)
	req.Header.Set("Authorization", "Bearer "+o.lago.Key())
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	require.NoError(o.t, err)
	require.NoError(o.t, res.Body.Close())
	require.Equal(o.t, http.StatusOK, res.StatusCode)
}

// TestReconcileSeesDoubles sends the ledger's own events again, in the ways in which ClickHouse bills them twice.
func TestReconcileSeesDoubles(t *testing.T) {
	t.Run("another timestamp", func(t *testing.T) {
		o := openOffice(t, fakelago.Options{Store: fakelago.ClickHouse}, "")
		o.calls(1, "sub-1")
		o.finished(1)
		body := strings.TrimSpace(o.run("export"))
		o.foreign(body)
		require.Empty(t, o.lago.BilledTwice(), "the same bytes are the same event")
		out, err := o.command("reconcile", "--lag", "0s")
		require.NoError(t, err, out)
		at := strings.Index(body, `"timestamp":"`) + len(`"timestamp":"`)
		digits := []byte(body)
		last := strings.IndexByte(body[at:], '"') + at - 1
		if digits[last]++; digits[last] > '9' {
			digits[last] = '0'
		}
		o.foreign(string(digits))
		out, err = o.command("reconcile", "--lag", "0s")
		require.Error(t, err)
		require.Contains(t, out, "1 event at Lago with several timestamps: billed more than once")
		require.Contains(t, out, "twice: ")
	})
	t.Run("no deduplication", func(t *testing.T) {
		o := openOffice(t, fakelago.Options{Store: fakelago.ClickHouse, NoDeduplication: true}, "")
		o.calls(1, "sub-1")
		o.finished(1)
		o.foreign(strings.TrimSpace(o.run("export")))
		out, err := o.command("reconcile", "--lag", "0s")
		require.Error(t, err)
		require.Contains(t, out, "clickhouse_deduplication_enabled is off")
	})
}

// TestReconcileOfOneSpoolAmongMany has a ledger that does not reach back to the beginning of the period: Lago may bill more,
// never less.
func TestReconcileOfOneSpoolAmongMany(t *testing.T) {
	o := openOffice(t, fakelago.Options{}, "retain 1h")
	o.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", PeriodStart: time.Now().Add(-100 * time.Hour)})
	o.foreign(fmt.Sprintf(`{"transaction_id":"early","external_subscription_id":"sub-1","code":"tokens","timestamp":"%d","properties":{"total_tokens":"7"}}`,
		time.Now().Add(-90*time.Hour).Unix()))
	o.calls(2, "sub-1")
	o.finished(2)
	out := o.run("reconcile", "--lag", "0s")
	require.Regexp(t, `sub-1 +tokens +2 +2100 +0 +2 +0 +3 +2107 +none`, out)
	o.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", PeriodStart: time.Now().Add(-100 * time.Hour), Started: time.Now().Add(time.Hour)})
	out, err := o.command("reconcile", "--lag", "0s")
	require.Error(t, err)
	require.Contains(t, out, "Lago bills 0 units in the current period; its events make 2100")
}

func TestReconcileNamesRejected(t *testing.T) {
	o := openOffice(t, fakelago.Options{}, "")
	o.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens", Needs: []string{"region"}})
	o.calls(1, "sub-1")
	o.until(func(st operator.Status) bool { return st.Rejected == 1 })
	out, err := o.command("reconcile")
	require.ErrorContains(t, err, "1 difference between")
	require.Contains(t, out, "1 event refused by Lago")
	_, err = o.command("reconcile", "--payer", "somebody else")
	require.NoError(t, err)
}

func TestReconcileNeedsLago(t *testing.T) {
	o := openOffice(t, fakelago.Options{}, "")
	o.load("event_code tokens")
	_, err := o.command("reconcile", "--account", "default")
	require.ErrorContains(t, err, "has no Lago (api_base) to compare with")
	o.load(o.billing(""))
	o.lago.Close()
	_, err = o.command("reconcile")
	require.ErrorContains(t, err, "connection refused")
	require.NotContains(t, err.Error(), "no instance answers")
}
