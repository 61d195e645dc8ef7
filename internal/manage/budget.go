package manage

import (
	"context"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/litellmdb"
)

func newBudget(ctx context.Context, c *Call) (any, error) {
	return budget(c.Service.New(ctx, keys.Budgets, c.Fields))
}

func updateBudget(ctx context.Context, c *Call) (any, error) {
	return budget(c.Service.Set(ctx, keys.Budgets, c.Fields))
}

func deleteBudget(ctx context.Context, c *Call) (any, error) {
	return budget(c.Service.DeleteBudget(ctx, c.Fields))
}

func budget(e *keys.Entry, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return litellmdb.ShowBudgetRow(e), nil
}

// budgetInfo answers the rows of the budgets that the field budgets names.
func budgetInfo(ctx context.Context, c *Call) (any, error) {
	ids, refusal := c.Fields.Texts("budgets")
	if refusal != nil {
		return nil, refusal
	}
	rows := []any{}
	for _, id := range ids {
		e, err := c.Service.Get(ctx, keys.Budgets, id)
		if err != nil {
			return nil, err
		}
		rows = append(rows, litellmdb.ShowBudgetRow(e))
	}
	return rows, nil
}

func listBudgets(ctx context.Context, c *Call) (any, error) {
	found, _, err := c.Service.ListEntries(ctx, keys.Budgets, func(*keys.Entry) bool { return true }, keys.Order{}, keys.Page{Size: 1 << 31})
	if err != nil {
		return nil, err
	}
	return rowsOf(found, litellmdb.ShowBudgetRow), nil
}

// budgetSettings describes the fields of a budget with their values.
func budgetSettings(ctx context.Context, c *Call) (any, error) {
	e, err := c.Service.Get(ctx, keys.Budgets, c.Query.Get("budget_id"))
	if err != nil {
		return nil, err
	}
	rows := []any{}
	for _, f := range []struct{ name, typ, text string }{
		{"max_budget", "Float", "The most that may be spent in a window, in US dollars."},
		{"soft_budget", "Float", "An amount in US dollars whose passing is told, and refuses nothing."},
		{"budget_duration", "String", "The window's length, such as 30d, 1mo or daily."},
		{"rpm_limit", "Integer", "Requests in every 60 seconds."},
		{"tpm_limit", "Integer", "Tokens in every 60 seconds."},
		{"max_parallel_requests", "Integer", "Requests at once."},
		{"model_max_budget", "Object", "Budgets and rates of single models."},
	} {
		var value any
		if v, ok := e.Fields[f.name]; ok {
			value = v
		}
		rows = append(rows, map[string]any{
			"field_name": f.name, "field_type": f.typ, "field_description": f.text, "field_value": value, "stored_in_db": value != nil,
			"field_default_value": nil,
		})
	}
	return rows, nil
}
