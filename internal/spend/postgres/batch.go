package postgres

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

// rows are rows for one table: all values as text, by column.
type rows struct{ columns [][]string }

func (r *rows) add(values ...string) {
	if r.columns == nil {
		r.columns = make([][]string, len(values))
	}
	for i, v := range values {
		r.columns[i] = append(r.columns[i], v)
	}
}

func (r *rows) args() []any {
	list := make([]any, len(r.columns))
	for i := range r.columns {
		list[i] = r.columns[i]
	}
	return list
}

// batch is what records add to the tables.
type batch struct {
	account                                            string
	groups, hours, days, hourKinds, dayKinds, dayLines rows
	records                                            rows
}

// period are the sums of a group in an hour or a day.
type period struct {
	group string
	start time.Time
	sums  spend.Sums
}

// newBatch makes the rows of facts, ordered by key, so that no two instances wait for each other's rows.
func newBatch(account string, facts []spend.Fact) (*batch, error) {
	b := &batch{account: account}
	type place struct{ group, day string }
	days := make(map[place]*period)
	hours := make([]period, len(facts))
	groups := make(map[string]*spend.Fact)
	for i := range facts {
		f := &facts[i]
		group := key(account, f.Name)
		groups[group] = f
		hours[i] = period{group, f.Hour, f.Sums}
		day := f.Hour.Truncate(24 * time.Hour)
		at := place{group, day.Format(time.DateOnly)}
		if days[at] == nil {
			days[at] = &period{group, day, make(spend.Sums, len(f.Sums))}
		}
		if err := days[at].sums.AddAll(f.Sums); err != nil {
			return nil, err
		}
	}
	for _, group := range sorted(groups) {
		f := groups[group]
		b.groups.add(append([]string{group}, b.values(f.Value)...)...)
	}
	slices.SortFunc(hours, func(x, y period) int {
		if c := strings.Compare(x.group, y.group); c != 0 {
			return c
		}
		return x.start.Compare(y.start)
	})
	for i := range hours {
		addSums(&b.hours, &b.hourKinds, &hours[i], hours[i].start.Format(time.RFC3339))
	}
	order := make([]place, 0, len(days))
	for at := range days {
		order = append(order, at)
	}
	slices.SortFunc(order, func(x, y place) int { return strings.Compare(x.group+x.day, y.group+y.day) })
	for _, at := range order {
		addSums(&b.days, &b.dayKinds, days[at], at.day)
		if err := addLines(&b.dayLines, days[at], at.day); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func sorted[V any](m map[string]V) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// key makes a key, as a UUID, from names.
func key(names ...string) string {
	h := sha256.New()
	for _, n := range names {
		_, _ = fmt.Fprintf(h, "%d:%s", len(n), n) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// dimensions are the columns after the account's.
var dimensions = []spend.Dimension{
	spend.Payer, spend.Team, spend.User, spend.Key, spend.KeyAlias, spend.EndUser, spend.Model, spend.Upstream, spend.Provider, spend.Backend,
	spend.Endpoint, spend.Outcome, spend.Source, spend.Billed, spend.Factor, spend.Session,
}

// values returns the account and a value of each dimension.
func (b *batch) values(of func(spend.Dimension) string) []string {
	list := make([]string, 0, 1+len(dimensions))
	list = append(list, b.account)
	for _, d := range dimensions {
		list = append(list, text(of(d)))
	}
	return list
}

// text makes a text acceptable to PostgreSQL.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// addSums adds the row of a group in a period, and those of its kinds of usage.
func addSums(totals, kinds *rows, p *period, start string) {
	s := p.sums
	totals.add(
		p.group, start, number(s[spend.Calls], 0), number(s[spend.Failed], 0), number(s[spend.Unpriced], 0), s[spend.Cost].String(), s[spend.BaseCost].String(),
		s[spend.ProviderCost].String(), number(s[spend.Stated], 0), s[spend.StatedCost].String(), number(s[spend.InputTokens], 0), number(s[spend.OutputTokens], 0),
	)
	for _, measure := range sorted(s) {
		if kind, is := strings.CutPrefix(measure, spend.KindPrefix); is {
			kinds.add(p.group, start, kind, number(s[measure], 0))
		}
	}
}

// addLines adds the lines of a group's cost on a day.
func addLines(lines *rows, p *period, day string) error {
	list, err := spend.LinesOf(p.sums)
	if err != nil {
		return err
	}
	byKey := make(map[string]*spend.LineSums, len(list))
	for i := range list {
		l := &list[i]
		byKey[key(l.Kind, l.Price, l.Per, l.Model)] = l
	}
	for _, k := range sorted(byKey) {
		l := byKey[k]
		lines.add(p.group, day, k, text(l.Kind), decimal(l.Price), text(l.Per), text(l.Model), number(l.Count, 3), l.Base.String(), l.Cost.String())
	}
	return nil
}

// number writes an amount that is a count, with that many decimals.
func number(a price.Amount, decimals int) string {
	// A count of one is the last digit of an amount, the 15th decimal of its text.
	whole, fraction, _ := strings.Cut(a.String(), ".")
	digits := strings.TrimLeft(whole+fraction+strings.Repeat("0", 15-len(fraction)), "0")
	if missing := decimals + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	if decimals == 0 {
		return digits
	}
	point := len(digits) - decimals
	return digits[:point] + "." + digits[point:]
}

// decimal returns a text if it is a number, and nothing otherwise.
func decimal(s string) string {
	whole, fraction, point := strings.Cut(s, ".")
	for _, c := range whole + fraction {
		if c < '0' || c > '9' {
			return ""
		}
	}
	if whole == "" || point && fraction == "" {
		return ""
	}
	return s
}

// statement adds rows to a table.
type statement struct {
	sql  string
	args []any
}

const (
	totalColumns = "calls, failed, unpriced, cost, base_cost, provider_cost, provider_stated, provider_stated_cost, input_tokens, output_tokens"
	totalTypes   = "bbbnnnbnnn"
)

// types are the types of columns, one letter each.
var types = map[rune]string{
	'u': "uuid", 'h': "timestamptz", 'd': "date", 't': "text", 'b': "bigint", 'n': "numeric", 'j': "jsonb",
}

// statements returns the statements that add the batch.
func (b *batch) statements() (list []statement) {
	texts := strings.Repeat("t", 1+len(dimensions))
	add := func(r *rows, table, types, conflict string) {
		if len(r.columns) > 0 {
			list = append(list, statement{insert(table, types, conflict), r.args()})
		}
	}
	add(&b.groups, "tollgate_groups", "u"+texts, "DO NOTHING")
	totals := strings.Split(totalColumns, ", ")
	add(&b.hours, "tollgate_hours", "uh"+totalTypes, sum("group_id, hour", totals...))
	add(&b.days, "tollgate_days", "ud"+totalTypes, sum("group_id, day", totals...))
	add(&b.hourKinds, "tollgate_hour_kinds", "uhtn", sum("group_id, hour, kind", "quantity"))
	add(&b.dayKinds, "tollgate_day_kinds", "udtn", sum("group_id, day, kind", "quantity"))
	add(&b.dayLines, "tollgate_day_lines", "udutnttnnn",
		sum("group_id, day, line", "quantity", "base_cost", "cost"))
	add(&b.records, "tollgate_records", "uh"+texts+"nnnnj", "DO NOTHING")
	return list
}

// insert returns a statement that takes an array of texts for each column. A number may be missing: its text is empty.
func insert(table, letters, conflict string) string {
	values, arrays, names := make([]string, 0, len(letters)), make([]string, 0, len(letters)), make([]string, 0, len(letters))
	for i, letter := range letters {
		name := "c" + strconv.Itoa(i+1)
		value := name + "::" + types[letter]
		if letter == 'n' {
			value = "NULLIF(" + name + ", '')::numeric"
		}
		values, names = append(values, value), append(names, name)
		arrays = append(arrays, "$"+strconv.Itoa(i+1)+"::text[]")
	}
	return "INSERT INTO " + table + " AS t SELECT " + strings.Join(values, ", ") + " FROM unnest(" + strings.Join(arrays, ", ") +
		") AS u (" + strings.Join(names, ", ") + ") ON CONFLICT " + conflict
}

// sum adds to the columns of an existing row.
func sum(key string, columns ...string) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c + " = t." + c + " + excluded." + c
	}
	return "(" + key + ") DO UPDATE SET " + strings.Join(list, ", ")
}
