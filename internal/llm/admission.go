package llm

import (
	"slices"
	"time"

	"github.com/tollgate-llm/tollgate/internal/limit"
)

// Admission is what is reserved for a call under limits.
type Admission struct {
	At       time.Time // time of the limit store's clock
	Counters []Counter
}

// Counter is what a limit counts in.
type Counter struct {
	Name  string
	Model string       // the model, or pattern of models, whose calls count; empty: all
	Own   *limit.Limit // the limit of a backend or provider; nil for all others
}

// CountersOf returns the names of the counters in which a call of this model counts. asked is the model name as the client
// wrote it. A backend whose attempt failed counts the request but no usage.
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
