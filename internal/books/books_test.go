package books

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

const patience = 30 * time.Second

func usd(t testing.TB, text string) price.Amount {
	t.Helper()
	a, err := price.ParseUSD(text)
	require.NoError(t, err)
	return a
}

// cost of the n-th call: each has a distinct last digit.
func cost(t testing.TB, n int) price.Amount { return usd(t, fmt.Sprintf("0.%06d%09d", n, 7*n+1)) }

func payload(t testing.TB, n int, counters []string, at time.Time) []byte {
	b, err := json.Marshal(Call{
		Charge: limit.Charge{ID: fmt.Sprint("call-", n), At: at, Counters: counters, Cost: cost(t, n), InputTokens: int64(n), OutputTokens: 2},
		KeyID:  fmt.Sprint("key-", n%3), Team: "blue", User: "ann", Customer: "acme", Model: fmt.Sprint("m", n%2),
	})
	require.NoError(t, err)
	return b
}

func decode(r spool.Record) (*Call, error) {
	c := new(Call)
	return c, json.Unmarshal(r.Payload, c)
}

func id(n int) (id spool.ID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n)+1)
	return id
}

func settle(t testing.TB, s *spool.Spool, n int, counters []string, at time.Time) {
	t.Helper()
	require.NoError(t, s.Begin(id(n), nil))
	require.NoError(t, s.Settle(id(n), payload(t, n, counters, at), n%2 == 0))
}

func open(t testing.TB, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(spool.Options{Dir: dir, Consumers: []string{ConsumerName}})
	require.NoError(t, err)
	return s
}

// run runs a consumer until stop is called.
func run(c *Consumer) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// expect waits until the totals are those of the calls below n, to the last digit.
func expect(t testing.TB, store limit.Store, n int) {
	t.Helper()
	sum := func(of func(i int) bool) (all price.Amount) {
		for i := range n {
			if of(i) {
				var err error
				all, err = all.Add(cost(t, i))
				require.NoError(t, err)
			}
		}
		return all
	}
	all := sum(func(int) bool { return true })
	gateway := Spend(limit.Scope{Kind: limit.Gateway})
	var totals []map[string]price.Amount
	require.Eventually(t, func() bool {
		var err error
		totals, err = store.Totals(context.Background(), gateway,
			Spend(limit.Scope{Kind: limit.Key, ID: "key-1"}), Spend(limit.Scope{Kind: limit.Team, ID: "blue"}),
			Spend(limit.Scope{Kind: limit.Member, ID: limit.MemberID("blue", "ann")}), Spend(limit.Scope{Kind: limit.User, ID: "ann"}),
			Spend(limit.Scope{Kind: limit.Customer, ID: "acme"}))
		return err == nil && totals[0][Calls] == price.FromLimbs(0, uint64(n)) && totals[0][Cost] == all
	}, patience, 2*time.Millisecond, "%d calls cost %s", n, all)
	require.Equal(t, price.FromLimbs(0, uint64(2*n)), totals[0][OutputTokens])
	require.Equal(t, sum(func(i int) bool { return i%2 == 1 }), totals[0][CostOf("m1")])
	require.Equal(t, sum(func(i int) bool { return i%3 == 1 }), totals[1][Cost])
	for _, scope := range totals[2:] {
		require.Equal(t, totals[0], scope)
	}
}

// stores opens every kind of store, and the same store again.
func stores(t *testing.T, test func(t *testing.T, open func() limit.Store, flush func())) {
	t.Run("file", func(t *testing.T) {
		dir := t.TempDir()
		test(t, func() limit.Store {
			s, err := limit.OpenFile(dir)
			require.NoError(t, err)
			return s
		}, nil)
	})
	t.Run("redis", func(t *testing.T) {
		client := redis.NewClient(&redis.Options{Addr: testkit.Redis(t).Addr, MaxRetries: -1})
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		test(t, func() limit.Store { return limit.NewRedis(client, "tollgate:") }, func() {
			require.NoError(t, client.FlushAll(context.Background()).Err())
		})
	})
}

// TestTotalsAreTheSumOfTheRecords settles calls, ends the process in the middle, adopts its spool, and loses the store: the
// totals are the sum of the records after each.
func TestTotalsAreTheSumOfTheRecords(t *testing.T) {
	stores(t, func(t *testing.T, openStore func() limit.Store, flush func()) {
		dir := t.TempDir()
		first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
		store := openStore()
		s := open(t, first)
		for n := range 40 {
			settle(t, s, n, nil, time.Time{})
		}
		c := New(s, store, decode, Options{})
		stop := run(c)
		<-c.CaughtUp()
		expect(t, store, 40)
		for n := 40; n < 80; n++ {
			settle(t, s, n, nil, time.Time{})
		}
		stop() // anywhere
		require.NoError(t, store.Close())
		require.NoError(t, s.Close())

		store = openStore()
		s = open(t, second)
		c = New(s, store, decode, Options{})
		stop = run(c)
		settle(t, s, 80, nil, time.Time{})
		taken, err := s.Adopt(first)
		require.NoError(t, err)
		require.Equal(t, 40, taken)
		settle(t, s, 81, nil, time.Time{})
		expect(t, store, 82)
		stop()

		if flush != nil {
			flush()
			losses := make(chan Loss, 10)
			c = New(s, store, decode, Options{OnLoss: func(l Loss) { losses <- l }})
			stop = run(c)
			l := <-losses
			require.Equal(t, s.ID().String(), l.Spool)
			require.Zero(t, l.Has)
			require.WithinDuration(t, time.Now(), l.Oldest, time.Minute)
			totals, err := store.Totals(t.Context(), Spend(limit.Scope{Kind: limit.Gateway}))
			require.NoError(t, err)
			require.NotNil(t, totals)
			stop()
		}
		require.NoError(t, store.Close())
		require.NoError(t, s.Close())
	})
}

// TestAnEmptiedStoreIsFilledAgain empties the store under a running consumer.
func TestAnEmptiedStoreIsFilledAgain(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: testkit.Redis(t).Addr, MaxRetries: -1})
	defer func() { require.NoError(t, client.Close()) }()
	store := limit.NewRedis(client, "tollgate:")
	defer func() { require.NoError(t, store.Close()) }()
	s := open(t, t.TempDir())
	defer func() { require.NoError(t, s.Close()) }()
	losses := make(chan Loss, 10)
	defer run(New(s, store, decode, Options{OnLoss: func(l Loss) { losses <- l }}))()
	for n := range 100 {
		settle(t, s, n, nil, time.Time{})
	}
	expect(t, store, 100)
	require.NoError(t, client.FlushAll(t.Context()).Err())
	expect(t, store, 100)
	l := <-losses
	require.Zero(t, l.Has)
	require.Equal(t, s.Last(), l.Had)
	require.NoError(t, store.Reset(t.Context()))
	expect(t, store, 100)
	require.NoError(t, client.FlushAll(t.Context()).Err())
	settle(t, s, 100, nil, time.Time{})
	expect(t, store, 101)
}

// TestACopyOfASpoolIsTold opens a spool that is older than the store's cursor for it.
func TestACopyOfASpoolIsTold(t *testing.T) {
	store, err := limit.OpenFile(t.TempDir())
	require.NoError(t, err)
	s := open(t, t.TempDir())
	_, err = store.Apply(t.Context(), &limit.Batch{Spool: s.ID().String(), To: 1000})
	require.NoError(t, err)
	faults := make(chan error, 1)
	stop := run(New(s, store, decode, Options{OnFault: func(err error) { faults <- err }}))
	require.ErrorContains(t, <-faults, "older copy")
	stop()
	require.NoError(t, s.Close())
	require.NoError(t, store.Close())
}

// flaky is a sink that fails at times, and at other times after it has done its work.
type flaky struct {
	*limit.Limiter
	n atomic.Int64
}

var errFlaky = errors.New("the connection broke")

func (f *flaky) Apply(ctx context.Context, b *limit.Batch) (uint64, error) {
	switch f.n.Add(1) % 3 {
	case 0:
		return 0, errFlaky
	case 1:
		_, _ = f.Limiter.Apply(ctx, b)
		return 0, errFlaky
	}
	return f.Limiter.Apply(ctx, b)
}

// TestAnAnswerThatIsLostCountsOnce breaks the connection before and after batches are applied, while calls are admitted. A
// budget is spent by what calls cost, and nothing stays reserved.
func TestAnAnswerThatIsLostCountsOnce(t *testing.T) {
	stores(t, func(t *testing.T, openStore func() limit.Store, _ func()) {
		store := openStore()
		l := limit.New(store, limit.Options{Instance: "a"})
		var faults atomic.Int64
		s := open(t, t.TempDir())
		stop := run(New(s, &flaky{Limiter: l}, decode, Options{OnFault: func(error) { faults.Add(1) }}))
		budget := limit.Limit{Scope: limit.Scope{Kind: limit.Team, ID: "blue"}, Metric: limit.Cost, Window: limit.Window{Every: time.Hour * 24 * 365}, Money: usd(t, "100")}
		calls := limit.Limit{Scope: budget.Scope, Metric: limit.Parallel, Max: 1000}
		for n := range 60 {
			g, err := l.Reserve(t.Context(), &limit.Reservation{ID: fmt.Sprint("call-", n), Limits: []limit.Limit{budget, calls}, Cost: usd(t, "0.01"), InputTokens: 100})
			require.NoError(t, err)
			settle(t, s, n, g.Counters, g.At)
		}
		expect(t, store, 60)
		totals, err := store.Totals(t.Context(), Spend(budget.Scope))
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			states, err := l.Status(context.Background(), budget, calls)
			return err == nil && states[0].Spent == totals[0][Cost] && states[0].Reserved.IsZero() && states[1].Used == 0
		}, patience, time.Millisecond)
		require.Positive(t, faults.Load())
		stop()
		require.NoError(t, store.Close())
		require.NoError(t, s.Close())
	})
}

// TestARecordThatCannotBeReadHoldsNobodyUp checks that the record is left out and reported.
func TestARecordThatCannotBeReadHoldsNobodyUp(t *testing.T) {
	store, err := limit.OpenFile(t.TempDir())
	require.NoError(t, err)
	s := open(t, t.TempDir())
	require.NoError(t, s.Begin(id(1000), nil))
	require.NoError(t, s.Settle(id(1000), []byte("not JSON"), true))
	faults := make(chan error, 10)
	defer run(New(s, store, decode, Options{OnFault: func(err error) { faults <- err }}))()
	settle(t, s, 0, nil, time.Time{})
	expect(t, store, 1)
	require.ErrorContains(t, <-faults, "cannot be counted")
	require.NoError(t, s.Close())
	require.NoError(t, store.Close())
}

// part is an applier that accepts some of the records that it is given.
type part struct {
	at   uint64
	seen []uint64
	all  chan struct{} // closed at the 100th record
}

func (p *part) Cursor(context.Context, string) (uint64, error) { return p.at, nil }

func (p *part) Apply(_ context.Context, _ string, from, to uint64, records []spool.Record) (uint64, error) {
	if from != p.at {
		return p.at, nil
	}
	if n := (len(records) + 1) / 2; n < len(records) {
		records = records[:n]
		to = records[n-1].Origin.Seq
	}
	for _, r := range records {
		p.seen = append(p.seen, r.Origin.Seq)
	}
	p.at = to
	if len(p.seen) == 100 {
		close(p.all)
	}
	return to, nil
}

// TestAStoreMayTakeAPart gives each record once to a store that accepts half of each batch.
func TestAStoreMayTakeAPart(t *testing.T) {
	s := open(t, t.TempDir())
	for n := range 100 {
		settle(t, s, n, nil, time.Time{})
	}
	p := &part{all: make(chan struct{})}
	stop := run(Follow(s, p, Options{}))
	<-p.all
	stop()
	require.IsIncreasing(t, p.seen)
	require.Len(t, p.seen, 100)
	require.Equal(t, s.Last(), s.Cursor(ConsumerName))
	require.NoError(t, s.Close())
}
