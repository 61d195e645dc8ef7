package spend

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Unit is the length of the periods that rows are split by.
type Unit string

// The units.
const (
	Whole Unit = ""
	Hour  Unit = "hour"
	Day   Unit = "day"
	Month Unit = "month"
)

// Query is a question to the books.
type Query struct {
	Since time.Time // a whole hour, in UTC days and months
	Until time.Time // a whole hour, or later than now
	Each  Unit      // a row for each
	By    []Dimension
	// Where has the values of a dimension that count; without an entry, all count.
	Where map[Dimension][]string
	Lines bool // sums include the lines of prices; only for whole days
	// Limit is the maximum number of rows in the answer, after the first Offset; 0: all. If rows are split by time, later ones are not
	// read.
	Limit, Offset int
}

// Row is a row of the answer.
type Row struct {
	Start  time.Time // of the period; zero with Whole
	Values []string  // of By, in its order
	Sums   Sums
}

// piece is a stretch of periods of one unit.
type piece struct {
	unit     unit
	from, to uint32    // to is not in it
	dim      Dimension // of its rows
}

// pieces covers a span of time with the longest periods that may be used.
func (q *Query) pieces(now time.Time) ([]piece, error) {
	since, until := q.Since.UTC(), q.Until.UTC()
	if q.Until.IsZero() || until.After(now) {
		// There are no records after now, so the current period counts as a whole.
		switch q.Each {
		case Hour:
			until = hours.start(hours.of(now) + 1)
		case Day:
			until = days.start(days.of(now) + 1)
		default:
			until = months.start(months.of(now) + 1)
		}
	}
	if !since.Equal(since.Truncate(time.Hour)) || !until.Equal(until.Truncate(time.Hour)) {
		return nil, fmt.Errorf("%w: the books know whole hours", ErrQuery)
	}
	units := []unit{months, days, hours}
	switch q.Each {
	case Hour:
		units = units[2:]
	case Day:
		units = units[1:]
	case Whole, Month:
	default:
		return nil, fmt.Errorf("%w: %q is none of hour, day, month", ErrQuery, string(q.Each))
	}
	var list []piece
	for at := since; at.Before(until); {
		for _, u := range units {
			n := u.of(at)
			next := u.start(n + 1)
			if !u.start(n).Equal(at) || next.After(until) {
				continue
			}
			if last := len(list) - 1; last >= 0 && list[last].unit == u && list[last].to == n {
				list[last].to++
			} else {
				list = append(list, piece{unit: u, from: n, to: n + 1})
			}
			at = next
			break
		}
	}
	return list, nil
}

// dimension returns the kind of rows with the fewest dimensions that can answer the question.
func (q *Query) dimension() Dimension {
	var needs []Dimension
	need := func(d Dimension) {
		if !slices.Contains(needs, d) {
			needs = append(needs, d)
		}
	}
	for _, d := range q.By {
		need(d)
	}
	for d := range q.Where {
		need(d)
	}
	switch {
	case q.Lines:
		return tuple
	case len(needs) == 0:
		return all
	case len(needs) == 1 && needs[0].alone():
		return needs[0]
	case len(needs) == 2:
		for _, p := range pairs {
			if slices.Contains(needs, p.one) && slices.Contains(needs, p.two) {
				return p.dim
			}
		}
	}
	return tuple
}

// splitPairs gives pieces the dimension of their rows. Periods before there were rows by pairs are answered by tuples.
func splitPairs(r reader, pieces []piece, d Dimension) ([]piece, error) {
	first := uint32(0)
	if d.joint() && d != tuple {
		var err error
		if first, err = r.pairsFrom(); err != nil {
			return nil, err
		}
	}
	var list []piece
	for _, p := range pieces {
		p.dim = d
		at := p.from
		for first > 0 && at < p.to && days.of(p.unit.start(at)) < first {
			at++
		}
		if at > p.from {
			list = append(list, piece{p.unit, p.from, at, tuple})
			p.from = at
		}
		if p.from < p.to {
			list = append(list, p)
		}
	}
	return list, nil
}

// group is what an id is counted in: its values of Query.By.
type group struct {
	values []string
	rank   int // in the order of values, once all are known
	// The row that was last added to: many consecutive rows of the books belong to the same row of the answer.
	start int64
	sums  *sums
}

// answer is an answer being built.
type answer struct {
	q      *Query
	groups map[string]*group
	byID   map[Dimension]map[uint64]*group // by number; nil: not asked for
	rows   map[place]*sums
}

// place is where a row of an answer is.
type place struct {
	start int64
	group *group
}

// View calls fn with a function that answers questions. In a file all answers see the same state of the books.
func (b *Book) View(ctx context.Context, fn func(ask func(Query) ([]Row, error)) error) error {
	return b.medium.view(ctx, func(r reader) error {
		return fn(func(q Query) ([]Row, error) { return b.query(r, &q) })
	})
}

// Query answers a question. Rows are in the order of time, then of their values.
func (b *Book) Query(ctx context.Context, q Query) (rows []Row, err error) {
	err = b.View(ctx, func(ask func(Query) ([]Row, error)) error {
		rows, err = ask(q)
		return err
	})
	return rows, err
}

func (b *Book) query(r reader, q *Query) ([]Row, error) {
	pieces, err := q.pieces(b.o.Now())
	if err != nil {
		return nil, err
	}
	k := b.kept()
	a := &answer{q: q, groups: make(map[string]*group), byID: make(map[Dimension]map[uint64]*group), rows: make(map[place]*sums)}
	if pieces, err = splitPairs(r, pieces, q.dimension()); err != nil {
		return nil, err
	}
	for i := range pieces {
		if err := q.check(&pieces[i], k); err != nil {
			return nil, err
		}
	}
	if err := a.read(r, pieces); err != nil {
		return nil, err
	}
	return a.list(), nil
}

// check reports a piece that is no longer kept, and has hours read by tuple, as they are stored.
func (q *Query) check(p *piece, k kept) error {
	switch {
	case p.unit == hours && q.Lines:
		return fmt.Errorf("%w: prices are kept by day: ask for whole days", ErrQuery)
	case p.unit == hours && p.from < k.hours:
		return fmt.Errorf("hours before %s are %w", hours.start(k.hours).Format(time.RFC3339), ErrFolded)
	case p.unit == hours:
		p.dim = tuple
	case p.unit == days && p.dim.joint() && p.from < k.days:
		return fmt.Errorf("days by several dimensions before %s are %w: ask for months, or for one dimension",
			days.start(k.days).Format(time.DateOnly), ErrFolded)
	}
	return nil
}

// read adds the pieces in the order of time, and no more than the requested rows need.
func (a *answer) read(r reader, pieces []piece) error {
	if a.q.Limit <= 0 || a.q.Each == Whole {
		for _, p := range pieces {
			if err := a.scan(r, p); err != nil {
				return err
			}
		}
		return nil
	}
	u := unitOf[a.q.Each]
	last := uint32(0) // the period of the answer's last row
	for _, p := range pieces {
		for n := uint32(1); p.from < p.to; n *= 2 { // ever larger reads, as each has a fixed cost
			part := p
			part.to = min(p.to, p.from+n)
			if first := u.of(p.unit.start(part.from)); first != last && len(a.rows) >= a.q.Offset+a.q.Limit {
				return nil
			}
			last = u.of(p.unit.start(part.to - 1))
			if err := a.scan(r, part); err != nil {
				return err
			}
			p.from = part.to
		}
	}
	return nil
}

// unitOf are the units of periods in an answer.
var unitOf = map[Unit]unit{Hour: hours, Day: days, Month: months}

// scan adds a piece.
func (a *answer) scan(r reader, p piece) error {
	d := p.dim
	groups, ids, err := a.groupsOf(r, d)
	if err != nil || ids != nil && len(ids) == 0 {
		return err
	}
	u := unitOf[a.q.Each]
	start := int64(0)
	last := uint32(0)
	return r.scan(p.unit, d, p.from, p.to, ids, func(period uint32, i id) *sums {
		g := groups[i.number()]
		if g == nil {
			return nil
		}
		if u != 0 && period != last {
			last, start = period, u.start(u.of(p.unit.start(period))).Unix()
		}
		if g.sums != nil && g.start == start {
			return g.sums
		}
		at := place{start, g}
		s := a.rows[at]
		if s == nil {
			s = &sums{lines: a.q.Lines}
			a.rows[at] = s
		}
		g.start, g.sums = start, s
		return s
	})
}

// groupsOf returns the groups of ids and, if a question is for few ids, these.
func (a *answer) groupsOf(r reader, d Dimension) (groups map[uint64]*group, ids []id, err error) {
	groups = a.byID[d]
	if groups == nil {
		groups = make(map[uint64]*group)
		a.byID[d] = groups
		total := 0
		err = r.names(d, func(i id, text string) error {
			total++
			var v values
			if d.joint() {
				var ok bool
				if v, ok = parseTuple(text); !ok {
					return errDamaged
				}
			} else {
				v[d] = text
			}
			if g := a.group(&v); g != nil {
				groups[i.number()] = g
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	if len(a.q.Where) == 0 {
		return groups, nil, nil
	}
	const few = 2000
	if len(groups) > few {
		return groups, nil, nil
	}
	ids = make([]id, 0, len(groups))
	for n := range groups {
		ids = append(ids, idOf(n))
	}
	slices.SortFunc(ids, func(x, y id) int { return strings.Compare(string(x[:]), string(y[:])) })
	return groups, ids, nil
}

// group returns the group of values; nil if they are not asked for.
func (a *answer) group(v *values) *group {
	for d, wanted := range a.q.Where {
		if !slices.Contains(wanted, v[d]) {
			return nil
		}
	}
	list := make([]string, len(a.q.By))
	for i, d := range a.q.By {
		list[i] = v[d]
	}
	key := strings.Join(list, "\x00")
	g := a.groups[key]
	if g == nil {
		g = &group{values: list}
		a.groups[key] = g
	}
	return g
}

// list returns the rows, in the order of time, then of their values.
func (a *answer) list() []Row {
	groups := slices.Collect(maps.Values(a.groups))
	slices.SortFunc(groups, func(x, y *group) int { return slices.Compare(x.values, y.values) })
	for n, g := range groups {
		g.rank = n
	}
	places := slices.Collect(maps.Keys(a.rows))
	slices.SortFunc(places, func(x, y place) int {
		return cmp.Or(cmp.Compare(x.start, y.start), cmp.Compare(x.group.rank, y.group.rank))
	})
	places = places[min(a.q.Offset, len(places)):]
	if a.q.Limit > 0 {
		places = places[:min(a.q.Limit, len(places))]
	}
	out := make([]Row, 0, len(places))
	for _, at := range places {
		r := Row{Values: at.group.values, Sums: a.rows[at].done()}
		if a.q.Each != Whole {
			r.Start = time.Unix(at.start, 0).UTC()
		}
		out = append(out, r)
	}
	return out
}
