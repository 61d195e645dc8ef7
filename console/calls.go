package console

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

const (
	// maxListed is how many calls a page shows.
	maxListed = 100
	// searchTime bounds a search.
	searchTime = 5 * time.Second
)

// found is a record with where it is.
type found struct {
	*record.Record
	state spool.State
	at    time.Time
	note  []byte // why Lago rejected it
	raw   []byte
}

// search chooses records. An empty member chooses all.
type search struct {
	id      string                    // of the call, or of the provider's answer
	key     string                    // the key's alias, or the first digits of its hash
	owner   func(*record.Record) bool // whether a record may be seen; nil: any
	holds   string                    // what such a record has in it
	payer   string
	model   string
	outcome string
	states  []spool.State
	since   time.Time
}

// listedCalls is what a search found: the newest calls, and how many there are in all.
type listedCalls struct {
	calls  []found
	total  int
	cost   price.Amount // of all
	ended  bool         // the time was up before the end
	broken error        // records that cannot be read
}

// maybe reports, without reading it whole, whether a payload may be of one that is searched for.
func (q *search) maybe(payload []byte) bool {
	for _, s := range []string{q.id, q.holds, q.outcome} {
		if s != "" && !bytes.Contains(payload, []byte(s)) {
			return false
		}
	}
	return true
}

func (q *search) matches(r *record.Record, state spool.State) bool {
	switch {
	case q.id != "" && q.id != r.ID && q.id != r.ResponseID,
		q.owner != nil && !q.owner(r),
		q.key != "" && q.key != r.KeyAlias && q.key != r.Key && (len(q.key) < 8 || !strings.HasPrefix(r.KeyID, q.key)),
		q.payer != "" && q.payer != r.Payer,
		q.model != "" && !slices.Contains([]string{r.Model, r.Asked, r.Upstream}, q.model),
		q.outcome != "" && q.outcome != r.Outcome && q.outcome != state.String():
		return false
	}
	return true
}

// find searches the ledger of an account.
func find(ctx context.Context, a *account.Account, q *search) (*listedCalls, error) {
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	out := new(listedCalls)
	newest := func() {
		slices.SortStableFunc(out.calls, func(a, b found) int { return cmp.Or(b.at.Compare(a.at), strings.Compare(b.ID, a.ID)) })
		out.calls = out.calls[:min(len(out.calls), maxListed)]
	}
	err := a.Spool().Select(q.states, q.since, time.Time{}, func(rec spool.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if q.outcome != rec.State.String() && !q.maybe(rec.Payload) {
			return nil
		}
		r, err := record.Parse(rec.Payload)
		if err != nil {
			out.broken = err
			return nil
		}
		if !q.matches(r, rec.State) {
			return nil
		}
		out.total++
		if cost, err := price.ParseUSD(r.Cost); err == nil {
			if out.cost, err = out.cost.Add(cost); err != nil {
				return err
			}
		}
		out.calls = append(out.calls, found{r, rec.State, rec.Time, rec.Note, rec.Payload})
		if len(out.calls) >= 4*maxListed {
			newest()
		}
		return nil
	})
	newest()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		out.ended = true
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		out.broken = err
	}
	return out, nil
}

// holdAccount returns the site's account.
func (v *visit) holdAccount() (a *account.Account, release func(), err error) {
	if v.site.bills == nil {
		return nil, nil, refuse(http.StatusNotFound, "This site has no lagobilling: nothing is metered here.")
	}
	return v.site.bills.HoldAccount(v.r.Context())
}

// noKey is the pattern of what an address may hold: no key.
const noKey = "(?!sk-).*"

var periods = []string{"1h", "24h", "72h", "720h", "all"}

// showCalls shows a search, or one call. A key that may not read everything finds its own calls alone.
func showCalls(v *visit) (*content, error) {
	a, release, err := v.holdAccount()
	if err != nil {
		return nil, err
	}
	defer release()
	if v.arg != "" {
		return v.showCall(a)
	}
	asked := v.r.URL.Query()
	q := search{
		id: strings.TrimSpace(asked.Get("id")), key: strings.TrimSpace(asked.Get("by")), payer: strings.TrimSpace(asked.Get("payer")),
		model: strings.TrimSpace(asked.Get("model")), outcome: asked.Get("outcome"),
	}
	period := cmp.Or(asked.Get("since"), "24h")
	if period != "all" {
		d, err := time.ParseDuration(period)
		if err != nil || d <= 0 {
			return nil, refuse(http.StatusBadRequest, "since: write a duration such as 24h, or all.")
		}
		q.since = time.Now().Add(-d)
	}
	if v.role == own {
		q.owner, q.payer = v.ownRecord, ""
		if v.team == "" {
			q.holds, q.key = v.who.SpendID, ""
		}
	}
	result, err := find(v.r.Context(), a, &q)
	if err != nil {
		return nil, err
	}
	ask := form{Action: root + "calls", Button: "Search", Fields: []field{{Name: "id", Label: "Call or answer id", Value: q.id}}}
	if v.role != own || v.team != "" {
		ask.Fields = append(ask.Fields, field{Name: "by", Label: "Key", Value: q.key, Hint: "alias, or the first 8 digits of its hash", Pattern: noKey})
	}
	if v.role != own {
		ask.Fields = append(ask.Fields, field{Name: "payer", Label: "Payer", Value: q.payer})
	}
	ask.Fields = append(ask.Fields, field{Name: "model", Label: "Model", Value: q.model},
		choice("outcome", "Outcome", q.outcome, "", record.OutcomeCompleted, record.OutcomeError, record.OutcomeCut, record.OutcomeClientGone,
			record.OutcomeInterrupted, spool.StateOpen.String(), spool.StatePending.String(), spool.StateRejected.String()),
		choice("since", "Since", period, periods...))
	list := section{Tables: []*table{v.callTable(result)}}
	if result.ended {
		list.Text = "The search took too long and ended early: the calls and the sum are not all. Search a shorter time."
	}
	if result.broken != nil && v.role != own {
		list.Alarms = []string{"Not every record can be read: " + result.broken.Error()}
	}
	return &content{Sections: []section{{Forms: []form{ask}}, list}}, nil
}

// callTable lists calls. What they cost is what they are billed at.
func (v *visit) callTable(l *listedCalls) *table {
	t := &table{
		Caption: operator.Counted(l.total, "call") + ", cost in all $" + l.cost.String(), Empty: "No call matches.",
		Head: []string{"Time", "Call", "Model", "Outcome", "Input", "Output", "Cost in USD"},
	}
	if l.total > len(l.calls) {
		t.Caption += "; the newest " + number(len(l.calls)).Text + " are shown"
	}
	if v.role != own || v.team != "" {
		t.Head = append(t.Head, "Key")
	}
	if v.role != own {
		t.Head = append(t.Head, "Payer", "State")
	}
	for i := range l.calls {
		c := &l.calls[i]
		row := []cell{
			moment(c.at), callLink(c.ID), orDash(cmp.Or(c.Model, c.Asked)), outcomeCell(c),
			number(c.Counts.InputTokens()), number(c.Counts.OutputTokens()), figure(c.Cost),
		}
		if v.role != own || v.team != "" {
			row = append(row, orDash(cmp.Or(c.KeyAlias, c.Key)))
		}
		if v.role != own {
			row = append(row, orDash(c.Payer), stateCell(c.state))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// callLink leads to the page of a call.
func callLink(id string) cell {
	c := link(id, root+"calls/"+url.PathEscape(id))
	c.ID = true
	return c
}

// outcomeCell shows how a call ended.
func outcomeCell(c *found) cell {
	tones := map[string]tone{
		record.OutcomeCompleted: goodTone, record.OutcomeError: badTone, record.OutcomeCut: badTone, record.OutcomeInterrupted: waitTone,
	}
	return state(outcomeOf(c), tones[outcomeOf(c)])
}

func stateCell(s spool.State) cell {
	tones := map[spool.State]tone{
		spool.StateDone: goodTone, spool.StateRejected: badTone, spool.StateInterrupted: waitTone, spool.StatePending: waitTone,
	}
	c := state(s.String(), tones[s])
	if c.Tone == plainTone {
		return text(c.Text)
	}
	return c
}

func outcomeOf(c *found) string {
	if c.Outcome == "" {
		return c.state.String()
	}
	return c.Outcome
}

// callByID returns the record of a call. Its id holds the time from which on it is searched for.
func callByID(ctx context.Context, a *account.Account, text string) (*found, error) {
	id, err := uuid.Parse(text)
	if err != nil || id.Version() != 7 {
		return nil, noCall()
	}
	sec, nsec := id.Time().UnixTime()
	result, err := find(ctx, a, &search{id: id.String(), since: time.Unix(sec, nsec).Add(-time.Minute)})
	if err != nil {
		return nil, err
	}
	for i := range result.calls {
		if c := &result.calls[i]; c.ID == id.String() {
			return c, nil
		}
	}
	if result.ended {
		return nil, refuse(http.StatusServiceUnavailable, "The search took too long: use caddy tollgate billing events.")
	}
	return nil, noCall()
}

func noCall() error {
	return refuse(http.StatusNotFound, "There is no record of this call: it was never made, was refused, or is older than the ledger keeps.")
}
