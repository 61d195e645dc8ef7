package limit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// clock is a clock that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// medium is a store of a test and what can happen to it.
type medium struct {
	Store
	crash func() Store // the process ends; the next one's store
	flush func()       // what the store has is lost; nil where that takes the file
	lost  bool         // reservations do not survive crash
}

func usd(t testing.TB, text string) price.Amount {
	t.Helper()
	a, err := price.ParseUSD(text)
	require.NoError(t, err)
	return a
}

func fileMedium(t testing.TB, c *clock) *medium {
	dir := t.TempDir()
	m := &medium{lost: true}
	open := func() Store {
		s, err := openFile(dir, c.now)
		require.NoError(t, err)
		m.Store = s
		return s
	}
	m.crash = func() Store {
		require.NoError(t, m.Close())
		return open()
	}
	open()
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func redisClient(t testing.TB) redis.UniversalClient {
	client := redis.NewClient(&redis.Options{Addr: testkit.Redis(t).Addr, MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func redisMedium(t testing.TB, c *clock) *medium {
	client := redisClient(t)
	m := &medium{}
	open := func() Store {
		m.Store = newRedis(client, "tollgate:", c.now)
		return m.Store
	}
	m.crash = func() Store {
		require.NoError(t, m.Close())
		return open()
	}
	m.flush = func() { require.NoError(t, client.FlushAll(context.Background()).Err()) }
	open()
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// media runs a test on every kind of store.
func media(t *testing.T, test func(t *testing.T, m *medium, c *clock)) {
	for name, open := range map[string]func(testing.TB, *clock) *medium{"file": fileMedium, "redis": redisMedium} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &clock{at: time.Now().Truncate(time.Second).UTC()}
			test(t, open(t, c), c)
		})
	}
}

// admitted is a call that the model knows.
type admitted struct {
	r        Reservation
	at       time.Time
	counters []string
	need     []need
	seconds  map[string]time.Time // when it took a counter that it did not take when it was admitted
	held     bool
	until    time.Time
	finished bool // no longer running
	lost     bool // the store lost what it had reserved
	inTime   bool // it was applied while it had its reservation
	applied  *Charge
}

// model is the plainest engine: it keeps every call for ever and adds up.
type model struct {
	t       *testing.T
	r       *rand.Rand
	c       *clock
	m       *medium
	calls   []*admitted
	log     []Batch // of applied records, as the spool has them
	seq     uint64
	trace   []string
	along   []string // calls that ended
	denials int
	total   price.Amount
}

func plus(a, b price.Amount) price.Amount {
	sum, err := a.Add(b)
	if err != nil {
		panic(err)
	}
	return sum
}

func (a *admitted) has(counter string) bool {
	for _, name := range a.counters {
		if name == counter {
			return true
		}
	}
	return false
}

// state adds up a counter from all calls that ever were.
func (m *model) state(l *Limit) (st State) {
	name, _, _ := l.counter(m.c.at)
	for _, a := range m.calls {
		if !a.has(name) || a.applied != nil && !slices.Contains(a.applied.Counters, name) {
			continue
		}
		switch l.Metric {
		case Cost:
			if a.applied != nil {
				st.Spent = plus(st.Spent, a.applied.Cost)
			} else if a.held {
				st.Reserved = plus(st.Reserved, a.r.Cost)
			}
		case Parallel:
			if a.held && !a.finished {
				st.Used++
			}
		default:
			at := a.at
			if later, ok := a.seconds[name]; ok && (a.applied == nil || a.inTime) {
				at = later
			}
			if at.Unix() <= m.c.at.Unix()-61 {
				continue
			}
			used := Charge{InputTokens: a.r.InputTokens, OutputTokens: a.r.OutputTokens}
			if a.applied != nil {
				used = *a.applied
			} else if a.lost {
				continue
			}
			st.Used += used.used(l.Metric)
		}
	}
	return st
}

func (m *model) admits(r *Reservation) (denied int) {
	for i := range r.Limits {
		l := &r.Limits[i]
		st := m.state(l)
		switch {
		case l.Soft:
		case l.Metric == Cost:
			if st.Spent.Cmp(l.Money) >= 0 || plus(plus(st.Spent, st.Reserved), r.Cost).Cmp(l.Money) > 0 {
				return i
			}
		default:
			c := Charge{InputTokens: r.InputTokens, OutputTokens: r.OutputTokens}
			n := c.used(l.Metric)
			if l.Metric == Parallel {
				n = 1
			}
			if st.Used >= l.Max || st.Used+n > l.Max {
				return i
			}
		}
	}
	return -1
}

func (m *model) lapse() {
	for _, a := range m.calls {
		if a.held && !a.until.After(m.c.at) {
			a.held = false
		}
	}
}

func (m *model) note(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf("%s ", m.c.at.Format("04:05"))+fmt.Sprintf(format, args...))
}

func (m *model) story() string { return strings.Join(m.trace[max(0, len(m.trace)-60):], "\n") }

// limits picks limits of some scopes. Those of one scope are the same each time.
func (m *model) limits() (list []Limit) {
	day := Window{Anchor: m.c.at.Truncate(24 * time.Hour), Every: 10 * time.Minute}
	key := Scope{Key, fmt.Sprintf("key|%d", m.r.IntN(3))}
	team := Scope{Team, "a/team"}
	all := []Limit{
		{Scope: key, Metric: Cost, Window: day, Money: usd(m.t, "0.000000700000003")},
		{Scope: key, Metric: Cost, Window: day, Money: usd(m.t, "0.0000001"), Soft: true},
		{Scope: team, Metric: Cost, Money: usd(m.t, "20000")},
		{Scope: key, Metric: Requests, Max: 9},
		{Scope: team, Metric: Tokens, Max: 900},
		{Scope: team, Metric: InputTokens, Model: "gpt", Max: 300},
		{Scope: key, Metric: OutputTokens, Max: 500},
		{Scope: key, Metric: Parallel, Max: 4},
	}
	for _, l := range all {
		if m.r.IntN(2) == 0 {
			list = append(list, l)
		}
	}
	return list
}

func (m *model) reserve() {
	r := Reservation{ID: fmt.Sprintf("call-%d", len(m.calls)), Limits: m.limits(), InputTokens: m.r.Int64N(60), OutputTokens: m.r.Int64N(90)}
	r.Cost, r.finished = price.FromLimbs(0, m.r.Uint64N(400_000)), m.along
	if m.r.IntN(8) == 0 {
		r.Cost = price.FromLimbs(m.r.Uint64N(3_000_000_000), m.r.Uint64N(price.LimbBase))
	}
	if len(r.Limits) == 0 {
		return
	}
	want := m.admits(&r)
	m.note("reserve %s: %d", r.ID, want)
	g, err := m.m.Reserve(m.t.Context(), &r)
	var d *DeniedError
	if errors.As(err, &d) {
		m.denials++
		require.Equal(m.t, want >= 0, true, "denied by %v, and not by the model\n%s", d, m.story())
		st := m.state(&d.Limit)
		require.Equal(m.t, [3]any{st.Spent, st.Reserved, st.Used}, [3]any{d.Spent, d.Reserved, d.Used}, m.story())
		return
	}
	require.NoError(m.t, err)
	require.Equal(m.t, -1, want, "admitted: %+v\n%s", g, m.story())
	a := &admitted{r: r, at: g.At, counters: g.Counters, need: g.need, seconds: make(map[string]time.Time), held: true, until: m.c.at.Add(Lease)}
	m.calls = append(m.calls, a)
	again, err := m.m.Reserve(m.t.Context(), &r)
	require.NoError(m.t, err)
	require.Equal(m.t, g.States, again.States, "asked again, nothing more is taken")
}

// extend moves a running call to another backend, which has its own limits.
func (m *model) extend() {
	for _, a := range m.calls {
		if !a.held || a.finished || m.r.IntN(4) > 0 {
			continue
		}
		r := a.r
		r.Limits = slices.DeleteFunc(m.limits(), func(l Limit) bool { name, _, _ := l.counter(m.c.at); return a.has(name) })
		if len(r.Limits) == 0 {
			return
		}
		want := m.admits(&r)
		m.note("extend %s: %d", r.ID, want)
		g, err := m.m.Reserve(m.t.Context(), &r)
		var d *DeniedError
		if errors.As(err, &d) {
			require.GreaterOrEqual(m.t, want, 0, "denied by %v, and not by the model\n%s", d, m.story())
			return
		}
		require.NoError(m.t, err)
		require.Equal(m.t, -1, want, "admitted: %+v\n%s", g, m.story())
		a.need, a.counters = append(a.need, g.need...), append(a.counters, g.Counters...)
		for _, name := range g.Counters {
			a.seconds[name] = g.At
		}
		a.until = m.c.at.Add(Lease)
		_, err = m.m.Renew(m.t.Context(), "here", m.held()) // the lease of a call that takes more is not shorter than the others
		require.NoError(m.t, err)
		return
	}
}

// settled picks calls that are not applied yet.
func (m *model) apply() {
	b := Batch{Spool: "spool", From: m.seq}
	for _, a := range m.calls {
		if a.applied != nil || (!a.held && a.until.IsZero()) || m.r.IntN(3) > 0 {
			continue
		}
		c := Charge{ID: a.r.ID, At: a.at, Counters: a.counters, Cost: price.FromLimbs(0, m.r.Uint64N(500_000)), InputTokens: m.r.Int64N(70), OutputTokens: m.r.Int64N(90)}
		a.inTime = a.held
		if m.r.IntN(3) == 0 { // it went to another model than one that it had reserved something of
			c.Counters = slices.DeleteFunc(slices.Clone(c.Counters), func(string) bool { return m.r.IntN(2) == 0 })
		}
		a.applied, a.held = &c, false
		b.Charges = append(b.Charges, c)
		b.Adds = append(b.Adds, Add{Total: "gateway", Field: "cost", Amount: c.Cost}, Add{Total: "gateway", Field: "calls", Amount: price.FromLimbs(0, 1)})
		m.total = plus(m.total, c.Cost)
		m.seq += 1 + m.r.Uint64N(3)
	}
	b.To = m.seq
	if len(b.Charges) == 0 {
		return
	}
	m.log = append(m.log, b)
	m.note("apply %d calls", len(b.Charges))
	cursor, err := m.m.Apply(m.t.Context(), &b)
	require.NoError(m.t, err)
	require.Equal(m.t, b.To, cursor)
	cursor, err = m.m.Apply(m.t.Context(), &b)
	require.NoError(m.t, err)
	require.Equal(m.t, b.To, cursor, "a batch that comes twice changes nothing")
}

func (m *model) held() (held []*Held) {
	for _, a := range m.calls {
		if a.held {
			h := Held{ID: a.r.ID, At: a.at, need: a.need}
			if a.finished {
				h = h.finished()
			}
			held = append(held, &h)
			a.until = m.c.at.Add(Lease)
		}
	}
	return held
}

func (m *model) renew() {
	m.note("renew")
	n, err := m.m.Renew(m.t.Context(), "here", m.held())
	require.NoError(m.t, err)
	require.Equal(m.t, 1, n)
}

// finish ends calls, some of them along with the next admission, some twice.
func (m *model) finish() {
	m.along = nil
	for _, a := range m.calls {
		if !a.held || m.r.IntN(3) > 0 {
			continue
		}
		a.finished = true
		m.note("finish %s", a.r.ID)
		if m.along = append(m.along, a.r.ID); m.r.IntN(2) == 0 {
			require.NoError(m.t, m.m.Finish(m.t.Context(), a.r.ID, "unknown"))
		}
	}
	if len(m.along) > 0 {
		m.reserve()
		require.NoError(m.t, m.m.Finish(m.t.Context(), m.along...))
		m.along = nil
	}
}

func (m *model) release() {
	for i, a := range m.calls {
		if a.held && m.r.IntN(3) == 0 {
			m.note("release %s", a.r.ID)
			require.NoError(m.t, m.m.Release(m.t.Context(), a.r.ID, "unknown"))
			m.calls = append(m.calls[:i:i], m.calls[i+1:]...)
			m.calls = append(m.calls, &admitted{until: time.Time{}}) // ids go on
			return
		}
	}
}

// crash ends the process. Where the store is in it, what calls under way had reserved goes; the records of some come later.
func (m *model) crash() {
	m.note("crash")
	m.m.crash()
	if !m.m.lost {
		return
	}
	for _, a := range m.calls {
		if a.inTime = false; a.applied == nil {
			a.held, a.lost = false, true
		}
	}
}

// flush loses all that Redis has. Live calls bring back their reservations, and the spool's records are applied again.
func (m *model) flush() {
	if m.m.flush == nil {
		return
	}
	m.note("flush")
	m.m.flush()
	m.renew()
	cursor, err := m.m.Cursor(m.t.Context(), "spool")
	require.NoError(m.t, err)
	require.Zero(m.t, cursor)
	for _, a := range m.calls {
		a.inTime = false
	}
	for _, b := range m.log {
		cursor, err := m.m.Apply(m.t.Context(), &b)
		require.NoError(m.t, err)
		require.Equal(m.t, b.To, cursor)
	}
}

func (m *model) wait() {
	d := time.Duration(m.r.IntN(9000)) * time.Millisecond
	if m.r.IntN(12) == 0 {
		d = time.Duration(m.r.IntN(200)) * time.Second
	}
	m.c.at = m.c.at.Add(d)
	m.lapse()
}

// check compares every counter.
func (m *model) check() {
	limits := append(m.limits(), m.limits()...)
	if len(limits) == 0 {
		return
	}
	states, err := m.m.Status(m.t.Context(), limits)
	require.NoError(m.t, err)
	for i := range limits {
		want := m.state(&limits[i])
		got := states[i]
		require.Equal(m.t, [3]any{want.Spent, want.Reserved, want.Used}, [3]any{got.Spent, got.Reserved, got.Used}, "%+v\n%s", limits[i], m.story())
	}
}

// TestStoresAreTheModel compares every store with a model that adds up all calls there ever were, through random admissions,
// settlements, renewals, crashes, losses and waits.
func TestStoresAreTheModel(t *testing.T) {
	media(t, func(t *testing.T, medium *medium, c *clock) {
		for seed := range uint64(6) {
			m := &model{t: t, r: rand.New(rand.NewPCG(seed, 12)), c: c, m: medium}
			if medium.flush != nil {
				medium.flush()
			} else {
				m.m = fileMedium(t, c)
			}
			steps := []struct {
				weight int
				do     func()
			}{{40, m.reserve}, {14, m.apply}, {6, m.renew}, {4, m.release}, {5, m.finish}, {6, m.extend}, {2, m.crash}, {1, m.flush}, {25, m.wait}, {8, m.check}}
			for range 700 {
				at := m.r.IntN(111)
				for _, s := range steps {
					if at -= s.weight; at < 0 {
						s.do()
						break
					}
				}
			}
			m.check()
			totals, err := m.m.Totals(t.Context(), "gateway", "none")
			require.NoError(t, err)
			require.Equal(t, m.total, totals[0]["cost"])
			require.Empty(t, totals[1])
			require.Greater(t, m.denials, 20)
			t.Logf("%d calls, %d denials, %s USD", len(m.calls), m.denials, m.total)
		}
	})
}
