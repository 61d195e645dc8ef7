package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestManyCustomers has 250 customers spend their budgets at once by way of one key: each gets what its own budget has room for, to
// the call, and the gateway's spend is the sum of all. docs/limits.md has it in the table of discussion 50438.
func TestManyCustomers(t *testing.T) {
	const customers, callers = 250, 24
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	onBothStores(t, func(t *testing.T, store string) {
		g := gateway.Start(t, "", strings.Replace(limitedSite(t, store, "", provider), "charge_by key_alias", "charge_by end_user_id", 1))
		key := g.NewKey(`{}`)
		// A call is taken to need 0.000176 or so and costs 0.00011: three fit.
		g.Must(http.StatusOK, http.MethodPost, "/budget/new", gateway.MasterKey, `{"budget_id":"small","max_budget":0.0005,"budget_duration":"1mo"}`)
		var next atomic.Int64
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for i := next.Add(1); i <= customers; i = next.Add(1) {
					name := fmt.Sprintf("customer-%d", i)
					body := fmt.Sprintf(`{"user_id":%q,"max_budget":0.0005}`, name)
					if i%2 == 0 {
						body = fmt.Sprintf(`{"user_id":%q,"budget_id":"small"}`, name)
					}
					a, err := g.Do(http.MethodPost, "/customer/new", gateway.MasterKey, body)
					if err != nil || a.Status != http.StatusOK {
						t.Error(a.Body, err)
						return
					}
					if n := spendAs(g, key, name); n != 3 {
						t.Errorf("%s: %d calls were answered", name, n)
					}
				}
			})
		}
		wg.Wait()
		for _, i := range []int{1, 2, 100, customers} {
			row := gjson.Parse(g.Must(http.StatusOK, http.MethodGet, fmt.Sprintf("/customer/info?end_user_id=customer-%d", i), gateway.MasterKey, "").Body)
			require.Equal(t, "0.00033", row.Get("total_spend").Raw, "%d: %s", i, row.Raw)
		}
		require.Equal(t, "0.0825", globalSpend(g).Get("total_spend").Raw, "250 times 0.00033")
	})
}

// spendAs calls in the name of a customer until its budget has no room for one more call. It returns how many calls were answered.
func spendAs(g *gateway.Gateway, key, customer string) (answered int) {
	body := fmt.Sprintf(`{"user":%q,%s`, customer, capped("gpt-4o", 10, 100)[1:])
	for {
		a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, body)
		b := gjson.Get(a.Body, "error")
		switch {
		case err != nil:
			g.T.Error(err)
			return answered
		case a.Status == http.StatusOK:
			answered++
			continue
		case a.Status != http.StatusUnprocessableEntity || b.Get("id").String() != customer:
			g.T.Error(a.Status, a.Body)
			return answered
		}
		if b.Get("reserved").Raw == "0" { // else a record is not counted yet
			return answered
		}
	}
}
