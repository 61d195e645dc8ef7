package console

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/ledger"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// maxListed is the maximum number of calls on a page.
const maxListed = 100

// find searches the ledger of an account.
func find(ctx context.Context, a *account.Account, q ledger.Search) (*ledger.Result, error) {
	q.Most = maxListed
	return ledger.Find(ctx, a.Spool(), &q)
}

// holdAccount returns the site's account.
func (v *visit) holdAccount() (a *account.Account, release func(), err error) {
	if v.site.bills == nil {
		return nil, nil, refuse(http.StatusNotFound, "This site has no lagobilling: nothing is metered here.")
	}
	return v.site.bills.HoldAccount(v.r.Context())
}

// noKey is the pattern of values that may appear in a URL, which excludes keys.
const noKey = "(?!sk-).*"

var periods = []string{"1h", "24h", "72h", "720h", "all"}

// showCalls shows the results of a search, or one call. A key that may not read everything finds only its own
// calls.
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
	q := ledger.Search{
		ID: strings.TrimSpace(asked.Get("id")), Key: strings.TrimSpace(asked.Get("by")), Payer: strings.TrimSpace(asked.Get("payer")),
		Model: strings.TrimSpace(asked.Get("model")), Outcome: asked.Get("outcome"),
	}
	period := cmp.Or(asked.Get("since"), "24h")
	if period != "all" {
		d, err := time.ParseDuration(period)
		if err != nil || d <= 0 {
			return nil, refuse(http.StatusBadRequest, "since: write a duration such as 24h, or all.")
		}
		q.Since = time.Now().Add(-d)
	}
	if v.role == own {
		q.Payer, q.Team = "", v.team
		if v.team == "" {
			q.KeyID, q.Key = v.who.SpendID, ""
		}
	}
	result, err := find(v.r.Context(), a, q)
	if err != nil {
		return nil, err
	}
	ask := form{Action: root + "calls", Button: "Search", Fields: []field{{Name: "id", Label: "Call or answer id", Value: q.ID}}}
	if v.role != own || v.team != "" {
		ask.Fields = append(ask.Fields, field{Name: "by", Label: "Key", Value: q.Key, Hint: "alias, or the first 8 digits of its hash", Pattern: noKey})
	}
	if v.role != own {
		ask.Fields = append(ask.Fields, field{Name: "payer", Label: "Payer", Value: q.Payer})
	}
	ask.Fields = append(ask.Fields, field{Name: "model", Label: "Model", Value: q.Model},
		choice("outcome", "Outcome", q.Outcome, "", record.OutcomeCompleted, record.OutcomeError, record.OutcomeCut, record.OutcomeClientGone,
			record.OutcomeInterrupted, spool.StateOpen.String(), spool.StatePending.String(), spool.StateRejected.String()),
		choice("since", "Since", period, periods...))
	list := section{Tables: []*table{v.callTable(result)}}
	if result.Ended {
		list.Text = "The search took too long and was stopped, so the calls and the sum are incomplete. Search a shorter period."
	}
	if result.Broken != nil && v.role != own {
		list.Alarms = []string{"Some records cannot be read: " + result.Broken.Error()}
	}
	return &content{Sections: []section{{Forms: []form{ask}}, list}}, nil
}

// callTable lists calls with their billed amount.
func (v *visit) callTable(l *ledger.Result) *table {
	t := &table{
		Caption: operator.Counted(l.Total, "call") + ", cost in all $" + l.Cost.String(), Empty: "No call matches.",
		Head: []string{"Time", "Call", "Model", "Outcome", "Input", "Output", "Cost in USD"},
	}
	if l.Total > len(l.Calls) {
		t.Caption += "; the newest " + number(len(l.Calls)).Text + " are shown"
	}
	if v.role != own || v.team != "" {
		t.Head = append(t.Head, "Key")
	}
	if v.role != own {
		t.Head = append(t.Head, "Payer", "State")
	}
	for i := range l.Calls {
		c := &l.Calls[i]
		row := []cell{
			moment(c.At), callLink(c.ID), orDash(cmp.Or(c.Model, c.Asked)), outcomeCell(c),
			number(c.Counts.InputTokens()), number(c.Counts.OutputTokens()), figure(c.Cost),
		}
		if v.role != own || v.team != "" {
			row = append(row, orDash(cmp.Or(c.KeyAlias, c.Key)))
		}
		if v.role != own {
			row = append(row, orDash(c.Payer), stateCell(c.State))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// callLink returns a link to a call's page.
func callLink(id string) cell {
	c := link(id, root+"calls/"+url.PathEscape(id))
	c.ID = true
	return c
}

// outcomeCell shows how a call ended.
func outcomeCell(c *ledger.Call) cell {
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

func outcomeOf(c *ledger.Call) string {
	if c.Outcome == "" {
		return c.State.String()
	}
	return c.Outcome
}

// callByID returns a call's record. The search starts at the time contained in the id.
func callByID(ctx context.Context, a *account.Account, text string) (*ledger.Call, error) {
	id, err := uuid.Parse(text)
	if err != nil || id.Version() != 7 {
		return nil, noCall()
	}
	sec, nsec := id.Time().UnixTime()
	result, err := find(ctx, a, ledger.Search{ID: id.String(), Since: time.Unix(sec, nsec).Add(-time.Minute)})
	if err != nil {
		return nil, err
	}
	for i := range result.Calls {
		if c := &result.Calls[i]; c.ID == id.String() {
			return c, nil
		}
	}
	if result.Ended {
		return nil, refuse(http.StatusServiceUnavailable, "The search took too long: use caddy tollgate billing events.")
	}
	return nil, noCall()
}

func noCall() error {
	return refuse(http.StatusNotFound, "There is no record of this call: it was never made, was refused, or is older than the ledger's retention.")
}
