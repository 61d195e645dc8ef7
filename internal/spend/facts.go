package spend

import (
	"time"

	"github.com/tollgate-llm/tollgate/internal/spool"
)

// Fact is the sum of the records of one hour with the same value of each dimension.
type Fact struct {
	Hour time.Time
	Name string // identifies the values: facts with other values have other names
	Sums Sums   // lines of prices included

	values values
}

// Value returns the value of a dimension; empty if there is none or it is not kept apart.
func (f *Fact) Value(d Dimension) string { return f.values[d] }

// AddUp adds up records of a spool by hour and dimension, for stores with another layout than the books. Records that cannot be counted
// are left out of counted and reported in faults.
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
