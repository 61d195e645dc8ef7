package keyauth

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/app/limits"
	"github.com/tollgate-llm/tollgate/internal/books"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// spendTimeout bounds reading what was spent.
const spendTimeout = 5 * time.Second

// Spent returns what a scope has spent of all time, by the names of package books, and the state of each of its limits.
func (h *Handler) Spent(
	ctx context.Context, scope limit.Scope, l *keys.Limits, now time.Time,
) (totals map[string]price.Amount, states []limit.State, err error) {
	return h.spentOn(ctx, scope, now, l)
}

func (h *Handler) spentOn(
	ctx context.Context, scope limit.Scope, now time.Time, all ...*keys.Limits,
) (totals map[string]price.Amount, states []limit.State, err error) {
	ctx, cancel := context.WithTimeout(ctx, spendTimeout)
	defer cancel()
	keeper, release, err := h.limits.Acquire(ctx)
	if err != nil {
		return nil, nil, limitsAway(err)
	}
	defer release()
	var list []limit.Limit
	for _, l := range all {
		list = l.Of(list, scope, &keys.Subject{Now: now, Tokens: h.tokens})
	}
	return spentOf(ctx, keeper, scope, list)
}

func spentOf(
	ctx context.Context, keeper *limits.Keeper, scope limit.Scope, list []limit.Limit,
) (totals map[string]price.Amount, states []limit.State, err error) {
	all, err := keeper.Totals(ctx, books.Spend(scope))
	if err != nil {
		return nil, nil, limitsAway(err)
	}
	if len(list) > 0 {
		if states, err = keeper.Status(ctx, list...); err != nil {
			return nil, nil, limitsAway(err)
		}
	}
	return all[0], states, nil
}

// showGateway puts into a row what the whole gateway has spent and where its limits are, by the names of showSpend, but for
// `spend`, which is LiteLLM's.
func (h *Handler) showGateway(ctx context.Context, row map[string]any) error {
	ctx, cancel := context.WithTimeout(ctx, spendTimeout)
	defer cancel()
	keeper, release, err := h.limits.Acquire(ctx)
	if err != nil {
		return limitsAway(err)
	}
	defer release()
	totals, states, err := spentOf(ctx, keeper, limit.Scope{Kind: limit.Gateway}, h.gateway)
	if err != nil {
		return err
	}
	row["total_spend"] = number(totals[books.Cost])
	row["reserved"], row["left"], row["budget_reset_at"] = nil, nil, nil
	shown := make([]map[string]any, 0, len(states))
	for i := range states {
		st := &states[i]
		if st.Metric == limit.Cost && !st.Soft && row["max_budget"] == nil {
			row["max_budget"], row["budget_spend"] = number(st.Money), number(st.Spent)
			row["reserved"], row["left"], row["budget_reset_at"] = number(st.Reserved), number(st.Left()), moment(st.ResetsAt)
		}
		shown = append(shown, showState(st))
	}
	row["limits"] = shown
	return nil
}

// showSpend puts into a row what a scope has spent and where its limits are:
//
//	spend            of the budget's window under way, or of all time where there is no max_budget
//	total_spend      of all time
//	model_spend      of all time, by model
//	reserved, left   of max_budget; null where there is none
//	budget_reset_at  the end of the window under way
//	limits           each limit with what is used of it; those of a budget that the record names have its budget_id
//
// What LiteLLM had counted before an import is part of the first two.
func (h *Handler) showSpend(ctx context.Context, row map[string]any, scope limit.Scope, l *keys.Limits, by budget, now time.Time) error {
	own := len(l.Of(nil, scope, &keys.Subject{Now: now}))
	totals, states, err := h.spentOn(ctx, scope, now, l, by.limits)
	if err != nil {
		return err
	}
	spend := totals[books.Cost]
	before := row["total_spend"] // LiteLLM's of all time, where its version has it
	if raw, ok := before.(json.RawMessage); !ok || string(raw) == "null" || string(raw) == "0" {
		before = row["spend"]
	}
	if err := addTo(row, "total_spend", spend, before); err != nil {
		return err
	}
	byModel := make(map[string]json.Number)
	for field, amount := range totals {
		if model, ok := strings.CutPrefix(field, books.CostOf("")); ok {
			byModel[model] = number(amount)
		}
	}
	row["model_spend"] = byModel
	row["reserved"], row["left"] = nil, nil
	shown := make([]map[string]any, 0, len(states))
	for i := range states {
		st := &states[i]
		m := showState(st)
		if i >= own {
			m["budget_id"] = by.id
		}
		if st.Metric == limit.Cost && st.Model == "" && !st.Soft && (i == 0 && hasMax(l, now) || i == own && row["left"] == nil && hasMax(by.limits, now)) {
			spend = st.Spent
			row["reserved"], row["left"] = number(st.Reserved), number(st.Left())
			row["budget_reset_at"] = moment(st.ResetsAt)
		}
		shown = append(shown, m)
	}
	row["limits"] = shown
	if row["left"] != nil { // an import has brought what LiteLLM had counted in the window under way
		row["spend"] = number(spend)
		return nil
	}
	return addTo(row, "spend", spend, row["spend"])
}

// hasMax reports whether the first limit of a record is its max_budget.
func hasMax(l *keys.Limits, now time.Time) bool {
	_, ok := l.Max(now)
	return ok
}

// addTo sets a member to the sum of what was counted and what LiteLLM had counted before.
func addTo(row map[string]any, name string, counted price.Amount, before any) error {
	if raw, ok := before.(json.RawMessage); ok {
		if imported, _, err := price.ParseReported(string(raw), "usd"); err == nil && !imported.IsZero() {
			sum, err := counted.Add(imported)
			if err != nil {
				return err
			}
			counted = sum
		}
	}
	row[name] = number(counted)
	return nil
}

func showState(st *limit.State) map[string]any {
	m := map[string]any{"scope": string(st.Scope.Kind), "metric": string(st.Metric), "resets_at": moment(st.ResetsAt)}
	if st.Model != "" {
		m["model"] = st.Model
	}
	if st.Metric == limit.Cost {
		m["limit"], m["spent"], m["reserved"], m["left"], m["soft"] = number(st.Money), number(st.Spent), number(st.Reserved), number(st.Left()), st.Soft
		return m
	}
	m["limit"], m["used"], m["left"] = st.Max, st.Used, st.Remaining()
	return m
}

// moment writes a time as answers have it; null for none.
func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}
