package lagobilling

import (
	"fmt"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/limits"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/spend"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// sharedTariffs are those of the handlers of one configuration that bill to the same account, in its order.
type sharedTariffs struct{ list []*tariff.Tariff }

// tariffsOf adds h's to the tariffs of its configuration and account. To be called in Provision.
func tariffsOf(h *Handler, account string) *sharedTariffs {
	shared, _ := h.app.Shared("lagobilling tariffs "+account, new(sharedTariffs))
	t := shared.(*sharedTariffs)
	t.list = append(t.list, h.tariff)
	return t
}

// agree makes the handlers of one configuration agree on their accounts: one name has one set of settings, and one spool
// has one account.
func agree(a *app.App, s account.Settings) error {
	if earlier, there := a.Shared("lagobilling account "+s.Name, s); there && earlier != s {
		return fmt.Errorf("account %s is configured twice with different settings: one account has one Lago, one spool and one way to deliver; "+
			"give the other one a name of its own", s.Name)
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

// keepBooks has the account's records counted where the configuration keeps limits and totals. The app has opened that.
func (h *Handler) keepBooks(a *account.Account) {
	keeper, name, release, ok := limits.Hold(h.app)
	if !ok {
		a.Keep("", nil, nil)
		return
	}
	keeper.Expect(a.Keep(name, keeper, release))
	keeper.Learn(a.Dir(), func() error { return a.Recent(seenOutputs, keeper.Outputs.Observe) })
}

// seenOutputs is how many of the last records tell, after a start, what models answer.
const seenOutputs = 1000

// spendStore returns where the account's books are kept: where limits are, if instances share that, or beside the spool.
func (h *Handler) spendStore(name string) account.SpendStore {
	place, open := limits.Books(h.app)
	if open == nil {
		return account.SpendStore{EndUsers: h.app.BooksByEndUser}
	}
	return account.SpendStore{
		Name: place, AtOnce: spend.RedisBatchSize, EndUsers: h.app.BooksByEndUser,
		Open: func(o spend.Options) (*spend.Book, error) { return open(name, o) },
	}
}
