package limit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

const patience = 30 * time.Second

// instance is one process of several on one Redis.
type instance struct {
	*Limiter
	faults chan error
}

func newInstance(t testing.TB, name string, client redis.UniversalClient, o Options) *instance {
	t.Helper()
	in := &instance{faults: make(chan error, 100)}
	o.Instance = name
	o.OnFault = func(err error) { in.faults <- err }
	store := NewRedis(client, "tollgate:")
	in.Limiter = New(store, o)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { in.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		require.NoError(t, store.Close())
	})
	return in
}

func newInstances(t testing.TB, n int, server *testkit.RedisServer) []*instance {
	list := make([]*instance, n)
	for i := range list {
		client := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second})
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		list[i] = newInstance(t, fmt.Sprint("instance-", i), client, Options{Timeout: 10 * time.Second})
	}
	for _, in := range list { // so that each knows of the others
		require.Eventually(t, func() bool {
			in.renew(context.Background())
			return in.instances.Load() == int64(n)
		}, patience, time.Millisecond)
	}
	return list
}

var budgetWindow = Window{Anchor: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Every: 10 * 365 * 24 * time.Hour}

func teamBudget(t testing.TB, money string) Limit {
	return Limit{Scope: Scope{Team, "blue"}, Metric: Cost, Window: budgetWindow, Money: usd(t, money)}
}

// storm has callers ask all instances at once, and returns the calls that were admitted.
func storm(t testing.TB, instances []*instance, from, callers int, limits []Limit, cost price.Amount) (granted []*Grant) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			g, err := instances[i%len(instances)].Reserve(context.Background(), &Reservation{ID: fmt.Sprint("call-", from+i), Limits: limits, Cost: cost, InputTokens: 1})
			var d *DeniedError
			if errors.As(err, &d) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			granted = append(granted, g)
		})
	}
	wg.Wait()
	return granted
}

// TestABudgetHoldsForAllInstances sends fifty times as many calls as a budget has room for, over four instances, until it is
// spent to the last call; then what is spent is the sum of what the calls cost.
func TestABudgetHoldsForAllInstances(t *testing.T) {
	instances := newInstances(t, 4, testkit.Redis(t))
	const n = 40
	estimate, cost := usd(t, "0.000000000000003"), usd(t, "0.000000000000001")
	budget := teamBudget(t, "0.00000000000012") // forty estimates
	seq, done := uint64(0), 0
	for round := 0; ; round++ {
		granted := storm(t, instances, round*50*n, 50*n, []Limit{budget}, estimate)
		if len(granted) == 0 {
			break
		}
		states, err := instances[0].Status(t.Context(), budget)
		require.NoError(t, err)
		require.LessOrEqual(t, plus(states[0].Spent, states[0].Reserved).Cmp(budget.Money), 0, "passed")
		if round == 0 {
			require.Len(t, granted, n, "all of it is usable")
		}
		b := &Batch{Spool: "s", From: seq, To: seq + uint64(len(granted))}
		for _, g := range granted {
			b.Charges = append(b.Charges, Charge{ID: g.ID, At: g.At, Counters: g.Counters, Cost: cost})
		}
		cursor, err := instances[round%4].Apply(t.Context(), b)
		require.NoError(t, err)
		require.Equal(t, b.To, cursor)
		seq, done = b.To, done+len(granted)
	}
	states, err := instances[3].Status(t.Context(), budget)
	require.NoError(t, err)
	require.Zero(t, states[0].Reserved)
	require.Equal(t, price.FromLimbs(0, uint64(done)), states[0].Spent)
	require.Less(t, states[0].Left().Cmp(estimate), 0, "no further call fits")
}

// TestAFrozenStoreLeavesEachInstanceItsShare stops Redis with its connections open. The four instances go on with a quarter
// of what was left each; when it is back, it knows what they gave out, and the budget was not passed.
func TestAFrozenStoreLeavesEachInstanceItsShare(t *testing.T) {
	server := testkit.Redis(t)
	instances := newInstances(t, 4, server)
	cost := usd(t, "0.01")
	budget := teamBudget(t, "1")
	rate := Limit{Scope: budget.Scope, Metric: Requests, Max: 1000}
	first := storm(t, instances, 0, 20, []Limit{budget, rate}, cost)
	require.Len(t, first, 20)
	for i, in := range instances { // each has seen the same
		_, err := in.Reserve(t.Context(), &Reservation{ID: fmt.Sprint("too-much-", i), Limits: []Limit{budget}, Cost: budget.Money})
		require.ErrorAs(t, err, new(*DeniedError))
	}
	server.Pause()
	for _, in := range instances {
		in.o.Timeout = 50 * time.Millisecond
	}
	alone := storm(t, instances, 1000, 400, []Limit{budget, rate}, cost)
	require.Len(t, alone, 80, "what was left, in four shares")
	for _, g := range alone {
		require.True(t, g.Local)
	}
	_, err := instances[0].Reserve(t.Context(), &Reservation{ID: "x", Limits: []Limit{budget}, Cost: cost})
	var d *DeniedError
	require.ErrorAs(t, err, &d)
	require.True(t, d.Local)
	require.Equal(t, budget, d.Limit, "the limit as it is set, not the share")
	unknown := budget
	unknown.Scope.ID = "red"
	_, err = instances[0].Reserve(t.Context(), &Reservation{ID: "y", Limits: []Limit{unknown}, Cost: cost})
	require.ErrorIs(t, err, ErrAway, "nothing is known of that budget")
	fresh := unknown
	fresh.Window.Anchor = time.Now().Add(time.Second) // a window that begins during the outage
	require.Eventually(t, func() bool {
		_, err = instances[0].Reserve(context.Background(), &Reservation{ID: "z", Limits: []Limit{fresh}, Cost: cost})
		return err == nil
	}, patience, 10*time.Millisecond, "nobody has spent anything of it")
	server.Resume()
	for _, in := range instances {
		in.o.Timeout = 10 * time.Second
		require.Error(t, <-in.faults)
		require.NoError(t, <-in.faults, "it is back")
	}
	require.Eventually(t, func() bool {
		states, err := instances[0].Status(context.Background(), budget)
		return err == nil && states[0].Reserved == budget.Money
	}, patience, 10*time.Millisecond, "what Redis had in its buffers is given back")
	require.Empty(t, storm(t, instances, 5000, 40, []Limit{budget}, cost))
}

// TestDenyRefusesWhileTheStoreIsAway tests the operator's other choice.
func TestDenyRefusesWhileTheStoreIsAway(t *testing.T) {
	server := testkit.Redis(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1, DialTimeout: time.Second})
	defer func() { require.NoError(t, client.Close()) }()
	in := newInstance(t, "a", client, Options{Deny: true, Timeout: 10 * time.Second})
	r := &Reservation{ID: "1", Limits: []Limit{teamBudget(t, "1")}, Cost: usd(t, "0.1")}
	_, err := in.Reserve(t.Context(), r)
	require.NoError(t, err)
	server.Stop()
	late := newInstance(t, "b", client, Options{Timeout: 10 * time.Second})
	_, err = late.Reserve(t.Context(), &Reservation{ID: "9", Limits: []Limit{{Scope: Scope{Key, "k"}, Metric: Requests, Max: 9}}})
	require.ErrorIs(t, err, ErrAway, "it does not know how many share the limit")
	r.ID = "2"
	_, err = in.Reserve(t.Context(), r)
	require.ErrorIs(t, err, ErrAway)
	require.Error(t, in.Away())
	free, err := in.Reserve(t.Context(), &Reservation{ID: "3"})
	require.NoError(t, err, "a call without limits asks nobody")
	require.Empty(t, free.Counters)
	server.Start()
	require.Eventually(t, func() bool {
		_, err := in.Reserve(context.Background(), r)
		return err == nil
	}, patience, 10*time.Millisecond)
}

// TestAnEmptiedStoreKnowsLiveCallsAgain empties Redis. What live calls hold comes back with the next renewal; what was given back or
// applied does not.
func TestAnEmptiedStoreKnowsLiveCallsAgain(t *testing.T) {
	server := testkit.Redis(t)
	in := newInstances(t, 1, server)[0]
	budget := teamBudget(t, "1")
	parallel := Limit{Scope: budget.Scope, Metric: Parallel, Max: 10}
	rate := Limit{Scope: budget.Scope, Metric: Requests, Max: 10}
	limits := []Limit{budget, parallel, rate}
	granted := storm(t, []*instance{in}, 0, 5, limits, usd(t, "0.1"))
	in.Release(granted[0].ID)
	b := &Batch{Spool: "s", To: 1, Charges: []Charge{{ID: granted[1].ID, At: granted[1].At, Counters: granted[1].Counters, Cost: usd(t, "0.05")}}}
	_, err := in.Apply(t.Context(), b)
	require.NoError(t, err)
	admin := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer func() { require.NoError(t, admin.Close()) }()
	require.Eventually(t, func() bool {
		n, err := admin.ZCard(context.Background(), "tollgate:leases").Result()
		return err == nil && n == 3
	}, patience, time.Millisecond, "the release arrives")
	require.NoError(t, admin.FlushAll(t.Context()).Err())
	in.away.Store(&outage{cause: errors.New("test")}) // as after an outage: all of them
	in.renew(t.Context())
	states, err := in.Status(t.Context(), limits...)
	require.NoError(t, err)
	require.Equal(t, usd(t, "0.3"), states[0].Reserved)
	require.Zero(t, states[0].Spent)
	require.Equal(t, int64(3), states[1].Used)
	require.Equal(t, int64(3), states[2].Used)
	cursor, err := in.Cursor(t.Context(), "s")
	require.NoError(t, err)
	require.Zero(t, cursor, "the consumer sees that its records are lost")
	_, err = in.Apply(t.Context(), b)
	require.NoError(t, err)
	states, err = in.Status(t.Context(), limits...)
	require.NoError(t, err)
	require.Equal(t, usd(t, "0.05"), states[0].Spent)
	require.Equal(t, int64(4), states[2].Used, "the applied call counts in its minute again")
}

// TestClocksOfInstancesDoNotMatter runs instances with clocks that are half a minute off. Windows begin and end by the server's
// clock.
func TestClocksOfInstancesDoNotMatter(t *testing.T) {
	server := testkit.Redis(t)
	instances := newInstances(t, 2, server)
	minute := Window{Every: time.Minute}
	l := Limit{Scope: Scope{Team, "blue"}, Metric: Cost, Window: minute, Money: usd(t, "1")}
	var names []string
	for i, in := range instances {
		in.store.(*redisStore).offset.Store(int64(30*time.Second) * int64(2*i-1))
		g, err := in.Reserve(t.Context(), &Reservation{ID: fmt.Sprint(i), Limits: []Limit{l}, Cost: usd(t, "0.1")})
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), g.At, 10*time.Second)
		start, end := minute.at(g.At)
		require.Equal(t, fmt.Sprintf("cost|%d-%d||team:blue", start.Unix(), end.Unix()), g.Counters[0])
		require.Equal(t, end, g.States[0].ResetsAt)
		names = append(names, g.Counters...)
	}
	require.Len(t, names, 2)
}

// TestNoMinuteHasMoreThanItsLimit admits as fast as it may, from every kind of store, and looks at every 60 seconds.
func TestNoMinuteHasMoreThanItsLimit(t *testing.T) {
	media(t, func(t *testing.T, m *medium, c *clock) {
		l := Limit{Scope: Scope{Key, "k"}, Metric: Requests, Max: 7}
		var at []time.Time
		for i := range 40 {
			r := &Reservation{ID: fmt.Sprint(i), Limits: []Limit{l}}
			_, err := m.Reserve(t.Context(), r)
			var d *DeniedError
			if errors.As(err, &d) {
				require.Positive(t, d.RetryAfter)
				require.LessOrEqual(t, d.RetryAfter, 61*time.Second)
				c.at = c.at.Add(d.RetryAfter - time.Millisecond)
				_, err = m.Reserve(t.Context(), r)
				require.ErrorAs(t, err, &d, "a moment before Retry-After")
				c.at = c.at.Add(time.Millisecond)
				_, err = m.Reserve(t.Context(), r)
			}
			require.NoError(t, err, "after Retry-After")
			at = append(at, c.at)
			c.at = c.at.Add(time.Duration(i*i%17) * 500 * time.Millisecond)
		}
		for i := 7; i < len(at); i++ {
			require.Greater(t, at[i].Sub(at[i-7]), 60*time.Second)
		}
		_, err := m.Reserve(t.Context(), &Reservation{ID: "big", Limits: []Limit{{Scope: l.Scope, Metric: Tokens, Max: 10}}, InputTokens: 11})
		var d *DeniedError
		require.ErrorAs(t, err, &d)
		require.True(t, d.Never)
		require.Zero(t, d.RetryAfter)
	})
}

// TestNothingIsTakenWhereOneLimitRefuses checks the last of many limits.
func TestNothingIsTakenWhereOneLimitRefuses(t *testing.T) {
	media(t, func(t *testing.T, m *medium, _ *clock) {
		money := teamBudget(t, "1")
		limits := []Limit{
			money,
			{Scope: Scope{Key, "k"}, Metric: Requests, Max: 5},
			{Scope: Scope{Key, "k"}, Metric: Parallel, Max: 5},
			{Scope: Scope{Kind: Gateway}, Metric: Parallel, Max: 0},
		}
		_, err := m.Reserve(t.Context(), &Reservation{ID: "1", Limits: limits, Cost: usd(t, "0.1")})
		var d *DeniedError
		require.ErrorAs(t, err, &d)
		require.Equal(t, limits[3], d.Limit)
		states, err := m.Status(t.Context(), limits)
		require.NoError(t, err)
		for _, st := range states {
			require.Zero(t, st.Used)
			require.Zero(t, st.Reserved)
		}
		soft := money
		soft.Soft, soft.Money = true, usd(t, "0.15")
		g, err := m.Reserve(t.Context(), &Reservation{ID: "2", Limits: []Limit{money, soft}, Cost: usd(t, "0.1")})
		require.NoError(t, err)
		require.Empty(t, g.Passed)
		g, err = m.Reserve(t.Context(), &Reservation{ID: "3", Limits: []Limit{money, soft}, Cost: usd(t, "0.1")})
		require.NoError(t, err)
		require.Len(t, g.Passed, 1)
		require.Equal(t, usd(t, "0.2"), g.Passed[0].Reserved, "one counter for both")
		require.NoError(t, m.Put(t.Context(), money, usd(t, "0.9")))
		_, err = m.Reserve(t.Context(), &Reservation{ID: "4", Limits: []Limit{money}, Cost: usd(t, "0.000001")})
		require.ErrorAs(t, err, &d)
		require.Equal(t, usd(t, "0.9"), d.Spent)
		require.NoError(t, m.Reset(t.Context()))
		states, err = m.Status(t.Context(), limits[:1])
		require.NoError(t, err)
		require.Zero(t, states[0].Spent)
		require.Equal(t, usd(t, "0.2"), states[0].Reserved, "live calls keep what they hold")
		_, err = m.Reserve(t.Context(), &Reservation{ID: "5", Limits: []Limit{{Scope: Scope{Key, "k"}, Metric: "nonsense"}}})
		require.ErrorIs(t, err, ErrLimit)
	})
}

// TestOneCallAfterTheOther has callers with a limit of one parallel call that begin the next as soon as one has ended, before its
// record is applied.
func TestOneCallAfterTheOther(t *testing.T) {
	in := newInstances(t, 1, testkit.Redis(t))[0]
	var wg sync.WaitGroup
	for caller := range 8 {
		wg.Go(func() {
			one := Limit{Scope: Scope{Key, fmt.Sprint(caller)}, Metric: Parallel, Max: 1}
			for i := range 300 {
				r := &Reservation{ID: fmt.Sprint(caller, "-", i), Limits: []Limit{one}}
				if _, err := in.Reserve(context.Background(), r); err != nil {
					t.Error(i, err)
					return
				}
				in.Finish(r.ID)
			}
		})
	}
	wg.Wait()
}

// TestACallThatEndsWithItsCallerIsNotAnOutage cancels a caller while Redis hangs.
func TestACallThatEndsWithItsCallerIsNotAnOutage(t *testing.T) {
	server := testkit.Redis(t)
	in := newInstances(t, 1, server)[0]
	server.Pause()
	defer server.Resume()
	ctx, cancel := context.WithCancel(t.Context())
	var left atomic.Bool
	time.AfterFunc(time.Millisecond, func() { left.Store(true); cancel() })
	_, err := in.Reserve(ctx, &Reservation{ID: "1", Limits: []Limit{teamBudget(t, "1")}})
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, left.Load())
	require.NoError(t, in.Away())
}

func TestWindowsFollowEachOther(t *testing.T) {
	at := func(text string) time.Time {
		v, err := time.Parse(time.DateTime, text)
		require.NoError(t, err)
		return v
	}
	for _, c := range []struct {
		w               Window
		now, start, end string
	}{
		{Window{Anchor: at("2026-01-31 12:00:00"), Months: 1}, "2026-02-28 11:59:59", "2026-01-31 12:00:00", "2026-02-28 12:00:00"},
		{Window{Anchor: at("2026-01-31 12:00:00"), Months: 1}, "2026-02-28 12:00:00", "2026-02-28 12:00:00", "2026-03-31 12:00:00"},
		{Window{Anchor: at("2026-01-31 12:00:00"), Months: 1}, "2025-12-31 11:00:00", "2025-11-30 12:00:00", "2025-12-31 12:00:00"},
		{Window{Anchor: at("2026-01-15 00:00:00"), Months: 3}, "2027-01-14 23:00:00", "2026-10-15 00:00:00", "2027-01-15 00:00:00"},
		{Window{Anchor: at("2026-01-01 00:00:30"), Every: time.Minute}, "2026-01-01 00:00:29", "2025-12-31 23:59:30", "2026-01-01 00:00:30"},
		{Window{Every: 24 * time.Hour}, "2026-05-05 05:05:05", "2026-05-05 00:00:00", "2026-05-06 00:00:00"},
	} {
		start, end := c.w.at(at(c.now))
		require.Equal(t, [2]time.Time{at(c.start), at(c.end)}, [2]time.Time{start, end}, c.now)
		before, last := c.w.at(start.Add(-time.Second))
		require.Equal(t, start, last)
		require.True(t, before.Before(last))
		next, _ := c.w.at(end)
		require.Equal(t, end, next)
	}
	require.Error(t, Window{Months: 1}.check())
	require.Error(t, Window{Every: time.Millisecond}.check())
}

// TestAShareIsGivenOutOnce applies records again before the store is known to be back, as after a failover: what was used of the
// share meanwhile stays used until the store reports what is left.
func TestAShareIsGivenOutOnce(t *testing.T) {
	in := newInstances(t, 1, testkit.Redis(t))[0]
	budget := teamBudget(t, "1")
	cost := usd(t, "0.1")
	seq := uint64(0)
	call := func() error {
		g, err := in.Reserve(t.Context(), &Reservation{ID: fmt.Sprint("call-", seq), Limits: []Limit{budget}, Cost: cost})
		if err != nil {
			return err
		}
		b := &Batch{Spool: "s", From: seq, To: seq + 1, Charges: []Charge{{ID: g.ID, At: g.At, Counters: g.Counters, Cost: cost}}}
		_, err = in.Apply(t.Context(), b)
		require.NoError(t, err)
		seq++
		return nil
	}
	spend := func() (calls int) {
		for {
			err := call()
			if err != nil {
				require.ErrorAs(t, err, new(*DeniedError))
				return calls
			}
			calls++
		}
	}
	require.NoError(t, call())
	in.away.Store(&outage{cause: errors.New("test"), since: time.Now()})
	require.Equal(t, 9, spend())
	states, err := in.Status(t.Context(), budget)
	require.NoError(t, err)
	require.Equal(t, budget.Money, states[0].Spent)
	require.NoError(t, in.Put(t.Context(), budget, usd(t, "0.5"))) // an operator gives five calls back
	in.away.Store(nil)
	require.NoError(t, call())
	in.away.Store(&outage{cause: errors.New("test"), since: time.Now()})
	require.Equal(t, 4, spend(), "the store has told of them")
}

// TestWhatIsAdmittedAgainComesBackToTheStore moves a call that the store admitted to another backend while the store is away. What it
// holds of that backend's limits is in the store once that is back, and not twice.
func TestWhatIsAdmittedAgainComesBackToTheStore(t *testing.T) {
	server := testkit.Redis(t)
	in := newInstances(t, 1, server)[0]
	own := Limit{Scope: Scope{Key, "k"}, Metric: Requests, Max: 9}
	backend := []Limit{
		{Scope: Scope{Backend, "m/second"}, Metric: Requests, Max: 9},
		{Scope: Scope{Backend, "m/second"}, Metric: Tokens, Max: 900},
		{Scope: Scope{Backend, "m/second"}, Metric: Parallel, Max: 9},
	}
	_, err := in.Reserve(t.Context(), &Reservation{ID: "call", Limits: []Limit{own}})
	require.NoError(t, err)
	server.Stop()
	g, err := in.Reserve(t.Context(), &Reservation{ID: "call", Limits: backend, InputTokens: 70})
	require.NoError(t, err)
	require.True(t, g.Local)
	server.Start()
	used := func() (n [4]int64) {
		states, err := in.Status(t.Context(), append(slices.Clone(backend), own)...)
		if err != nil {
			return n
		}
		for i := range states {
			n[i] = states[i].Used
		}
		return n
	}
	want := [4]int64{1, 70, 1, 1}
	require.Eventually(t, func() bool { return in.Away() == nil && used() == want }, patience, 10*time.Millisecond, "%v", used())
	in.renew(t.Context())
	require.Equal(t, want, used())
	in.Release("call")
	require.Eventually(t, func() bool { return used() == [4]int64{} }, patience, 10*time.Millisecond)
}

// TestAnAbandonedCallRunsOut abandons a call whose record cannot be written: its reservation ends with its lease, no sooner, and that
// of another call stays.
func TestAnAbandonedCallRunsOut(t *testing.T) {
	media(t, func(t *testing.T, m *medium, c *clock) {
		l := New(m.Store, Options{Instance: "a", Deny: true})
		l.now = func() time.Time { return c.at }
		budget, parallel := teamBudget(t, "9"), Limit{Scope: Scope{Key, "k"}, Metric: Parallel, Max: 2}
		for _, id := range []string{"lost", "live"} {
			_, err := l.Reserve(t.Context(), &Reservation{ID: id, Limits: []Limit{budget, parallel}, Cost: usd(t, "1")})
			require.NoError(t, err)
		}
		l.Abandon("lost")
		l.tell(t.Context(), &l.finished, l.store.Finish)
		reserved := func() (string, int64) {
			states, err := l.Status(t.Context(), budget, parallel)
			require.NoError(t, err)
			return states[0].Reserved.String(), states[1].Used
		}
		for range 3 {
			money, running := reserved()
			require.Equal(t, "2", money)
			require.EqualValues(t, 1, running)
			c.at = c.at.Add(renewEvery - time.Millisecond)
			l.renew(t.Context())
		}
		c.at = c.at.Add(renewEvery)
		money, running := reserved()
		require.Equal(t, "1", money)
		require.EqualValues(t, 1, running)
	})
}

// TestTotalsAreNotAheadOfBudgets reads totals and budgets while batches are applied: what a total has, the budget has too.
func TestTotalsAreNotAheadOfBudgets(t *testing.T) {
	media(t, func(t *testing.T, m *medium, _ *clock) {
		budget := teamBudget(t, "9")
		name, _, _ := budget.counter(time.Now())
		const batches = 60
		done := make(chan error, 1)
		go func() {
			var err error
			for i := uint64(0); i < batches && err == nil; i++ {
				_, err = m.Apply(context.Background(), &Batch{
					Spool: "s", From: i, To: i + 1, Charges: []Charge{{ID: fmt.Sprint(i), At: time.Now(), Counters: []string{name}, Cost: price.FromLimbs(1, 0)}},
					Adds: []Add{{Total: "spend:team:blue", Field: "cost", Amount: price.FromLimbs(1, 0)}},
				})
			}
			done <- err
		}()
		for seen := price.FromLimbs(0, 0); seen != price.FromLimbs(batches, 0); {
			totals, err := m.Totals(t.Context(), "spend:team:blue")
			require.NoError(t, err)
			seen = totals[0]["cost"]
			states, err := m.Status(t.Context(), []Limit{budget})
			require.NoError(t, err)
			require.LessOrEqual(t, seen.Cmp(states[0].Spent), 0)
		}
		require.NoError(t, <-done)
	})
}
