// Package ledger searches the records of a spool: the newest that match, how many there are, and what they cost.
package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// searchTime bounds a search.
const searchTime = 5 * time.Second

// Search chooses records. An empty member chooses all.
type Search struct {
	States       []spool.State
	Since, Until time.Time // of the settlement, for a call under way of its opening

	KeyID, KeyAlias, Team, User, EndUser, Session, Payer string

	Group    string // the model as configured
	Upstream string // the model's name sent upstream
	Model    string // the model as configured, as asked for or as sent upstream
	ID       string // of the call, or of the provider's answer
	Key      string // the key's alias, its abbreviation, or eight and more of the first digits of its hash
	Outcome  string // or the state
	Failed   *bool  // whether the outcome is an error
	// MinCost and MaxCost bound the cost, in USD.
	MinCost, MaxCost *price.Amount

	Most   int  // how many calls are wanted; 0: none
	Oldest bool // the oldest of them, not the newest
}

// Call is a record with where it is.
type Call struct {
	*record.Record
	State spool.State
	At    time.Time
	Note  []byte // why Lago rejected it
	Raw   []byte
}

// Result is what a search found.
type Result struct {
	Calls  []Call // the newest first, or with Search.Oldest the oldest
	Total  int    // of all that match
	Cost   price.Amount
	Ended  bool  // the time was up before the end
	Broken error // records that cannot be read
}

// Find searches a spool. It fails when ctx ends; after a few seconds it returns what it has found until then.
func Find(ctx context.Context, sp *spool.Spool, q *Search) (*Result, error) {
	limited, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	s := &search{Search: q, out: new(Result), words: q.words()}
	err := sp.Select(q.States, q.Since, q.Until, func(rec spool.Record) error {
		if err := limited.Err(); err != nil {
			return err
		}
		return s.visit(rec)
	})
	s.cut()
	for _, rec := range s.kept {
		r, err := record.Parse(rec.Payload)
		if err != nil {
			s.out.Broken = err
			continue
		}
		s.out.Calls = append(s.out.Calls, Call{r, rec.State, rec.Time, rec.Note, rec.Payload})
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		s.out.Ended = true
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		s.out.Broken = err
	}
	return s.out, nil
}

// search is a search under way.
type search struct {
	*Search
	out     *Result
	words   [][]byte // what each record that matches holds
	settled record.Settled
	kept    []spool.Record
}

// visit counts a record that matches, and keeps it where it may be one of those that are wanted.
func (s *search) visit(rec spool.Record) error {
	if s.Outcome != rec.State.String() {
		for _, word := range s.words {
			if !bytes.Contains(rec.Payload, word) {
				return nil
			}
		}
	}
	if err := s.settled.Read(rec.Payload); err != nil {
		s.out.Broken = err
		return nil
	}
	if !s.matches(rec.State) {
		return nil
	}
	if s.ID != "" || s.Model != "" || s.Key != "" || s.Session != "" {
		r, err := record.Parse(rec.Payload)
		if err != nil {
			s.out.Broken = err
			return nil
		}
		if !s.matchesWhole(r) {
			return nil
		}
	}
	s.out.Total++
	var err error
	if s.out.Cost, err = s.out.Cost.Add(s.settled.Cost); err != nil {
		return err
	}
	if s.Most == 0 {
		return nil
	}
	if s.kept = append(s.kept, rec); len(s.kept) >= 2*s.Most+100 {
		s.cut()
	}
	return nil
}

// cut keeps the records that are wanted.
func (s *search) cut() {
	slices.SortStableFunc(s.kept, func(a, b spool.Record) int {
		order := cmp.Or(b.Time.Compare(a.Time), bytes.Compare(b.ID[:], a.ID[:]))
		if s.Oldest {
			return -order
		}
		return order
	})
	if len(s.kept) > s.Most {
		clear(s.kept[s.Most:])
		s.kept = s.kept[:s.Most]
	}
}

// words returns the texts that each record has that matches. A text that JSON may write in another way is left out.
func (q *Search) words() (list [][]byte) {
	for _, text := range []string{q.ID, q.KeyID, q.KeyAlias, q.Team, q.User, q.EndUser, q.Session, q.Payer, q.Group, q.Upstream, q.Model, q.Outcome} {
		if text != "" && !strings.ContainsFunc(text, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:@ ", r)
		}) {
			list = append(list, []byte(text))
		}
	}
	return list
}

// matches compares what totals need of a record.
func (s *search) matches(state spool.State) bool {
	r := &s.settled
	for _, m := range [...]struct {
		wanted string
		has    []byte
	}{
		{s.KeyID, r.KeyID},
		{s.KeyAlias, r.KeyAlias},
		{s.Team, r.Team},
		{s.User, r.User},
		{s.EndUser, r.EndUser},
		{s.Payer, r.Payer},
		{s.Group, r.Model},
		{s.Upstream, r.Upstream},
	} {
		if m.wanted != "" && m.wanted != string(m.has) {
			return false
		}
	}
	switch {
	case s.Outcome != "" && s.Outcome != string(r.Outcome) && s.Outcome != state.String(),
		s.Failed != nil && *s.Failed != (string(r.Outcome) == record.OutcomeError),
		s.MinCost != nil && r.Cost.Cmp(*s.MinCost) < 0,
		s.MaxCost != nil && r.Cost.Cmp(*s.MaxCost) > 0:
		return false
	}
	return true
}

// matchesWhole compares the rest.
func (s *search) matchesWhole(r *record.Record) bool {
	switch {
	case s.ID != "" && s.ID != r.ID && s.ID != r.ResponseID,
		s.Key != "" && s.Key != r.KeyAlias && s.Key != r.Key && (len(s.Key) < 8 || !strings.HasPrefix(r.KeyID, s.Key)),
		s.Session != "" && s.Session != r.Session,
		s.Model != "" && !slices.Contains([]string{r.Model, r.Asked, r.Upstream}, s.Model):
		return false
	}
	return true
}
