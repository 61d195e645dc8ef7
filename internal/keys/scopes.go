package keys

import (
	"context"
	"time"

	"github.com/tollgate-llm/tollgate/internal/limit"
)

// Subject is what the limits of a call depend on beside its key.
type Subject struct {
	// Models are the names of the models that the call may come to: those asked for and those configured.
	Models []string
	// CustomerBudget is the budget of a payer who has none, and whose key names none for it; empty where there is none.
	CustomerBudget string
	// Payer is who pays, as it was resolved; empty when there is no payer.
	Payer string
	// Tokens is what token limits count whose record does not name it; empty: all tokens.
	Tokens limit.Metric
	// Now is the time of the call.
	Now time.Time
	// Bounds are how long what is known of the payer serves.
	Bounds Bounds
}

// LimitsOf returns every limit that applies to a call of a key, over all scopes. It is the one place in which scopes of a call
// are collected. A payer who is blocked, or about whom the store cannot be asked now, is an error.
func (c *Cache) LimitsOf(ctx context.Context, st *State, s *Subject) ([]limit.Limit, error) {
	id := st.Identity
	list := st.Limits.Of(nil, limit.Scope{Kind: limit.Key, ID: id.SpendID}, s)
	if id.TeamID != "" {
		list = st.TeamLimits.Of(list, limit.Scope{Kind: limit.Team, ID: id.TeamID}, s)
	}
	for i := range st.Others {
		o := &st.Others[i]
		list = o.Limits.Of(list, o.Scope, s)
	}
	if s.Payer == "" {
		return list, nil
	}
	return c.ofCustomer(ctx, list, st, s)
}
