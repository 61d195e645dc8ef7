package litellmdb

import (
	"context"
	"encoding/json"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// fieldsOfRecord are what an import of spend needs to know of a record of any kind.
type fieldsOfRecord struct {
	Extra  map[string]json.RawMessage `json:"extra"`  // of keys and teams
	Fields map[string]json.RawMessage `json:"fields"` // of all others
}

func readFields(record []byte) map[string]json.RawMessage {
	var r fieldsOfRecord
	if record == nil || json.Unmarshal(record, &r) != nil {
		return nil
	}
	if r.Extra != nil {
		return r.Extra
	}
	return r.Fields
}

// budget returns the id of the budget that a row of keys, customers or members names; empty where there is none.
func (r *importing) budget() string {
	switch r.table.kind {
	case keystore.KeyKind, keystore.EndUserKind, keystore.MemberKind:
	case keystore.TeamKind, keystore.UserKind, keystore.BudgetKind, keystore.AuditKind:
		return ""
	}
	return rawText(readFields(r.data)["budget_id"])
}

// knownBudgets returns the budgets that rows name and that have a record.
func knownBudgets(ctx context.Context, s *keys.Service, rows []*importing) (map[string]*keys.Entry, error) {
	known := make(map[string]*keys.Entry)
	var ids []string
	for _, r := range rows {
		id := r.budget()
		if _, seen := known[id]; id != "" && !seen {
			known[id] = nil
			ids = append(ids, id)
		}
	}
	all, err := s.GetAll(ctx, keystore.BudgetKind, ids)
	if err != nil {
		return nil, err
	}
	for i, data := range all {
		if data == nil {
			continue
		}
		if e, err := keys.Decode[keys.Entry](ids[i], data); err == nil {
			known[ids[i]] = e
		}
	}
	return known, nil
}

// scopes are the kinds of records for which LiteLLM counts what was spent.
var scopes = map[keystore.Kind]limit.Kind{
	keystore.KeyKind: limit.Key, keystore.TeamKind: limit.Team, keystore.UserKind: limit.User, keystore.EndUserKind: limit.Customer,
	keystore.MemberKind: limit.Member,
}

// reportSpent reports what LiteLLM had counted against the budgets of a record. LiteLLM counts by the key's hash, also where a record here goes on with
// the spend of another.
func (r *importing) reportSpent(ctx context.Context, o Options, budget *keys.Entry) error {
	kind, counted := scopes[r.table.kind]
	if !counted {
		return nil
	}
	limits, err := r.limits()
	if err != nil {
		return err
	}
	all := []*keys.Limits{limits}
	if budget != nil {
		if limits, err = budget.Limits(); err != nil {
			return err
		}
		all = append(all, limits)
	}
	was, is := readFields(r.change.Old), readFields(r.data)
	for model, now := range spentBy(is) {
		before := spentBy(was)[model]
		if before.Cmp(now) == 0 {
			continue
		}
		for _, l := range all {
			if err := o.Spent(ctx, limit.Scope{Kind: kind, ID: r.id}, l, model, before, now); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *importing) limits() (*keys.Limits, error) {
	switch r.table.kind {
	case keystore.KeyKind:
		k, err := keys.Decode[keys.Key](r.id, r.data)
		if err != nil {
			return nil, err
		}
		return k.Limits()
	case keystore.TeamKind:
		t, err := keys.Decode[keys.Team](r.id, r.data)
		if err != nil {
			return nil, err
		}
		return t.Limits()
	case keystore.UserKind, keystore.EndUserKind, keystore.BudgetKind, keystore.MemberKind, keystore.AuditKind:
	}
	e, err := keys.Decode[keys.Entry](r.id, r.data)
	if err != nil {
		return nil, err
	}
	return e.Limits()
}

// spentBy returns what LiteLLM had counted for a record: in its window, which has no model, and by model for ever.
func spentBy(fields map[string]json.RawMessage) map[string]price.Amount {
	out := map[string]price.Amount{"": amountOf(fields["spend"])}
	byModel, _ := decode[map[string]json.RawMessage](fields["model_spend"])
	for model, raw := range byModel {
		if model != "" {
			out[model] = amountOf(raw)
		}
	}
	return out
}

// amountOf reads an amount; one that cannot be read is nothing.
func amountOf(raw json.RawMessage) price.Amount {
	if raw == nil {
		return price.Amount{}
	}
	a, _, err := price.ParseReported(string(raw), "usd")
	if err != nil {
		return price.Amount{}
	}
	return a
}
