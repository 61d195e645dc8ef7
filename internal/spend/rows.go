package spend

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// unit is a length of periods. Its letters are on disk.
type unit byte

const (
	hours  unit = 'h'
	days   unit = 'd'
	months unit = 'm'
)

// of returns the number of the period that a moment is in: hours and days since 1970, months since the year 0, in UTC.
func (u unit) of(t time.Time) uint32 {
	switch t = t.UTC(); u {
	case hours:
		return uint32(t.Unix() / 3600) //nolint:gosec // until the year 2106 by far
	case days:
		return uint32(t.Unix() / 86400) //nolint:gosec // as above
	default:
		return uint32(t.Year()*12 + int(t.Month()) - 1) //nolint:gosec // as above
	}
}

// start returns when a period begins.
func (u unit) start(n uint32) time.Time {
	switch u {
	case hours:
		return time.Unix(int64(n)*3600, 0).UTC()
	case days:
		return time.Unix(int64(n)*86400, 0).UTC()
	default:
		return time.Date(int(n/12), time.Month(n%12+1), 1, 0, 0, 0, 0, time.UTC)
	}
}

// row is the place of sums. Rows of hours are kept by tuple alone; days and months by tuple and by each single dimension.
type row struct {
	unit   unit
	dim    Dimension // all, one dimension, or tuple
	period uint32
	id     id
}

// Line is a price of one kind, and what a measure of lines is named by.
type Line struct {
	Kind  string
	Price string // USD per Per; empty for a sum that the provider reported
	Per   string
	Model string // another model than the answer's own
}

// The parts of a line.
const (
	LineCount = "q" // in thousandths of the kind's unit
	LineBase  = "b"
	LineCost  = "c"
)

// Measure names a part of the line in sums.
func (l Line) Measure(part string) string {
	return linePrefix + strings.Join([]string{part, l.Kind, l.Price, l.Per, l.Model}, "|")
}

// ParseLine reads a measure; ok is false for one of no line.
func ParseLine(measure string) (l Line, part string, ok bool) {
	rest, ok := strings.CutPrefix(measure, linePrefix)
	if !ok {
		return l, "", false
	}
	p := strings.SplitN(rest, "|", 5)
	if len(p) != 5 {
		return l, "", false
	}
	return Line{Kind: p[1], Price: p[2], Per: p[3], Model: p[4]}, p[0], true
}

// fact is what the books need of a settled record.
type fact struct {
	at     time.Time
	values values
	sums   Sums
	lines  Sums
}

const isBilled = "billed"

// read reads a settled record as it is in the spool.
func read(r spool.Record, endUsers bool) (*fact, error) {
	rec, err := record.Parse(r.Payload)
	if err != nil {
		return nil, err
	}
	f := &fact{at: rec.Settled, sums: make(Sums), lines: make(Sums)}
	if f.at.IsZero() {
		f.at = r.Time
	}
	f.values = values{
		Payer: rec.Payer, Team: rec.Team, User: rec.User, Key: rec.KeyID, KeyAlias: rec.KeyAlias, Model: rec.Model, Upstream: rec.Upstream,
		Provider: rec.Provider, Backend: rec.Backend, Endpoint: rec.Endpoint, Outcome: rec.Outcome, Source: string(rec.Source),
		Billed: rec.NotBilled, Factor: rec.Factor,
	}
	if rec.NotBilled == "" {
		f.values[Billed] = isBilled
	}
	if endUsers {
		f.values[EndUser] = rec.EndUser
	}
	return f, f.measure(rec)
}

// measure fills in the sums.
func (f *fact) measure(rec *record.Record) (err error) {
	f.sums[Calls] = count(1)
	if rec.Outcome == record.OutcomeError {
		f.sums[Failed] = count(1)
	}
	if rec.Unpriced != "" {
		f.sums[Unpriced] = count(1)
	}
	f.sums[InputTokens], f.sums[OutputTokens] = count(rec.Counts.InputTokens()), count(rec.Counts.OutputTokens())
	for k := range usage.Kind(usage.NumKinds) {
		if n := rec.Counts.N(k); n > 0 {
			f.sums[KindPrefix+k.String()] = count(n)
		}
	}
	if rec.Cost != "" {
		if f.sums[Cost], err = price.ParseUSD(rec.Cost); err != nil {
			return err
		}
		f.sums[BaseCost] = f.sums[Cost]
	}
	if rec.BaseCost != "" {
		if f.sums[BaseCost], err = price.ParseUSD(rec.BaseCost); err != nil {
			return err
		}
	}
	if rec.ProviderCost != "" {
		unit := rec.ProviderUnit
		if unit == "" {
			unit = "usd"
		}
		// What cannot be read as money is no cost: the record has its text.
		if stated, _, err := price.ParseReported(rec.ProviderCost, unit); err == nil {
			f.sums[ProviderCost], f.sums[Stated], f.sums[StatedCost] = stated, count(1), f.sums[Cost]
		}
	}
	for i := range rec.Lines {
		if err := f.line(&rec.Lines[i]); err != nil {
			return err
		}
	}
	return nil
}

func (f *fact) line(l *record.Line) error {
	line := Line{Kind: l.Kind, Price: l.Price, Per: l.Per, Model: l.Model}
	n, err := thousandths(l.Count)
	if err != nil {
		return err
	}
	base, err := price.ParseUSD(l.Base)
	if err != nil {
		return err
	}
	cost := base
	if l.Cost != "" {
		if cost, err = price.ParseUSD(l.Cost); err != nil {
			return err
		}
	}
	for part, a := range map[string]price.Amount{LineCount: n, LineBase: base, LineCost: cost} {
		if err := f.lines.add(line.Measure(part), a); err != nil {
			return err
		}
	}
	return nil
}

// thousandths reads a quantity with up to three decimals.
func thousandths(text string) (price.Amount, error) {
	whole, frac, _ := strings.Cut(text, ".")
	n, err := strconv.ParseUint(whole+(frac + "000")[:3], 10, 64)
	if err != nil || len(frac) > 3 {
		return price.Amount{}, fmt.Errorf("the quantity %q is not a number with up to three decimals", text)
	}
	return price.FromLimbs(0, n), nil
}

// batch is what records add to rows.
type batch struct {
	kept  kept
	rows  map[row]Sums
	names map[id]name
}

// add adds a fact to its rows.
func (b *batch) add(f *fact) error {
	put := func(n name, u unit, lines bool) error {
		r := row{unit: u, dim: n.dim, period: u.of(f.at), id: n.id()}
		if n.dim == tuple && (u == hours && r.period < b.kept.hours || u == days && r.period < b.kept.days) {
			return nil
		}
		b.names[r.id] = n
		sums := b.rows[r]
		if sums == nil {
			sums = make(Sums)
			b.rows[r] = sums
		}
		err := sums.AddAll(f.sums)
		if lines && err == nil {
			err = sums.AddAll(f.lines)
		}
		return err
	}
	t := f.values.tuple()
	if err := put(t, hours, false); err != nil {
		return err
	}
	for _, u := range []unit{days, months} {
		if err := put(t, u, true); err != nil {
			return err
		}
		for d := range Dimension(numDimensions) {
			if err := put(name{d, f.values[d]}, u, false); err != nil {
				return err
			}
		}
	}
	return nil
}
