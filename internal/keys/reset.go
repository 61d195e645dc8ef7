package keys

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
)

// restarted returns windows that begin now, one for each budget. What was spent in those before stays counted there, and in the totals.
func (l *Limits) restarted(now time.Time) Windows {
	at := now.UTC().Truncate(time.Second)
	out := make(Windows, len(l.Budgets))
	for i := range l.Budgets {
		b := &l.Budgets[i]
		begin := at
		// A window is known by its first second: one that began in this second would go on.
		if w := b.Window; w.Anchor.Truncate(time.Second).Equal(at) || w.ResetsAt(at.Add(-time.Second)).Equal(at) {
			begin = at.Add(time.Second)
		}
		out[b.id()] = begin
	}
	return out
}

// resetTo checks what spend is reset to.
func resetTo(raw json.RawMessage) (any, string) {
	if v, fault := number(raw); fault != "" {
		return v, fault
	}
	if v, fault := zero(raw); fault != "" {
		return v, "must be 0: the windows of the budgets begin anew, and what the calls cost stays as it is"
	}
	return nil, ""
}

// noBudget is why a reset is refused where nothing of the record's own is counted against a budget.
const noBudget = "has no budget of its own whose window could begin anew"

// ResetSpend begins the windows of a key's own budgets anew, so that nothing counts against them. Fields: key, and reset_to, which is 0.
func (s *Service) ResetSpend(ctx context.Context, f Fields) (*Key, error) {
	if refusal := f.validate(map[string]check{"key": text, "reset_to": resetTo}); refusal != nil {
		return nil, refusal
	}
	if !f.Has("reset_to") {
		return nil, Invalid("reset_to", "is missing")
	}
	id, refusal := ID(f.Key())
	if refusal != nil {
		return nil, refusal
	}
	return s.updateKey(ctx, id, "", func(k *Key, now time.Time) ([]keystore.Change, error) {
		l, err := k.Limits()
		if err != nil {
			return nil, err
		}
		if len(l.Budgets) == 0 {
			return nil, Invalid("key", noBudget)
		}
		k.Windows = l.restarted(now)
		return nil, nil
	})
}

// ResetMemberSpend does the same for a member of a team. Fields: team_id, user_id, reset_to.
func (s *Service) ResetMemberSpend(ctx context.Context, f Fields) (*Team, *Entry, error) {
	if refusal := f.validate(map[string]check{"team_id": name, "user_id": name, "reset_to": resetTo}); refusal != nil {
		return nil, nil, refusal
	}
	if !f.Has("reset_to") {
		return nil, nil, Invalid("reset_to", "is missing")
	}
	return s.editMember(ctx, f, func(t *Team, e *Entry, now time.Time) error {
		l, err := t.MemberLimits(e)
		if err != nil {
			return err
		}
		if len(l.Budgets) == 0 {
			return Invalid("user_id", noBudget)
		}
		e.Windows = l.restarted(now)
		return nil
	})
}

// memberBudgetFields are the fields of a member's own budget.
var memberBudgetFields = []string{"max_budget", "budget_duration", "budget_id", "temp_budget_increase", "temp_budget_expiry"}

// ResetMemberBudget takes a member's own budget away, so that the team's for all members holds. It returns the budget_id that the member named.
// Fields: team_id, user_id.
func (s *Service) ResetMemberBudget(ctx context.Context, f Fields) (e *Entry, budget string, err error) {
	if refusal := f.validate(map[string]check{"team_id": name, "user_id": name}); refusal != nil {
		return nil, "", refusal
	}
	_, e, err = s.editMember(ctx, f, func(t *Team, e *Entry, now time.Time) error {
		before, err := t.MemberLimits(e)
		if err != nil {
			return err
		}
		budget = stringMember(e.Fields, "budget_id")
		for _, n := range memberBudgetFields {
			delete(e.Fields, n)
		}
		after, err := t.MemberLimits(e)
		if err != nil {
			return err
		}
		e.Windows = e.Windows.After(before, after, now)
		return nil
	})
	return e, budget, err
}

// editMember changes the record of the member that a valid request names by team_id and user_id.
func (s *Service) editMember(ctx context.Context, f Fields, edit func(*Team, *Entry, time.Time) error) (*Team, *Entry, error) {
	user := get[string](f, "user_id")
	var e *Entry
	t, err := s.editTeam(ctx, get[string](f, "team_id"), func(t *Team, now time.Time) ([]keystore.Change, error) {
		if !slices.ContainsFunc(t.Members(), func(m Member) bool { return m.UserID == user }) {
			return nil, Members.missing
		}
		id := limit.MemberID(t.ID, user)
		old, err := s.cache.store.Get(ctx, keystore.MemberKind, id)
		if err != nil && !errors.Is(err, keystore.ErrNotFound) {
			return nil, err
		}
		e = t.memberWithout(user)
		if old != nil {
			if e, err = Decode[Entry](id, old); err != nil {
				return nil, err
			}
		}
		if err := edit(t, e, now); err != nil {
			return nil, err
		}
		return []keystore.Change{entryChange(Members, old, e)}, nil
	})
	return t, e, err
}

// memberWithout is the record of a member who has none: its windows began with the team.
func (t *Team) memberWithout(user string) *Entry {
	return &Entry{ID: limit.MemberID(t.ID, user), Fields: map[string]json.RawMessage{
		"created_at": encodeValue(t.CreatedAt), "team_id": encodeValue(t.ID), "user_id": encodeValue(user),
	}}
}

// MemberLimits returns what limits a member: the limits of its record, and the team's for members who have none of that sort.
func (t *Team) MemberLimits(e *Entry) (*Limits, error) { return e.limits(t.memberDefaults()) }
