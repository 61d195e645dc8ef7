package limits

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/books"
	"github.com/tollgate-llm/tollgate/internal/limit"
)

func init() { caddy.RegisterModule(Admin{}) }

const rebuildPath = "/tollgate/limits/rebuild"

// Admin serves the store of limits on Caddy's admin API, below /tollgate/limits/.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.tollgate_limits", New: func() caddy.Module { return new(Admin) }}
}

// Routes returns the admin routes. GET is a dry run of POST.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		operator.Route(rebuildPath, operator.Methods{Get: serveRebuild(true), Post: serveRebuild(false)}),
	}
}

// Rebuilt is the result of a rebuild.
type Rebuilt struct {
	DryRun   bool           `json:"dry_run"`
	Stores   []RebuiltStore `json:"stores"`
	Accounts []Reach        `json:"accounts"`
}

// RebuiltStore is one store's total spend in USD, before and after a rebuild.
type RebuiltStore struct {
	Before string `json:"spend_before"`
	After  string `json:"spend_after,omitempty"` // empty in a dry run
}

// Reach is how far back the records in an account's spool go.
type Reach struct {
	Account string     `json:"account"`
	Spool   string     `json:"spool"`
	Oldest  *time.Time `json:"oldest"` // when the oldest record was settled; null if there are no records
}

func serveRebuild(dry bool) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := operator.OnlyParameters(r.URL.Query()); err != nil {
			return err
		}
		if err := operator.ReadBody(r, new(struct{})); err != nil {
			return err
		}
		return operator.Work(w, r, operator.ProgressEvery, func(ctx context.Context, report operator.Report) (any, error) {
			return rebuild(ctx, dry, report)
		})
	}
}

// held returns the open resources of a type, ordered by key. They stay open until release is called.
func held[T app.Resource]() (list []T, release func()) {
	var keys []string
	app.Each(func(key string, _ T) { keys = append(keys, key) })
	slices.Sort(keys)
	var releases []func()
	for _, key := range keys {
		if res, release, ok := app.Hold[T](key); ok {
			list, releases = append(list, res), append(releases, release)
		}
	}
	return list, func() {
		for _, release := range releases {
			release()
		}
	}
}

// rebuilding allows one rebuild at a time.
var rebuilding sync.Mutex

// rebuild clears the applied spend of every store and counts the records that are still in the spools
// again.
func rebuild(ctx context.Context, dry bool, report operator.Report) (*Rebuilt, error) {
	if !rebuilding.TryLock() {
		return nil, operator.Refuse(http.StatusConflict, "a rebuild is under way")
	}
	defer rebuilding.Unlock()
	keepers, release := held[*Keeper]()
	defer release()
	if len(keepers) == 0 {
		return nil, operator.Refuse(http.StatusNotFound, "this instance keeps no limits: it has no keyauth")
	}
	accounts, release := held[*account.Account]()
	defer release()
	out := &Rebuilt{DryRun: dry, Stores: []RebuiltStore{}, Accounts: []Reach{}}
	slices.SortStableFunc(accounts, func(a, b *account.Account) int { return cmp.Compare(a.Name(), b.Name()) })
	for _, a := range accounts {
		oldest, err := a.OldestRecord(ctx)
		if err != nil {
			return nil, err
		}
		reach := Reach{Account: a.Name(), Spool: a.Dir()}
		if !oldest.IsZero() {
			reach.Oldest = &oldest
		}
		out.Accounts = append(out.Accounts, reach)
	}
	for _, k := range keepers {
		before, err := k.spend(ctx)
		if err != nil {
			return nil, err
		}
		out.Stores = append(out.Stores, RebuiltStore{Before: before})
	}
	if dry {
		return out, nil
	}
	counted := make(chan struct{})
	defer close(counted)
	for _, k := range keepers {
		k.Expect(counted)
		if err := k.Reset(ctx); err != nil {
			return nil, err
		}
	}
	for i, a := range accounts {
		report("accounts counted again", i, len(accounts))
		if _, err := a.Recount(ctx); err != nil {
			return nil, err
		}
	}
	for i, k := range keepers {
		after, err := k.spend(ctx)
		if err != nil {
			return nil, err
		}
		out.Stores[i].After = after
	}
	return out, nil
}

// spend returns the total spend of the gateway in USD.
func (k *Keeper) spend(ctx context.Context) (string, error) {
	totals, err := k.Totals(ctx, books.Spend(limit.Scope{Kind: limit.Gateway}))
	if err != nil {
		return "", err
	}
	return totals[0][books.Cost].String(), nil
}

// Interface guard.
var _ caddy.AdminRouter = Admin{}
