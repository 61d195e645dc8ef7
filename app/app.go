// Package app is the Caddy app `tollgate`. It owns resources that handlers share and that outlive
// reloads. A handler requests a resource in Provision. The app opens it in Start, from a process-wide
// pool. Calls in flight hold their own references, so a resource is closed only when no configuration and
// no call uses it any more.
package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	caddy.RegisterModule(&App{})
	httpcaddyfile.RegisterGlobalOption("tollgate", parseGlobal)
}

// App holds the long-lived resources of one configuration.
type App struct {
	// GCPercent is the garbage collector's target percentage (Go's GOGC) for the whole process, from 10
	// to 10000. The value off leaves the collector unchanged. The environment variable GOGC overrides
	// both. Default: 150.
	GCPercent string `json:"gc_percent,omitempty"`

	// BooksByEndUser splits the books by the end users that requests name. This makes the books larger.
	// Default: all end users are summed up.
	BooksByEndUser bool `json:"books_by_end_user,omitempty"`

	// BooksBySession splits the books by conversation. This makes the books larger. Default: all
	// conversations are summed up.
	BooksBySession bool `json:"books_by_session,omitempty"`

	// BooksPostgres is a PostgreSQL database that receives a copy of the books. Default: none.
	BooksPostgres *Postgres `json:"books_postgres,omitempty"`

	percent       int
	log           *zap.Logger
	routesChecked bool
	health        health

	mu      sync.Mutex
	refs    []*lease
	shared  sync.Map
	counted bool // included in running
	started chan struct{}
	failed  chan struct{} // closed if the app will not start
	wait    time.Duration // how long Acquire waits for the app to start
}

// startWait is how long a call waits for the app to start, which normally takes far less. The app is not
// notified when another app prevents the start.
const startWait = 30 * time.Second

// Resource is a long-lived resource, such as a key store or a spool with its delivery.
type Resource interface {
	// Close closes the resource. It is called once, when no configuration and no call uses the resource
	// any more.
	Close() error
}

// Quitter is a Resource that calls may still use when the process exits, because they outlived the grace
// period.
type Quitter interface {
	// Quit ends these calls, so that each is settled and releases the resource. It does not wait for
	// them.
	Quit()
}

// quitPatience is how long the exiting process waits for the ended calls and for their resources to
// close. Anything unfinished after that is on disk.
const quitPatience = 12 * time.Second

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tollgate", New: func() caddy.Module {
		return &App{started: make(chan struct{}), failed: make(chan struct{}), wait: startWait, log: caddy.Log().Named("tollgate")}
	}}
}

// Provision sets up the app.
func (a *App) Provision(ctx caddy.Context) error {
	a.log = ctx.Logger()
	var err error
	a.percent, err = percent(a.GCPercent)
	return err
}

// Load returns a configuration's app. It is for use in Provision.
func Load(ctx caddy.Context) (*App, error) {
	m, err := ctx.App("tollgate")
	if err != nil {
		return nil, fmt.Errorf("loading the tollgate app: %w", err)
	}
	a := m.(*App)
	return a, a.checkRoutes(ctx)
}

// Shared stores value under key for all handlers of this configuration, unless there already is one, and
// returns the stored value. Handlers use it to detect conflicting settings. Only Provision may call it.
func (a *App) Shared(key string, value any) (actual any, there bool) {
	return a.shared.LoadOrStore(key, value)
}

// Start opens all requested resources.
func (a *App) Start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, l := range a.refs {
		if err := l.entry.acquire(l, false); err != nil {
			errs := make([]error, 0, i+1)
			errs = append(errs, err)
			for _, opened := range a.refs[:i] {
				opened.held = false
				errs = append(errs, opened.entry.release())
			}
			close(a.failed)
			return errors.Join(errs...)
		}
		l.held = true
	}
	for _, l := range a.refs {
		l.entry.apply(l)
	}
	if a.BooksPostgres != nil && !a.BooksPostgres.used {
		a.log.Warn("books postgres writes nothing: there is no lagobilling, whose records it would write")
	}
	collect(a.percent, a.log)
	running.Add(1)
	a.counted = true
	close(a.started)
	return nil
}

// Stop does nothing, because the HTTP app may still drain calls after it. Cleanup drops the references.
func (*App) Stop() error { return nil }

// Cleanup drops the configuration's references. When the process exits, it ends the calls in flight and
// waits until they have released their resources.
func (a *App) Cleanup() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.started:
	case <-a.failed:
	default:
		close(a.failed) // the app never started
	}
	var errs []error
	exiting, reload := caddy.Exiting(), running.Load() > 0
	if a.counted {
		a.counted = false
		reload = running.Add(-1) > 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), quitPatience)
	defer cancel()
	for _, l := range a.refs {
		if l.held {
			l.entry.retract(l)
			l.held = false
			if reload && !exiting {
				errs = append(errs, l.entry.outlive(a.log))
				continue
			}
			if exiting {
				l.entry.quit()
			}
			errs = append(errs, l.entry.release())
		}
	}
	if !reload || exiting {
		endLingering(ctx)
	}
	for _, l := range a.refs {
		if exiting {
			l.entry.awaitClosed(ctx)
		}
	}
	return errors.Join(errs...)
}

// lease is one handler's request for a resource. Each lease has its own open function, because the
// password or address of another configuration may be outdated.
type lease struct {
	entry     *entry
	held      bool
	open      func() (Resource, error)
	configure func(Resource) // nil: nothing to configure
}

// Ref is a handler's reference to a resource.
type Ref[T Resource] struct {
	app   *App
	lease *lease
}

// Use requests the resource with that key. The key must identify the resource itself (the address of a
// store, the directory of a spool) and contain nothing else. open opens the resource and is not called in
// Provision. configure, which may be nil, applies this configuration's settings to the live resource:
// when the app starts, and again when a later configuration that shares the resource is rolled back. Only
// Provision may call Use.
func Use[T Resource](a *App, key string, open func() (T, error), configure func(T)) *Ref[T] {
	l := &lease{entry: entryOf(key), open: func() (Resource, error) { return open() }}
	if configure != nil {
		l.configure = func(r Resource) { configure(r.(T)) }
	}
	a.mu.Lock()
	a.refs = append(a.refs, l)
	a.mu.Unlock()
	return &Ref[T]{app: a, lease: l}
}

// Key returns the key of the resource.
func (r *Ref[T]) Key() string { return r.lease.entry.key }

// ErrNotStarted means that the configuration never started.
var ErrNotStarted = errors.New("the tollgate app did not start")

// Acquire waits until the app has started, and returns the resource with a reference that release drops.
// It reopens the resource if a request of an old configuration finds it closed after a reload.
func (r *Ref[T]) Acquire(ctx context.Context) (res T, release func(), err error) {
	select {
	case <-r.app.started:
	default:
		if err := r.app.awaitStart(ctx); err != nil {
			return res, nil, err
		}
	}
	e := r.lease.entry
	if err := e.acquire(r.lease, true); err != nil {
		return res, nil, err
	}
	return e.res.(T), e.releaseFunc, nil
}

func (a *App) awaitStart(ctx context.Context) error {
	patience := time.NewTimer(a.wait)
	defer patience.Stop()
	select {
	case <-a.started:
		return nil
	case <-a.failed:
	case <-patience.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return ErrNotStarted
}

// entry is a resource in the process-wide pool. Its lock is held while the resource opens or closes, so
// the same directory is never open twice.
type entry struct {
	mu          sync.Mutex
	key         string
	res         Resource
	refs        int
	closed      chan struct{} // closed once the resource is closed
	settings    []*lease      // of the active configurations, oldest first
	lingers     *lingering    // not in any configuration, but with work to finish
	releaseFunc func()
}

var pool = struct {
	sync.Mutex
	entries map[string]*entry
}{entries: make(map[string]*entry)}

// entryOf returns the entry with that key. Entries are never removed: there is one for each store or
// account ever configured.
func entryOf(key string) *entry {
	pool.Lock()
	defer pool.Unlock()
	e := pool.entries[key]
	if e == nil {
		e = &entry{key: key}
		e.releaseFunc = e.leave
		pool.entries[key] = e
	}
	return e
}

// acquire takes a reference, and opens the resource with l if it is closed. A call that reopens it also
// applies its configuration's settings, as Start does.
func (e *entry) acquire(l *lease, call bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refs == 0 {
		res, err := l.open()
		if err != nil {
			return err
		}
		e.res, e.closed = res, make(chan struct{})
		if call && l.configure != nil {
			l.configure(res)
		}
	}
	e.refs++
	return nil
}

func (e *entry) quit() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if q, ok := e.res.(Quitter); ok {
		q.Quit()
	}
}

// awaitClosed waits until the resource is closed or ctx ends.
func (e *entry) awaitClosed(ctx context.Context) {
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if closed == nil {
		return
	}
	select {
	case <-closed:
	case <-ctx.Done():
	}
}

// apply applies the settings of l.
func (e *entry) apply(l *lease) {
	if l.configure == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settings = append(e.settings, l)
	l.configure(e.res)
}

// retract rolls the settings back from l to those of the latest remaining configuration.
func (e *entry) retract(l *lease) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := slices.Index(e.settings, l)
	if at < 0 {
		return
	}
	e.settings = slices.Delete(e.settings, at, at+1)
	if n := len(e.settings); n > 0 && at == n {
		e.settings[n-1].configure(e.res)
	}
}

func (e *entry) release() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refs--; e.refs > 0 {
		return nil
	}
	return e.close()
}

// leave is release for a call. It does not wait for the resource to close, because the client may not
// receive the end of its answer until the call returns.
func (e *entry) leave() {
	e.mu.Lock()
	if e.refs--; e.refs > 0 {
		e.mu.Unlock()
		return
	}
	// The goroutine holds the lock until the resource is closed. Cleanup waits for it when the process
	// exits.
	go func() {
		defer e.mu.Unlock()
		if err := e.close(); err != nil {
			caddy.Log().Named("tollgate").Error("closing " + e.key + ": " + err.Error())
		}
	}()
}

// close closes the unused resource. The caller holds the lock.
func (e *entry) close() error {
	res := e.res
	e.res = nil
	defer close(e.closed)
	return res.Close()
}

// Each calls fn for every open resource of type T, for the admin API and metrics. fn runs with a
// reference and without a lock. It may take its time, but keeps the resource open.
func Each[T Resource](fn func(key string, res T)) {
	pool.Lock()
	keys := slices.Collect(maps.Keys(pool.entries))
	pool.Unlock()
	for _, key := range keys {
		if res, release, ok := Hold[T](key); ok {
			func() {
				defer release()
				fn(key, res)
			}()
		}
	}
}

// Hold returns the open resource with that key and a reference that release drops. It returns false if
// none is open. It is for the admin API, which belongs to no configuration.
func Hold[T Resource](key string) (res T, release func(), ok bool) {
	pool.Lock()
	e := pool.entries[key]
	pool.Unlock()
	if e == nil {
		return res, nil, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if res, ok = e.res.(T); !ok || e.refs == 0 {
		return res, nil, false
	}
	e.refs++
	return res, e.releaseFunc, true
}

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
