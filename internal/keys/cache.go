package keys

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/tollgate-llm/tollgate/internal/keystore"
)

const (
	storeTimeout = 2 * time.Second
	// unknownTTL is the longest that a key is taken for unknown without asking the store; a shorter cache_ttl is shorter.
	unknownTTL = 5 * time.Second
)

// Bounds are how long what is known of a key serves.
type Bounds struct {
	Cache time.Duration // without asking the store again
	Stale time.Duration // while the store is down, since the store last confirmed it
}

// Cache knows keys: a cache in front of a store, kept current by the store's announcements. It is shared by all
// handlers that name the same store and outlives reloads.
type Cache struct {
	store keystore.Store
	log   *zap.Logger
	now   func() time.Time

	entries      *entries
	customers    *customers
	budgets      *customers // of payers who have none: by the budget's id, as if it were a customer
	circuit      circuit
	unsubscribed atomic.Bool  // changes made by other instances are not received
	lastAnswer   atomic.Int64 // when the store last answered, in nanoseconds of Unix time; 0: never
	ready        readyState
	complained   atomic.Int64 // when an unreadable or missing record was last logged, in seconds of Unix time
	flights      atomic.Pointer[singleflight.Group]

	ctx     context.Context // of the work that belongs to no call; ends at Close
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// NewCache takes over the store and begins to watch it.
func NewCache(store keystore.Store, log *zap.Logger, now func() time.Time) *Cache {
	c := &Cache{store: store, log: log, now: now, entries: newEntries(), customers: newCustomers(), budgets: newCustomers()}
	c.flights.Store(new(singleflight.Group))
	c.ctx, c.cancel = context.WithCancel(context.Background())
	storesOpen.Inc()
	c.workers.Go(func() { store.Watch(c.ctx, c) })
	return c
}

// Store returns the store behind the cache.
func (c *Cache) Store() keystore.Store { return c.store }

// Now returns the time by which keys expire.
func (c *Cache) Now() time.Time { return c.now() }

// Close ends the watch and closes the store.
func (c *Cache) Close() error {
	c.cancel()
	c.workers.Wait()
	storesOpen.Dec()
	if c.circuit.succeeded() {
		storesDown.Dec()
	}
	return c.store.Close()
}

// Lookup returns what is known of a key: ErrUnknown when there is none, errStoreDown when the store cannot answer now.
func (c *Cache) Lookup(ctx context.Context, key Digest, b Bounds) (*State, error) {
	held, cached, fresh := c.recall(key, b)
	if fresh {
		return known(held.state)
	}
	state, err := c.ask(ctx, key, b)
	if errors.Is(err, errStoreDown) && cached && held.state != nil && c.now().Sub(held.at) < b.Stale {
		staleTotal.Inc()
		return held.state, nil
	}
	if err != nil {
		return nil, err
	}
	return known(state)
}

// recall returns what the cache holds of a key, and whether it may serve without asking the store.
func (c *Cache) recall(key Digest, b Bounds) (e entry, there, fresh bool) {
	entry, current, there := c.entries.get(key)
	if !current {
		return entry, there, false
	}
	limit := b.Cache
	if entry.state == nil {
		limit = min(limit, unknownTTL)
	}
	return entry, there, c.now().Sub(entry.at) < limit
}

func known(state *State) (*State, error) {
	if state == nil {
		return nil, ErrUnknown
	}
	return state, nil
}

// ask gets a key from the store, once for all who ask at the same time. It returns nil when there is no such key.
func (c *Cache) ask(ctx context.Context, key Digest, b Bounds) (*State, error) {
	answer := c.flights.Load().DoChan(string(key[:]), func() (any, error) {
		if held, _, fresh := c.recall(key, b); fresh {
			return held.state, nil // another question was answered between our look at the cache and this one
		}
		ticket := c.entries.ticket(key)
		state, err := c.fetch(key)
		if errors.Is(err, ErrMalformed) || errors.Is(err, errStoreContent) {
			c.complain(fmt.Errorf("key %s: %w", key.String()[:shownDigits], err))
		}
		if err != nil {
			return nil, err
		}
		c.entries.put(key, ticket, state, c.now())
		return state, nil
	})
	select {
	case a := <-answer:
		if a.Err != nil {
			return nil, a.Err
		}
		return a.Val.(*State), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetch reads a key and what it depends on. It outlives the call that asked, as others may wait for it too.
func (c *Cache) fetch(key Digest) (*State, error) {
	ctx, cancel := context.WithTimeout(c.ctx, storeTimeout)
	defer cancel()
	data, err := c.read(ctx, keystore.KeyKind, key.String())
	if data == nil || err != nil {
		return nil, err
	}
	rec, err := Decode[Key](key.String(), data)
	if err != nil {
		return nil, err
	}
	r := &parts{ctx: ctx, cache: c, versions: make(map[part]string)}
	state, err := r.stateOf(rec)
	if err != nil {
		return nil, err
	}
	state.version, state.parts = keystore.Version(data), r.versions
	return state, nil
}

// read gets a record through the circuit; nil when there is none.
func (c *Cache) read(ctx context.Context, kind keystore.Kind, id string) ([]byte, error) {
	if ok, cause := c.circuit.allow(c.now()); !ok {
		return nil, fmt.Errorf("%w: %w", errStoreDown, cause)
	}
	lookupsTotal.Inc()
	data, err := c.store.Get(ctx, kind, id)
	if errors.Is(err, keystore.ErrNotFound) {
		data, err = nil, nil
	}
	if errors.Is(err, keystore.ErrMalformed) {
		c.answered()
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err != nil {
		c.failed(err)
		return nil, fmt.Errorf("%w: %w", errStoreDown, err)
	}
	c.answered()
	return data, nil
}

func (c *Cache) failed(err error) {
	storeErrorsTotal.Inc()
	if c.ctx.Err() == nil && c.circuit.failed(c.now(), err) {
		storesDown.Inc()
		c.log.Error("the key store is down: keys that it confirmed lately go on working", zap.Error(err))
	}
}

func (c *Cache) answered() {
	c.lastAnswer.Store(c.now().UnixNano())
	if c.circuit.succeeded() {
		storesDown.Dec()
		c.log.Info("the key store is up again")
	}
}

// complain logs a fault of a record, at most once a minute: each call of the key meets it.
func (c *Cache) complain(err error) {
	storeErrorsTotal.Inc()
	last, now := c.complained.Load(), c.now().Unix()
	if now-last >= 60 && c.complained.CompareAndSwap(last, now) {
		c.log.Error("the key store holds a record that cannot be used: its key is refused", zap.Error(err))
	}
}

// Changed forgets what a changed record was part of, unless it was read after that change, and keeps questions under way
// from answering for those to come. So the late news of a key that was made and used here does not take it away again.
func (c *Cache) Changed(kind keystore.Kind, id, version string) {
	switch kind {
	case keystore.KeyKind:
		var key Digest
		if n, err := hex.Decode(key[:], []byte(id[:min(len(id), 2*len(key))])); err != nil || n != len(key) {
			c.log.Warn("the key store announced a change of something that is no key")
			return
		}
		c.entries.drop(key, version)
		c.flights.Load().Forget(string(key[:]))
	case keystore.EndUserKind:
		c.customers.forget(id)
	case keystore.BudgetKind:
		c.customers.clear()
		c.budgets.forget(id)
		c.dropPart(part{kind, id}, version)
	case keystore.TeamKind, keystore.UserKind, keystore.MemberKind:
		c.dropPart(part{kind, id}, version)
	case keystore.AuditKind: // nothing depends on it
	}
}

func (c *Cache) dropPart(p part, version string) {
	c.entries.dropPart(p, version)
	c.flights.Store(new(singleflight.Group))
}

// Missed makes every key be asked for again. The store is up: it has just answered.
func (c *Cache) Missed() {
	c.unsubscribed.Store(false)
	c.entries.invalidate()
	c.customers.invalidate()
	c.budgets.invalidate()
	c.flights.Store(new(singleflight.Group))
	c.answered()
}

// Lost notes that changes made by other instances are not received: they take effect within cache_ttl.
func (c *Cache) Lost(err error) {
	if c.unsubscribed.Swap(true) {
		return // reported before
	}
	c.log.Warn("changes to keys are not received: those made elsewhere take effect when cache_ttl has passed", zap.Error(err))
}

// Interface guard.
var _ keystore.Watcher = (*Cache)(nil)
