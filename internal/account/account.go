// Package account holds what the sites of one Lago account share: its spool, its delivery and the check of its payers.
package account

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/books"
	"github.com/tollgate-llm/tollgate/internal/delivery"
	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spend"
	"github.com/tollgate-llm/tollgate/internal/spend/postgres"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// How long closing an account waits for the batches on their way. What does not get through stays in the spool.
const (
	exitPatience   = 10 * time.Second
	reloadPatience = 2 * time.Second
)

// Options are what an account needs of the program around it.
type Options struct {
	Logger   *zap.Logger
	OnResult func(result string, n int) // counts what came of events; must not block
	Exiting  func() bool                // whether the process ends, as opposed to a reload
	Spend    SpendStore                 // where the books are kept

	Warehouse Warehouse // which database has a copy of the books
}

// Account is what the handlers of one Lago account share: the spool and its delivery. It outlives reloads, and each call
// in flight holds its own reference.
type Account struct {
	name    string
	dir     string
	spool   *spool.Spool
	logger  *zap.Logger
	options Options

	delivers  atomic.Bool // there is a Lago to deliver to
	drains    atomic.Int64
	maxDrains atomic.Int64

	quit     context.Context //nolint:containedctx // its end ends the calls under way
	endCalls context.CancelFunc

	mu       sync.Mutex
	settings Settings
	client   *lago.Client
	delivery *delivery.Worker
	payers   *payers
	inForce  []*tariff.Tariff
	started  bool

	operating sync.Mutex // one operator's change at a time

	refused    refusals
	containers containers

	accounting sync.RWMutex // with accountant
	accountant *accountant
	keeping    sync.Mutex // with books
	books      *bookkeeper

	warehousing sync.Mutex // with warehouse
	warehouse   *warehouse // nil where there is none
}

// Use puts the tariffs of a configuration in force.
func (a *Account) Use(t []*tariff.Tariff) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inForce = t
}

// Tariffs returns those of the configuration in force. There is at least one, except while the account opens.
func (a *Account) Tariffs() []*tariff.Tariff {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inForce
}

// Fallback is the tariff that bills the interrupted calls of earlier versions, whose records hold none.
func (a *Account) Fallback() *tariff.Tariff {
	if list := a.Tariffs(); len(list) > 0 {
		return list[0]
	}
	return nil
}

// Lago returns the way to the account's Lago; nil when there is none.
func (a *Account) Lago() *lago.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.client
}

// Open opens the spool of an account and settles, by policy, what the process before left open. fallback bills the
// interrupted calls of earlier versions, whose records hold no tariff.
func Open(s Settings, fallback *tariff.Tariff, o Options) (*Account, error) {
	logger := o.Logger.With(zap.String("account", s.Name))
	durability := spool.Process
	if s.Durability == "fsync" {
		durability = spool.Fsync
	}
	consumers := []string{spend.ConsumerName, books.ConsumerName}
	if o.Warehouse.Name != "" {
		consumers = append(consumers, postgres.ConsumerName)
	}
	sp, err := spool.Open(spool.Options{
		Dir: s.Dir, Durability: durability, MaxBytes: s.SpoolMax, Retain: s.Retain,
		Consumers: consumers,
		OnFault:   func(err error) { logger.Error("spool", zap.Error(err)) },
	})
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", s.Name, err)
	}
	if err := checkOwner(s.Dir, s.Name); err != nil {
		return nil, errors.Join(err, sp.Close())
	}
	if err := ownSpool(s.Dir, s.Name); err != nil { // a full disk: the spool opens all the same
		logger.Warn("the spool cannot be marked as the account's", zap.Error(err))
	}
	a := &Account{name: s.Name, dir: s.Dir, spool: sp, logger: logger, options: o}
	a.quit, a.endCalls = context.WithCancel(context.Background())
	a.delivery = delivery.New(sp, logger)
	a.payers = newPayers(nil)
	a.Configure(s)
	a.KeepSpend(o.Spend)
	a.KeepWarehouse(o.Warehouse)
	report := sp.Report()
	logDamage(logger, report.Damage)
	if report.Interrupted > 0 {
		if _, err := a.resolveInterrupted(fallback, s.Interrupted); err != nil {
			return nil, errors.Join(err, a.Close())
		}
	}
	return a, nil
}

// logDamage reports the damage that opening found. It is an error once: at later starts, until the segment goes, it is
// known.
func logDamage(logger *zap.Logger, damage []spool.Damage) {
	for _, d := range damage {
		fields := []zap.Field{
			zap.String("segment", d.Segment), zap.Int64("offset", d.Offset), zap.Int64("bytes", d.Bytes), zap.String("file", d.File),
		}
		switch {
		case d.Known:
			logger.Info("damage in the spool, set aside at an earlier start", fields...)
		case d.File == "":
			logger.Error("damage in the spool could not be set aside", fields...)
		default:
			logger.Error("damage in the spool was set aside", fields...)
		}
	}
}

// resolveInterrupted bills the calls that the process before left open for what their requests held, or leaves them to
// the operator. It returns how many it has billed.
func (a *Account) resolveInterrupted(fallback *tariff.Tariff, policy string) (billed int, err error) {
	left, err := a.spool.Interrupted()
	if err != nil {
		return 0, err
	}
	if policy != "estimate" {
		a.logger.Warn("calls were interrupted when the process before ended; they wait for the operator", zap.Int("calls", len(left)))
		return 0, nil
	}
	for _, r := range left {
		opened, err := record.Parse(r.Payload)
		if err != nil {
			a.logger.Error("interrupted call cannot be estimated and waits for the operator", zap.Error(err))
			continue
		}
		payload, deliver, err := tariff.Estimate(opened, fallback, time.Now())
		if err != nil {
			a.logger.Error("interrupted call cannot be estimated and waits for the operator", zap.Error(err))
			continue
		}
		if err := a.spool.Settle(r.ID, payload, deliver && a.delivers.Load()); err != nil {
			return billed, err
		}
		billed++
	}
	a.logger.Warn("calls were interrupted when the process before ended; they are billed for their estimated input", zap.Int("calls", billed))
	return billed, nil
}

// Configure puts the settings of a configuration in force. Those of the spool itself are fixed while it is open.
func (a *Account) Configure(s Settings) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.settings
	a.settings = s
	a.maxDrains.Store(int64(s.MaxDrains))
	if a.started && (s.Durability != before.Durability || s.SpoolMax != before.SpoolMax || s.Retain != before.Retain) {
		a.logger.Warn("durability, spool_max and retain of an open spool stay as they were until the process starts again")
	}
	if a.started && s == before {
		a.delivery.Kick() // an operator who mended something at Lago reloads
		return
	}
	if s.APIBase != before.APIBase || s.APIKey != before.APIKey {
		if a.client != nil {
			a.client.CloseIdle()
		}
		a.client = nil
		if s.APIBase != "" {
			client, err := newClient(s)
			if err != nil {
				a.logger.Error("nothing is delivered", zap.Error(err))
			}
			a.client = client
		}
	}
	a.delivers.Store(a.client != nil)
	a.delivery.Configure(delivery.Config{
		Client: a.client, Late: s.Late, SentFile: filepath.Join(s.Dir, "sent"),
		OnResult: a.options.OnResult,
	})
	a.payers.configure(s.PayerCheck, a.client)
	a.started = true
	if a.client != nil {
		a.delivery.Start()
	}
}

func newClient(s Settings) (*lago.Client, error) {
	base, err := lago.ParseBase(s.APIBase)
	if err != nil {
		return nil, err
	}
	return lago.New(lago.Options{Base: base, Key: s.APIKey})
}

// Settle writes a settled record. billed reports whether it holds events; without a Lago they stay in the ledger.
func (a *Account) Settle(id spool.ID, payload []byte, billed bool) error {
	return a.spool.Settle(id, payload, billed && a.delivers.Load())
}

// ClaimDrain takes one of the slots for reading an answer on after its client hung up.
func (a *Account) ClaimDrain() bool {
	if a.drains.Add(1) > a.maxDrains.Load() {
		a.drains.Add(-1)
		return false
	}
	return true
}

// AddDrain counts an answer that is read on whatever slots are free: one of which only the end is missing.
func (a *Account) AddDrain() { a.drains.Add(1) }

// ReleaseDrain gives a slot back, or ends what AddDrain counted.
func (a *Account) ReleaseDrain() { a.drains.Add(-1) }

// Busy reports whether calls are under way, or records wait for Lago: a reload that takes the account out of the configuration, moves
// its spool or renames it leaves it open for so long.
func (a *Account) Busy() bool {
	st := a.spool.Stats()
	return st.Open > 0 || a.delivers.Load() && st.Pending > 0
}

// Quit ends the calls under way: their upstreams are cancelled, and each is settled with what it used until then.
func (a *Account) Quit() { a.endCalls() }

// Close ends the delivery and closes the spool. What was not delivered is on disk and goes on when it is opened again.
func (a *Account) Close() error {
	patience := reloadPatience
	if a.options.Exiting() {
		patience = exitPatience
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a.endCalls()
	a.closeSpend()
	a.closeWarehouse()
	a.closeBooks()
	a.delivery.Stop(ctx)
	a.payers.stop()
	a.mu.Lock()
	if a.client != nil {
		a.client.CloseIdle()
	}
	a.mu.Unlock()
	return a.spool.Close()
}

// Name returns the account's name.
func (a *Account) Name() string { return a.name }

// Dir returns the directory of the account's spool.
func (a *Account) Dir() string { return a.dir }

// Spool returns the account's spool. It is closed with the account.
func (a *Account) Spool() *spool.Spool { return a.spool }

// Logger returns the account's logger.
func (a *Account) Logger() *zap.Logger { return a.logger }

// Context ends when the account quits, and the calls under way with it.
func (a *Account) Context() context.Context { return a.quit }

// Settings returns those in force.
func (a *Account) Settings() Settings {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settings
}

// Drains returns how many answers are read on at the moment after their clients hung up.
func (a *Account) Drains() int64 { return a.drains.Load() }

// DeliveryStatus returns the figures of delivery.
func (a *Account) DeliveryStatus() delivery.Status { return a.delivery.Status() }

// PayerStatus returns the figures of the payer check.
func (a *Account) PayerStatus() PayerStatus { return a.payers.state() }

// AllowPayer reports whether a call of that payer may go on, which came with a key of that hash, empty for none. It waits for Lago
// briefly, and only where unknown payers are refused.
func (a *Account) AllowPayer(ctx context.Context, key, payer string) PayerAnswer {
	return a.payers.allowed(ctx, key, payer)
}
