package console

import (
	"cmp"
	"encoding/csv"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

// The dimensions that spend can be split by, for keys that may read everything and for keys that may read only
// their own spend. The latter are those of LiteLLM's reports.
var (
	splits    = []string{"model", "team", "payer", "user", "key_alias", "end_user", "session", "provider", "backend", "upstream", "endpoint", "outcome", "source", "billed", ""}
	ownSplits = []string{"model", "upstream", "provider", "payer", "endpoint", "outcome", ""}
	// For team admins.
	teamSplits = []string{"model", "key_alias", "user", "upstream", "provider", "payer", "endpoint", "outcome", ""}
)

// spans are the periods to choose from. Each starts that long ago, at the beginning of a month or day.
var spans = []struct {
	name         string
	months, days int
}{{"this month", 0, -1}, {"7 days", 0, 6}, {"30 days", 0, 29}, {"12 months", 11, -1}}

// since returns the start of a span.
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

// showSpend shows the cost of settled calls from the books. A key that may not read everything sees its own spend.
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
	page := 1
	if text := asked.Get("page"); text != "" {
		if page, err = strconv.Atoi(text); err != nil || page < 1 || page > maxPage {
			return nil, refuse(http.StatusBadRequest, "There is no such page.")
		}
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
	shown := url.Values{"by": {by}, "each": {each}, "span": {span}}
	sp := &spending{v: v, by: by, q: &q}
	var found *section
	var rows []spend.Row
	err = a.ViewSpend(v.r.Context(), func(ask func(spend.Query) ([]spend.Row, error)) (err error) {
		sp.ask = ask
		switch v.arg {
		case "":
			found, err = sp.section(page)
		case "csv":
			rows, err = ask(q)
		default:
			err = noPage()
		}
		return err
	})
	switch {
	case errors.Is(err, account.ErrBooksBehind):
		return nil, refuse(http.StatusServiceUnavailable, "The books do not have all records yet. Try again.")
	case errors.Is(err, spend.ErrFolded), errors.Is(err, spend.ErrQuery):
		return nil, refuse(http.StatusBadRequest, err.Error())
	case err != nil:
		return nil, err
	case v.arg != "":
		return nil, v.sendCSV("spend.csv", sp.table(rows))
	}
	list := found.Tables[len(found.Tables)-1]
	if len(list.Rows) > 0 {
		list.File = root + "spend/csv?" + shown.Encode()
	}
	if len(list.Rows) > maxListed {
		list.Rows = list.Rows[:maxListed]
		shown.Set("page", strconv.Itoa(page+1))
		list.More = root + "spend?" + shown.Encode()
	}
	return &content{Sections: []section{{Forms: []form{ask}}, *found}}, nil
}

// maxPage is the last page of the spend table. The CSV file contains all rows.
const maxPage = 1000

// spending is one query of the spend page. All its results come from the same state of the books.
type spending struct {
	v   *visit
	by  string // the dimension that it is split by; empty if not split
	q   *spend.Query
	ask func(spend.Query) ([]spend.Row, error)
}

// section shows the totals, a chart, and one page of the table of all periods. It queries one extra row to
// detect a next page, so the books do not have to read every row of a long period.
func (s *spending) section(page int) (*section, error) {
	q := s.q
	whole := *q
	whole.Each = spend.Whole
	totals, err := s.ask(whole)
	if err != nil {
		return nil, err
	}
	sums := make(spend.Sums)
	for i := range totals {
		if err := sums.AddAll(totals[i].Sums); err != nil {
			return nil, err
		}
	}
	out := new(section)
	rows := totals
	if q.Each == spend.Whole {
		out.Charts, err = s.totalsChart(rows)
		first := min((page-1)*maxListed, len(rows))
		rows = rows[first:min(first+maxListed+1, len(rows))]
	} else {
		paged := *q
		paged.Limit, paged.Offset = maxListed+1, (page-1)*maxListed
		if rows, err = s.ask(paged); err != nil {
			return nil, err
		}
		slices.SortStableFunc(totals, func(x, y spend.Row) int { return y.Sums[spend.Cost].Cmp(x.Sums[spend.Cost]) })
		out.Charts, err = s.periodsChart(totals)
		if s.by != "" && len(totals) > 0 {
			out.Tables = append(out.Tables, s.totalsTable(totals))
		}
	}
	if err != nil {
		return nil, err
	}
	t := s.table(rows)
	t.Caption = "Cost in all $" + sums[spend.Cost].String() + ", calls " + number(sums.Count(spend.Calls)).Text
	if page > 1 {
		t.Caption += "; page " + number(page).Text
	}
	out.Tables = append(out.Tables, t)
	return out, nil
}

// totalsTable lists the totals, the largest first.
func (s *spending) totalsTable(totals []spend.Row) *table {
	t := &table{Caption: "In all, by " + s.by, Head: s.v.spendHead([]string{s.by})}
	if len(totals) > maxListed {
		t.Caption += "; the " + number(maxListed).Text + " largest of " + number(len(totals)).Text
	}
	for i := range totals[:min(len(totals), maxListed)] {
		t.Rows = append(t.Rows, append([]cell{text(groupOf(&totals[i]))}, s.v.spendCells(totals[i].Sums)...))
	}
	return t
}

// groupOf returns the name of a row's group.
func groupOf(r *spend.Row) string { return cmp.Or(strings.Join(r.Values, ""), "–") }

// table returns a table of the rows.
func (s *spending) table(rows []spend.Row) *table {
	q := s.q
	t := &table{Empty: "There were no calls in this period."}
	var names []string
	if q.Each != spend.Whole {
		names = append(names, string(q.Each))
	}
	if s.by != "" {
		names = append(names, s.by)
	}
	t.Head = s.v.spendHead(names)
	for i := range rows {
		r := &rows[i]
		var row []cell
		if q.Each != spend.Whole {
			row = append(row, text(r.Start.Format(layouts[q.Each])))
		}
		if s.by != "" {
			row = append(row, text(groupOf(r)))
		}
		if len(row) == 0 {
			row = append(row, text("total"))
		}
		t.Rows = append(t.Rows, append(row, s.v.spendCells(r.Sums)...))
	}
	return t
}

// totalsChart draws one bar per row.
func (s *spending) totalsChart(rows []spend.Row) ([]*chart, error) {
	var costs heap
	if len(rows) > maxBars {
		return nil, nil
	}
	for i := range rows {
		label := "total"
		if s.by != "" {
			label = groupOf(&rows[i])
		}
		if err := costs.add(label, "cost", rows[i].Sums[spend.Cost]); err != nil {
			return nil, err
		}
	}
	return costs.chart("cost", "Cost in USD", "$")
}

// periodsChart draws one bar per period. A bar stacks the most expensive groups, in the order of totals, and the
// rest.
func (s *spending) periodsChart(totals []spend.Row) ([]*chart, error) {
	q := s.q
	costs := heap{labels: periodsOf(q, time.Now())}
	largest := *q
	few := len(totals) <= maxSeries
	if s.by != "" && !few {
		names := make([]string, 0, maxSeries-1)
		for _, r := range totals[:maxSeries-1] {
			names = append(names, r.Values[0])
		}
		largest.Where = maps.Clone(q.Where)
		if largest.Where == nil {
			largest.Where = make(map[spend.Dimension][]string)
		}
		largest.Where[q.By[0]] = names
	}
	rows, err := s.ask(largest)
	if err != nil {
		return nil, err
	}
	shown := make(map[string]price.Amount) // sum of the charted groups by period
	for i := range rows {
		label, name, cost := rows[i].Start.Format(layouts[q.Each]), "cost", rows[i].Sums[spend.Cost]
		if s.by != "" {
			name = groupOf(&rows[i])
		}
		if err := costs.add(label, name, cost); err != nil {
			return nil, err
		}
		if shown[label], err = shown[label].Add(cost); err != nil {
			return nil, err
		}
	}
	if s.by != "" && !few {
		all := *q
		all.By = nil
		if rows, err = s.ask(all); err != nil {
			return nil, err
		}
		for i := range rows {
			label := rows[i].Start.Format(layouts[q.Each])
			if rest := rows[i].Sums[spend.Cost].Sub(shown[label]); rows[i].Sums[spend.Cost].Cmp(shown[label]) > 0 {
				if err := costs.add(label, others, rest); err != nil {
					return nil, err
				}
			}
		}
	}
	return costs.chart("cost", "Cost in USD", "$")
}

// layouts are the time formats of periods.
var layouts = map[spend.Unit]string{spend.Day: time.DateOnly, spend.Month: "2006-01"}

// periodsOf returns all periods of a query, including periods without calls.
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

// spendHead returns the header of a spend table that starts with these columns.
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

// sendCSV sends a table as a CSV file. Text that a spreadsheet would interpret as a formula is prefixed with an
// apostrophe.
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

// errSent means that a page has already sent its response.
var errSent = errors.New("the answer was already sent")
