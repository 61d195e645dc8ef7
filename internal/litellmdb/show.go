package litellmdb

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/keystore"
)

// budgetColumns are the limits of a row of LiteLLM's budgets.
var budgetColumns = []string{
	"max_budget", "soft_budget", "max_parallel_requests", "tpm_limit", "rpm_limit", "model_max_budget", "budget_duration", "budget_reset_at",
}

// ShowKey returns the fields of a key as LiteLLM's clients read them, without its token.
func ShowKey(k *keys.Key) map[string]any {
	row := toAny(keyRow(k))
	delete(row, "token")
	if _, ok := row["litellm_budget_table"]; !ok {
		row["litellm_budget_table"] = nil
	}
	return row
}

// ShowTeam returns the fields of a team as LiteLLM's clients read them.
func ShowTeam(t *keys.Team) map[string]any {
	row := toAny(teamRow(t))
	row["model_aliases"] = orEmpty(t.Aliases)
	return row
}

// ShowUser returns the fields of a user as LiteLLM's clients read them.
func ShowUser(e *keys.Entry) map[string]any {
	row := toAny(entryRow(e, Find(userTable)))
	delete(row, "password")
	return row
}

// ShowBudgetRow returns the fields of a budget as LiteLLM's clients read them.
func ShowBudgetRow(e *keys.Entry) map[string]any {
	row := toAny(entryRow(e, Find(BudgetTable)))
	delete(row, "allowed_models")
	return row
}

// ShowMember returns what limits a member of a team as LiteLLM's clients read it.
func ShowMember(e *keys.Entry) map[string]any {
	return map[string]any{
		"user_id": e.Text("user_id"), "team_id": e.Text("team_id"), "budget_id": orNull(e.Fields["budget_id"]), "spend": orZero(e.Fields["spend"]),
		"total_spend":    orNull(e.Fields["total_spend"]),
		"allowed_models": orNull(e.Fields["allowed_models"]), "litellm_budget_table": ownBudget(e),
	}
}

// ShowCustomer returns the fields of a customer as LiteLLM's clients read them: its limits are a row of budgets, its own or the one that it names.
func ShowCustomer(ctx context.Context, s *keys.Service, e *keys.Entry) (map[string]any, error) {
	all := entryRow(e, Find(endUserTable))
	row := toAny(all)
	own := ownBudget(e)
	for _, n := range budgetColumns {
		delete(row, n)
	}
	row["litellm_budget_table"] = own
	if id := e.Text("budget_id"); id != "" {
		budget, err := budgetRow(ctx, s, id)
		if err != nil {
			return nil, err
		}
		if budget != nil {
			maps.Copy(budget, own)
			row["litellm_budget_table"] = budget
		}
	}
	return row, nil
}

// ownBudget returns the limits of a record as a row of budgets.
func ownBudget(e *keys.Entry) map[string]json.RawMessage {
	row := make(map[string]json.RawMessage)
	for _, n := range budgetColumns {
		if v, ok := e.Fields[n]; ok {
			row[n] = v
		}
	}
	return row
}

// ShowBudget returns LiteLLM's row of a key's budget; nil when the key has none or its budget has no record.
func ShowBudget(ctx context.Context, s *keys.Service, k *keys.Key) (map[string]json.RawMessage, error) {
	id := rawText(k.Extra["budget_id"])
	if id == "" {
		return nil, nil
	}
	return budgetRow(ctx, s, id)
}

func budgetRow(ctx context.Context, s *keys.Service, id string) (map[string]json.RawMessage, error) {
	all, err := s.GetAll(ctx, keystore.BudgetKind, []string{id})
	if err != nil || all[0] == nil {
		return nil, err
	}
	e, err := keys.Decode[keys.Entry](id, all[0])
	if err != nil {
		return nil, s.Refusal(err)
	}
	return entryRow(e, Find(BudgetTable)), nil
}

func orZero(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("0")
	}
	return raw
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func toAny(row map[string]json.RawMessage) map[string]any {
	out := make(map[string]any, len(row)+1)
	for n, v := range row {
		out[n] = v
	}
	return out
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
