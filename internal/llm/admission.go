package llm

import (
	"slices"
	"time"

	"github.com/tollgate-llm/tollgate/internal/limit"
)

// Admission is what was reserved for a call under limits.
type Admission struct {
	At       time.Time // by the clock of the store of limits
	Counters []Counter
}

// Counter is what a limit counts in.
type Counter struct {
	Name  string
	Model string       // the model, or pattern of models, whose calls alone count; empty: all
	Own   *limit.Limit // of a backend or a provider; nil of all others
}

// CountersOf returns the names of the counters in which a call of that model counts. asked is the name that the client wrote. A
// backend that was asked in vain has had its request, and has used nothing else.
func (a *Admission) CountersOf(asked string, t *Target) []string {
	names := make([]string, 0, len(a.Counters))
	for _, c := range a.Counters {
		if c.Own != nil {
			if c.Own.Metric == limit.Requests || slices.Contains(t.Limits, *c.Own) {
				names = append(names, c.Name)
			}
			continue
		}
		if c.Model == "" || Match(c.Model, asked) || c.Model == t.Model || Match(c.Model, t.Model) {
			names = append(names, c.Name)
		}
	}
	return names
}
