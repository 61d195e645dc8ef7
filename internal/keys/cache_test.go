package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

func TestChangesReachOtherInstancesAtOnce(t *testing.T) {
	server := testkit.Redis(t)
	a, _ := newTestDirectory(t, openRedis(server), time.Now)
	b, heard := newTestDirectory(t, openRedis(server), time.Now)
	ctx := t.Context()
	untilHeard := func(what string) {
		t.Helper()
		await(t, heard.changed, time.Second, what)
	}

	key := generate(t, a, `{"team_id":"blue"}`)
	untilHeard("the new team")
	untilHeard("the new key")
	_, err := b.Lookup(ctx, DigestOf(key), testBounds)
	require.NoError(t, err)

	_, err = NewService(a, nil).Block(ctx, named(key), true)
	require.NoError(t, err)
	untilHeard("the block")
	st, err := b.Lookup(ctx, DigestOf(key), testBounds)
	require.NoError(t, err)
	require.True(t, st.Blocked)

	_, err = NewService(a, nil).Block(ctx, named(key), false)
	require.NoError(t, err)
	untilHeard("the unblock")
	_, err = NewService(a, nil).NewTeam(ctx, fields(t, `{"team_id":"blue","models":["gpt-4o"],"metadata":{"lago_subscription_id":"sub-1"}}`))
	require.NoError(t, err)
	untilHeard("the team")
	st, err = b.Lookup(ctx, DigestOf(key), testBounds)
	require.NoError(t, err)
	require.False(t, st.Blocked)
	require.Equal(t, "sub-1", st.Identity.Subscription)
	require.False(t, st.Identity.Allows("o3"))

	require.NoError(t, NewService(a, nil).delete(ctx, []string{key}, nil))
	untilHeard("the deletion")
	_, err = b.Lookup(ctx, DigestOf(key), testBounds)
	require.ErrorIs(t, err, ErrUnknown)
}

func TestKeyMadeElsewhereWorksAlthoughItWasUnknown(t *testing.T) {
	server := testkit.Redis(t)
	a, _ := newTestDirectory(t, openRedis(server), time.Now)
	b, heard := newTestDirectory(t, openRedis(server), time.Now)
	const key = "sk-chosen-by-a-person"
	_, err := b.Lookup(t.Context(), DigestOf(key), testBounds)
	require.ErrorIs(t, err, ErrUnknown)
	generate(t, a, `{"key":"`+key+`"}`)
	await(t, heard.changed, time.Second, "the new key")
	_, err = b.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
}

func TestOutageOfRedis(t *testing.T) {
	server := testkit.Redis(t)
	c := testkit.NewClock()
	d, o := newTestDirectory(t, openRedis(server), c.Now)
	ctx := t.Context()
	known, other := generate(t, d, `{}`), generate(t, d, `{}`)
	for range 2 { // its own announcements, which make it forget
		await(t, o.changed, patience, "the announcement")
	}
	_, err := d.Lookup(ctx, DigestOf(known), testBounds)
	require.NoError(t, err)

	server.Stop()
	require.Error(t, await(t, o.lost, patience, "the loss of the connection"))
	c.Forward(testBounds.Cache)
	for range 3 {
		_, err = d.Lookup(ctx, DigestOf(known), testBounds)
		require.NoError(t, err, "a known key works while the store is down")
		_, err = d.Lookup(ctx, DigestOf(other), testBounds)
		require.ErrorIs(t, err, errStoreDown, "an unknown one cannot be judged")
	}
	c.Forward(testBounds.Stale - testBounds.Cache - time.Nanosecond)
	_, err = d.Lookup(ctx, DigestOf(known), testBounds)
	require.NoError(t, err)
	c.Forward(time.Nanosecond)
	_, err = d.Lookup(ctx, DigestOf(known), testBounds)
	require.ErrorIs(t, err, errStoreDown, "stale_ttl is the end")

	for len(o.missed) > 0 {
		<-o.missed
	}
	server.Start()
	await(t, o.missed, patience, "the new subscription")
	for _, key := range []string{known, other} {
		_, err = d.Lookup(ctx, DigestOf(key), testBounds)
		require.NoError(t, err, "back without waiting for the next probe")
	}
}

func TestChangeMissedInAnOutageOfTheWatch(t *testing.T) {
	server := testkit.Redis(t)
	d, o := newTestDirectory(t, openRedis(server), time.Now)
	key := generate(t, d, `{}`)
	await(t, o.changed, patience, "the announcement, which makes it forget")
	_, err := d.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	server.Stop()
	require.Error(t, await(t, o.lost, patience, "the loss of the connection"))
	server.Start()

	// The record is changed behind the back of everyone, as by an instance whose announcement was not heard.
	require.NoError(t, redisClient(t, server).Del(t.Context(), "tollgate:key:"+DigestOf(key).String()).Err())
	await(t, o.missed, patience, "the new subscription")
	_, err = d.Lookup(t.Context(), DigestOf(key), testBounds)
	require.ErrorIs(t, err, ErrUnknown, "what may have been missed is asked for again")
}

// TestLateNewsOfWhatIsKnownAlready has the news of a change come when the changed record was read already: the key must not
// be forgotten for it, as it would be missing if the store failed now. News of any other version makes it be read again.
func TestLateNewsOfWhatIsKnownAlready(t *testing.T) {
	server := testkit.Redis(t)
	a, heardByA := newTestDirectory(t, openRedis(server), time.Now)
	b, _ := newTestDirectory(t, openRedis(server), time.Now)
	_, err := NewService(a, nil).NewTeam(t.Context(), fields(t, `{"team_id":"t"}`))
	require.NoError(t, err)
	await(t, heardByA.changed, patience, "the team")
	key := generate(t, a, `{"team_id":"t"}`)
	await(t, heardByA.changed, patience, "the key")
	st, err := a.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	gets := heardByA.gets.Load()
	again := func() *State {
		st, err := a.Lookup(t.Context(), DigestOf(key), testBounds)
		require.NoError(t, err)
		return st
	}
	a.Changed(keystore.KeyKind, DigestOf(key).String(), st.version)
	a.Changed(keystore.TeamKind, "t", st.parts[part{keystore.TeamKind, "t"}])
	again()
	require.Equal(t, gets, heardByA.gets.Load(), "nothing is asked for again")

	_, err = NewService(b, nil).UpdateTeam(t.Context(), fields(t, `{"team_id":"t","models":["gpt-4o"]}`))
	require.NoError(t, err)
	await(t, heardByA.changed, time.Second, "the change of the team")
	require.Equal(t, []string{"gpt-4o"}, again().Identity.TeamModels)
	_, err = NewService(b, nil).Block(t.Context(), named(key), true)
	require.NoError(t, err)
	await(t, heardByA.changed, time.Second, "the block")
	require.True(t, again().Blocked)
	a.Changed(keystore.KeyKind, DigestOf(key).String(), st.version) // late news of an old version
	require.True(t, again().Blocked)
}

// TestAnswersBesideChanges decides which answers are kept when changes are heard of while they are under way.
func TestAnswersBesideChanges(t *testing.T) {
	d, other := Digest{1}, Digest{1, 1} // of one shard
	state := func() *State {
		return &State{Identity: &llm.Identity{TeamID: "t"}, version: "v2", parts: map[part]string{{keystore.TeamKind, "t"}: "w2"}}
	}
	for name, tc := range map[string]struct {
		state   *State
		changes func(c *entries)
		kept    bool
	}{
		"another key":                     {state(), func(c *entries) { c.drop(other, "") }, true},
		"another team":                    {state(), func(c *entries) { c.dropPart(part{keystore.TeamKind, "u"}, "") }, true},
		"the change that the answer is":   {state(), func(c *entries) { c.drop(d, "v2"); c.dropPart(part{keystore.TeamKind, "t"}, "w2") }, true},
		"the key, to another version":     {state(), func(c *entries) { c.drop(d, "v3") }, false},
		"the key, to a version not known": {state(), func(c *entries) { c.drop(d, "") }, false},
		"the team":                        {state(), func(c *entries) { c.dropPart(part{keystore.TeamKind, "t"}, "w3") }, false},
		"the team, deleted":               {state(), func(c *entries) { c.dropPart(part{keystore.TeamKind, "t"}, "") }, false},
		"an unknown key that was made":    {nil, func(c *entries) { c.drop(d, "v1") }, false},
		"an unknown key, a team":          {nil, func(c *entries) { c.dropPart(part{keystore.TeamKind, "t"}, "w1") }, true},
		"as many as are remembered":       {state(), func(c *entries) { drops(c, other, recently) }, true},
		"more than are remembered":        {state(), func(c *entries) { drops(c, other, recently+1) }, false},
		"its own, long ago by now":        {state(), func(c *entries) { c.drop(d, "v3"); drops(c, other, recently) }, false},
	} {
		c := newEntries()
		drops(c, other, 3)
		ticket := c.ticket(d)
		tc.changes(c)
		c.put(d, ticket, tc.state, time.Now())
		_, current, there := c.get(d)
		require.Equal(t, tc.kept, there, name)
		require.Equal(t, tc.kept, current, name)
	}
	c := newEntries()
	ticket := c.ticket(d)
	c.invalidate()
	c.put(d, ticket, state(), time.Now())
	_, current, there := c.get(d)
	require.True(t, there, "an answer from before a time of invalidation serves while the store is down")
	require.False(t, current, "and is asked for again while it is up")
}

func drops(c *entries, d Digest, n int) {
	for range n {
		c.drop(d, "")
	}
}

func TestHangingRedisDelaysOneCallASecond(t *testing.T) {
	server := testkit.Redis(t)
	c := testkit.NewClock()
	d, o := newTestDirectory(t, openRedis(server), c.Now)
	key := generate(t, d, `{}`)
	await(t, o.changed, patience, "the announcement, which makes it forget")
	_, err := d.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	server.Pause()
	defer server.Resume()
	c.Forward(testBounds.Cache)
	gets := o.gets.Load()
	_, err = d.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	gets++
	require.Equal(t, gets, o.gets.Load(), "the first call waits for one timeout")
	for i := range 1000 {
		_, err = d.Lookup(t.Context(), DigestOf(fmt.Sprint("sk-unknown-", i)), testBounds)
		require.ErrorIs(t, err, errStoreDown)
	}
	require.Equal(t, gets, o.gets.Load(), "the others do not wait for a store that is down")
}

func TestFloodOfAnInvalidKeyAsksOnce(t *testing.T) {
	d, o := newTestDirectory(t, openRedis(testkit.Redis(t)), time.Now)
	var wg sync.WaitGroup
	errs := make(chan error, 64*100)
	for range 64 {
		wg.Go(func() {
			for range 100 {
				_, err := d.Lookup(context.Background(), DigestOf("sk-nobody-has-this-one"), testBounds)
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.ErrorIs(t, err, ErrUnknown)
	}
	require.Equal(t, int64(1), o.gets.Load())
}

func TestCallsOfOnePayerAskOnce(t *testing.T) {
	for name, customer := range map[string]string{"there is no customer": "", "the payer is one": `{"user_id":"acme","max_budget":5}`} {
		t.Run(name, func(t *testing.T) {
			d, o := newTestDirectory(t, openRedis(testkit.Redis(t)), time.Now)
			key := generate(t, d, `{"team_id":"blue"}`)
			st, err := d.Lookup(t.Context(), DigestOf(key), testBounds)
			require.NoError(t, err)
			if customer != "" {
				_, err := NewService(d, nil).New(t.Context(), Customers, fields(t, customer))
				require.NoError(t, err)
				for await(t, o.changed, patience, "the news of the customer") != "acme" { //nolint:revive // those of the key and of its team come before
				}
			}
			before := o.gets.Load()
			var wg sync.WaitGroup
			errs := make(chan error, 1000)
			for range cap(errs) {
				wg.Go(func() {
					_, err := d.LimitsOf(t.Context(), st, &Subject{Payer: "acme", Now: time.Now(), Bounds: testBounds})
					errs <- err
				})
			}
			wg.Wait()
			close(errs)
			for err := range errs {
				require.NoError(t, err)
			}
			require.Equal(t, int64(1), o.gets.Load()-before)
		})
	}
}

// TestPayersWhileTheStoreIsAway: what was known of a payer goes on to hold while the store is away, past cache_ttl and when changes may have
// been missed before, until stale_ttl.
func TestPayersWhileTheStoreIsAway(t *testing.T) {
	for name, customer := range map[string]string{"there is no customer": "", "the payer is one": `{"user_id":"acme","max_budget":5}`} {
		t.Run(name, func(t *testing.T) {
			server := testkit.Redis(t)
			clock := testkit.NewClock()
			d, o := newTestDirectory(t, openRedis(server), clock.Now)
			key := generate(t, d, `{}`)
			if customer != "" {
				_, err := NewService(d, nil).New(t.Context(), Customers, fields(t, customer))
				require.NoError(t, err)
				for await(t, o.changed, patience, "the news of the customer") != "acme" { //nolint:revive // that of the key comes before
				}
			}
			limits := func() (int, error) {
				st, err := d.Lookup(t.Context(), DigestOf(key), testBounds)
				require.NoError(t, err)
				list, err := d.LimitsOf(t.Context(), st, &Subject{Payer: "acme", Now: clock.Now(), Bounds: testBounds})
				return len(list), err
			}
			want, err := limits()
			require.NoError(t, err)
			d.Missed()
			server.Stop()
			got, err := limits()
			require.NoError(t, err, "changes may have been missed")
			require.Equal(t, want, got)
			clock.Forward(testBounds.Cache)
			got, err = limits()
			require.NoError(t, err, "past cache_ttl")
			require.Equal(t, want, got)
			clock.Forward(testBounds.Stale - testBounds.Cache - 1)
			_, err = limits()
			require.NoError(t, err, "before stale_ttl")
		})
	}
}

func TestUnknownKeysAreBoundedAndEvictNoKnownOne(t *testing.T) {
	c := newEntries()
	now := time.Now()
	for i := range 1000 {
		d := DigestOf(fmt.Sprint("known", i))
		c.put(d, c.ticket(d), &State{Identity: &llm.Identity{}}, now)
	}
	for i := range 40_000 {
		d := DigestOf(fmt.Sprint("unknown", i))
		c.put(d, c.ticket(d), nil, now)
	}
	known, unknown := c.size()
	require.Equal(t, 1000, known)
	require.LessOrEqual(t, unknown, shardUnknown*shardCount)
	for i := range 150_000 {
		d := DigestOf(fmt.Sprint("more", i))
		c.put(d, c.ticket(d), &State{Identity: &llm.Identity{}}, now)
	}
	known, _ = c.size()
	require.LessOrEqual(t, known, shardKeys*shardCount)
}

// TestManyTeamsChangeBesideAFullCache holds what an import of teams, or the announcement of one, costs: nothing that would
// keep the news of a revoked key waiting.
func TestManyTeamsChangeBesideAFullCache(t *testing.T) {
	c := newEntries()
	now := time.Now()
	for i := range 100_000 {
		d := DigestOf(fmt.Sprint(i))
		c.put(d, c.ticket(d), &State{parts: map[part]string{{keystore.TeamKind, fmt.Sprint("team", i%100)}: "v"}}, now)
	}
	known, _ := c.size()
	require.Greater(t, known, 90_000)
	for i := range 10_000 {
		require.Zero(t, c.dropPart(part{keystore.TeamKind, fmt.Sprint("other", i)}, ""), "a team without a key here needs no search")
	}
	require.LessOrEqual(t, c.dropPart(part{keystore.TeamKind, "team7"}, ""), known, "one search of the shards that hold a key of the team")
	after, _ := c.size()
	require.InDelta(t, known-known/100, after, 100)
	for i := range 100 {
		c.dropPart(part{keystore.TeamKind, fmt.Sprint("team", i)}, "")
	}
	left, _ := c.size()
	require.Zero(t, left)
	for i := range c.shards {
		require.Empty(t, c.shards[i].parts)
	}
}

func TestAnswerOlderThanAChangeIsNotKept(t *testing.T) {
	d, o := fileDirectory(t, time.Now)
	key := generate(t, d, `{}`)
	read, goOn := make(chan struct{}), make(chan struct{})
	var gated atomic.Bool
	o.gate = func(keystore.Kind, string) {
		if gated.CompareAndSwap(false, true) {
			close(read)
			<-goOn
		}
	}
	first := make(chan error, 1)
	go func() {
		_, err := d.Lookup(context.Background(), DigestOf(key), testBounds)
		first <- err
	}()
	await(t, read, patience, "the first lookup to read the old record")
	_, err := NewService(d, nil).Block(t.Context(), named(key), true)
	require.NoError(t, err)
	st, err := d.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	require.True(t, st.Blocked, "a lookup after the change does not join one from before it")
	close(goOn)
	require.NoError(t, await(t, first, patience, "the first lookup"))
	st, err = d.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	require.True(t, st.Blocked, "the old answer must not overwrite the new one")
}

func TestCacheTTLBoundsWhatIsNotAnnounced(t *testing.T) {
	c := testkit.NewClock()
	d, o := fileDirectory(t, c.Now)
	key := generate(t, d, `{}`)
	_, err := d.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	gets := o.gets.Load()
	c.Forward(testBounds.Cache - 1)
	_, err = d.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	require.Equal(t, gets, o.gets.Load(), "fresh: the store is not asked")
	data, err := o.Store.Get(t.Context(), keystore.KeyKind, DigestOf(key).String())
	require.NoError(t, err)
	require.NoError(t, o.Apply(t.Context(), keystore.Change{Kind: keystore.KeyKind, ID: DigestOf(key).String(), Old: data}))
	c.Forward(1)
	_, err = d.Lookup(t.Context(), DigestOf(key), testBounds)
	require.ErrorIs(t, err, ErrUnknown)
}

// TestDirectoriesLeaveNothingRunning opens and closes stores as reloads do, some while their Redis is down.
func TestDirectoriesLeaveNothingRunning(t *testing.T) {
	server := testkit.Redis(t)
	use := func(open func() keystore.Store) {
		d := NewCache(open(), nopLogger, time.Now)
		for i := range 10 {
			_, _ = d.Lookup(t.Context(), DigestOf(fmt.Sprint("sk-", i)), testBounds) // whatever it says
		}
		require.NoError(t, d.Close())
	}
	inRedis := func() keystore.Store { return openRedis(server) }
	inFile := func() keystore.Store {
		s, err := keystore.OpenFile(t.TempDir())
		require.NoError(t, err)
		return s
	}
	use(inRedis) // what the first use starts for good is not counted
	before := runtime.NumGoroutine()
	for range 10 {
		use(inRedis)
		use(inFile)
	}
	server.Stop()
	for range 3 {
		use(inRedis)
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before }, patience, 10*time.Millisecond,
		"goroutines of closed stores")
}

func TestUnreadableRecordIsNoOutage(t *testing.T) {
	d, o := fileDirectory(t, time.Now)
	sum := DigestOf("sk-something-broken")
	require.NoError(t, o.Apply(t.Context(), keystore.Change{Kind: keystore.KeyKind, ID: sum.String(), New: []byte("{")}))
	_, err := d.Lookup(t.Context(), sum, testBounds)
	require.ErrorIs(t, err, ErrMalformed)
	require.False(t, errors.Is(err, errStoreDown))
}

func TestConcurrentUseUnderChanges(t *testing.T) {
	d, _ := newTestDirectory(t, openRedis(testkit.Redis(t)), time.Now)
	keys := make([]string, 8)
	for i := range keys {
		keys[i] = generate(t, d, `{"team_id":"t"}`)
	}
	_, err := NewService(d, nil).NewTeam(t.Context(), fields(t, `{"team_id":"t"}`))
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i, key := range keys {
		wg.Go(func() {
			for n := range 20 {
				_, err := NewService(d, nil).Update(context.Background(), fields(t, fmt.Sprintf(`{"key":%q,"rpm_limit":%d}`, key, n)))
				if err != nil {
					t.Errorf("update: %v", err)
				}
				if i == 0 {
					if _, err := NewService(d, nil).UpdateTeam(context.Background(), fields(t, `{"team_id":"t"}`)); err != nil {
						t.Errorf("team: %v", err)
					}
				}
				if _, err := d.Lookup(context.Background(), DigestOf(key), testBounds); err != nil {
					t.Errorf("lookup: %v", err)
				}
			}
		})
	}
	wg.Wait()
	rec, err := NewService(d, nil).Info(t.Context(), keys[3])
	require.NoError(t, err)
	require.Equal(t, json.RawMessage("19"), rec.Extra["rpm_limit"])
}

func BenchmarkLookup(b *testing.B) {
	s, err := keystore.OpenFile(b.TempDir())
	require.NoError(b, err)
	d := NewCache(s, nopLogger, time.Now)
	defer func() { require.NoError(b, d.Close()) }()
	_, key, err := NewService(d, nil).Generate(b.Context(), named(""))
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Lookup(b.Context(), DigestOf(key), testBounds); err != nil {
			b.Fatal(err)
		}
	}
}
