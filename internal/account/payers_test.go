package account

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// clock is a clock that the test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// askedPayers stands in Lago's place where the moment of an answer matters.
type askedPayers struct {
	mu    sync.Mutex
	calls int
	known map[string]bool
	err   error
	gate  chan struct{} // when set, a look-up waits for it
}

func (a *askedPayers) lookup(ctx context.Context, payer string) (bool, error) {
	a.mu.Lock()
	a.calls++
	gate := a.gate
	a.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known[payer], a.err
}

func (a *askedPayers) asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls
}

func payersOf(t *testing.T, mode string, a *askedPayers) (*payers, *clock) {
	c := &clock{t: time.Now()}
	p := newPayers(c.now)
	p.configureLookup(mode, a.lookup)
	t.Cleanup(p.stop)
	return p, c
}

// settled waits until no look-up of the payer is under way.
func settled(t *testing.T, p *payers, payer string) {
	t.Helper()
	p.mu.Lock()
	pending := p.byID[payer].Value.(*payerEntry).pending
	p.mu.Unlock()
	if pending == nil {
		return
	}
	select {
	case <-pending:
	case <-t.Context().Done():
	}
}

func TestPayersAgainstLago(t *testing.T) {
	l := testkit.NewLago(t, testkit.LagoOptions{})
	l.AddSubscription(testkit.LagoSubscription{ExternalID: "sub"})
	client, err := newClient(Settings{APIBase: l.URL, APIKey: l.Key()})
	require.NoError(t, err)
	t.Cleanup(client.CloseIdle)
	p := newPayers(nil)
	t.Cleanup(p.stop)
	p.configure(PayerCheckReject, client)
	assert.True(t, p.allowed(t.Context(), "sub"))
	assert.False(t, p.allowed(t.Context(), "nobody"))
	assert.False(t, p.allowed(t.Context(), "../organizations"))
	before := l.RequestCount()
	for range 100 {
		assert.True(t, p.allowed(t.Context(), "sub"))
		assert.False(t, p.allowed(t.Context(), "nobody"))
	}
	assert.Equal(t, before, l.RequestCount(), "answers are cached")
	st := p.state()
	assert.EqualValues(t, 102, st.UnknownCalls)
	require.Len(t, st.Unknown, 2)
	assert.Equal(t, "nobody", st.Unknown[0].Payer)
	assert.EqualValues(t, 101, st.Unknown[0].Calls)

	// A Lago that cannot be asked refuses nobody, and says nothing of who is known.
	l.Always(func(*testkit.LagoCall) testkit.LagoFault { return testkit.FaultHTML(404) })
	assert.True(t, p.allowed(t.Context(), "newcomer"))
	assert.EqualValues(t, 1, p.state().Unchecked)
	assert.Contains(t, p.state().LastError, "404")
}

func TestPayersWarn(t *testing.T) {
	a := &askedPayers{gate: make(chan struct{})}
	p, _ := payersOf(t, PayerCheckWarn, a)
	for range 3 {
		assert.True(t, p.allowed(t.Context(), "nobody"), "no call waits")
	}
	close(a.gate)
	settled(t, p, "nobody")
	assert.True(t, p.allowed(t.Context(), "nobody"))
	st := p.state()
	assert.EqualValues(t, 4, st.UnknownCalls, "those before the answer count too")
	assert.Equal(t, 1, a.asked())
}

func TestPayersChange(t *testing.T) {
	a := &askedPayers{known: map[string]bool{"old": true}}
	p, clock := payersOf(t, PayerCheckReject, a)
	assert.True(t, p.allowed(t.Context(), "old"))
	assert.False(t, p.allowed(t.Context(), "new"))
	a.mu.Lock()
	a.known = map[string]bool{"new": true}
	a.mu.Unlock()
	assert.False(t, p.allowed(t.Context(), "new"))
	clock.add(payerUnknownFor)
	assert.True(t, p.allowed(t.Context(), "new"), "one created meanwhile is found within a minute")
	assert.Empty(t, p.state().Unknown)

	clock.add(payerKnownFor)
	assert.True(t, p.allowed(t.Context(), "old"), "no call of a known payer waits")
	settled(t, p, "old")
	assert.False(t, p.allowed(t.Context(), "old"))
}

func TestPayersWhileLagoIsDown(t *testing.T) {
	a := &askedPayers{}
	p, clock := payersOf(t, PayerCheckReject, a)
	assert.False(t, p.allowed(t.Context(), "nobody"))
	a.mu.Lock()
	a.err = errors.New("down")
	a.mu.Unlock()
	clock.add(payerUnknownFor)
	assert.True(t, p.allowed(t.Context(), "nobody"))
	assert.True(t, p.allowed(t.Context(), "other"))
	assert.EqualValues(t, 2, p.state().Unchecked)

	// From then on no call waits until a while has passed.
	a.mu.Lock()
	a.gate = make(chan struct{})
	a.mu.Unlock()
	for i := range 100 {
		assert.True(t, p.allowed(t.Context(), fmt.Sprint("p", i)))
	}
	close(a.gate)
}

func TestPayersWaitIsBounded(t *testing.T) {
	a := &askedPayers{gate: make(chan struct{})}
	p, _ := payersOf(t, PayerCheckReject, a)
	p.wait = 10 * time.Millisecond
	assert.True(t, p.allowed(t.Context(), "slow"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.wait = time.Hour
	assert.True(t, p.allowed(ctx, "gone"))
	close(a.gate)
}

func TestPayersAreBounded(t *testing.T) {
	a := &askedPayers{}
	p, _ := payersOf(t, PayerCheckReject, a)
	for i := range payersKept + 500 {
		p.allowed(t.Context(), fmt.Sprint("p", i))
	}
	assert.Equal(t, payersKept, p.order.Len())
	assert.Len(t, p.byID, payersKept)
	assert.Len(t, p.state().Unknown, payersListed)
}

func TestPayersOff(t *testing.T) {
	a := &askedPayers{}
	p, _ := payersOf(t, PayerCheckOff, a)
	assert.True(t, p.allowed(t.Context(), "nobody"))
	p.configureLookup(PayerCheckReject, nil)
	assert.True(t, p.allowed(t.Context(), "nobody"), "ledger only: there is nobody to ask")
	assert.Zero(t, a.asked())
}
