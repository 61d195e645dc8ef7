package proof

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
)

// entry is a ledger record.
type entry struct {
	ID        string            `json:"id"`
	Outcome   string            `json:"outcome"`
	State     string            `json:"state"`
	Tag       string            `json:"end_user"`
	Model     string            `json:"model"`
	Payer     string            `json:"payer"`
	Attempts  int               `json:"attempts"`
	Source    string            `json:"source"`
	Cost      string            `json:"cost"`
	NotBilled string            `json:"not_billed"`
	Settled   time.Time         `json:"settled"`
	Counts    map[string]int64  `json:"counts"`
	Events    []json.RawMessage `json:"events"`
}

// row returns the record's row in the report: why it is billed, or why not.
func (e *entry) row() string {
	switch {
	case e.State == "interrupted":
		return "interrupted"
	case e.State == "rejected":
		return "rejected"
	case e.NotBilled == "free endpoint":
		return "free"
	case e.NotBilled != "" && e.Outcome != "error":
		return e.Outcome + ", " + e.NotBilled
	}
	return e.Outcome
}

// settle waits until no call or delivery is pending and returns the ledger.
func (w *world) settle(patience time.Duration) []*entry {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var status struct {
		Accounts []struct {
			Open    int64 `json:"open"`
			Pending int64 `json:"pending"`
		} `json:"accounts"`
	}
	for {
		b, err := w.get(ctx, "/tollgate/billing")
		require.NoError(w.t, err, "waiting for the delivery to end: %+v", status)
		require.NoError(w.t, json.Unmarshal(b, &status))
		require.Len(w.t, status.Accounts, 1)
		if status.Accounts[0].Open == 0 && status.Accounts[0].Pending == 0 {
			break
		}
		wait(20 * time.Millisecond)
	}
	b, err := w.get(ctx, "/tollgate/billing/events")
	require.NoError(w.t, err)
	var ledger []*entry
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		e := new(entry)
		require.NoError(w.t, json.Unmarshal(lines.Bytes(), e))
		ledger = append(ledger, e)
	}
	require.NoError(w.t, lines.Err())
	return ledger
}

// The findings of an audit.
const (
	lost        = "LOST"                        // a fully received answer, or a record, is not billed
	twice       = "BILLED TWICE"                //
	notCalled   = "BILLED BUT NOT CALLED"       //
	unrecorded  = "CALLED WITHOUT A RECORD"     //
	wrong       = "WRONGLY BILLED"              // tokens, money or payer
	unnamed     = "NOT BILLED WITHOUT A REASON" //
	otherBytes  = "SENT WITH OTHER BYTES"       // an event differs from the one frozen in its record
	spent       = "SPENT WRONGLY"               // the spend shown for a key is not the sum of its bills
	daysWrong   = "DAYS ADDED UP WRONGLY"       // a payer's daily total is not the sum of its records
	misbehaved  = "MISBEHAVED"                  // reported by the fakes
	shownOfEach = 10
)

// auditor compares the views of the clients, the provider, the ledger and Lago.
type auditor struct {
	w        *world
	rep      *report
	byID     map[string]*entry
	byTag    map[string]*entry
	provider map[string][]fakeprovider.Call // by tag
	lago     map[string]fakelago.Event      // by transaction id
	found    map[string][]string
}

func (a *auditor) problem(kind, format string, args ...any) {
	a.found[kind] = append(a.found[kind], fmt.Sprintf(format, args...))
}

func audit(w *world, calls []*call, ledger []*entry, rep *report) {
	a := &auditor{
		w: w, rep: rep, byID: make(map[string]*entry), byTag: make(map[string]*entry),
		provider: make(map[string][]fakeprovider.Call), lago: make(map[string]fakelago.Event), found: make(map[string][]string),
	}
	for _, e := range ledger {
		if before := a.byID[e.ID]; before != nil {
			a.problem(twice, "record %s stands twice in the ledger", e.ID)
		}
		if before := a.byTag[e.Tag]; before != nil {
			a.problem(twice, "%s has the records %s and %s", e.Tag, before.ID, e.ID)
		}
		a.byID[e.ID], a.byTag[e.Tag] = e, e
	}
	for _, c := range w.provider.Calls() {
		tag := c.Header.Get("X-Request-Id")
		a.provider[tag] = append(a.provider[tag], c)
		rep.providerCalls++
	}
	for _, e := range w.lago.Events() {
		a.lago[e.TransactionID] = e
	}
	a.answers(calls)
	a.records(ledger)
	a.providerCalls()
	a.events()
	a.spend(ledger)
	a.days(ledger)
	for _, v := range append(w.provider.Violations(), w.lago.Violations()...) {
		a.problem(misbehaved, "%s", v)
	}
	rep.lost, rep.twice = len(a.found[lost]), len(a.found[twice])
	var text strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(a.found)) {
		list := a.found[kind]
		for _, s := range list[:min(len(list), shownOfEach)] {
			fmt.Fprintf(&text, "%s: %s\n", kind, s)
		}
		if more := len(list) - shownOfEach; more > 0 {
			fmt.Fprintf(&text, "%s: and %d more\n", kind, more)
		}
	}
	if text.Len() > 0 {
		w.t.Fatalf("%s:\n%s%s", w.mode, &text, table([]*report{rep}))
	}
}

// answers checks every answer that a client received in full.
func (a *auditor) answers(calls []*call) {
	for _, c := range calls {
		a.rep.calls++
		switch {
		case c.whole:
			a.rep.whole++
		case c.left:
			a.rep.hangUps++
		default:
			a.rep.broken++
		}
		if !c.whole {
			continue
		}
		if c.proto == "HTTP/2.0" {
			a.rep.http2++
		}
		e := a.byID[c.id]
		switch {
		case e == nil:
			a.problem(lost, "%s, %s: the client has the whole answer %s, of which there is no record", c.tag, c.api, c.id)
			continue
		case e.Tag != c.tag:
			a.problem(wrong, "%s has the id of %s", c.tag, e.Tag)
			continue
		case e.Outcome != "completed":
			a.problem(lost, "%s, %s: the client has the whole answer %s, whose record is %s, %s", c.tag, c.api, c.id, e.Outcome, e.State)
			continue
		case c.api == apiCount:
			continue
		}
		if len(e.Events) != 1 {
			a.problem(lost, "%s: record %s holds %d events: %s", c.tag, e.ID, len(e.Events), e.NotBilled)
			continue
		}
		for kind, n := range c.counts() {
			if e.Counts[kind] != n {
				a.problem(wrong, "%s, %s: record %s says %d %s, the provider said %d", c.tag, c.api, e.ID, e.Counts[kind], kind, n)
			}
		}
		if e.Payer != c.payer || e.Source != "reported" {
			a.problem(wrong, "%s: record %s: payer %s for %s, usage %s", c.tag, e.ID, e.Payer, c.payer, e.Source)
		}
		if got := a.billed(e); got != nil {
			a.rep.providerWhole.Add(&a.rep.providerWhole, cost(c.model, c.counts()))
			a.rep.lagoWhole.Add(&a.rep.lagoWhole, got)
		}
	}
	if a.rep.providerWhole.Cmp(&a.rep.lagoWhole) != 0 {
		a.problem(wrong, "the answers received whole cost %s and are billed %s", usd(&a.rep.providerWhole), usd(&a.rep.lagoWhole))
	}
}

// billed returns what Lago bills for a record, nil if nothing.
func (a *auditor) billed(e *entry) *big.Rat {
	if e.State != "done" || len(e.Events) == 0 {
		return nil
	}
	sum := new(big.Rat)
	for _, raw := range e.Events {
		var ev struct {
			ID string `json:"transaction_id"`
		}
		require.NoError(a.w.t, json.Unmarshal(raw, &ev))
		at, ok := a.lago[ev.ID]
		if !ok {
			return nil
		}
		amount, ok := new(big.Rat).SetString(at.Property("response_cost"))
		if !ok {
			return nil
		}
		sum.Add(sum, amount)
	}
	return sum
}

// records checks each record: it is billed as recorded, or gives a reason why it is not.
func (a *auditor) records(ledger []*entry) {
	for _, e := range ledger {
		row := a.rep.row(e.row())
		row.records++
		called := a.provider[e.Tag]
		said := new(big.Rat)
		for _, c := range called {
			if c.Reported != nil {
				said.Add(said, cost(c.Model, (&call{plan: *c.Reported}).counts()))
			}
		}
		row.provider.Add(&row.provider, said)
		switch {
		case e.State == "pending" || e.State == "open":
			a.problem(lost, "record %s of %s is still %s", e.ID, e.Tag, e.State)
			continue
		case e.State == "rejected" && e.Payer != poisoned:
			a.problem(lost, "record %s of %s was set aside", e.ID, e.Tag)
			continue
		case e.State != "done":
			continue
		case len(e.Events) == 0:
			if e.NotBilled == "" {
				a.problem(unnamed, "record %s of %s, %s", e.ID, e.Tag, e.Outcome)
			}
			continue
		case len(called) == 0:
			a.problem(notCalled, "record %s of %s", e.ID, e.Tag)
		}
		got := a.billed(e)
		want := cost(e.Model, e.Counts)
		switch {
		case got == nil:
			a.problem(lost, "record %s of %s, %s: Lago does not have its event", e.ID, e.Tag, e.Outcome)
			continue
		case got.Cmp(want) != 0:
			a.problem(wrong, "record %s of %s costs %s and is billed %s", e.ID, e.Tag, usd(want), usd(got))
		case e.Outcome == "completed" && got.Cmp(said) != 0:
			a.problem(wrong, "record %s of %s is completed, costs %s at the provider and is billed %s, usage %s: %+v", e.ID, e.Tag, usd(said), usd(got), e.Source, called)
		}
		row.events += len(e.Events)
		row.lago.Add(&row.lago, got)
		a.rep.lago.Add(&a.rep.lago, got)
		a.frozen(e)
	}
}

// frozen checks that Lago has a record's events exactly as frozen, with the quantities of the record.
func (a *auditor) frozen(e *entry) {
	for _, raw := range e.Events {
		var ev struct {
			ID         string            `json:"transaction_id"`
			Payer      string            `json:"external_subscription_id"`
			Properties map[string]string `json:"properties"`
		}
		require.NoError(a.w.t, json.Unmarshal(raw, &ev))
		if at := a.lago[ev.ID]; at.Body != string(raw) {
			a.problem(otherBytes, "event %s of %s was frozen as %s and is %s", ev.ID, e.Tag, raw, at.Body)
		}
		var in, out int64
		for kind, n := range e.Counts {
			if kind == "output" || kind == "reasoning" {
				out += n
			} else {
				in += n
			}
		}
		if p := ev.Properties; ev.Payer != e.Payer || p["call_id"] != e.ID || p["prompt_tokens"] != fmt.Sprint(in) ||
			p["completion_tokens"] != fmt.Sprint(out) || p["total_tokens"] != fmt.Sprint(in+out) || p["response_cost"] != e.Cost {
			a.problem(wrong, "event %s does not say what record %s says", raw, e.ID)
		}
	}
}

// providerCalls checks that each call the provider received has a record.
func (a *auditor) providerCalls() {
	for tag, called := range a.provider {
		e := a.byTag[tag]
		switch {
		case e == nil:
			a.problem(unrecorded, "%s: the provider had it %d times", tag, len(called))
		case e.State != "interrupted" && e.Attempts < len(called):
			a.problem(unrecorded, "%s: the provider had it %d times, record %s tells of %d", tag, len(called), e.ID, e.Attempts)
		}
	}
}

// events checks that each event in Lago has a record, and checks Lago's own sums.
func (a *auditor) events() {
	for id, ev := range a.lago {
		if e := a.byID[ev.Property("call_id")]; e == nil {
			a.problem(notCalled, "event %s has no record", id)
		}
	}
	for _, id := range a.w.lago.BilledTwice() {
		a.problem(twice, "event %s", id)
	}
	a.rep.events = len(a.lago)
	if n := a.w.lago.BilledCount("", code); n != len(a.lago) {
		a.problem(wrong, "Lago has %d events and bills %d", len(a.lago), n)
	}
	sum, ok := new(big.Rat).SetString(a.w.lago.Billed("", code, "response_cost"))
	if !ok || sum.Cmp(&a.rep.lago) != 0 {
		a.problem(wrong, "Lago bills %s, the records %s", usd(sum), usd(&a.rep.lago))
	}
}

// spend compares the spend shown for each key with the sum of its records, to the last digit. Spend is updated shortly
// after a record is settled.
func (a *auditor) spend(ledger []*entry) {
	want := make(map[string]*big.Rat)
	for _, payer := range payers {
		want[payer] = new(big.Rat)
	}
	for _, e := range ledger {
		if e.Cost != "" && want[e.Payer] != nil {
			cost, ok := new(big.Rat).SetString(e.Cost)
			require.True(a.w.t, ok, e.Cost)
			want[e.Payer].Add(want[e.Payer], cost)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for payer, sum := range want {
		shown := new(big.Rat)
		for {
			if shown = a.w.spent(payer); shown.Cmp(sum) == 0 {
				break
			}
			if time.Now().After(deadline) {
				a.problem(spent, "the key of %s shows %s, its records come to %s", payer, shown.FloatString(15), sum.FloatString(15))
				break
			}
			wait(20 * time.Millisecond)
		}
	}
}

// days compares the daily totals of each payer, calls and cost, with the sums of the records, to the last digit. The
// endpoint answers once it has counted everything that is settled.
func (a *auditor) days(ledger []*entry) {
	type day struct {
		calls int64
		cost  *big.Rat
	}
	want := make(map[string]*day)
	since := time.Now()
	for _, e := range ledger {
		if e.Settled.IsZero() {
			continue
		}
		if e.Settled.Before(since) {
			since = e.Settled
		}
		name := e.Settled.UTC().Format(time.DateOnly) + " " + e.Payer
		if want[name] == nil {
			want[name] = &day{cost: new(big.Rat)}
		}
		want[name].calls++
		if e.Cost != "" {
			cost, ok := new(big.Rat).SetString(e.Cost)
			require.True(a.w.t, ok, e.Cost)
			want[name].cost.Add(want[name].cost, cost)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := a.w.get(ctx, "/tollgate/books/spend?format=json&by=day,payer&since="+since.UTC().Format(time.DateOnly))
	require.NoError(a.w.t, err)
	for line := range strings.Lines(string(b)) {
		var row struct {
			Day, Payer, Cost string
			Calls            int64
		}
		require.NoError(a.w.t, json.Unmarshal([]byte(line), &row), line)
		cost, ok := new(big.Rat).SetString(row.Cost)
		require.True(a.w.t, ok, line)
		name := row.Day + " " + row.Payer
		d := want[name]
		delete(want, name)
		switch {
		case d == nil:
			a.problem(daysWrong, "%s: the books have %d calls, the ledger none", name, row.Calls)
		case d.calls != row.Calls || d.cost.Cmp(cost) != 0:
			a.problem(daysWrong, "%s: the books have %d calls that cost %s, the ledger %d that cost %s", name, row.Calls, usd(cost), d.calls, usd(d.cost))
		}
	}
	for name, d := range want {
		a.problem(daysWrong, "%s: the ledger has %d calls, the books none", name, d.calls)
	}
}
