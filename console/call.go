package console

import (
	"cmp"
	"fmt"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/ledger"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// showCall shows one call from start to end. A key that may not read everything sees the call's usage and cost,
// but not the backend that served it, the operator's cost, or the billing events.
func (v *visit) showCall(a *account.Account) (*content, error) {
	c, err := callByID(v.r.Context(), a, v.arg)
	if err != nil {
		return nil, err
	}
	if v.role == own && !v.ownRecord(c.Record) {
		return nil, noCall()
	}
	page := &content{Title: "Call " + c.ID, Sections: []section{{Title: "The call", Facts: v.callFacts(c)}, usageOf(c)}}
	if v.role == own {
		return page, nil
	}
	page.Sections = append(page.Sections, attemptOf(c))
	events, err := eventsOf(c)
	if err != nil {
		return nil, err
	}
	page.Sections = append(page.Sections, events)
	if v.role >= manages && (c.State == spool.StateRejected || c.State == spool.StateInterrupted) {
		page.Sections = append(page.Sections, section{Title: "Decide", Forms: decisions(c)})
	}
	return page, nil
}

// callFacts returns the facts that a key may see about its own calls.
func (v *visit) callFacts(c *ledger.Call) []fact {
	list := []fact{{"Opened", moment(c.Opened)}, {"Settled", moment(c.Settled)}}
	list = append(list, fact{"Outcome", outcomeCell(c)})
	list = facts(list, "After the client hung up", c.Hangup)
	if c.Status != 0 {
		list = append(list, fact{"Status of the answer", number(c.Status)})
	}
	list = facts(list, "Endpoint", c.Endpoint)
	list = facts(list, "Model asked for", c.Asked)
	list = facts(list, "Model", c.Model)
	list = facts(list, "Answer's id", c.ResponseID)
	if c.Stream {
		list = facts(list, "Stream", "yes")
	}
	list = facts(list, "End user", c.EndUser)
	if !c.Settled.IsZero() {
		list = append(list, fact{"First byte after", text(fmt.Sprintf("%d ms", c.TTFT))}, fact{"Settled after", text(fmt.Sprintf("%d ms", c.Duration))},
			fact{"Length of the answer", text(fmt.Sprintf("%d bytes", c.Bytes))})
	}
	if v.role != own {
		list = facts(list, "Key", c.Key)
		list = facts(list, "Key's alias", c.KeyAlias)
		list = facts(list, "Key's hash begins", c.KeyHash)
		list = facts(list, "Team", c.Team)
		list = facts(list, "User", c.User)
		list = facts(list, "Payer", c.Payer)
		list = facts(list, "Payer is the call's", c.ChargeBy)
	}
	return list
}

// usageOf shows the usage and cost of a call.
func usageOf(c *ledger.Call) section {
	s := section{Title: "Usage and cost"}
	s.Facts = facts(s.Facts, "Cost in USD", c.Cost)
	s.Facts = facts(s.Facts, "No cost, because", c.Unpriced)
	s.Facts = facts(s.Facts, "Not billed, because", c.NotBilled)
	s.Facts = facts(s.Facts, "Source of the counts", string(c.Source))
	s.Facts = facts(s.Facts, "How they were obtained", c.How)
	s.Tables = []*table{countTable("Quantities by kind", &c.Counts)}
	return s
}

func countTable(caption string, counts *record.Counts) *table {
	t := &table{Caption: caption, Head: []string{"Kind", "Quantity"}, Empty: "No quantity is known."}
	for k := range usage.Kind(usage.NumKinds) {
		if n, ok := counts.Get(k); ok {
			t.Rows = append(t.Rows, []cell{text(k.String()), number(n)})
		}
	}
	return t
}

// attemptOf shows which backend served a call and the prices it was billed at.
func attemptOf(c *ledger.Call) section {
	s := section{Title: "Attempts and prices"}
	if c.Attempts > 0 {
		s.Facts = append(s.Facts, fact{"Attempts", number(c.Attempts)})
	}
	s.Facts = facts(s.Facts, "Backend that was asked last", c.Backend)
	s.Facts = facts(s.Facts, "Provider", c.Provider)
	s.Facts = facts(s.Facts, "Model sent upstream", c.Upstream)
	s.Facts = facts(s.Facts, "Model that answered", c.ResponseModel)
	s.Facts = facts(s.Facts, "Service tier", c.Tier)
	s.Facts = facts(s.Facts, "Cost before markup and discount", c.BaseCost)
	s.Facts = facts(s.Facts, "Cost that the provider stated", c.ProviderCost)
	s.Facts = facts(s.Facts, "Price data", c.Prices)
	s.Facts = facts(s.Facts, "About the price", c.PriceNote)
	s.Facts = facts(s.Facts, "Markup and discount, as a factor", c.Factor)
	lines := lineTable("What the cost is made of", c.Lines)
	if c.Tariff != nil && len(c.Lines) == 0 {
		lines = lineTable("What an estimate of the input costs", c.Tariff.Estimate)
	}
	s.Tables = []*table{lines}
	if len(c.Tried) > 0 {
		s.Tables = append([]*table{triedTable(c)}, s.Tables...)
	}
	return s
}

// triedTable lists the attempts of a call. Only the last one can have answered.
func triedTable(c *ledger.Call) *table {
	t := &table{Caption: "Attempts", Head: []string{"Attempt", "Model", "Backend", "Model upstream", "From", "To", "Result"}}
	for i := range c.Tried {
		a := &c.Tried[i]
		why := state(a.Why, badTone)
		if a.Status != 0 {
			why.Text = a.Why + " " + number(a.Status).Text
		}
		t.Rows = append(t.Rows, []cell{
			text(number(i + 1).Text), text(a.Model), text(a.Backend), text(a.Upstream), figure(number(a.Began).Text + " ms"), figure(number(a.Ended).Text + " ms"), why,
		})
	}
	if len(c.Tried) < c.Attempts {
		began := c.Tried[len(c.Tried)-1].Ended
		t.Rows = append(t.Rows, []cell{
			text(number(c.Attempts).Text), text(c.Model), text(c.Backend), text(c.Upstream), figure(number(began).Text + " ms"), figure(number(c.Duration).Text + " ms"),
			outcomeCell(c),
		})
	}
	return t
}

// lineTable shows the lines of a cost.
func lineTable(caption string, lines []record.Line) *table {
	t := &table{
		Caption: caption, Head: []string{"Kind", "Quantity", "Price in USD", "Per", "Before markup", "Cost in USD", "Model"},
		Empty: "No price line is known.",
	}
	for i := range lines {
		l := &lines[i]
		t.Rows = append(t.Rows, []cell{
			text(l.Kind), figure(l.Count), figure(l.Price), orDash(l.Per), figure(l.Base), figure(cmp.Or(l.Cost, l.Base)), orDash(l.Model),
		})
	}
	return t
}

// eventsOf shows a call's events as sent to Lago, and Lago's response.
func eventsOf(c *ledger.Call) (section, error) {
	s := section{Title: "Events and Lago's answer"}
	switch c.State {
	case spool.StateDone:
		s.Text = "Lago has the events, or the record is for the ledger alone."
	case spool.StatePending:
		s.Text = "The events are on their way to Lago."
	case spool.StateRejected:
		s.Text = "Lago rejected the record."
		s.Blocks = append(s.Blocks, string(c.Note))
	case spool.StateOpen:
		s.Text = "The call is under way."
	case spool.StateInterrupted:
		s.Text = "The process ended before the call did, so it is not settled."
	}
	s.Facts = append(s.Facts, fact{"State", stateCell(c.State)})
	s.Facts = facts(s.Facts, "Discarded, because", c.Discarded)
	err := record.EachEvent(c.Raw, func(e record.Event) error {
		s.Blocks = append(s.Blocks, string(e))
		return nil
	})
	return s, err
}
