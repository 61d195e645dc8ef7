package lagobilling

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// office is a running gateway that bills through a fake Lago.
type office struct {
	*gateway
	lago *testkit.Lago
}

// openOffice starts a gateway over a Lago that knows the metric `tokens` and the subscription sub-1. billing holds further
// lines; one that names an event_code replaces the usual one.
func openOffice(t *testing.T, o testkit.LagoOptions, billing string) *office {
	t.Helper()
	l := testkit.NewLago(t, o)
	l.AddMetric(testkit.LagoMetric{Code: "tokens", Field: "total_tokens"})
	l.AddSubscription(testkit.LagoSubscription{ExternalID: "sub-1"})
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
func (o *office) until(cond func(accountStatus) bool) accountStatus {
	o.t.Helper()
	var st accountStatus
	require.Eventually(o.t, func() bool { st = o.status(); return cond(st) }, 20*time.Second, 5*time.Millisecond)
	return st
}

func (o *office) finished(n int64) {
	o.t.Helper()
	o.until(func(st accountStatus) bool { return st.Finished == n && st.Pending == 0 })
}

// entries returns the lines of a listing.
func (o *office) entries(args ...string) []ledgerEntry {
	o.t.Helper()
	out, err := o.command(append(args, "--json")...)
	require.NoError(o.t, err)
	return entriesOf(o.t, out)
}

func entriesOf(t *testing.T, out string) []ledgerEntry {
	t.Helper()
	var list []ledgerEntry
	for line := range strings.Lines(out) {
		var e ledgerEntry
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

func bodiesAtLago(l *testkit.Lago) map[string]bool {
	bodies := make(map[string]bool)
	for _, e := range l.Events() {
		bodies[e.Body] = true
	}
	return bodies
}

func TestRejectedRecordsAreMendedAndSent(t *testing.T) {
	o := openOffice(t, testkit.LagoOptions{}, "")
	o.lago.AddMetric(testkit.LagoMetric{Code: "tokens", Field: "total_tokens", Needs: []string{"region"}})
	o.calls(3, "sub-1")
	o.until(func(st accountStatus) bool { return st.Rejected == 3 })
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

	o.lago.AddMetric(testkit.LagoMetric{Code: "tokens", Field: "total_tokens"})
	require.Contains(t, o.run("retry", rejected[0].ID), "1 records")
	o.until(func(st accountStatus) bool { return st.Rejected == 2 && st.Finished == 1 })
	require.Contains(t, o.run("retry"), "2 records")
	o.finished(3)
	require.Empty(t, o.run("rejected", "--json"))
	require.Equal(t, "3150", o.lago.Billed("sub-1", "tokens", "total_tokens"))
	require.Empty(t, o.lago.Violations(), "sent again byte-identical")
	require.Equal(t, before, o.run("export"))
}

func TestExportIsWhatLagoGets(t *testing.T) {
	o := openOffice(t, testkit.LagoOptions{}, "events per_token_type\nproperty note `a \"b\" & <c> é`")
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
	for _, store := range bothStores {
		t.Run(store, func(t *testing.T) {
			o := openOffice(t, testkit.LagoOptions{Store: store}, "")
			o.lago.Next(testkit.FaultLost)
			o.calls(1, "sub-1")
			o.finished(1)
			require.Zero(t, o.lago.EventCount(), "Lago took it and lost it")
			o.calls(4, "sub-1")
			o.finished(5)
			require.Equal(t, 4, o.lago.BilledCount("sub-1", "tokens"))

			_, err := o.command("replay", "--since", "1h")
			require.ErrorContains(t, err, "--until")
			_, err = o.command("replay", "--since", "1h", "--until", "2h")
			require.ErrorContains(t, err, "since before until")
			require.Contains(t, o.run("replay", "--since", "2h", "--until", "1h"), "0 records")
			text := o.run("replay", "--since", "1h", "--until", "0s")
			require.Contains(t, text, "5 records with 5 events would be sent again")
			require.Contains(t, text, "--yes")
			require.Equal(t, store == testkit.LagoClickHouse, strings.Contains(text, "clickhouse_deduplication_enabled"))
			requests := o.lago.RequestCount()
			require.Zero(t, o.status().Pending)
			require.Equal(t, requests, o.lago.RequestCount(), "it was only counted")

			require.Contains(t, o.run("replay", "--since", "1h", "--until", "0s", "--yes", "--account", "default"), "5 records with 5 events are pending again")
			require.NoError(t, o.lago.Await(t.Context(), func() bool { return o.lago.BilledCount("sub-1", "tokens") == 5 }))
			o.finished(5)
			require.Equal(t, "5250", o.lago.Billed("sub-1", "tokens", "total_tokens"))
			require.Empty(t, o.lago.BilledTwice())
			require.Empty(t, o.lago.Violations(), "byte-identical")
		})
	}
}

func TestLedgerOnlyRecordsAreReplayed(t *testing.T) {
	o := openOffice(t, testkit.LagoOptions{}, "")
	o.load("event_code tokens")
	o.calls(2, "sub-1")
	o.finished(2)
	_, err := o.command("replay", "--since", "1h", "--until", "0s", "--account", "default")
	require.ErrorContains(t, err, "has no Lago (api_base)")
	require.Contains(t, o.run("replay", "--since", "1h", "--until", "0s"), "no account has a Lago")
	exported := o.run("export")
	o.load(o.billing(""))
	o.run("replay", "--since", "1h", "--until", "0s", "--yes")
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
	o := openOffice(t, testkit.LagoOptions{}, "")
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

	require.Contains(t, o.run("estimate", left[0]), "1 records are billed by estimate")
	require.Contains(t, o.run("discard", left[1], "--reason", "the provider charged nothing"), "1 records")
	o.until(func(st accountStatus) bool { return st.Interrupted == 2 && st.Finished == 2 })
	require.Contains(t, o.run("estimate", "--all"), "2 records")
	o.finished(4)
	require.Equal(t, "24", o.lago.Billed("sub-1", "tokens", "total_tokens"), "three estimates of 8")
	for _, e := range o.entries("events") {
		require.Equal(t, outcomeInterrupted, e.Outcome)
		require.Equal(t, e.ID == left[1], e.Discarded == "the provider charged nothing")
		require.Equal(t, e.ID == left[1], e.NotBilled == notBilledDiscarded)
		require.Equal(t, e.ID == left[1], len(e.Events) == 0)
		require.Zero(t, e.InputUnits)
	}
	require.Contains(t, o.run("events"), "discarded: the provider charged nothing")
	_, err = o.command("estimate", left[0])
	require.ErrorContains(t, err, "no interrupted record")
}

func TestRejectedRecordsAreDiscarded(t *testing.T) {
	o := openOffice(t, testkit.LagoOptions{}, "")
	o.lago.AddMetric(testkit.LagoMetric{Code: "tokens", Field: "total_tokens", Needs: []string{"region"}})
	o.calls(2, "sub-1")
	o.until(func(st accountStatus) bool { return st.Rejected == 2 })
	o.run("discard", "--all", "--reason", `a test "account"`)
	o.until(func(st accountStatus) bool { return st.Rejected == 0 && st.Finished == 2 })
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
	l := testkit.NewLago(t, testkit.LagoOptions{})
	t.Run("instance", func(t *testing.T) {
		leaveInterrupted(t, dir, 1)
		g := startGateway(t, plain("application/json", jsonAnswer), "")
		o := &office{gateway: g, lago: l}
		o.load(o.billing("account books\nspool " + dir))
		l.AddMetric(testkit.LagoMetric{Code: "tokens", Field: "total_tokens", Needs: []string{"region"}})
		o.calls(1, "sub-1")
		o.until(func(st accountStatus) bool { return st.Rejected == 1 })
		l.AddMetric(testkit.LagoMetric{Code: "tokens", Field: "total_tokens"})
		o.calls(2, "sub-1")
		o.until(func(st accountStatus) bool { return st.Finished == 2 })
		// To a reader that does not know whether an instance lives, what it left open is open.
		want := strings.ReplaceAll(o.run("events", "--json"), `"state":"interrupted"`, `"state":"open"`)
		require.Equal(t, want, offline(t, "events", "--json", "--spool", dir))
		require.Equal(t, o.run("rejected"), offline(t, "rejected", "--spool", dir))
		require.Equal(t, o.run("export"), offline(t, "export", "--spool", dir))
		var there, here statusList
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

// deadSpool is the spool of an instance that is gone: pending, rejected and interrupted records.
func deadSpool(t *testing.T, account string) (dir string, events []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "dead")
	t.Run("dead instance", func(t *testing.T) { events = fillDeadSpool(t, account, dir) })
	return dir, events
}

func fillDeadSpool(t *testing.T, account, dir string) (events []string) {
	t.Helper()
	b := newBench(t, &Handler{Account: account, EventCode: "tokens", Spool: t.TempDir()})
	for range 3 {
		_, _, err := b.post(chatRoute(plain("application/json", jsonAnswer)))
		require.NoError(t, err)
		b.wait()
	}
	sp, err := spool.Open(spool.Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, b.account.spool.Scan(time.Time{}, time.Time{}, func(rec spool.Record) error {
		bodies, err := recordEvents(rec.Payload)
		if err != nil {
			return err
		}
		events = append(events, string(bodies[0]))
		if err := sp.Begin(rec.ID, rec.Payload); err != nil {
			return err
		}
		return sp.Settle(rec.ID, rec.Payload, true)
	}))
	records, err := sp.Claim(context.Background(), 1)
	require.NoError(t, err)
	require.NoError(t, sp.Reject(records[0].Seq, []byte(`{"error":"no"}`)))
	require.NoError(t, sp.Close())
	leaveOpen(t, dir)
	return events
}

func TestAdoptTakesOverADeadSpool(t *testing.T) {
	dir, events := deadSpool(t, "default")
	o := openOffice(t, testkit.LagoOptions{}, "")
	out := o.run("adopt", dir)
	require.Contains(t, out, "account default has taken over 4 records: 2 pending, 1 rejected, 1 interrupted")
	o.until(func(st accountStatus) bool { return st.Finished == 2 && st.Rejected == 1 && st.Interrupted == 1 })
	o.run("retry")
	o.until(func(st accountStatus) bool { return st.Finished == 3 })
	require.Len(t, o.lago.Events(), 3)
	for _, e := range o.lago.Events() {
		require.Contains(t, events, e.Body, "byte-identical")
	}
	_, err := o.command("adopt", dir)
	require.ErrorContains(t, err, "adopted by another")
	require.Len(t, o.lago.Events(), 3)
	require.Empty(t, o.lago.Violations())
}

func TestAdoptEstimatesByPolicy(t *testing.T) {
	dir, _ := deadSpool(t, "default")
	o := openOffice(t, testkit.LagoOptions{}, "interrupted estimate")
	require.Contains(t, o.run("adopt", dir), "1 interrupted (1 of these billed by estimate)")
	o.until(func(st accountStatus) bool { return st.Finished == 3 && st.Rejected == 1 && st.Interrupted == 0 })
}

func TestAdoptRefusesWhatIsNotItsOwn(t *testing.T) {
	dir, _ := deadSpool(t, "other")
	leaveOpen(t, dir) // of the account default
	o := openOffice(t, testkit.LagoOptions{}, "")
	_, err := o.command("adopt", dir)
	require.ErrorContains(t, err, "several accounts: default, other")
	dir2 := filepath.Join(t.TempDir(), "dead")
	require.NoError(t, os.MkdirAll(dir2, 0o700))
	_, err = o.command("adopt", dir2)
	require.ErrorContains(t, err, "holds no spool")
	require.Empty(t, tree(t, dir2), "it was left alone")
	_, err = o.command("adopt", filepath.Join(o.dir, "spool"))
	require.ErrorContains(t, err, "in use by another process")
	live := filepath.Join(t.TempDir(), "live")
	leaveOpen(t, live)
	_, err = o.command("adopt", live, "--account", "another")
	require.ErrorContains(t, err, "belong to account default, not another")
	sp, err := spool.Open(spool.Options{Dir: live})
	require.NoError(t, err)
	_, err = o.command("adopt", live)
	require.ErrorContains(t, err, "in use by another process")
	require.NoError(t, sp.Close())
	require.Contains(t, o.run("adopt", live), "1 interrupted")
}

// TestAdoptedRecordsKeepTheirTime adopts records that the dead instance may have sent: `late restamp` must not make them
// other events to ClickHouse.
func TestAdoptedRecordsKeepTheirTime(t *testing.T) {
	r := newRig(t, testkit.LagoOptions{Store: testkit.LagoClickHouse})
	r.close()
	r.cfg.late, r.cfg.restamp, r.cfg.sentFile = lateRestamp, restampEvents, filepath.Join(r.dir, "sent")
	r.open()
	settled := r.clock.now().Add(time.Minute)
	require.NoError(t, r.d.late.adopted(settled))
	record := spool.Record{Seq: 1, Time: settled}
	require.False(t, r.d.late.fresh(record))
	require.True(t, r.d.late.fresh(spool.Record{Seq: 2, Time: settled.Add(time.Second)}), "what is settled here after it is")
	r.close()
	r.open()
	require.False(t, r.d.late.fresh(record), "after the next start too")
}

func restampEvents(payload []byte, _ time.Time) ([]byte, error) { return payload, nil }

func TestStatusWaitsUntilAllIsDelivered(t *testing.T) {
	o := openOffice(t, testkit.LagoOptions{}, "")
	o.lago.SetKey("changed")
	o.calls(1, "sub-1")
	_, err := o.command("status", "--wait", "1ms")
	require.ErrorContains(t, err, "0 calls are open and 1 records are pending")
	o.until(func(st accountStatus) bool { return st.Delivery.Stopped != "" })
	_, err = o.command("status", "--wait", "1ms")
	require.ErrorContains(t, err, "status 401")
	o.load(strings.Replace(o.billing(""), "api_key "+o.lago.Key(), "api_key changed", 1))
	out := o.run("status", "--wait", "20s")
	require.Contains(t, out, "pending      0")
}

// TestAdminAPI asks every path with every method, and sends bodies that are not what is wanted.
func TestAdminAPI(t *testing.T) {
	o := openOffice(t, testkit.LagoOptions{}, "")
	admin := unixClient(filepath.Join(o.dir, "a"))
	defer admin.CloseIdleConnections()
	ask := func(method, path, body string) (int, string, http.Header) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1"+path, strings.NewReader(body))
		require.NoError(t, err)
		res, err := admin.Do(req)
		require.NoError(t, err)
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode, string(b), res.Header
	}
	posts := map[string]bool{"retry": true, "estimate": true, "discard": true, "adopt": true, "replay": true, "setup": true}
	gets := map[string]bool{"retry": false, "estimate": false, "discard": false, "adopt": false}
	paths := 0
	for _, route := range new(Admin).Routes() {
		paths++
		name := strings.TrimPrefix(strings.TrimPrefix(route.Pattern, "/tollgate/billing"), "/")
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			_, noGet := gets[name]
			if method == http.MethodGet && !noGet || method == http.MethodPost && posts[name] {
				continue
			}
			status, body, header := ask(method, route.Pattern, "{}")
			require.Equal(t, http.StatusMethodNotAllowed, status, method+" "+route.Pattern)
			require.Contains(t, body, `"error":"method not allowed`)
			require.NotEmpty(t, header.Get("Allow"))
		}
	}
	require.Equal(t, 13, paths)
	for _, c := range []struct {
		method, path, body string
		status             int
		words              string
	}{
		{"GET", "/events?what=1", "", 400, "unknown parameter what"},
		{"GET", "/events?limit=0", "", 400, "not a positive number"},
		{"GET", "/events?account=none", "", 404, "no account none"},
		{"GET", "?what=1", "", 400, "unknown parameter"},
		{"GET", "/check?account=none", "", 404, "no account none"},
		{"GET", "/reconcile?lag=soon", "", 400, "not a duration"},
		{"GET", "/reconcile?since=soon", "", 400, "neither a time"},
		{"GET", "/replay", "", 400, "needs since and until"},
		{"POST", "/replay", `{"since":"1h"}`, 400, "needs since and until"},
		{"POST", "/replay", `{"since":"1h","until":"0s","what":1}`, 400, "unknown field"},
		{"POST", "/retry", `{"ids":["x"]}`, 400, "not the id"},
		{"POST", "/retry", `[]`, 400, "JSON object"},
		{"POST", "/retry", `{"account":"none"}`, 404, "no account none"},
		{"POST", "/estimate", `{}`, 400, "say which records"},
		{"POST", "/discard", `{"all":true}`, 400, "a reason is needed"},
		{"POST", "/discard", `{"all":true,"reason":"a\u0000"}`, 400, "control character"},
		{"POST", "/adopt", `{"dir":"relative"}`, 400, "absolute path"},
		{"POST", "/adopt", `{"dir":"/nowhere/at/all"}`, 400, "no such file"},
		{"POST", "/retry", `{}`, 200, `"records":0`},
	} {
		status, body, _ := ask(c.method, "/tollgate/billing"+c.path, c.body)
		require.Equal(t, c.status, status, "%s %s: %s", c.method, c.path, body)
		require.Contains(t, body, c.words)
		require.NotContains(t, body, o.lago.Key())
	}
}

// TestEveryRouteHasACommand keeps the command line, the admin API and the page in step.
func TestEveryRouteHasACommand(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "lagobilling.md"))
	require.NoError(t, err)
	help, err := (&gateway{t: t}).command("--help")
	require.NoError(t, err)
	commands := make(map[string]bool)
	for _, c := range billingCommand().Commands() {
		if c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		commands[c.Name()] = true
		require.Contains(t, help, "\n  "+c.Name()+" ", "the help lists it")
		require.Contains(t, string(page), "caddy tollgate billing "+c.Name(), "the page describes it")
		require.NotEmpty(t, c.Short)
		for _, f := range []string{"--json", "--spool", "--since", "--until", "--account", "--limit", "--reason", "--all", "--yes", "--dry-run", "--payer", "--lag", "--wait"} {
			if c.Flags().Lookup(strings.TrimPrefix(f, "--")) != nil {
				require.Regexp(t, `caddy tollgate billing `+c.Name()+`[^\n]*`+f, string(page), "the page names its flag")
			}
		}
	}
	for line := range strings.Lines(string(page)) {
		if _, rest, ok := strings.Cut(line, "caddy tollgate billing "); ok {
			name, _, _ := strings.Cut(strings.TrimSpace(strings.Map(func(r rune) rune {
				if r == '`' || r == '.' || r == ')' || r == ',' {
					return ' '
				}
				return r
			}, rest)), " ")
			require.True(t, commands[name], "the page names %q, which is no command", name)
		}
	}
	for _, route := range new(Admin).Routes() {
		name := strings.TrimPrefix(strings.TrimPrefix(route.Pattern, "/tollgate/billing"), "/")
		if name == "" {
			name = "status"
		}
		require.True(t, commands[name], route.Pattern)
		delete(commands, name)
		require.Contains(t, string(page), route.Pattern)
	}
	require.Empty(t, commands, "commands without a route")
}

func TestProgressIsTold(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	r.Header.Set("Accept", progressType)
	work := func(_ context.Context, tell func(string, int, int)) (any, error) {
		tell("records read", 1, 2)
		return map[string]int{"n": 1}, nil
	}
	require.NoError(t, longWork(w, r, 0, work))
	require.Equal(t, `{"progress":"records read","done":1,"of":2}`+"\n"+`{"result":{"n":1}}`+"\n", w.Body.String())
	w = httptest.NewRecorder()
	require.NoError(t, longWork(w, r, time.Hour, work))
	require.Equal(t, `{"result":{"n":1}}`+"\n", w.Body.String(), "quick work tells nothing")
	r.Header.Del("Accept")
	w = httptest.NewRecorder()
	require.NoError(t, longWork(w, r, 0, work))
	require.Equal(t, `{"n":1}`+"\n", w.Body.String())
}
