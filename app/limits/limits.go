// Package limits provides the store of limits and spend totals. keyauth admits calls by it, and
// lagobilling counts settled records in it. A configuration has one store, set by its first keyauth.
package limits

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

// Config determines where limits and totals are kept.
type Config struct {
	// Name identifies the store.
	Name string
	// Deny refuses calls while the store is unavailable.
	Deny bool
	// Open opens the store. It also returns a closer to call after the store is closed, or nil.
	Open func() (limit.Store, io.Closer, error)
	// Books opens the books of an account in the same store. Nil if books are kept beside the account's
	// spool.
	Books func(account string, o spend.Options) (*spend.Book, error)
	// Configure applies a configuration's settings to the live store. It may be nil.
	Configure func()
	// File reports that the store is a local file, used by this process alone. It is complete only once
	// all records in the spools are counted.
	File   bool
	Logger *zap.Logger
}

// Keeper is an open store.
type Keeper struct {
	*limit.Limiter
	// Outputs are the answer sizes seen for each model.
	Outputs limit.Outputs

	store  limit.Store
	beside io.Closer
	file   bool
	log    *zap.Logger
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	learnt []string          // the spools whose answers Outputs has learnt
	behind []<-chan struct{} // each is closed once a spool's existing records are counted
}

// choice is the store of one configuration.
type choice struct {
	mu     sync.Mutex
	config *Config
	ref    *app.Ref[*Keeper]
	key    string
}

const shared = "limits"

func of(a *app.App) *choice {
	c, _ := a.Shared(shared, new(choice))
	return c.(*choice)
}

// Use requests the configuration's store. The first request determines it. Only Provision may call it.
func Use(a *app.App, c Config) (*app.Ref[*Keeper], error) {
	chosen := of(a)
	chosen.mu.Lock()
	defer chosen.mu.Unlock()
	if chosen.ref != nil {
		if chosen.config.Deny != c.Deny {
			return nil, errors.New("limits: on_store_failure differs between two keyauth handlers; limits of one configuration are kept in one store")
		}
		if chosen.config.Name != c.Name {
			c.Logger.Warn("limits and spend of these keys are kept in the store of the configuration's first keyauth")
		}
		return chosen.ref, nil
	}
	chosen.config, chosen.key = &c, fmt.Sprintf("limits %s deny %t", c.Name, c.Deny)
	chosen.ref = app.Use(a, chosen.key, func() (*Keeper, error) { return open(&c) }, func(*Keeper) {
		if c.Configure != nil {
			c.Configure()
		}
	})
	return chosen.ref, nil
}

// Hold returns the store of a configuration whose app has started, with its name and a reference that
// release drops. It returns false if the configuration has none.
func Hold(a *app.App) (k *Keeper, name string, release func(), ok bool) {
	c := of(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ref == nil {
		return nil, "", nil, false
	}
	k, release, ok = app.Hold[*Keeper](c.key)
	return k, c.key, release, ok
}

// Books returns a function that opens an account's books in the store of limits, and the store's name.
// The function is nil if books are kept beside the account's spool. It may be called only after the whole
// configuration is provisioned.
func Books(a *app.App) (name string, open func(account string, o spend.Options) (*spend.Book, error)) {
	c := of(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.config == nil || c.config.Books == nil {
		return "", nil
	}
	return c.config.Name, c.config.Books
}

func open(c *Config) (*Keeper, error) {
	store, beside, err := c.Open()
	if err != nil {
		return nil, err
	}
	k := &Keeper{store: store, beside: beside, file: c.File, log: c.Logger}
	log := c.Logger
	k.Limiter = limit.New(store, limit.Options{Instance: llm.NewID(), Deny: c.Deny, OnFault: func(err error) {
		if err == nil {
			storesAway.Dec()
			log.Info("the store of limits is back")
			return
		}
		storesAway.Inc()
		log.Error("the store of limits is away", zap.Bool("calls_are_refused", c.Deny), zap.Error(err))
	}})
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	k.done.Go(func() { k.Run(ctx) })
	return k, nil
}

// Expect makes calls wait until a spool's existing records are counted, if the store needs that.
func (k *Keeper) Expect(counted <-chan struct{}) {
	if !k.file {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.behind = append(k.behind, counted)
}

// Learn calls read, which learns the answer sizes from a spool's records, once per spool.
func (k *Keeper) Learn(spool string, read func() error) {
	k.mu.Lock()
	known := slices.Contains(k.learnt, spool)
	if !known {
		k.learnt = append(k.learnt, spool)
	}
	k.mu.Unlock()
	if known {
		return
	}
	if err := read(); err != nil {
		k.log.Warn("what models answer is not known from the records", zap.Error(err))
	}
}

// Await waits until the store has counted all spend.
func (k *Keeper) Await(ctx context.Context) error {
	for {
		k.mu.Lock()
		if len(k.behind) == 0 {
			k.mu.Unlock()
			return nil
		}
		counted := k.behind[0]
		k.mu.Unlock()
		select {
		case <-counted:
		case <-ctx.Done():
			return ctx.Err()
		}
		k.mu.Lock()
		if len(k.behind) > 0 && k.behind[0] == counted {
			k.behind = k.behind[1:]
		}
		k.mu.Unlock()
	}
}

// Close stops renewing reservations and closes the store.
func (k *Keeper) Close() error {
	k.cancel()
	k.done.Wait()
	if k.Away() != nil {
		storesAway.Dec()
	}
	err := k.store.Close()
	if k.beside != nil {
		err = errors.Join(err, k.beside.Close())
	}
	return err
}

// Interface guard.
var _ app.Resource = (*Keeper)(nil)
