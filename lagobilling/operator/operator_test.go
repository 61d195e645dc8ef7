package operator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/settle"
	"github.com/tollgate-llm/tollgate/internal/tariff"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// desk is an operator's: a gateway that bills sub-1 through a fake Lago, and the commands. Each call costs 30 USD.
type desk struct {
	t     *testing.T
	lago  *fakelago.Server
	spool string
	g     *gateway.Gateway
}

func newDesk(t *testing.T, spool string, directives ...string) *desk {
	t.Helper()
	d := &desk{t: t, lago: fakelago.New(t, fakelago.Options{}), spool: spool}
	d.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens"})
	d.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-1", PeriodStart: time.Now().Add(-time.Hour)})
	d.g = gateway.Start(t, "", strings.Join(directives, "\n")+fmt.Sprintf(`
lagobilling {
	api_base %s
	api_key %s
	event_code tokens
	missing_payer default sub-1
	spool %s
}
llmroute {
	anonymous
	model m {
		backend mock {
			response "Hello there"
			price input 1000000
			price output 1000000
		}
	}
}
`, d.lago.URL, d.lago.Key(), spool))
	return d
}

// try runs `caddy tollgate billing` with those arguments.
func (d *desk) try(args ...string) (string, error) {
	d.t.Helper()
	return command(append([]string{"--address", d.g.Admin}, args...)...)
}

func command(args ...string) (string, error) {
	root := &cobra.Command{Use: "tollgate", SilenceUsage: true, SilenceErrors: true}
	root.PersistentFlags().String("address", "", "")
	root.AddCommand(operator.Command())
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(io.Discard)
	root.SetArgs(append([]string{"billing"}, args...))
	err := root.Execute()
	return out.String(), err
}

func (d *desk) run(args ...string) string {
	d.t.Helper()
	out, err := d.try(args...)
	require.NoError(d.t, err, out)
	return out
}

func (d *desk) calls(n int) {
	d.t.Helper()
	for range n {
		d.g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", `{"model":"m","messages":[{"role":"user","content":"Hello"}]}`)
	}
}

// entries returns the lines of a listing.
func (d *desk) entries(args ...string) (list []operator.Entry) {
	d.t.Helper()
	for line := range strings.Lines(d.run(append(args, "--json")...)) {
		var e operator.Entry
		require.NoError(d.t, json.Unmarshal([]byte(line), &e))
		list = append(list, e)
	}
	return list
}

// awaitStatus waits until the status of the one account is as wanted.
func (d *desk) awaitStatus(wanted func(operator.Status) bool) {
	d.t.Helper()
	require.Eventually(d.t, func() bool {
		var list operator.StatusList
		require.NoError(d.t, json.Unmarshal([]byte(d.run("status", "--json")), &list))
		require.Len(d.t, list.Accounts, 1)
		return wanted(list.Accounts[0])
	}, time.Minute, 5*time.Millisecond)
}

// TestRejectedRecordsAreFixedAndRetried has Lago reject what it gets until its metric is fixed.
func TestRejectedRecordsAreFixedAndRetried(t *testing.T) {
	d := newDesk(t, t.TempDir())
	d.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens", Needs: []string{"region"}})
	d.calls(2)
	d.awaitStatus(func(s operator.Status) bool { return s.Rejected == 2 })
	require.Zero(t, d.lago.EventCount())
	require.Equal(t, 2, strings.Count(d.run("rejected"), "region"), "Lago's own error is shown")
	out, err := d.try("reconcile", "--lag", "0s")
	require.ErrorContains(t, err, "1 difference between the ledger and Lago")
	require.Contains(t, out, "2 events refused by Lago")

	d.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens"})
	_, err = d.try("retry", llm.NewID())
	require.Error(t, err, "the id of no record")
	rejected := d.entries("rejected")
	require.Contains(t, d.run("retry", rejected[0].ID), "1 record pending again")
	d.awaitStatus(func(s operator.Status) bool { return s.Finished == 1 && s.Rejected == 1 })
	require.Contains(t, d.run("retry"), "1 record pending again")
	d.awaitStatus(func(s operator.Status) bool { return s.Finished == 2 })

	bodies := ""
	for _, e := range d.lago.Events() {
		bodies += e.Body + "\n"
	}
	require.Equal(t, bodies, d.run("export"), "what is exported is what Lago got")
	require.Contains(t, d.run("reconcile", "--lag", "0s"), "none")
	require.Contains(t, d.run("check"), "1 of 1 payers")
	require.Empty(t, d.lago.Violations())
}

// interrupted leaves n calls in a spool as a process leaves them that is killed, and returns their ids. Each request held 30 tokens.
func interrupted(t *testing.T, dir string, n int) (ids []string) {
	t.Helper()
	a, err := account.Open(account.Settings{Name: "default", Dir: dir, Durability: "process", SpoolMax: 1 << 30, Retain: time.Hour}, nil,
		account.Options{Logger: zap.NewNop(), Exiting: func() bool { return false }})
	require.NoError(t, err)
	rates, err := tariff.New(tariff.Config{Code: "tokens"})
	require.NoError(t, err)
	for range n {
		call := &llm.Call{ID: llm.NewID(), Start: time.Now(), Endpoint: &llm.Endpoint{Name: "chat/completions"}, Request: llm.Request{Asked: "m", TextUnits: 30_000}}
		call.Plan(&llm.Target{Model: "m", Backend: "b", Provider: "openai", Upstream: "gpt-4o", Prices: map[string]string{"input": "1000000"}})
		var bill settle.Bill
		bill.Init(a, rates, call)
		require.NoError(t, bill.Open("sub-1", "default", nil))
		ids = append(ids, call.ID)
	}
	require.NoError(t, a.Close())
	return ids
}

// TestInterruptedCallsAreEstimatedOrDiscarded has an operator decide on what a killed process left.
func TestInterruptedCallsAreEstimatedOrDiscarded(t *testing.T) {
	dir := t.TempDir()
	ids := interrupted(t, dir, 3)
	d := newDesk(t, dir)
	require.Len(t, d.entries("interrupted"), 3)
	for _, args := range [][]string{{"estimate"}, {"estimate", "--all", ids[0]}, {"discard", ids[0]}, {"discard", "--reason", "a test"}} {
		_, err := d.try(args...)
		require.Error(t, err, "%v must not change anything", args)
	}
	require.Len(t, d.entries("interrupted"), 3)
	require.Contains(t, d.run("estimate", ids[0]), "1 record billed by estimate")
	require.Contains(t, d.run("discard", ids[1], "--reason", "a test"), "1 record settled without a bill")
	require.Contains(t, d.run("discard", "--all", "--reason", "the rest"), "1 record settled without a bill")
	d.awaitStatus(func(s operator.Status) bool { return s.Interrupted == 0 && s.Pending == 0 && s.Finished == 3 })
	require.Equal(t, 1, d.lago.EventCount())
	require.Equal(t, "30", d.lago.Billed("sub-1", "tokens", "response_cost"))
	table := d.run("events")
	require.Contains(t, table, "discarded: a test")
	require.Contains(t, table, "discarded: the rest")
}

// TestAdoptTakesADeadInstanceOver bills once what another instance left, however often it is adopted.
func TestAdoptTakesADeadInstanceOver(t *testing.T) {
	dead := t.TempDir()
	interrupted(t, dead, 2)
	d := newDesk(t, t.TempDir())
	require.Contains(t, d.run("adopt", dead), "2 interrupted")
	if out, err := d.try("adopt", dead); err == nil {
		require.Contains(t, out, "0 pending, 0 rejected, 0 interrupted")
	}
	require.Contains(t, d.run("estimate", "--all"), "2 records billed by estimate")
	d.awaitStatus(func(s operator.Status) bool { return s.Finished == 2 && s.Pending == 0 })
	require.Equal(t, "60", d.lago.Billed("sub-1", "tokens", "response_cost"))
	out, err := command("status", "--spool", dead)
	require.NoError(t, err)
	require.Contains(t, out, "ADOPTED")
}

// TestReplayBillsNothingTwice sends again what Lago lost, and what it has already.
func TestReplayBillsNothingTwice(t *testing.T) {
	d := newDesk(t, t.TempDir())
	d.lago.Next(fakelago.FaultLost)
	d.calls(1)
	d.awaitStatus(func(s operator.Status) bool { return s.Finished == 1 })
	d.calls(1)
	d.awaitStatus(func(s operator.Status) bool { return s.Finished == 2 })
	require.Equal(t, 1, d.lago.EventCount())
	_, err := d.try("reconcile", "--lag", "0s")
	require.ErrorContains(t, err, "between the ledger and Lago")

	require.Contains(t, d.run("replay", "--since", "1h", "--dry-run"), "2 records with 2 events to be sent again")
	require.Contains(t, d.run("replay", "--since", "1h"), "2 records with 2 events pending again")
	d.awaitStatus(func(s operator.Status) bool { return s.Finished == 2 && s.Pending == 0 })
	require.Equal(t, 2, d.lago.BilledCount("sub-1", "tokens"))
	require.Empty(t, d.lago.BilledTwice())
	require.Contains(t, d.run("reconcile", "--lag", "0s"), "none")
}

// TestSetupAndCheckFailWhereNotAllIsBilled has a metric at Lago that cannot bill the events: both commands fail and name it.
func TestSetupAndCheckFailWhereNotAllIsBilled(t *testing.T) {
	d := newDesk(t, t.TempDir())
	d.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "model"})
	out, err := d.try("setup")
	require.ErrorContains(t, err, "not every billable metric")
	require.Contains(t, out, "differs")
	out, err = d.try("check")
	require.ErrorContains(t, err, "1 problem: not everything is billed")
	require.Contains(t, out, "PROBLEM")
	require.NotContains(t, out, d.lago.Key())
}

// TestOfflineReadsWhatTheInstanceShows reads the spool's directory while an instance uses it.
func TestOfflineReadsWhatTheInstanceShows(t *testing.T) {
	d := newDesk(t, t.TempDir())
	d.calls(2)
	d.awaitStatus(func(s operator.Status) bool { return s.Finished == 2 })
	for _, list := range []string{"events", "export"} {
		offline, err := command(list, "--spool", d.spool)
		require.NoError(t, err)
		require.Equal(t, d.run(list), offline)
	}
	_, err := command("events", "--address", "127.0.0.1:1")
	require.ErrorContains(t, err, "no instance answers")
	require.ErrorContains(t, err, "--spool")
}
