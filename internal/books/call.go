package books

import (
	"maps"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// Call is what the books need of a settled record.
type Call struct {
	limit.Charge
	KeyID    string // hex SHA-256
	Team     string
	User     string
	Customer string // the payer that was resolved
	Model    string // the configured model
}

// Fields of a total. Cost is there for each model too: see CostOf.
const (
	Cost         = "cost"          // in 10^-15 USD
	Calls        = "calls"         // settled records
	InputTokens  = "input_tokens"  // all kinds
	OutputTokens = "output_tokens" // all kinds
)

// Spend names the total of a scope: what it has spent since it is counted.
func Spend(s limit.Scope) string { return "spend:" + s.String() }

// CostOf names the field of one model's cost.
func CostOf(model string) string { return Cost + "|" + model }

// scopes are those that a call counts for.
func (c *Call) scopes() []limit.Scope {
	list := []limit.Scope{{Kind: limit.Gateway}}
	add := func(kind limit.Kind, id string) {
		if id != "" {
			list = append(list, limit.Scope{Kind: kind, ID: id})
		}
	}
	add(limit.Key, c.KeyID)
	add(limit.Team, c.Team)
	add(limit.User, c.User)
	add(limit.Customer, c.Customer)
	if c.Team != "" && c.User != "" {
		add(limit.Member, limit.MemberID(c.Team, c.User))
	}
	return list
}

// sums adds the calls of a batch up, so that the store has less to do.
type sums map[limit.Add]price.Amount

func newSums() sums { return make(sums) }

// add adds a call to every total that it counts for; to none on an error.
func (s sums) add(c *Call) error {
	next := make(sums)
	for _, scope := range c.scopes() {
		total := Spend(scope)
		for field, amount := range map[string]price.Amount{
			Cost: c.Cost, Calls: count(1), InputTokens: count(c.InputTokens), OutputTokens: count(c.OutputTokens),
		} {
			if amount.IsZero() {
				continue
			}
			names := []string{field}
			if c.Model != "" && field == Cost {
				names = append(names, CostOf(c.Model))
			}
			for _, name := range names {
				at := limit.Add{Total: total, Field: name}
				sum, err := s[at].Add(amount)
				if err != nil {
					return err
				}
				next[at] = sum
			}
		}
	}
	maps.Copy(s, next)
	return nil
}

func count(n int64) price.Amount { return price.FromLimbs(0, uint64(max(0, n))) } //nolint:gosec // not negative

// list returns what is to be added, in a fixed order of totals.
func (s sums) list() []limit.Add {
	list := make([]limit.Add, 0, len(s))
	for at, amount := range s {
		at.Amount = amount
		list = append(list, at)
	}
	slices.SortFunc(list, func(a, b limit.Add) int {
		if a.Total != b.Total {
			return strings.Compare(a.Total, b.Total)
		}
		return strings.Compare(a.Field, b.Field)
	})
	return list
}

// Decode reads a settled record as it is in the spool. A call counts with its cost whether or not Lago bills it.
func Decode(r spool.Record) (*Call, error) {
	rec, err := record.Parse(r.Payload)
	if err != nil {
		return nil, err
	}
	c := &Call{
		Charge: limit.Charge{
			ID: rec.ID, At: rec.Admitted, Counters: rec.Limits,
			InputTokens: rec.Counts.InputTokens(), OutputTokens: rec.Counts.OutputTokens(),
		},
		KeyID: rec.KeyID, Team: rec.Team, User: rec.User, Customer: rec.Payer, Model: rec.Model,
	}
	if rec.Cost != "" {
		c.Cost, err = price.ParseUSD(rec.Cost)
	}
	return c, err
}
