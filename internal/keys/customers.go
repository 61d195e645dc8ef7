package keys

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// maxCustomers bounds the payers of whom is known what limits them.
const maxCustomers = 100_000

// customers holds the store's answers about customers. Most gateways have no record of any, and then no payer is asked for.
type customers struct {
	mu      sync.Mutex
	changes uint64 // counts the announced changes, so that an answer older than one of them is not kept
	known   map[string]customer
	none    customer            // its time is when the store last had no customer at all; zero: it had one, or was not asked
	flights *singleflight.Group // of the questions to the store since the last announced change
}

// customer is the store's answer about one; the zero value besides its time: there is no record.
type customer struct {
	at      time.Time
	doubt   bool // a change may have been missed since
	blocked bool
	limits  []*Limits // its own, and those of the budget that it names
}

func newCustomers() *customers {
	return &customers{known: make(map[string]customer), flights: new(singleflight.Group)}
}

// changed keeps questions under way from answering for those to come.
func (c *customers) changed() {
	c.changes++
	c.flights = new(singleflight.Group)
}

func (c *customers) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed()
	c.none = customer{}
	delete(c.known, id)
}

// clear forgets all of them.
func (c *customers) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed()
	clear(c.known)
}

// invalidate makes all of them be asked for again while the store is up.
func (c *customers) invalidate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed()
	c.none.doubt = true
	for id, k := range c.known {
		k.doubt = true
		c.known[id] = k
	}
}

// recall returns what is known of a payer, and whether it may serve without asking the store.
func (c *customers) recall(id string, now time.Time, b Bounds) (k customer, there, fresh bool, ticket uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, there = c.known[id]; !there && !c.none.at.IsZero() {
		k, there = c.none, true
	}
	return k, there, there && !k.doubt && now.Sub(k.at) < b.Cache, c.changes
}

func (c *customers) put(id string, k customer, none bool, ticket uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != ticket {
		return
	}
	if none {
		c.none = k
		clear(c.known)
		return
	}
	c.none = customer{}
	for other := range c.known {
		if len(c.known) < maxCustomers {
			break
		}
		delete(c.known, other)
	}
	c.known[id] = k
}

// customer returns what limits a payer, or *llm.Error for one that is blocked.
func (c *Cache) customer(ctx context.Context, payer string, b Bounds) ([]*Limits, error) {
	k, err := c.customers.get(ctx, payer, c.now, b, c.askCustomer)
	if err == nil && k.blocked {
		err = blockedCustomer(payer)
	}
	return k.limits, err
}

// get returns what is known of a customer. Where that is not fresh the store is asked, once for all who ask at the same time.
func (c *customers) get(ctx context.Context, id string, now func() time.Time, b Bounds, ask func(id string) (customer, bool, error)) (customer, error) {
	k, there, fresh, _ := c.recall(id, now(), b)
	if fresh {
		return k, nil
	}
	c.mu.Lock()
	flights := c.flights
	c.mu.Unlock()
	answer := flights.DoChan(id, func() (any, error) {
		k, _, fresh, ticket := c.recall(id, now(), b)
		if fresh {
			return k, nil // another question was answered between our look and this one
		}
		k, none, err := ask(id)
		if err != nil {
			return nil, err
		}
		c.put(id, k, none, ticket)
		return k, nil
	})
	select {
	case a := <-answer:
		switch {
		case a.Err == nil:
			return a.Val.(customer), nil
		case there && now().Sub(k.at) < b.Stale:
			return k, nil
		}
		return customer{}, a.Err
	case <-ctx.Done():
		return customer{}, ctx.Err()
	}
}

// askCustomer reads a customer's record, for all calls that wait for it; none reports that there is not one of any customer.
func (c *Cache) askCustomer(payer string) (k customer, none bool, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, storeTimeout)
	defer cancel()
	k.at = c.now()
	r := &parts{ctx: ctx, cache: c, versions: make(map[part]string)}
	e, err := r.entry(keystore.EndUserKind, payer)
	if err != nil {
		return k, false, fmt.Errorf("customer: %w", err)
	}
	if e == nil {
		rows, err := c.store.List(ctx, keystore.EndUserKind, "", 1)
		if err != nil {
			c.failed(err)
			return k, false, fmt.Errorf("%w: %w", errStoreDown, err)
		}
		return k, len(rows) == 0, nil
	}
	k.blocked = trueMember(e.Fields, "blocked")
	own, err := e.Limits()
	if err != nil {
		return k, false, err
	}
	budget, err := r.budget(e.Fields, "budget_id")
	if err != nil {
		return k, false, err
	}
	for _, l := range []*Limits{own, budget} {
		if !l.Empty() {
			k.limits = append(k.limits, l)
		}
	}
	return k, false, nil
}

// ofCustomer appends the limits of a payer.
func (c *Cache) ofCustomer(ctx context.Context, list []limit.Limit, st *State, s *Subject) ([]limit.Limit, error) {
	all, err := c.customer(ctx, s.Payer, s.Bounds)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 && st.Customer == nil && s.CustomerBudget != "" {
		k, err := c.budgets.get(ctx, s.CustomerBudget, c.now, s.Bounds, c.askBudget)
		if err != nil {
			return nil, err
		}
		all = k.limits
	}
	scope := limit.Scope{Kind: limit.Customer, ID: s.Payer}
	for _, l := range all {
		list = l.Of(list, scope, s)
	}
	return st.Customer.Of(list, scope, s), nil
}

// askBudget reads the budget of customers who have none, as if it were a customer's.
func (c *Cache) askBudget(id string) (k customer, none bool, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, storeTimeout)
	defer cancel()
	k.at = c.now()
	r := &parts{ctx: ctx, cache: c, versions: make(map[part]string)}
	e, err := r.entry(keystore.BudgetKind, id)
	if err != nil {
		return k, false, fmt.Errorf("customer_budget: %w", err)
	}
	if e == nil {
		return k, false, &llm.Error{
			Status: http.StatusServiceUnavailable, Type: "service_unavailable",
			Message: "the budget of customers who have none of their own has no record: ask the operator to make it by /budget/new",
		}
	}
	l, err := e.Limits()
	if err != nil {
		return k, false, err
	}
	k.limits = append(k.limits, l)
	return k, false, nil
}

func blockedCustomer(payer string) *llm.Error {
	return &llm.Error{
		Status: 401, Type: "auth_error", Param: "user",
		Message: "Authentication Error, the customer '" + payer + "' is blocked. Update via `/customer/unblock` if you're admin.",
	}
}
