package books

import (
	"errors"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// Call is the part of a settled record that the books need.
type Call struct {
	limit.Charge
	KeyID    string // hex SHA-256
	Team     string
	User     string
	Customer string // the payer that was resolved
	Model    string // the configured model
}

// Fields of a total. There is also a cost for each model: see CostOf.
const (
	Cost         = "cost"          // in 10^-15 USD
	Calls        = "calls"         // settled records
	InputTokens  = "input_tokens"  // all kinds
	OutputTokens = "output_tokens" // all kinds
)

// Spend names the total of a scope: everything that it has spent since counting began.
func Spend(s limit.Scope) string { return "spend:" + s.String() }

// CostOf names the field of one model's cost.
func CostOf(model string) string { return Cost + "|" + model }

// total is what the calls of a batch add to one scope.
type total struct {
	name                 string // as stores know it
	cost                 price.Amount
	calls, input, output uint64
	models               []modelCost
}

// modelCost is what calls of one model cost.
type modelCost struct {
	model, field string
	cost         price.Amount
}

// mostCost is more than any call costs, and so small that the sum of a batch does not overflow an amount.
var mostCost = price.FromLimbs(1<<62, 0)

var errTooMuch = errors.New("the cost is beyond what can be counted")

// plus adds amounts that mostCost bounds.
func plus(a, b price.Amount) price.Amount {
	sum, _ := a.Add(b)
	return sum
}

func (t *total) add(c *Call) {
	t.calls++
	t.input += uint64(max(0, c.InputTokens))   //nolint:gosec // not negative
	t.output += uint64(max(0, c.OutputTokens)) //nolint:gosec // not negative
	if c.Cost.IsZero() {
		return
	}
	t.cost = plus(t.cost, c.Cost)
	if c.Model == "" {
		return
	}
	for i := range t.models {
		if m := &t.models[i]; m.model == c.Model {
			m.cost = plus(m.cost, c.Cost)
			return
		}
	}
	t.models = append(t.models, modelCost{c.Model, CostOf(c.Model), c.Cost})
}

// list appends the additions to the total.
func (t *total) list(adds []limit.Add) []limit.Add {
	add := func(field string, a price.Amount) {
		if !a.IsZero() {
			adds = append(adds, limit.Add{Total: t.name, Field: field, Amount: a})
		}
	}
	add(Calls, price.FromLimbs(0, t.calls))
	add(Cost, t.cost)
	for i := range t.models {
		add(t.models[i].field, t.models[i].cost)
	}
	add(InputTokens, price.FromLimbs(0, t.input))
	add(OutputTokens, price.FromLimbs(0, t.output))
	return adds
}

// sums adds up the calls of a batch, so that the store has less to do. It keeps its scopes for the next batch, as the same keys, teams
// and models come again.
type sums struct {
	scopes  map[limit.Scope]*total
	members map[[2]string]*total // by team and user
	used    []*total             // by calls of this batch
}

// maxScopes bounds the scopes that are kept from one batch to the next.
const maxScopes = 4096

func newSums() *sums {
	return &sums{scopes: make(map[limit.Scope]*total), members: make(map[[2]string]*total)}
}

// add adds a call to every total that it counts in; on an error, to none.
func (s *sums) add(c *Call) error {
	if c.Cost.Cmp(mostCost) > 0 {
		return errTooMuch
	}
	s.scope(limit.Gateway, "").add(c)
	if c.KeyID != "" {
		s.scope(limit.Key, c.KeyID).add(c)
	}
	if c.Team != "" {
		s.scope(limit.Team, c.Team).add(c)
	}
	if c.User != "" {
		s.scope(limit.User, c.User).add(c)
	}
	if c.Customer != "" {
		s.scope(limit.Customer, c.Customer).add(c)
	}
	if c.Team != "" && c.User != "" {
		s.member(c.Team, c.User).add(c)
	}
	return nil
}

func (s *sums) scope(kind limit.Kind, id string) *total {
	scope := limit.Scope{Kind: kind, ID: id}
	t := s.scopes[scope]
	if t == nil {
		t = &total{name: Spend(scope)}
		s.scopes[scope] = t
	}
	return s.use(t)
}

func (s *sums) member(team, user string) *total {
	t := s.members[[2]string{team, user}]
	if t == nil {
		t = &total{name: Spend(limit.Scope{Kind: limit.Member, ID: limit.MemberID(team, user)})}
		s.members[[2]string{team, user}] = t
	}
	return s.use(t)
}

func (s *sums) use(t *total) *total {
	if t.calls == 0 {
		s.used = append(s.used, t)
	}
	return t
}

// take returns the additions and begins the next batch.
func (s *sums) take() []limit.Add {
	adds := make([]limit.Add, 0, 5*len(s.used))
	for _, t := range s.used {
		adds = t.list(adds)
		*t = total{name: t.name, models: t.models[:0]}
	}
	if len(s.scopes)+len(s.members) > maxScopes {
		clear(s.scopes)
		clear(s.members)
	}
	s.used = s.used[:0]
	return adds
}

// Reader reads settled records for the books, one at a time. The zero value is ready.
type Reader struct {
	settled record.Settled
	call    Call
	texts   map[string]string // of earlier records, as they come again
}

// maxTexts bounds the texts that a reader keeps.
const maxTexts = 8192

func (r *Reader) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if text, known := r.texts[string(b)]; known {
		return text
	}
	if r.texts == nil || len(r.texts) == maxTexts {
		r.texts = make(map[string]string)
	}
	text := string(b)
	r.texts[text] = text
	return text
}

// Decode reads a settled record as it is in the spool. A call counts with its cost whether or not Lago bills it. The result is valid
// until the next call.
func (r *Reader) Decode(rec spool.Record) (*Call, error) {
	s := &r.settled
	if err := s.Read(rec.Payload); err != nil {
		return nil, err
	}
	c := &r.call
	*c = Call{
		Charge: limit.Charge{
			ID: string(s.ID), At: s.Admitted, Cost: s.Cost, InputTokens: s.Counts.InputTokens(), OutputTokens: s.Counts.OutputTokens(),
		},
		KeyID: r.text(s.KeyID), Team: r.text(s.Team), User: r.text(s.User), Customer: r.text(s.Payer), Model: r.text(s.Model),
	}
	if len(s.Limits) > 0 {
		c.Counters = make([]string, len(s.Limits))
		for i, name := range s.Limits {
			c.Counters[i] = r.text(name)
		}
	}
	return c, nil
}
