package keys

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Sort is a sort of entries.
type Sort struct {
	Kind    keystore.Kind
	ID      string // the field that names one
	fields  map[string]check
	missing *llm.Error
	minted  bool // one that is made without an id gets a random one
}

// The sorts of entries.
var (
	Users     = &Sort{keystore.UserKind, "user_id", userFields, notThere("user_id", "User not found in the key store"), true}
	Customers = &Sort{keystore.EndUserKind, "user_id", customerFields, notThere("user_id", "Customer not found in the key store"), false}
	Members   = &Sort{keystore.MemberKind, "team_id", memberFields, notThere("user_id", "the team has no such member"), false}
	Budgets   = &Sort{keystore.BudgetKind, "budget_id", budgetFields, notThere("budget_id", "Budget not found in the key store"), true}
)

// New makes a user, a customer or a budget by the fields of LiteLLM's request.
func (s *Service) New(ctx context.Context, sort *Sort, f Fields) (*Entry, error) {
	if refusal := f.validate(sort.fields); refusal != nil {
		return nil, refusal
	}
	e, refusal := sort.make(f, s.cache.now())
	if refusal != nil {
		return nil, refusal
	}
	err := s.change(ctx, sort.Kind, e.ID, func(old []byte) ([]keystore.Change, error) {
		if old != nil {
			return nil, errExists
		}
		changes, err := s.refs(ctx, f, sort.ID)
		return append(changes, entryChange(sort, nil, e)), err
	})
	if errors.Is(err, errExists) {
		return nil, Invalid(sort.ID, "exists already")
	}
	return e, err
}

func (sort *Sort) make(f Fields, now time.Time) (*Entry, *llm.Error) {
	e := &Entry{ID: get[string](f, sort.ID)}
	switch {
	case e.ID == "" && sort.minted:
		e.ID = llm.NewID()
	case e.ID == "":
		return nil, Invalid(sort.ID, "is missing")
	}
	e.Fields = make(map[string]json.RawMessage)
	if sort != Customers { // of whom LiteLLM keeps no times
		e.Fields["created_at"] = encodeValue(stamp(now))
	}
	return e, e.apply(f, sort, now)
}

func entryChange(sort *Sort, old []byte, e *Entry) keystore.Change {
	c := keystore.Change{Kind: sort.Kind, Old: old, ID: e.ID}
	c.New = Encode(e)
	return c
}

// Set changes the given fields of a user, a customer or a budget; a null field is cleared.
func (s *Service) Set(ctx context.Context, sort *Sort, f Fields) (*Entry, error) {
	if refusal := f.validate(sort.fields); refusal != nil {
		return nil, refusal
	}
	id := get[string](f, sort.ID)
	if email := get[string](f, "user_email"); id == "" && email != "" {
		var err error
		if id, err = s.userByEmail(ctx, email); err != nil {
			return nil, err
		}
	}
	return s.edit(ctx, sort, id, func(e *Entry, now time.Time) ([]keystore.Change, error) {
		f := f
		if sort == Users {
			f = s.promoted(f, e)
		}
		if refusal := e.apply(f, sort, now); refusal != nil {
			return nil, refusal
		}
		return s.refs(ctx, f, sort.ID)
	})
}

// edit changes an entry, and what change returns besides.
func (s *Service) edit(ctx context.Context, sort *Sort, id string, change func(*Entry, time.Time) ([]keystore.Change, error)) (*Entry, error) {
	if id == "" {
		return nil, Invalid(sort.ID, "is missing")
	}
	var e *Entry
	err := s.change(ctx, sort.Kind, id, func(old []byte) ([]keystore.Change, error) {
		if old == nil {
			return nil, sort.missing
		}
		var err error
		if e, err = Decode[Entry](id, old); err != nil {
			return nil, err
		}
		changes, err := change(e, s.cache.now())
		return append(changes, entryChange(sort, old, e)), err
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Get returns the record of a user, a customer or a budget.
func (s *Service) Get(ctx context.Context, sort *Sort, id string) (*Entry, error) {
	if id == "" {
		return nil, Invalid(sort.ID, "is missing")
	}
	e, err := s.entry(ctx, sort.Kind, id)
	if err == nil && e == nil {
		return nil, sort.missing
	}
	return e, err
}

// entry returns a record; nil where there is none.
func (s *Service) entry(ctx context.Context, kind keystore.Kind, id string) (*Entry, error) {
	all, err := s.GetAll(ctx, kind, []string{id})
	if err != nil || all[0] == nil {
		return nil, err
	}
	e, err := Decode[Entry](id, all[0])
	if err != nil {
		return nil, s.Refusal(err)
	}
	return e, nil
}

// BlockCustomers refuses the calls that the customers of the field user_ids pay for, or lets them through again. A customer without a record
// gets one.
func (s *Service) BlockCustomers(ctx context.Context, f Fields, blocked bool) ([]*Entry, error) {
	if refusal := f.validate(map[string]check{"user_ids": texts}); refusal != nil {
		return nil, refusal
	}
	ids := get[[]string](f, "user_ids")
	if len(ids) == 0 {
		return nil, Invalid("user_ids", "name at least one customer")
	}
	var list []*Entry
	for _, id := range ids {
		if err := llm.CheckName(id); err != nil || id == "" {
			return nil, Invalid("user_ids", "must be a list of names")
		}
		var e *Entry
		err := s.change(ctx, keystore.EndUserKind, id, func(old []byte) (_ []keystore.Change, err error) {
			e = &Entry{ID: id, Fields: make(map[string]json.RawMessage)}
			if old != nil {
				if e, err = Decode[Entry](id, old); err != nil {
					return nil, err
				}
			}
			e.Fields["blocked"] = encodeValue(blocked)
			return []keystore.Change{entryChange(Customers, old, e)}, nil
		})
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// DeleteCustomers removes the customers of the field user_ids; none when one is unknown. What they have spent stays known.
func (s *Service) DeleteCustomers(ctx context.Context, f Fields) ([]string, error) {
	ids, err := s.namedEntries(ctx, Customers, f)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if err := s.deleteEntry(ctx, keystore.EndUserKind, id); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// namedEntries returns the ids of the field user_ids, each of which has a record.
func (s *Service) namedEntries(ctx context.Context, sort *Sort, f Fields) ([]string, error) {
	if refusal := f.validate(map[string]check{"user_ids": texts}); refusal != nil {
		return nil, refusal
	}
	ids := get[[]string](f, "user_ids")
	if len(ids) == 0 {
		return nil, Invalid("user_ids", "name at least one")
	}
	for _, id := range ids {
		if _, err := s.Get(ctx, sort, id); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// deleteEntry removes a record; one that is gone already is no error.
func (s *Service) deleteEntry(ctx context.Context, kind keystore.Kind, id string) error {
	return s.change(ctx, kind, id, func(old []byte) ([]keystore.Change, error) {
		if old == nil {
			return nil, nil
		}
		return []keystore.Change{{Kind: kind, ID: id, Old: old}}, nil
	})
}

// deletingMember marks a budget that is being deleted: nothing new may name it.
const deletingMember = "deleting"

// DeleteBudget removes the budget of the field id, which nothing may name any more. It marks the budget first, so that the search finds all
// that name it.
func (s *Service) DeleteBudget(ctx context.Context, f Fields) (*Entry, error) {
	if refusal := f.validate(map[string]check{"id": name}); refusal != nil {
		return nil, refusal
	}
	id := get[string](f, "id")
	if id == "" {
		return nil, Invalid("id", "is missing")
	}
	if id == s.policy.customerBudget {
		return nil, Invalid("id", "the budget is that of the configuration's customer_budget")
	}
	mark := func(deleting bool) (*Entry, error) {
		return s.edit(ctx, Budgets, id, func(e *Entry, _ time.Time) ([]keystore.Change, error) {
			delete(e.Fields, deletingMember)
			if deleting {
				e.Fields[deletingMember] = encodeValue(true)
			}
			return nil, nil
		})
	}
	e, err := mark(true)
	if err != nil {
		return nil, err
	}
	used, err := s.budgetUsed(ctx, id)
	if err == nil && used != "" {
		err = Invalid("id", "the budget is that of "+used+": give that another one first")
	}
	if err != nil {
		_, unmarked := mark(false)
		return nil, errors.Join(err, unmarked)
	}
	delete(e.Fields, deletingMember)
	return e, s.deleteEntry(ctx, keystore.BudgetKind, id)
}

// budgetUsed names a record that names a budget; empty when none does.
func (s *Service) budgetUsed(ctx context.Context, id string) (used string, err error) {
	err = Each(ctx, s, keystore.KeyKind, s.Skip, func(k *Key) error {
		if stringMember(k.Extra, "budget_id") == id || stringMember(k.Extra, "end_user_budget_id") == id {
			used = "the key " + k.Short()
		}
		return nil
	})
	for _, kind := range []keystore.Kind{keystore.EndUserKind, keystore.MemberKind} {
		if err != nil || used != "" {
			break
		}
		err = Each(ctx, s, kind, s.Skip, func(e *Entry) error {
			if stringMember(e.Fields, "budget_id") == id {
				used = map[keystore.Kind]string{keystore.EndUserKind: "the customer ", keystore.MemberKind: "the member "}[kind] + e.ID
			}
			return nil
		})
	}
	return used, err
}

// refs returns the changes that hold the budgets which a request names as they are. own is the field that names its record.
func (s *Service) refs(ctx context.Context, f Fields, own string) (changes []keystore.Change, err error) {
	for _, field := range []string{"budget_id", "end_user_budget_id"} {
		id := get[string](f, field)
		if id == "" || field == own {
			continue
		}
		data, err := s.cache.store.Get(ctx, keystore.BudgetKind, id)
		if errors.Is(err, keystore.ErrNotFound) {
			return nil, Invalid(field, "no such budget: make it by /budget/new")
		}
		if err != nil {
			return nil, err
		}
		e, err := Decode[Entry](id, data)
		if err != nil {
			return nil, err
		}
		if trueMember(e.Fields, deletingMember) {
			return nil, Invalid(field, "the budget is being deleted")
		}
		changes = append(changes, keystore.Change{Kind: keystore.BudgetKind, ID: id, Old: data, New: data})
	}
	return changes, nil
}

// apply sets the given fields.
func (e *Entry) apply(f Fields, sort *Sort, now time.Time) *llm.Error {
	if refusal := f.paired(); refusal != nil {
		return refusal
	}
	before, err := e.Limits()
	if err != nil {
		before = nil // as of a key
	}
	var meta map[string]json.RawMessage
	unmarshalMember(e.Fields, "metadata", &meta)
	e.Fields = f.keep(e.Fields, sort.ID, "metadata", "spend", "teams", "auto_create_key", "role", "max_budget_in_team", "member")
	if raw, ok := f.raw["max_budget_in_team"]; ok {
		delete(e.Fields, "max_budget")
		if !null(raw) {
			e.Fields["max_budget"] = raw
		}
	}
	if meta = f.merge(meta, sort.fields); len(meta) > 0 {
		e.Fields["metadata"] = encodeValue(meta)
	} else {
		delete(e.Fields, "metadata")
	}
	if sort != Customers {
		e.Fields["updated_at"] = encodeValue(stamp(now))
	}
	var after *Limits
	if after, err = ParseLimits(e.Fields, meta); err != nil {
		return unlimited(err)
	}
	e.Windows = e.Windows.After(before, after, now)
	if f.Has("budget_reset_at") {
		e.Windows = nil // the windows end when it says
	}
	return nil
}

// paired checks that a temporary increase comes with its end.
func (f Fields) paired() *llm.Error {
	if f.Has("temp_budget_increase") != f.Has("temp_budget_expiry") || null(f.raw["temp_budget_increase"]) != null(f.raw["temp_budget_expiry"]) {
		return Invalid("temp_budget_increase", "must come together with temp_budget_expiry")
	}
	return nil
}

// userByEmail returns the id of the user with an email address.
func (s *Service) userByEmail(ctx context.Context, email string) (id string, err error) {
	err = Each(ctx, s, keystore.UserKind, s.Skip, func(e *Entry) error {
		if stringMember(e.Fields, "user_email") != email {
			return nil
		}
		if id != "" {
			return Invalid("user_email", "several users have it: name one by user_id")
		}
		id = e.ID
		return nil
	})
	if err == nil && id == "" {
		err = notThere("user_email", "no user has this email address")
	}
	return id, err
}
