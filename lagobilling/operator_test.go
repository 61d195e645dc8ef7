package lagobilling

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// office is a running gateway that bills through a fake Lago.
type office struct {
	*gateway
	lago *fakelago.Server
}

// openOffice starts a gateway over a Lago that knows the metric `tokens` and the subscription sub-1. billing holds further
// lines; one that names an event_code replaces the usual one.
func openOffice(t *testing.T, o fakelago.Options, billing string) *office {
	t.Helper()
	l := fakelago.New(t, o)
	l.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens"})
	l.AddSubscription(fakelago.Subscription{ExternalID: "sub-1"})
	of := &office{lago: l}
	of.gateway = startGateway(t, plain("application/json", jsonAnswer), of.billing(billing))
	return of
}

func (o *office) billing(more string) string {
	code := "event_code tokens\n"
	if strings.Contains(more, "event_code") {
		code = ""
	}
	return fmt.Sprintf("api_base %s\napi_key %s\n%s%s", o.lago.URL, o.lago.Key(), code, more)
}

// calls makes n calls of a payer.
func (o *office) calls(n int, payer string) {
	o.t.Helper()
	for range n {
		res, body := o.post(payer)
		require.Equal(o.t, http.StatusOK, res.StatusCode, body)
	}
}

// until waits for the account's status.
func (o *office) until(cond func(operator.Status) bool) operator.Status {
	o.t.Helper()
	var st operator.Status
	require.Eventually(o.t, func() bool { st = o.status(); return cond(st) }, 20*time.Second, 5*time.Millisecond)
	return st
}

func (o *office) finished(n int64) {
	o.t.Helper()
	o.until(func(st operator.Status) bool { return st.Finished == n && st.Pending == 0 })
}

// entries returns the lines of a listing.
func (o *office) entries(args ...string) []operator.Entry {
	o.t.Helper()
	out, err := o.command(append(args, "--json")...)
	require.NoError(o.t, err)
	return entriesOf(o.t, out)
}

func entriesOf(t *testing.T, out string) []operator.Entry {
	t.Helper()
	var list []operator.Entry
	for line := range strings.Lines(out) {
		var e operator.Entry
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		list = append(list, e)
	}
	return list
}

func (o *office) run(args ...string) string {
	o.t.Helper()
	out, err := o.command(args...)
	require.NoError(o.t, err, out)
	return out
}

func bodiesAtLago(l *fakelago.Server) map[string]bool {
	bodies := make(map[string]bool)
	for _, e := range l.Events() {
		bodies[e.Body] = true
	}
	return bodies
}

func TestRejectedRecordsAreFixedAndSent(t *testing.T) {
	o := openOffice(t, fakelago.Options{}, "")
	o.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens", Needs: []string{"region"}})
	o.calls(3, "sub-1")
	o.until(func(st operator.Status) bool { return st.Rejected == 3 })
	before := o.run("export")

	table := o.run("rejected")
	require.Contains(t, table, "expression_evaluation_failed: Variable: region not found")
	require.Contains(t, table, "422")
	require.Contains(t, table, "LAGO SAYS")
	rejected := o.entries("rejected")
	require.Len(t, rejected, 3)
	require.Contains(t, string(rejected[0].Because), "expression_evaluation_failed")
	_, err := o.command("retry", uuid.Nil.String())
	require.ErrorContains(t, err, "no rejected record with the id "+uuid.Nil.String())
	_, err = o.command("retry", "nonsense")
	require.ErrorContains(t, err, "not the id of a call")
	_, err = o.command("retry", rejected[0].ID, uuid.Nil.String())
	require.ErrorContains(t, err, "nothing was changed")
	require.EqualValues(t, 3, o.status().Rejected)

	o.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens"})
	require.Contains(t, o.run("retry", rejected[0].ID), "1 record ")
	o.until(func(st operator.Status) bool { return st.Rejected == 2 && st.Finished == 1 })
	require.Contains(t, o.run("retry"), "2 records ")
	o.finished(3)
	require.Empty(t, o.run("rejected", "--json"))
	require.Equal(t, "3150", o.lago.Billed("sub-1", "tokens", "total_tokens"))
	require.Empty(t, o.lago.Violations(), "sent again byte-identical")
	require.Equal(t, before, o.run("export"))
}

func TestExportIsWhatLagoGets(t *testing.T) {
	o := openOffice(t, fakelago.Options{}, "events per_token_type\nproperty note `a \"b\" & <c> é`")
	o.calls(5, "sub-1")
	o.finished(5)
	lines := strings.Split(strings.TrimSuffix(o.run("export"), "\n"), "\n")
	bodies := bodiesAtLago(o.lago)
	require.Len(t, lines, len(bodies))
	for _, line := range lines {
		require.True(t, bodies[line], line)
	}
	require.Empty(t, o.run("export", "--until", "1h"))
	require.Equal(t, len(lines)/5, strings.Count(o.run("export", "--limit", "1"), "\n"), "the limit counts records")
}

func TestReplaySendsAgain(t *testing.T) {
	for _, store := range []string{fakelago.Postgres, fakelago.ClickHouse} {
		t.Run(store, func(t *testing.T) {
			o := openOffice(t, fakelago.Options{Store: store}, "")
			o.lago.Next(fakelago.FaultLost)
			o.calls(1, "sub-1")
			o.finished(1)
			require.Zero(t, o.lago.EventCount(), "Lago took it and lost it")
			o.calls(4, "sub-1")
			o.finished(5)
			require.Equal(t, 4, o.lago.BilledCount("sub-1", "tokens"))

			_, err := o.command("replay", "--until", "1h")
			require.ErrorContains(t, err, "--since")
			_, err = o.command("replay", "--since", "1h", "--until", "2h")
			require.ErrorContains(t, err, "since before until")
			require.Contains(t, o.run("replay", "--since", "2h", "--until", "1h"), "0 records")
			text := o.run("replay", "--since", "1h", "--dry-run")
			require.Contains(t, text, "5 records with 5 events to be sent again")
			require.Contains(t, text, "to send just these")
			require.Equal(t, store == fakelago.ClickHouse, strings.Contains(text, "clickhouse_deduplication_enabled"))
			requests := o.lago.RequestCount()
			require.Zero(t, o.status().Pending)
			require.Equal(t, requests, o.lago.RequestCount(), "it was only counted")

			require.Contains(t, o.run("replay", "--since", "1h", "--account", "default"), "5 records with 5 events pending again")
			require.NoError(t, o.lago.Await(t.Context(), func() bool { return o.lago.BilledCount("sub-1", "tokens") == 5 }))
			o.finished(5)
			require.Equal(t, "5250", o.lago.Billed("sub-1", "tokens", "total_tokens"))
			require.Empty(t, o.lago.BilledTwice())
			require.Empty(t, o.lago.Violations(), "byte-identical")
		})
	}
}

func TestLedgerOnlyRecordsAreReplayed(t *testing.T) {
	o := openOffice(t, fakelago.Options{}, "")
	o.load("event_code tokens")
	o.calls(2, "sub-1")
	o.finished(2)
	_, err := o.command("replay", "--since", "1h", "--until", "0s", "--account", "default")
	require.ErrorContains(t, err, "has no Lago (api_base)")
	require.Contains(t, o.run("replay", "--since", "1h", "--until", "0s"), "no account has a Lago")
	exported := o.run("export")
	o.load(o.billing(""))
	o.run("replay", "--since", "1h")
	require.NoError(t, o.lago.Await(t.Context(), func() bool { return o.lago.EventCount() == 2 }))
	for body := range bodiesAtLago(o.lago) {
		require.Contains(t, exported, body+"\n")
	}
}

// leaveInterrupted makes the gateway's spool hold n calls that a process left open, before it starts.
func leaveInterrupted(t *testing.T, dir string, n int) (ids []string) {
	t.Helper()
	for range n {
		ids = append(ids, leaveOpen(t, dir))
	}
	return ids
}

func TestInterruptedCallsAreSettledByTheOperator(t *testing.T) {
	dir := t.TempDir()
	left := leaveInterrupted(t, dir, 4)
	o := openOffice(t, fakelago.Options{}, "")
	o.load(o.billing("") + "\nspool " + dir)
	require.EqualValues(t, 4, o.status().Interrupted)
	text := o.run("interrupted")
	for _, id := range left {
		require.Contains(t, text, id)
	}
	require.Contains(t, text, "sub-1")
	require.Contains(t, text, "8", "the input that the request held")
	require.Len(t, o.entries("interrupted"), 4)

	_, err := o.command("estimate")
	require.ErrorContains(t, err, "--all")
	_, err = o.command("discard", left[1])
	require.ErrorContains(t, err, "--reason")
	require.EqualValues(t, 4, o.status().Interrupted)

	require.Contains(t, o.run("estimate", left[0]), "1 record billed by estimate")
	require.Contains(t, o.run("discard", left[1], "--reason", "the provider charged nothing"), "1 record ")
	o.until(func(st operator.Status) bool { return st.Interrupted == 2 && st.Finished == 2 })
	require.Contains(t, o.run("estimate", "--all"), "2 records ")
	o.finished(4)
	require.Equal(t, "24", o.lago.Billed("sub-1", "tokens", "total_tokens"), "three estimates of 8")
	for _, e := range o.entries("events") {
		require.Equal(t, record.OutcomeInterrupted, e.Outcome)
		require.Equal(t, e.ID == left[1], e.Discarded == "the provider charged nothing")
		require.Equal(t, e.ID == left[1], e.NotBilled == record.NotBilledDiscarded)
		require.Equal(t, e.ID == left[1], len(e.Events) == 0)
		require.Zero(t, e.InputUnits)
	}
	require.Contains(t, o.run("events"), "discarded: the provider charged nothing")
	_, err = o.command("estimate", left[0])
	require.ErrorContains(t, err, "no interrupted record")
}

// TestDiscardThatWasCutOff meets a record that says that it is discarded and is rejected still: it is not sent again.
func TestDiscardThatWasCutOff(t *testing.T) {
	o := openOffice(t, fakelago.Options{}, "")
	o.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens", Needs: []string{"region"}})
	o.calls(1, "sub-1")
	o.until(func(st operator.Status) bool { return st.Rejected == 1 })
	id := o.entries("rejected")[0].ID
	app.Each(func(_ string, a *account.Account) {
		require.NoError(t, a.Spool().Select([]spool.State{spool.StateRejected}, time.Time{}, time.Time{}, func(rec spool.Record) error {
			payload, err := record.Discard(rec.Payload, "a test")
			require.NoError(t, err)
			_, err = a.Spool().Amend(rec.Seq, payload)
			return err
		}))
	})
	require.Contains(t, o.run("retry"), "0 records")
	_, err := o.command("retry", id)
	require.ErrorContains(t, err, "no rejected record")
	require.Contains(t, o.run("discard", id, "--reason", "a test once more"), "1 record ")
	o.finished(1)
	require.Equal(t, "a test", o.entries("events")[0].Discarded)
	require.Zero(t, o.lago.EventCount())
}

func TestRejectedRecordsAreDiscarded(t *testing.T) {
	o := openOffice(t, fakelago.Options{}, "")
	o.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens", Needs: []string{"region"}})
	o.calls(2, "sub-1")
	o.until(func(st operator.Status) bool { return st.Rejected == 2 })
	o.run("discard", "--all", "--reason", `a test "account"`)
	o.until(func(st operator.Status) bool { return st.Rejected == 0 && st.Finished == 2 })
	for _, e := range o.entries("events") {
		require.Equal(t, `a test "account"`, e.Discarded)
		require.Len(t, e.Events, 1, "what was refused can still be seen")
		require.NotEmpty(t, e.Cost)
	}
	require.Contains(t, o.run("replay", "--since", "1h", "--until", "0s"), "0 records", "what was discarded is not sent again")
	require.Zero(t, o.lago.EventCount())
}

// offline runs a command that reads a spool without an instance.
func offline(t *testing.T, args ...string) string {
	t.Helper()
	out, err := (&gateway{t: t, dir: "/nowhere"}).command(args...)
	require.NoError(t, err, out)
	return out
}

// TestReadingOffline reads the spool beside the instance that uses it, and after it is gone.
func TestReadingOffline(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	l := fakelago.New(t, fakelago.Options{})
	t.Run("instance", func(t *testing.T) {
		leaveInterrupted(t, dir, 1)
		g := startGateway(t, plain("application/json", jsonAnswer), "")
		o := &office{gateway: g, lago: l}
		o.load(o.billing("account books\nspool " + dir))
		l.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens", Needs: []string{"region"}})
		o.calls(1, "sub-1")
		o.until(func(st operator.Status) bool { return st.Rejected == 1 })
		l.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens"})
		o.calls(2, "sub-1")
		o.until(func(st operator.Status) bool { return st.Finished == 2 })
		// To a reader that does not know whether an instance lives, what it left open is open.
		want := strings.ReplaceAll(o.run("events", "--json"), `"state":"interrupted"`, `"state":"open"`)
		require.Equal(t, want, offline(t, "events", "--json", "--spool", dir))
		require.Equal(t, o.run("rejected"), offline(t, "rejected", "--spool", dir))
		require.Equal(t, o.run("export"), offline(t, "export", "--spool", dir))
		var there, here operator.StatusList
		require.NoError(t, json.Unmarshal([]byte(o.run("status", "--json")), &there))
		require.NoError(t, json.Unmarshal([]byte(offline(t, "status", "--spool", dir, "--json")), &here))
		require.True(t, here.Accounts[0].Offline)
		require.Equal(t, there.Accounts[0].Finished, here.Accounts[0].Finished)
		require.Equal(t, there.Accounts[0].Rejected, here.Accounts[0].Rejected)
	})
	files := tree(t, dir)
	text := offline(t, "status", "--spool", dir)
	require.Contains(t, text, "finished     2")
	require.Contains(t, text, "this is the spool alone")
	require.Len(t, entriesOf(t, offline(t, "events", "--spool", dir, "--json")), 4)
	require.Len(t, entriesOf(t, offline(t, "events", "--spool", dir, "--json", "--account", "books")), 3, "one was left by another account")
	require.Len(t, entriesOf(t, offline(t, "rejected", "--spool", dir, "--json")), 1)
	require.Contains(t, offline(t, "interrupted", "--spool", dir), "sub-1")
	require.Equal(t, 3, strings.Count(offline(t, "export", "--spool", dir), "\n"))
	require.Equal(t, files, tree(t, dir), "reading changes nothing")

	_, err := (&gateway{t: t, dir: "/nowhere"}).command("events", "--spool", t.TempDir())
	require.ErrorContains(t, err, "holds no spool")
	_, err = (&gateway{t: t, dir: "/nowhere"}).command("events")
	require.ErrorContains(t, err, "--spool", "without an instance the error says what else there is")
}

// tree returns what stands in a directory, by name and size.
func tree(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	files := make(map[string]int64)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		files[e.Name()] = info.Size()
	}
	return files
}

func TestStatusWaitsUntilAllIsDelivered(t *testing.T) {
	o := openOffice(t, fakelago.Options{}, "")
	o.lago.SetKey("changed")
	o.calls(1, "sub-1")
	_, err := o.command("status", "--wait", "1ms")
	require.ErrorContains(t, err, "0 calls open and 1 record pending")
	o.until(func(st operator.Status) bool { return st.Delivery.Stopped != "" })
	_, err = o.command("status", "--wait", "1ms")
	require.ErrorContains(t, err, "status 401")
	o.load(strings.Replace(o.billing(""), "api_key "+o.lago.Key(), "api_key changed", 1))
	out := o.run("status", "--wait", "20s")
	require.Contains(t, out, "pending      0")
}
