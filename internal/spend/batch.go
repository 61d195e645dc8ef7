package spend

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// measure is the number of a measure in a batch: first those that every row may have, then the kinds of usage, then lines of prices.
type measure uint32

const (
	callsOf measure = iota
	failedOf
	costOf
	baseOf
	providerOf
	statedOf
	statedCostOf
	unpricedOf
	inputOf
	outputOf
	firstKind
	firstLine = firstKind + measure(usage.NumKinds)
)

var measureNames = func() (names [firstLine]string) {
	copy(names[:], []string{Calls, Failed, Cost, BaseCost, ProviderCost, Stated, StatedCost, Unpriced, InputTokens, OutputTokens})
	for k := range usage.Kind(usage.NumKinds) {
		names[firstKind+measure(k)] = KindPrefix + k.String()
	}
	return names
}()

// tally is a list of sums by measure, ordered by number.
type tally []entry

type entry struct {
	measure measure
	amount  price.Amount
}

// mostAmount is more than any call costs, and so small that the sum of a batch does not overflow an amount.
var mostAmount = price.FromLimbs(1<<62, 0)

var errTooMuch = errors.New("an amount is beyond what can be counted")

// add adds an amount that mostAmount bounds.
func (t *tally) add(m measure, a price.Amount) {
	if a.IsZero() {
		return
	}
	list := *t
	i := len(list)
	for i > 0 && list[i-1].measure > m {
		i--
	}
	if i > 0 && list[i-1].measure == m {
		list[i-1].amount, _ = list[i-1].amount.Add(a)
		return
	}
	*t = slices.Insert(list, i, entry{m, a})
}

func (t *tally) addAll(other tally) {
	for i, e := range other {
		if i < len(*t) && (*t)[i].measure == e.measure { // most have the same measures
			(*t)[i].amount, _ = (*t)[i].amount.Add(e.amount)
			continue
		}
		t.add(e.measure, e.amount)
	}
}

// fact is what calls of one hour with the same value of each dimension add up to.
type fact struct {
	hour   uint32
	tuple  string
	values values
	sums   tally
	lines  tally
}

// rowSums are what a batch adds to a row.
type rowSums struct {
	row
	sums tally
}

// batch is what records add to rows.
type batch struct {
	kept     kept
	split    Split
	instance string
	ids      *ids
	settled  record.Settled
	key      []byte // of the fact being built

	facts  []*fact
	byKey  map[string]*fact
	lines  map[string]measure // by the name without linePrefix and the part
	parts  []string           // names of the measures of lines, from firstLine on
	rows   []rowSums
	byRow  map[row]int
	names  map[id]name
	faults []error
}

func newBatch(k kept, s Split, known *ids) *batch {
	return &batch{
		kept: k, split: s, ids: known, byKey: make(map[string]*fact), lines: make(map[string]measure),
		byRow: make(map[row]int), names: make(map[id]name),
	}
}

// name returns the name of a measure.
func (b *batch) name(m measure) string {
	if m < firstLine {
		return measureNames[m]
	}
	return b.parts[m-firstLine]
}

// size is how many sums the batch adds to.
func (b *batch) size() (n int) {
	for i := range b.rows {
		n += len(b.rows[i].sums)
	}
	return n
}

// add adds a settled record as it is in the spool. On an error it adds nothing.
func (b *batch) add(r spool.Record) error {
	s := &b.settled
	if err := s.Read(r.Payload); err != nil {
		return err
	}
	if s.At.IsZero() {
		s.At = r.Time
	}
	var stated price.Amount
	states := len(s.ProviderCost) > 0
	if states {
		unit := string(s.ProviderUnit)
		if unit == "" {
			unit = "usd"
		}
		// A text that is not an amount of money is no cost: it remains in the record.
		var err error
		stated, _, err = price.ParseReported(string(s.ProviderCost), unit)
		states = err == nil && stated.Cmp(mostAmount) <= 0
	}
	most := max(s.Cost.Cmp(mostAmount), s.BaseCost.Cmp(mostAmount))
	for i := range s.Lines {
		most = max(most, s.Lines[i].Base.Cmp(mostAmount), s.Lines[i].Cost.Cmp(mostAmount))
	}
	if most > 0 {
		return errTooMuch
	}
	f := b.fact(s)
	if states {
		f.sums.add(providerOf, stated)
		f.sums.add(statedOf, count(1))
		f.sums.add(statedCostOf, s.Cost)
	}
	f.measure(s)
	for i := range s.Lines {
		l := &s.Lines[i]
		q := b.line(l)
		f.lines.add(q, price.FromLimbs(0, l.Count))
		f.lines.add(q+1, l.Base)
		f.lines.add(q+2, l.Cost)
	}
	return nil
}

// addAll adds records of a spool, and returns those that could be counted.
func (b *batch) addAll(spoolID string, records []spool.Record) (counted []spool.Record) {
	counted = make([]spool.Record, 0, len(records))
	for _, r := range records {
		if err := b.add(r); err != nil {
			b.faults = append(b.faults, fmt.Errorf("record %d of spool %s cannot be counted: %w", r.Origin.Seq, spoolID, err))
			continue
		}
		counted = append(counted, r)
	}
	return counted
}

const isBilled = "billed"

var billed = []byte(isBilled)

// fact returns the fact that a record belongs to.
func (b *batch) fact(s *record.Settled) *fact {
	hour := hours.of(s.At)
	key := binary.BigEndian.AppendUint32(b.key[:0], hour)
	put := func(d Dimension, text []byte) { key = appendValue(key, d, text) }
	put(Payer, s.Payer)
	put(Team, s.Team)
	put(User, s.User)
	put(Key, s.KeyID)
	put(KeyAlias, s.KeyAlias)
	if b.split.EndUsers {
		put(EndUser, s.EndUser)
	}
	if b.split.Sessions {
		put(Session, s.Session)
	}
	put(Model, s.Model)
	put(Upstream, s.Upstream)
	put(Provider, s.Provider)
	put(Backend, s.Backend)
	put(Endpoint, s.Endpoint)
	put(Outcome, s.Outcome)
	put(Source, s.Source)
	if len(s.NotBilled) == 0 {
		put(Billed, billed)
	} else {
		put(Billed, s.NotBilled)
	}
	put(Factor, s.Factor)
	b.key = key
	f := b.byKey[string(key)]
	if f == nil {
		f = &fact{hour: hour, tuple: string(key[4:])}
		f.values, _ = parseTuple(f.tuple) // it has just been made
		b.byKey[string(key)] = f
		b.facts = append(b.facts, f)
	}
	return f
}

// measure adds what every record has.
func (f *fact) measure(s *record.Settled) {
	f.sums.add(callsOf, count(1))
	if string(s.Outcome) == record.OutcomeError {
		f.sums.add(failedOf, count(1))
	}
	f.sums.add(costOf, s.Cost)
	f.sums.add(baseOf, s.BaseCost)
	if len(s.Unpriced) > 0 {
		f.sums.add(unpricedOf, count(1))
	}
	f.sums.add(inputOf, count(s.Counts.InputTokens()))
	f.sums.add(outputOf, count(s.Counts.OutputTokens()))
	for k := range usage.Kind(usage.NumKinds) {
		if n := s.Counts.N(k); n > 0 {
			f.sums.add(firstKind+measure(k), count(n))
		}
	}
}

// line returns the measure of a line's quantity. The measures of its base and cost follow it.
func (b *batch) line(l *record.SettledLine) measure {
	key := b.key[:0]
	for _, part := range [...][]byte{l.Kind, l.Price, l.Per, l.Model} {
		key = append(append(key, part...), '|')
	}
	b.key = key
	m, known := b.lines[string(key)]
	if !known {
		m = firstLine + measure(len(b.parts)) //nolint:gosec // few
		b.lines[string(key)] = m
		line := Line{Kind: string(l.Kind), Price: string(l.Price), Per: string(l.Per), Model: string(l.Model)}
		b.parts = append(b.parts, line.Measure(LineCount), line.Measure(LineBase), line.Measure(LineCost))
	}
	return m
}

// roll adds the facts up to rows. It fails if two names have the same number.
func (b *batch) roll() error {
	for _, f := range b.facts {
		at := hours.start(f.hour)
		day, month := days.of(at), months.of(at)
		i, err := b.id(name{tuple, f.tuple})
		if err != nil {
			return err
		}
		if f.hour >= b.kept.hours {
			b.put(row{hours, tuple, f.hour, i}, f.sums, nil)
		}
		if day >= b.kept.days {
			b.put(row{days, tuple, day, i}, f.sums, f.lines)
		}
		b.put(row{months, tuple, month, i}, f.sums, f.lines)
		if b.instance != "" {
			i, err := b.id(name{served, servedText(b.instance, &f.values)})
			if err != nil {
				return err
			}
			b.put(row{ever, served, 0, i}, f.sums, nil)
		}
		for d := range Dimension(numDimensions) {
			if !d.alone() {
				continue
			}
			i, err := b.id(name{d, f.values[d]})
			if err != nil {
				return err
			}
			b.put(row{days, d, day, i}, f.sums, nil)
		}
		for _, p := range pairs {
			b.key = appendValue(appendValue(b.key[:0], p.one, f.values[p.one]), p.two, f.values[p.two])
			i, err := b.id(name{p.dim, string(b.key)})
			if err != nil {
				return err
			}
			b.put(row{days, p.dim, day, i}, f.sums, nil)
		}
	}
	for n := range len(b.rows) { // months come after these
		if r := &b.rows[n]; r.unit == days && r.dim != tuple {
			b.put(row{months, r.dim, months.of(days.start(r.period)), r.id}, r.sums, nil)
		}
	}
	return nil
}

// put adds sums to a row.
func (b *batch) put(r row, sums, lines tally) {
	n, known := b.byRow[r]
	if !known {
		b.byRow[r] = len(b.rows)
		b.rows = append(b.rows, rowSums{r, append(append(make(tally, 0, len(sums)+len(lines)), sums...), lines...)})
		return
	}
	b.rows[n].sums.addAll(sums)
	for _, e := range lines {
		b.rows[n].sums.add(e.measure, e.amount)
	}
}

// id returns the number of a name.
func (b *batch) id(n name) (id, error) {
	i := b.ids.of(n)
	if had, known := b.names[i]; !known {
		b.names[i] = n
	} else if had != n {
		return i, twoNames(had.text, n.text)
	}
	return i, nil
}

func twoNames(one, other string) error {
	return fmt.Errorf("books: two names have one number: %q and %q", one, other)
}

// ids caches the numbers of names, as the same names come again.
type ids struct {
	seed  []byte // nil until it was read
	known map[name]id
}

// maxIDs bounds the cached names.
const maxIDs = 20_000

func (s *ids) of(n name) id {
	if i, known := s.known[n]; known {
		return i
	}
	if s.known == nil || len(s.known) == maxIDs {
		s.known = make(map[name]id)
	}
	i := n.id(s.seed)
	s.known[name{n.dim, strings.Clone(n.text)}] = i
	return i
}

// build adds up what records add to rows.
func (b *Book) build(spoolID string, records []spool.Record) (*batch, error) {
	add := newBatch(b.kept(), b.o.Split, &b.ids)
	add.instance = b.o.Instance
	add.addAll(spoolID, records)
	return add, add.roll()
}

func (b *Book) kept() kept {
	now := b.o.Now()
	return kept{hours: hours.of(now.Add(-KeepHours)), days: days.of(now.Add(-KeepDays))}
}

// How long rows by all dimensions together are kept. Months, and days by one dimension, are kept for ever.
const (
	KeepHours = 3 * 24 * time.Hour
	KeepDays  = 400 * 24 * time.Hour
)
