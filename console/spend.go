package console

import (
	"cmp"
	"encoding/csv"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

// What spend may be split by, by who reads everything and by who reads their own: the latter is what LiteLLM's reports show them.
var (
	splits    = []string{"model", "team", "payer", "user", "key_alias", "end_user", "provider", "backend", "upstream", "endpoint", "outcome", "source", "billed", ""}
	ownSplits = []string{"model", "upstream", "provider", "payer", "endpoint", "outcome", ""}
	// Of an admin of a team.
	teamSplits = []string{"model", "key_alias", "user", "upstream", "provider", "payer", "endpoint", "outcome", ""}
)

// spans are the times that spend is shown for, and how far back each begins, at the beginning of a month or a day.
var spans = []struct {
	name         string
	months, days int
}{{"this month", 0, -1}, {"7 days", 0, 6}, {"30 days", 0, 29}, {"12 months", 11, -1}}

// since returns the beginning of a span.
func since(name string, now time.Time) (time.Time, bool) {
	now = now.UTC()
	for _, s := range spans {
		if s.name != name {
			continue
		}
		if s.days < 0 {
			return time.Date(now.Year(), now.Month()-time.Month(s.months), 1, 0, 0, 0, 0, time.UTC), true
		}
		return time.Date(now.Year(), now.Month(), now.Day()-s.days, 0, 0, 0, 0, time.UTC), true
	}
	return time.Time{}, false
}

// showSpend shows what settled calls cost, by the books. A key that may not read everything sees its own.
func showSpend(v *visit) (*content, error) {
	a, release, err := v.holdAccount()
	if err != nil {
		return nil, err
	}
	defer release()
	asked := v.r.URL.Query()
	span, each, by := cmp.Or(asked.Get("span"), "this month"), cmp.Or(asked.Get("each"), string(spend.Day)), "model"
	if asked.Has("by") {
		by = asked.Get("by")
	}
	allowed := splits
	q := spend.Query{Each: spend.Unit(each)}
	if v.role == own {
		allowed = ownSplits
		q.Where = map[spend.Dimension][]string{spend.Key: {v.who.SpendID}}
		if v.team != "" {
			allowed = teamSplits
			q.Where = map[spend.Dimension][]string{spend.Team: {v.team}}
		}
	}
	from, ok := since(span, time.Now())
	if !ok || !slices.Contains(allowed, by) || !slices.Contains([]string{"day", "month", "total"}, each) {
		return nil, refuse(http.StatusBadRequest, "Choose from the lists.")
	}
	q.Since = from
	if each == "total" {
		q.Each = spend.Whole
	}
	if by != "" {
		d, err := spend.ParseDimension(by)
		if err != nil {
			return nil, err
		}
		q.By = []spend.Dimension{d}
	}
	rows, err := a.Spend(v.r.Context(), q)
	switch {
	case errors.Is(err, account.ErrBooksBehind):
		return nil, refuse(http.StatusServiceUnavailable, "The books do not have all records yet: try again.")
	case errors.Is(err, spend.ErrFolded), errors.Is(err, spend.ErrQuery):
		return nil, refuse(http.StatusBadRequest, err.Error())
	case err != nil:
		return nil, err
	}
	t, groups, c, err := v.spendTables(&q, by, rows)
	if err != nil {
		return nil, err
	}
	switch v.arg {
	case "":
	case "csv":
		return nil, v.sendCSV("spend.csv", t)
	default:
		return nil, noPage()
	}
	names := make([]string, 0, len(spans))
	for _, s := range spans {
		names = append(names, s.name)
	}
	split := choice("by", "By", by, allowed...)
	split.Options[len(split.Options)-1].Label = "nothing"
	ask := form{Action: root + "spend", Button: "Show", Fields: []field{
		split, choice("each", "Each", each, "day", "month", "total"), choice("span", "Time", span, names...),
	}}
	file := root + "spend/csv?" + url.Values{"by": {by}, "each": {each}, "span": {span}}.Encode()
	if len(t.Rows) > 0 {
		t.File = file
	}
	shown := section{Charts: c, Tables: []*table{t}}
	if groups != nil {
		shown.Tables = []*table{groups, t}
	}
	return &content{Sections: []section{
		{Forms: []form{ask}}, shown,
	}}, nil
}

// spendTables makes the table of the rows, one of the totals by what they are split by, unless that is the same, and the chart
// of their costs.
func (v *visit) spendTables(q *spend.Query, by string, rows []spend.Row) (all, groups *table, charts []*chart, err error) {
	t := &table{Empty: "Nothing was called in this time."}
	var names []string
	if q.Each != spend.Whole {
		names = append(names, string(q.Each))
	}
	if by != "" {
		names = append(names, by)
	}
	t.Head = v.spendHead(names)
	sums := make(spend.Sums)
	costs := heap{labels: periodsOf(q, time.Now())}
	byGroup := make(map[string]spend.Sums)
	for i := range rows {
		r := &rows[i]
		if err := sums.AddAll(r.Sums); err != nil {
			return nil, nil, nil, err
		}
		group := cmp.Or(strings.Join(r.Values, ""), "–")
		label, row := group, []cell(nil)
		if q.Each != spend.Whole {
			label = r.Start.Format(layouts[q.Each])
			row = append(row, text(label))
		} else if by == "" {
			label = "total"
		}
		if by != "" {
			row = append(row, text(group))
		} else {
			group = "cost"
		}
		if len(row) == 0 {
			row = append(row, text(label))
		}
		t.Rows = append(t.Rows, append(row, v.spendCells(r.Sums)...))
		if q.Each == spend.Whole {
			group = "cost"
		} else if byGroup[group] == nil {
			byGroup[group] = make(spend.Sums)
		}
		if g := byGroup[group]; g != nil {
			if err := g.AddAll(r.Sums); err != nil {
				return nil, nil, nil, err
			}
		}
		if err := costs.add(label, group, r.Sums[spend.Cost]); err != nil {
			return nil, nil, nil, err
		}
	}
	t.Caption = "Cost in all $" + sums[spend.Cost].String() + ", calls " + number(sums.Count(spend.Calls)).Text
	if charts, err = costs.chart("cost", "Cost in USD", "$"); err != nil {
		return nil, nil, nil, err
	}
	if by != "" && q.Each != spend.Whole && len(rows) > 0 {
		groups = &table{Caption: "In all, by " + by, Head: v.spendHead([]string{by})}
		for _, name := range costs.names { // the largest first
			groups.Rows = append(groups.Rows, append([]cell{text(name)}, v.spendCells(byGroup[name])...))
		}
	}
	return t, groups, charts, nil
}

// layouts are how periods are written.
var layouts = map[spend.Unit]string{spend.Day: time.DateOnly, spend.Month: "2006-01"}

// periodsOf returns the periods of a question, also those without a call.
func periodsOf(q *spend.Query, now time.Time) (list []string) {
	for at := q.Since; q.Each != spend.Whole && at.Before(now); {
		list = append(list, at.Format(layouts[q.Each]))
		if q.Each == spend.Month {
			at = at.AddDate(0, 1, 0)
		} else {
			at = at.AddDate(0, 0, 1)
		}
	}
	return list
}

// spendHead returns the head of a table of spend, whose rows are named by these.
func (v *visit) spendHead(names []string) []string {
	if len(names) == 0 {
		names = []string{"total"}
	}
	head := append(slices.Clip(names), "calls", "input tokens", "output tokens", "cost in USD")
	if v.role != own {
		head = append(head, "cost before markup")
	}
	return head
}

func (v *visit) spendCells(sums spend.Sums) []cell {
	row := []cell{
		number(sums.Count(spend.Calls)), number(sums.Count(spend.InputTokens)), number(sums.Count(spend.OutputTokens)),
		figure(sums[spend.Cost].String()),
	}
	if v.role != own {
		row = append(row, figure(sums[spend.BaseCost].String()))
	}
	return row
}

// sendCSV sends a table as a file. A text that a spreadsheet would take for a formula has an apostrophe before it.
func (v *visit) sendCSV(name string, t *table) error {
	v.w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	out := csv.NewWriter(v.w)
	if err := out.Write(t.Head); err != nil {
		return errSent
	}
	for _, row := range t.Rows {
		cells := make([]string, len(row))
		for i, c := range row {
			if cells[i] = c.Text; !c.Number && strings.ContainsAny(c.Text[:min(1, len(c.Text))], "=+-@") {
				cells[i] = "'" + c.Text
			}
		}
		if err := out.Write(cells); err != nil {
			return errSent
		}
	}
	out.Flush()
	return errSent
}

// errSent means that a page has sent its answer itself.
var errSent = errors.New("the answer is sent")
