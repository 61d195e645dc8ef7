// Package limit admits calls under limits on money, requests, tokens and parallel calls, in one atomic step: all limits that apply
// are checked and then all reserved, or nothing is. A call's actual cost replaces its reservation when the settled record is
// applied, exactly once. docs/limits.md has the guarantees; docs/redis.md has the layout in Redis.
package limit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// Kind is a kind of scope.
type Kind string

// The kinds of scopes. Their names are in counters' names, and so in records and stores.
const (
	Key      Kind = "key"      // ID: the hex SHA-256 of the key
	Team     Kind = "team"     // ID: the team_id
	Member   Kind = "member"   // ID: MemberID(team, user)
	User     Kind = "user"     // ID: the user_id
	Customer Kind = "customer" // ID: the payer that was resolved
	Budget   Kind = "budget"   // ID: the budget_id, where several share one budget
	Session  Kind = "session"  // ID: SessionID(key, session)
	Gateway  Kind = "gateway"  // the whole gateway; no ID
	Backend  Kind = "backend"  // ID: BackendID(model, backend), of the configuration
	Provider Kind = "provider" // ID: the provider's name, as backends have it
)

// Scope is what a limit is set on.
type Scope struct {
	Kind Kind
	ID   string
}

// MemberID names a user within a team.
func MemberID(team, user string) string { return escape(team) + "/" + escape(user) }

// SessionID names a session of a key. Clients choose which session a call belongs to.
func SessionID(key, session string) string { return escape(key) + "/" + escape(session) }

// BackendID names a backend of a model.
func BackendID(model, backend string) string { return escape(model) + "/" + escape(backend) }

// String returns the scope as stores name it.
func (s Scope) String() string { return string(s.Kind) + ":" + escape(s.ID) }

// Metric is what a limit counts.
type Metric string

// The metrics. Rates apply to any 60 seconds. Their names are in counters' names.
const (
	Cost         Metric = "cost"          // money in a window; max_budget, soft_budget, model_max_budget
	Requests     Metric = "requests"      // rpm_limit
	Tokens       Metric = "tokens"        // tpm_limit, input and output
	InputTokens  Metric = "input_tokens"  // tpm_limit of input only
	OutputTokens Metric = "output_tokens" // tpm_limit of output only
	Parallel     Metric = "parallel"      // max_parallel_requests
)

// rate reports whether the metric counts per 60 seconds.
func (m Metric) rate() bool { return m != Cost && m != Parallel }

// Limit is one limit of one scope.
type Limit struct {
	Scope  Scope
	Metric Metric
	Model  string       // counts only calls of this model; empty: all
	Window Window       // of Cost
	Money  price.Amount // the maximum of Cost in the window
	Max    int64        // the maximum of any other metric: per 60 seconds, or in parallel; at most 2^53
	Soft   bool         // nothing is refused: Grant.Passed names the limit once it is passed
}

// Reservation is the most that a call may use.
type Reservation struct {
	ID           string // of the call
	Limits       []Limit
	Cost         price.Amount
	InputTokens  int64
	OutputTokens int64
	// Claims are what the call may use of each of Limits, in the same order. Nil if that is the same for all.
	Claims []Claim

	finished []string // finished calls that the store may not know of yet
}

// Claim is what a call may use of one limit.
type Claim struct {
	Cost                      price.Amount
	InputTokens, OutputTokens int64
}

// claim returns what the call may use of the limit of that index.
func (r *Reservation) claim(i int) Claim {
	if r.Claims != nil {
		return r.Claims[i]
	}
	return Claim{r.Cost, r.InputTokens, r.OutputTokens}
}

// Grant is an admission.
type Grant struct {
	ID string
	// At is the store's time of the admission: the time of the record's charge.
	At time.Time
	// Counters are the names of the reserved counters. They go into the call's record unchanged.
	Counters []string
	// States are the states of the limits after the admission, one per limit of the reservation.
	States []State
	// Passed are the soft limits that are exceeded.
	Passed []State
	// Local is set if the store was away and this instance decided alone.
	Local bool

	need []need
}

// State is how much of a limit is used.
type State struct {
	Limit
	Counter  string       // the name of its counter
	Spent    price.Amount // of Cost: settled in the window
	Reserved price.Amount // of Cost: by calls that are running or not yet applied
	Used     int64        // of every other metric, reservations included
	// ResetsAt is when the limit starts afresh: the end of a window of money, zero if it does not end; for a rate, when nothing that
	// is used now counts any more.
	ResetsAt time.Time
}

// Left returns what is left of a budget.
func (s *State) Left() price.Amount { return s.Money.Sub(s.Spent).Sub(s.Reserved) }

// Remaining returns what is left of any other limit.
func (s *State) Remaining() int64 { return max(0, s.Max-s.Used) }

// DeniedError means that a limit refused a call. Nothing was reserved.
type DeniedError struct {
	State
	// Needed is what the call would have reserved: of Cost, or of any other metric.
	NeededMoney price.Amount
	Needed      int64
	// RetryAfter is how long until that much is free again if nothing else is admitted. It is zero if that is
	// unknown or will not happen (see Never).
	RetryAfter time.Duration
	// Never is set if the call needs more than the whole limit.
	Never bool
	Local bool // the store is away and this instance's share is exhausted
}

// Error describes the refusal for logs. The caller writes the client's answer.
func (d *DeniedError) Error() string {
	if d.Metric == Cost {
		return fmt.Sprintf("%s: %s of %s USD are spent and %s reserved; the call needs %s", d.Scope, d.Spent, d.Money, d.Reserved, d.NeededMoney)
	}
	return fmt.Sprintf("%s: %d of %d %s are used; the call needs %d", d.Scope, d.Used, d.Max, d.Metric, d.Needed)
}

// Fits reports whether the limit would admit a call with that claim.
func (d *DeniedError) Fits(c *Claim) bool {
	n := int64(1)
	switch d.Metric {
	case Cost:
		return fits(d.Spent, d.Reserved, c.Cost, d.Money)
	case Tokens:
		n = c.InputTokens + c.OutputTokens
	case InputTokens:
		n = c.InputTokens
	case OutputTokens:
		n = c.OutputTokens
	case Requests, Parallel:
	}
	return d.Used < d.Max && d.Used+n <= d.Max
}

// Charge is what one settled record adds.
type Charge struct {
	ID           string
	At           time.Time // Grant.At; zero for a call without limits
	Counters     []string  // Grant.Counters
	Cost         price.Amount
	InputTokens  int64
	OutputTokens int64
}

// Add adds to one field of a total. Amounts of money are in 10^-15 USD; counts are counts.
type Add struct {
	Total, Field string
	Amount       price.Amount
}

// Batch is applied in one step: the settled records of one spool with numbers above From and up to To.
type Batch struct {
	Spool    string
	From, To uint64
	Charges  []Charge
	Adds     []Add
}

// Errors of stores, besides those of their storage.
var (
	// ErrTooLarge means that a number is larger than the store can hold: nine billion dollars, or 2^53.
	ErrTooLarge = errors.New("the number is too large")
	// ErrLimit means that a limit is malformed.
	ErrLimit = errors.New("not a limit")
	// ErrAway means that the store is away and this instance may not or cannot decide without it. It wraps the
	// cause.
	ErrAway = errors.New("limits cannot be checked")
)

// Store keeps reservations, spend and totals. An error other than *DeniedError, ErrTooLarge and ErrLimit means that it is away.
// Implementations are safe for concurrent use.
type Store interface {
	// Reserve admits a call or returns *DeniedError. A call that already has a reservation reserves only the
	// counters that it does not hold yet. So repeating a request reserves nothing more, and a call that moves to
	// another backend is checked only against that backend's limits.
	Reserve(ctx context.Context, r *Reservation) (*Grant, error)
	// Renew extends the leases of calls, and restores reservations that the store has lost. It returns how many instances have
	// renewed recently.
	Renew(ctx context.Context, instance string, calls []*Held) (instances int, err error)
	// Finish marks calls as finished: they no longer count in Parallel. What else they hold stays until Apply.
	Finish(ctx context.Context, ids ...string) error
	// Release gives back everything that a call has reserved, requests and tokens included. The call was not forwarded.
	Release(ctx context.Context, ids ...string) error
	// Apply adds a batch if its spool's cursor is at From, moves the cursor to To, and releases the reservations. It returns the
	// cursor; if that is not To, nothing was done.
	Apply(ctx context.Context, b *Batch) (cursor uint64, err error)
	// Cursor returns the sequence number up to which the records of a spool have been applied.
	Cursor(ctx context.Context, spool string) (uint64, error)
	// Status returns the states of limits.
	Status(ctx context.Context, limits []Limit) ([]State, error)
	// Totals returns the fields of totals.
	Totals(ctx context.Context, totals ...string) ([]map[string]price.Amount, error)
	// Put replaces the spend of a money limit in its window, for an import or an operator.
	Put(ctx context.Context, l Limit, spent price.Amount) error
	// Reset removes everything that was applied: spend, totals and cursors. Consumers notice this and apply
	// again what is still in their spools. Reservations stay.
	Reset(ctx context.Context) error
	// Close releases the store.
	Close() error
}

// Held is a reservation that a call holds.
type Held struct {
	ID   string
	At   time.Time // of the admission
	need []need

	alone bool // admitted from this instance's share, without the store
}

// Lease is how long a reservation lasts without renewal. It is longer than a rate's window, so a call without a reservation does
// not count in a rate either.
const Lease = 90 * time.Second
