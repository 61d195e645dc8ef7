package spend

import (
	"time"

	"github.com/tollgate-llm/tollgate/internal/spool"
)

// Fact is what records of one hour with the same value of each dimension add up to.
type Fact struct {
	Hour time.Time
	Name string // of the values: a fact with others has another
	Sums Sums   // lines of prices among them

	values values
}

// Value returns the value of a dimension; empty, where it has none or is not kept apart.
func (f *Fact) Value(d Dimension) string { return f.values[d] }

// AddUp adds records of a spool up by hour and dimension, for stores of other layouts than the books' own. Records that cannot be
// counted are left out of counted and told in faults.
func AddUp(spoolID string, records []spool.Record, s Split) (facts []Fact, counted []spool.Record, faults []error) {
	b := newBatch(kept{}, s, nil)
	counted = b.addAll(spoolID, records)
	facts = make([]Fact, len(b.facts))
	for i, f := range b.facts {
		sums := make(Sums, len(f.sums)+len(f.lines))
		for _, t := range []tally{f.sums, f.lines} {
			for _, e := range t {
				sums[b.name(e.measure)] = e.amount
			}
		}
		facts[i] = Fact{Hour: hours.start(f.hour), Name: f.tuple, Sums: sums, values: f.values}
	}
	return facts, counted, b.faults
}
