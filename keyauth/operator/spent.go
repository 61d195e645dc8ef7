package operator

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/limits"
	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// keeperOf returns the store of limits that belongs to the key store of a request, or the only one; nil where there is none. release drops it.
func keeperOf(r *http.Request) (k *limits.Keeper, release func(), err error) {
	var names []string
	app.Each(func(key string, _ *limits.Keeper) { names = append(names, key) })
	store := r.URL.Query().Get("store")
	for _, key := range names {
		if len(names) > 1 && !strings.HasPrefix(key, "limits "+store+" ") {
			continue
		}
		if held, release, ok := app.Hold[*limits.Keeper](key); ok {
			return held, release, nil
		}
	}
	if len(names) > 0 {
		return nil, nil, operator.Refuse(http.StatusConflict, "several stores of limits are in use, and none is that of these keys: import into one configuration at a time")
	}
	return nil, func() {}, nil
}

// counted has budgets go on where LiteLLM's were: what it had counted more than at the last import is added to what is spent in the window under way.
func counted(k *limits.Keeper) func(context.Context, limit.Scope, *keys.Limits, string, price.Amount, price.Amount) error {
	return func(ctx context.Context, scope limit.Scope, budgets *keys.Limits, model string, before, now price.Amount) error {
		list := budgets.Counted(scope, model, time.Now())
		if len(list) == 0 {
			return nil
		}
		states, err := k.Status(ctx, list...)
		if err != nil {
			return err
		}
		for i := range states {
			spent, err := states[i].Spent.Add(now)
			if err != nil {
				return err
			}
			if spent = spent.Sub(before); spent.Cmp(price.Amount{}) < 0 {
				spent = price.Amount{}
			}
			if err := k.Put(ctx, list[i], spent); err != nil {
				return err
			}
		}
		return nil
	}
}
