package lagobilling

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/delivery"
	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// How long closing an account waits for the batches on their way. What does not get through stays in the spool.
const (
	exitPatience   = 10 * time.Second
	reloadPatience = 2 * time.Second
)

// Account is what the handlers of one Lago account share: the spool and its delivery. It outlives reloads, and each call
// in flight holds a reference of its own.
type Account struct {
	name   string
	dir    string
	spool  *spool.Spool
	logger *zap.Logger

	delivers  atomic.Bool // there is a Lago to deliver to
	drains    atomic.Int64
	maxDrains atomic.Int64

	quit     context.Context //nolint:containedctx // its end ends the calls under way
	endCalls context.CancelFunc

	mu       sync.Mutex
	settings settings
	client   *lago.Client
	delivery *delivery.Worker
	payers   *payers
	inForce  *tariffs
	started  bool

	operating sync.Mutex // one operator's change at a time
}

// tariffs are those of the handlers of one configuration that bill to the same account, in its order.
type tariffs struct{ list []*tariff.Tariff }

// tariffsOf adds h's to the tariffs of its configuration and account. To be called in Provision.
func tariffsOf(h *Handler, account string) *tariffs {
	shared, _ := h.app.Shared("lagobilling tariffs "+account, new(tariffs))
	t := shared.(*tariffs)
	t.list = append(t.list, h.tariff)
	return t
}

// use puts the tariffs of a configuration in force.
func (a *Account) use(t *tariffs) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inForce = t
}

// tariffs returns those of the configuration in force. There is at least one, except while the account opens.
func (a *Account) tariffs() []*tariff.Tariff {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inForce == nil {
		return nil
	}
	return a.inForce.list
}

// fallback is the tariff that bills the interrupted calls of earlier versions, whose records hold none.
func (a *Account) fallback() *tariff.Tariff {
	if list := a.tariffs(); len(list) > 0 {
		return list[0]
	}
	return nil
}

// lago returns the way to the account's Lago; nil when there is none.
func (a *Account) lago() *lago.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.client
}

// agree makes the handlers of one configuration agree on their accounts: one name has one set of settings, and one spool
// has one account.
func agree(a *app.App, s settings) error {
	if earlier, there := a.Shared("lagobilling account "+s.name, s); there && earlier != s {
		return fmt.Errorf("account %s is configured twice with different settings: one account has one Lago, one spool and one way to deliver; "+
			"give the other one a name of its own", s.name)
	}
	if earlier, there := a.Shared("lagobilling spool "+s.dir, s.name); there && earlier != s.name {
		return fmt.Errorf("accounts %s and %s have the same spool %s: each needs its own", earlier, s.name, s.dir)
	}
	return nil
}

// openAccount opens the spool of an account and settles, by policy, what the process before left open. fallback bills the
// interrupted calls of earlier versions, whose records hold no tariff.
func openAccount(s settings, fallback *tariff.Tariff, logger *zap.Logger) (*Account, error) {
	logger = logger.With(zap.String("account", s.name))
	durability := spool.Process
	if s.durability == "fsync" {
		durability = spool.Fsync
	}
	sp, err := spool.Open(spool.Options{
		Dir: s.dir, Durability: durability, MaxBytes: s.spoolMax, Retain: s.retain,
		OnFault: func(err error) { logger.Error("spool", zap.Error(err)) },
	})
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", s.name, err)
	}
	if err := checkOwner(s.dir, s.name); err != nil {
		return nil, errors.Join(err, sp.Close())
	}
	if err := ownSpool(s.dir, s.name); err != nil { // a full disk: the spool opens all the same
		logger.Warn("the spool cannot be marked as the account's", zap.Error(err))
	}
	a := &Account{name: s.name, dir: s.dir, spool: sp, logger: logger}
	a.quit, a.endCalls = context.WithCancel(context.Background())
	a.delivery = delivery.New(sp, logger)
	a.payers = newPayers(nil)
	a.configure(s)
	report := sp.Report()
	logDamage(logger, report.Damage)
	if report.Interrupted > 0 {
		if _, err := a.resolveInterrupted(fallback, s.interrupted); err != nil {
			return nil, errors.Join(err, a.Close())
		}
	}
	return a, nil
}

// logDamage tells of the damage that opening found. It is an error once: at later starts, until the segment goes, it is
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
		if err := a.spool.ResolveInterrupted(r.ID, payload, deliver && a.delivers.Load()); err != nil {
			return billed, err
		}
		billed++
	}
	a.logger.Warn("calls were interrupted when the process before ended; they are billed for their estimated input", zap.Int("calls", billed))
	return billed, nil
}

// configure puts the settings of a configuration in force. Those of the spool itself are fixed while it is open.
func (a *Account) configure(s settings) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.settings
	a.settings = s
	a.maxDrains.Store(int64(s.maxDrains))
	if a.started && (s.durability != before.durability || s.spoolMax != before.spoolMax || s.retain != before.retain) {
		a.logger.Warn("durability, spool_max and retain of an open spool stay as they were until the process starts again")
	}
	if a.started && s == before {
		a.delivery.Kick() // an operator who mended something at Lago reloads
		return
	}
	if s.apiBase != before.apiBase || s.apiKey != before.apiKey {
		if a.client != nil {
			a.client.CloseIdle()
		}
		a.client = nil
		if s.apiBase != "" {
			client, err := newClient(s)
			if err != nil {
				a.logger.Error("nothing is delivered", zap.Error(err))
			}
			a.client = client
		}
	}
	a.delivers.Store(a.client != nil)
	a.delivery.Configure(delivery.Config{
		Client: a.client, Late: s.late, SentFile: filepath.Join(s.dir, "sent"),
		OnResult: theMetrics.delivered,
	})
	a.payers.configure(s.payerCheck, a.client)
	a.started = true
	if a.client != nil {
		a.delivery.Start()
	}
}

func newClient(s settings) (*lago.Client, error) {
	base, err := lago.ParseBase(s.apiBase)
	if err != nil {
		return nil, err
	}
	return lago.New(lago.Options{Base: base, Key: s.apiKey})
}

// settle writes a settled record. billed says that it holds events; without a Lago they stay in the ledger.
func (a *Account) settle(id spool.ID, payload []byte, billed bool) error {
	return a.spool.Settle(id, payload, billed && a.delivers.Load())
}

// claimDrain takes one of the slots for reading an answer on after its client hung up.
func (a *Account) claimDrain() bool {
	if a.drains.Add(1) > a.maxDrains.Load() {
		a.drains.Add(-1)
		return false
	}
	return true
}

func (a *Account) releaseDrain() { a.drains.Add(-1) }

// Quit ends the calls under way: their upstreams are cancelled, and each is settled with what it used until then.
func (a *Account) Quit() { a.endCalls() }

// Close ends the delivery and closes the spool. What was not delivered is on disk and goes on when it is opened again.
func (a *Account) Close() error {
	patience := reloadPatience
	if caddy.Exiting() {
		patience = exitPatience
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a.endCalls()
	a.delivery.Stop(ctx)
	a.payers.stop()
	a.mu.Lock()
	if a.client != nil {
		a.client.CloseIdle()
	}
	a.mu.Unlock()
	return a.spool.Close()
}
