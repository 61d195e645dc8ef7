package keyauth

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
)

const (
	storeTimeout = 2 * time.Second
	// unknownTTL is the longest that a key is taken for unknown without asking the store; a shorter cache_ttl is shorter.
	unknownTTL = 5 * time.Second
)

var (
	errUnknownKey = errors.New("no such key")
	errBadRecord  = errors.New("unreadable record")
	errStoreDown  = errors.New("the key store is down")
)

// Bounds say how long what is known of a key serves.
type Bounds struct {
	Cache time.Duration // without asking the store again
	Stale time.Duration // while the store is down, since the store last confirmed it
}

// Directory knows keys: a cache in front of a store, kept current by the store's announcements. It is shared by all
// handlers that name the same store and outlives reloads.
type Directory struct {
	store Store
	log   *zap.Logger
	now   func() time.Time

	cache   *cache
	circuit circuit
	deaf    atomic.Bool // changes made elsewhere are not heard of
	flights atomic.Pointer[singleflight.Group]

	ctx     context.Context // of the work that belongs to no call; ends at Close
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// newDirectory takes over the store and begins to watch it.
func newDirectory(store Store, log *zap.Logger, now func() time.Time) *Directory {
	d := &Directory{store: store, log: log, now: now, cache: newCache()}
	d.flights.Store(new(singleflight.Group))
	d.ctx, d.cancel = context.WithCancel(context.Background())
	storesOpen.Inc()
	d.workers.Go(func() { store.Watch(d.ctx, d) })
	return d
}

// Close ends the watch and closes the store.
func (d *Directory) Close() error {
	d.cancel()
	d.workers.Wait()
	storesOpen.Dec()
	if d.circuit.succeeded() {
		storesDown.Dec()
	}
	return d.store.Close()
}

// lookup returns what is known of a key: errUnknownKey when there is none, errStoreDown when that cannot be told now.
func (d *Directory) lookup(ctx context.Context, key digest, b Bounds) (*keyState, error) {
	entry, cached, fresh := d.recall(key, b)
	if fresh {
		return known(entry.state)
	}
	state, err := d.ask(ctx, key, b)
	if errors.Is(err, errStoreDown) && cached && entry.state != nil && d.now().Sub(entry.at) < b.Stale {
		staleTotal.Inc()
		return entry.state, nil
	}
	if err != nil {
		return nil, err
	}
	return known(state)
}

// recall returns what the cache holds of a key, and whether it may serve without asking the store.
func (d *Directory) recall(key digest, b Bounds) (entry cached, there, fresh bool) {
	entry, current, there := d.cache.get(key)
	if !current {
		return entry, there, false
	}
	limit := b.Cache
	if entry.state == nil {
		limit = min(limit, unknownTTL)
	}
	return entry, there, d.now().Sub(entry.at) < limit
}

func known(state *keyState) (*keyState, error) {
	if state == nil {
		return nil, errUnknownKey
	}
	return state, nil
}

// ask gets a key from the store, once for all who ask at the same time. It returns nil when there is no such key.
func (d *Directory) ask(ctx context.Context, key digest, b Bounds) (*keyState, error) {
	answer := d.flights.Load().DoChan(string(key[:]), func() (any, error) {
		if entry, _, fresh := d.recall(key, b); fresh {
			return entry.state, nil // another question was answered between our look at the cache and this one
		}
		ticket := d.cache.ticket(key)
		state, err := d.fetch(key)
		if err != nil {
			return nil, err
		}
		d.cache.put(key, ticket, state, d.now())
		return state, nil
	})
	select {
	case a := <-answer:
		if a.Err != nil {
			return nil, a.Err
		}
		return a.Val.(*keyState), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetch reads a key and its team. It outlives the call that asked, as others may wait for it too.
func (d *Directory) fetch(key digest) (*keyState, error) {
	ctx, cancel := context.WithTimeout(d.ctx, storeTimeout)
	defer cancel()
	data, err := d.read(ctx, KeyKind, key.String())
	if data == nil || err != nil {
		return nil, err
	}
	rec, err := decode[Key](data)
	if err != nil {
		return nil, err
	}
	if rec.TeamID == "" {
		state := stateOf(rec, nil)
		state.version = version(data)
		return state, nil
	}
	teamData, err := d.read(ctx, TeamKind, rec.TeamID)
	if err != nil {
		return nil, err
	}
	var team *Team
	if teamData != nil {
		if team, err = decode[Team](teamData); err != nil {
			return nil, err
		}
	}
	state := stateOf(rec, team)
	state.version, state.teamVersion = version(data), version(teamData)
	return state, nil
}

// read gets a record through the circuit; nil when there is none.
func (d *Directory) read(ctx context.Context, kind Kind, id string) ([]byte, error) {
	if ok, cause := d.circuit.allow(d.now()); !ok {
		return nil, fmt.Errorf("%w: %w", errStoreDown, cause)
	}
	lookupsTotal.Inc()
	data, err := d.store.Get(ctx, kind, id)
	if errors.Is(err, ErrNotFound) {
		data, err = nil, nil
	}
	if err != nil {
		d.failed(err)
		return nil, fmt.Errorf("%w: %w", errStoreDown, err)
	}
	d.answered()
	return data, nil
}

func (d *Directory) failed(err error) {
	storeErrorsTotal.Inc()
	if d.ctx.Err() == nil && d.circuit.failed(d.now(), err) {
		storesDown.Inc()
		d.log.Error("the key store is down: keys that it confirmed lately go on working", zap.Error(err))
	}
}

func (d *Directory) answered() {
	if d.circuit.succeeded() {
		storesDown.Dec()
		d.log.Info("the key store is up again")
	}
}

// Changed forgets what a changed record was part of, unless it was read after that change, and keeps questions under way
// from answering for those to come. So the late news of a key that was made and used here does not take it away again.
func (d *Directory) Changed(kind Kind, id, version string) {
	switch kind {
	case KeyKind:
		var key digest
		if n, err := hex.Decode(key[:], []byte(id[:min(len(id), 2*len(key))])); err != nil || n != len(key) {
			d.log.Warn("the key store announced a change of something that is no key")
			return
		}
		d.cache.drop(key, version)
		d.flights.Load().Forget(string(key[:]))
	case TeamKind:
		d.cache.dropTeam(id, version)
		d.flights.Store(new(singleflight.Group))
	case UserKind, EndUserKind, BudgetKind: // no call is judged by them
	}
}

// Missed makes every key be asked for again. The store is up, as it has just said so.
func (d *Directory) Missed() {
	d.deaf.Store(false)
	d.cache.doubt()
	d.flights.Store(new(singleflight.Group))
	d.answered()
}

// Lost notes that changes made by other instances are not heard of: they take effect within cache_ttl.
func (d *Directory) Lost(err error) {
	if d.deaf.Swap(true) {
		return // said before
	}
	d.log.Warn("not hearing of changes to keys: those made elsewhere take effect when cache_ttl has passed", zap.Error(err))
}

// Interface guard.
var _ Watcher = (*Directory)(nil)
