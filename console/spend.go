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
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

// What spend may be split by, by who reads everything and by who reads their own.
var (
	splits    = []string{"model", "team", "payer", "user", "key_alias", "provider", "backend", "upstream", "endpoint", "outcome", "source", "billed", ""}
	ownSplits = []string{"model", "endpoint", "outcome", ""}
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
	t, c, err := v.spendTable(&q, by, rows)
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
	return &content{Sections: []section{{Forms: []form{ask}}, {Chart: c, Table: t, Facts: []fact{{"As a file", link("CSV", file)}}}}}, nil
}

// spendTable makes the table of the rows, and the chart of their costs: by period, or by what they are split by.
func (v *visit) spendTable(q *spend.Query, by string, rows []spend.Row) (*table, *chart, error) {
	t := &table{Empty: "Nothing was called in this time."}
	if q.Each != spend.Whole {
		t.Head = append(t.Head, string(q.Each))
	}
	if by != "" {
		t.Head = append(t.Head, by)
	}
	if len(t.Head) == 0 {
		t.Head = []string{"total"}
	}
	t.Head = append(t.Head, "calls", "input tokens", "output tokens", "cost in USD")
	if v.role != own {
		t.Head = append(t.Head, "cost before markup")
	}
	sums := make(spend.Sums)
	var bars []bar
	for i := range rows {
		r := &rows[i]
		if err := sums.AddAll(r.Sums); err != nil {
			return nil, nil, err
		}
		var row []cell
		label := "total"
		if q.Each != spend.Whole {
			label = r.Start.Format(map[spend.Unit]string{spend.Day: time.DateOnly, spend.Month: "2006-01"}[q.Each])
			row = append(row, text(label))
		}
		for _, value := range r.Values {
			if q.Each == spend.Whole {
				label = cmp.Or(value, "–")
			}
			row = append(row, orDash(value))
		}
		if len(row) == 0 {
			row = append(row, text(label))
		}
		row = append(row, number(r.Sums.Count(spend.Calls)), number(r.Sums.Count(spend.InputTokens)), number(r.Sums.Count(spend.OutputTokens)),
			figure(r.Sums[spend.Cost].String()))
		if v.role != own {
			row = append(row, figure(r.Sums[spend.BaseCost].String()))
		}
		t.Rows = append(t.Rows, row)
		var err error
		if bars, err = addBar(bars, label, r.Sums[spend.Cost]); err != nil {
			return nil, nil, err
		}
	}
	t.Caption = "Cost in all $" + sums[spend.Cost].String() + ", calls " + number(sums.Count(spend.Calls)).Text
	return t, chartOf("Cost in USD", bars), nil
}

func addBar(bars []bar, label string, a price.Amount) ([]bar, error) {
	at := slices.IndexFunc(bars, func(b bar) bool { return b.Label == label })
	if at < 0 {
		return append(bars, bar{Label: label, amount: a}), nil
	}
	var err error
	bars[at].amount, err = bars[at].amount.Add(a)
	return bars, err
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
