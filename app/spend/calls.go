package spend

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/ledger"
)

// Calls searches the ledgers of all accounts of this instance.
func Calls(ctx context.Context, q *ledger.Search) (*ledger.Result, error) {
	out := new(ledger.Result)
	var errs []error
	app.Each(func(_ string, a *account.Account) {
		found, err := ledger.Find(ctx, a.Spool(), q)
		if err != nil {
			errs = append(errs, err)
			return
		}
		out.Calls = append(out.Calls, found.Calls...)
		out.Total += found.Total
		out.Ended = out.Ended || found.Ended
		out.Broken = errors.Join(out.Broken, found.Broken)
		out.Cost, err = out.Cost.Add(found.Cost)
		errs = append(errs, err)
	})
	slices.SortStableFunc(out.Calls, func(a, b ledger.Call) int {
		order := cmp.Or(b.At.Compare(a.At), strings.Compare(b.ID, a.ID))
		if q.Oldest {
			return -order
		}
		return order
	})
	out.Calls = out.Calls[:min(len(out.Calls), q.Most)]
	return out, errors.Join(errs...)
}
