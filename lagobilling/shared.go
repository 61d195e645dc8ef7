package lagobilling

import (
	"fmt"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/limits"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/spend"
	"github.com/tollgate-llm/tollgate/internal/spend/postgres"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// sharedTariffs are the tariffs of the handlers of one configuration that share an account, in its order.
type sharedTariffs struct{ list []*tariff.Tariff }

// tariffsOf adds the handler's tariff to those of its configuration and account. Provision calls it.
func tariffsOf(h *Handler, account string) *sharedTariffs {
	shared, _ := h.app.Shared("lagobilling tariffs "+account, new(sharedTariffs))
	t := shared.(*sharedTariffs)
	t.list = append(t.list, h.tariff)
	return t
}

// agree checks that the handlers of one configuration agree on their accounts: each name has one set of settings, and each
// spool one account.
func agree(a *app.App, s account.Settings) error {
	if earlier, there := a.Shared("lagobilling account "+s.Name, s); there && earlier != s {
		return fmt.Errorf("account %s is configured twice with different settings: one account has one Lago, one spool and one way to deliver; "+
			"give the other one its own name", s.Name)
	}
	if earlier, there := a.Shared("lagobilling spool "+s.Dir, s.Name); there && earlier != s.Name {
		return fmt.Errorf("accounts %s and %s have the same spool %s: each needs its own", earlier, s.Name, s.Dir)
	}
	return nil
}

// checkOpenAccounts refuses a configuration that gives a spool in use to another account.
func checkOpenAccounts(s account.Settings) (err error) {
	app.Each(func(_ string, a *account.Account) {
		if a.Dir() == s.Dir && a.Name() != s.Name {
			err = account.ForeignSpool(s.Dir, a.Name(), s.Name)
		}
	})
	return err
}

// keepBooks has the account's records counted in the configured books, which the app has opened.
func (h *Handler) keepBooks(a *account.Account) {
	keeper, name, release, ok := limits.Hold(h.app)
	if !ok {
		a.Keep("", nil, nil)
		return
	}
	keeper.Expect(a.Keep(name, keeper, release))
	keeper.Learn(a.Dir(), func() error { return a.Recent(seenOutputs, keeper.Outputs.Observe) })
}

// seenOutputs is how many recent records seed the expected output of models after a start.
const seenOutputs = 1000

// warehouse returns the database that has a copy of the books.
func (h *Handler) warehouse() (w account.Warehouse, err error) {
	dsn, err := h.app.BooksPostgres.Resolve()
	if err != nil || dsn == "" {
		return w, err
	}
	if w.Config, err = postgres.Parse(dsn); err != nil {
		return w, fmt.Errorf("books postgres: %w", err)
	}
	w.Options = postgres.Options{Records: h.app.BooksPostgres.Records, Split: h.split()}
	w.Name = fmt.Sprintf("%s %+v", dsn, w.Options)
	return w, nil
}

// split returns the dimensions of the books.
func (h *Handler) split() spend.Split {
	return spend.Split{EndUsers: h.app.BooksByEndUser, Sessions: h.app.BooksBySession}
}

// spendStore returns where the account's books are: in the store of limits if instances share it, otherwise beside the spool.
func (h *Handler) spendStore(name string) account.SpendStore {
	place, open := limits.Books(h.app)
	if open == nil {
		return account.SpendStore{Split: h.split()}
	}
	return account.SpendStore{
		Name: place, AtOnce: spend.RedisBatchSize, Split: h.split(),
		Open: func(o spend.Options) (*spend.Book, error) { return open(name, o) },
	}
}
