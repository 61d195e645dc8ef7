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
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
)

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

func payersOf(t *testing.T, mode string, a *askedPayers) (*payers, *testkit.Clock) {
	c := testkit.NewClock()
	p := newPayers(c.Now)
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
	l := fakelago.New(t, fakelago.Options{})
	l.AddSubscription(fakelago.Subscription{ExternalID: "sub"})
	client, err := newClient(Settings{APIBase: l.URL, APIKey: l.Key()})
	require.NoError(t, err)
	t.Cleanup(client.CloseIdle)
	p := newPayers(nil)
	t.Cleanup(p.stop)
	p.configure(PayerCheckReject, client)
	assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "sub"))
	assert.Equal(t, PayerUnknown, p.allowed(t.Context(), "", "nobody"))
	assert.Equal(t, PayerUnknown, p.allowed(t.Context(), "", "../organizations"))
	before := l.RequestCount()
	for range 100 {
		assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "sub"))
		assert.Equal(t, PayerUnknown, p.allowed(t.Context(), "", "nobody"))
	}
	assert.Equal(t, before, l.RequestCount(), "answers are cached")
	st := p.state()
	assert.EqualValues(t, 102, st.UnknownCalls)
	require.Len(t, st.Unknown, 2)
	assert.Equal(t, "nobody", st.Unknown[0].Payer)
	assert.EqualValues(t, 101, st.Unknown[0].Calls)

	// A Lago that cannot be asked refuses nobody, and says nothing of who is known.
	l.Always(func(*fakelago.Call) fakelago.Fault { return fakelago.FaultHTML(404) })
	assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "newcomer"))
	assert.EqualValues(t, 1, p.state().Unchecked)
	assert.Contains(t, p.state().LastError, "404")
}

func TestPayersWarn(t *testing.T) {
	a := &askedPayers{gate: make(chan struct{})}
	p, _ := payersOf(t, PayerCheckWarn, a)
	for range 3 {
		assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "nobody"), "no call waits")
	}
	close(a.gate)
	settled(t, p, "nobody")
	assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "nobody"))
	st := p.state()
	assert.EqualValues(t, 4, st.UnknownCalls, "those before the answer count too")
	assert.Equal(t, 1, a.asked())
}

func TestPayersChange(t *testing.T) {
	a := &askedPayers{known: map[string]bool{"old": true}}
	p, clock := payersOf(t, PayerCheckReject, a)
	assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "old"))
	assert.Equal(t, PayerUnknown, p.allowed(t.Context(), "", "new"))
	a.mu.Lock()
	a.known = map[string]bool{"new": true}
	a.mu.Unlock()
	assert.Equal(t, PayerUnknown, p.allowed(t.Context(), "", "new"))
	clock.Forward(payerUnknownFor)
	assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "new"), "one created meanwhile is found within a minute")
	assert.Empty(t, p.state().Unknown)

	clock.Forward(payerKnownFor)
	assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "old"), "no call of a known payer waits")
	settled(t, p, "old")
	assert.Equal(t, PayerUnknown, p.allowed(t.Context(), "", "old"))
}

func TestPayersWhileLagoIsDown(t *testing.T) {
	a := &askedPayers{}
	p, clock := payersOf(t, PayerCheckReject, a)
	assert.Equal(t, PayerUnknown, p.allowed(t.Context(), "", "nobody"))
	a.mu.Lock()
	a.err = errors.New("down")
	a.mu.Unlock()
	clock.Forward(payerUnknownFor)
	assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "nobody"))
	assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "other"))
	assert.EqualValues(t, 2, p.state().Unchecked)

	// From then on no call waits until a while has passed.
	a.mu.Lock()
	a.gate = make(chan struct{})
	a.mu.Unlock()
	for i := range 100 {
		assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", fmt.Sprint("p", i)))
	}
	close(a.gate)
}

func TestPayersWaitIsBounded(t *testing.T) {
	a := &askedPayers{gate: make(chan struct{})}
	p, _ := payersOf(t, PayerCheckReject, a)
	p.wait = 10 * time.Millisecond
	assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "slow"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.wait = time.Hour
	assert.Equal(t, PayerUndecided, p.allowed(ctx, "", "gone"), "nothing is known of it")
	close(a.gate)
}

func TestPayersAreBounded(t *testing.T) {
	a := &askedPayers{}
	p, _ := payersOf(t, PayerCheckReject, a)
	for i := range payersKept + 500 {
		p.allowed(t.Context(), "", fmt.Sprint("p", i))
	}
	assert.Equal(t, payersKept, p.order.Len())
	assert.Len(t, p.byID, payersKept)
	assert.Len(t, p.state().Unknown, payersListed)
}

func TestPayersOff(t *testing.T) {
	a := &askedPayers{}
	p, _ := payersOf(t, PayerCheckOff, a)
	assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "nobody"))
	p.configureLookup(PayerCheckReject, nil)
	assert.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "nobody"), "ledger only: there is nobody to ask")
	assert.Zero(t, a.asked())
}

// crowd makes many calls at once, each of another payer, by one key.
func crowd(t *testing.T, p *payers, key string, n int) map[PayerAnswer]int {
	var mu sync.Mutex
	var all sync.WaitGroup
	got := map[PayerAnswer]int{}
	for i := range n {
		all.Go(func() {
			answer := p.allowed(t.Context(), key, fmt.Sprint(key, "-", i))
			mu.Lock()
			got[answer]++
			mu.Unlock()
		})
	}
	all.Wait()
	return got
}

// TestCrowdOfUnknownPayers makes 400 calls of unknown payers at once: none is let pass, known payers do not wait for them, and
// the key of the crowd does not take the look-ups of another.
func TestCrowdOfUnknownPayers(t *testing.T) {
	l := fakelago.New(t, fakelago.Options{})
	for _, id := range []string{"known", "newcomer"} {
		l.AddSubscription(fakelago.Subscription{ExternalID: id})
	}
	client, err := newClient(Settings{APIBase: l.URL, APIKey: l.Key()})
	require.NoError(t, err)
	t.Cleanup(client.CloseIdle)
	p := newPayers(nil)
	t.Cleanup(p.stop)
	p.configure(PayerCheckReject, client)
	require.Equal(t, PayerAllowed, p.allowed(t.Context(), "b", "known"))

	crowded := make(chan map[PayerAnswer]int, 1)
	go func() { crowded <- crowd(t, p, "a", 400) }()
	require.Eventually(t, func() bool { // the key's line is full
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.undecided > 0
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, PayerAllowed, p.allowed(t.Context(), "a", "known"))
	require.Equal(t, PayerAllowed, p.allowed(t.Context(), "b", "newcomer"), "another key's look-up has its turn")
	got := <-crowded
	require.Zero(t, got[PayerAllowed])
	require.Equal(t, 400, got[PayerUnknown]+got[PayerUndecided])
	require.Positive(t, got[PayerUnknown])
}

// TestKnownPayersOutliveTheCrowd fills the cache with unknown payers: those that are known stay in it.
func TestKnownPayersOutliveTheCrowd(t *testing.T) {
	a := &askedPayers{known: map[string]bool{"known": true}}
	p, _ := payersOf(t, PayerCheckReject, a)
	require.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "known"))
	for i := range payersKept + 1 {
		p.allowed(t.Context(), "", fmt.Sprint("p", i))
	}
	before := a.asked()
	require.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "known"))
	require.Equal(t, before, a.asked())
}

// TestOneOfManyKeys lets many keys fill their lines while no look-up ends: each key keeps its own place.
func TestOneOfManyKeys(t *testing.T) {
	var q lookups
	for k := range 100 {
		for i := range lookupsPerKey + 1 {
			q.add(fmt.Sprint(k), &payerEntry{id: fmt.Sprint(k, "-", i)})
		}
	}
	require.LessOrEqual(t, q.n, lookupsQueued+100)
	mine := &payerEntry{id: "mine"}
	require.True(t, q.add("me", mine))
	require.True(t, q.add("me", mine), "once")
	turn := 0
	for q.next() != mine {
		turn++
	}
	require.Equal(t, 100, turn, "after one of each")
	for q.next() != nil {
	}
	require.Zero(t, q.n)
	require.Empty(t, q.lines)
}

// TestWrongBaseIsNoVerdict takes the 404 of Lago's router, or of anything else in Lago's place, for no word about a payer.
func TestWrongBaseIsNoVerdict(t *testing.T) {
	l := fakelago.New(t, fakelago.Options{})
	client, err := newClient(Settings{APIBase: l.URL + "/elsewhere", APIKey: l.Key()})
	require.NoError(t, err)
	t.Cleanup(client.CloseIdle)
	p := newPayers(nil)
	t.Cleanup(p.stop)
	p.configure(PayerCheckReject, client)
	require.Equal(t, PayerAllowed, p.allowed(t.Context(), "", "anyone"))
	require.EqualValues(t, 1, p.state().Unchecked)
	require.Contains(t, p.state().LastError, "404")
}
