package limit

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate-llm/tollgate/internal/price"
)

//go:embed common.lua
var commonLua string

//go:embed reserve.lua
var reserveLua string

//go:embed renew.lua
var renewLua string

//go:embed release.lua
var releaseLua string

//go:embed apply.lua
var applyLua string

//go:embed reset.lua
var resetLua string

//go:embed status.lua
var statusLua string

var (
	reserveScript = redis.NewScript(commonLua + reserveLua)
	renewScript   = redis.NewScript(commonLua + renewLua)
	releaseScript = redis.NewScript(commonLua + releaseLua)
	applyScript   = redis.NewScript(commonLua + applyLua)
	resetScript   = redis.NewScript(commonLua + resetLua)
	statusScript  = redis.NewScript(commonLua + statusLua)
)

// redisStore keeps limits in Redis, for all instances together. Times are the server's, so the clocks of instances do not matter.
// In a cluster all keys have one hash tag, as one script works on all counters of a call.
type redisStore struct {
	client redis.UniversalClient
	prefix string
	jobs   chan *job
	quit   chan struct{}
	ended  chan struct{}
	offset atomic.Int64 // the server's time less this clock's, nanoseconds
	peers  atomic.Int64 // how many instances there are, from the answer to the last admission; 0: unknown

	now func() time.Time // of tests; nil: the server's
}

// NewRedis returns a store in Redis. The caller keeps the client, whose timeouts apply. In a cluster the prefix gets a hash tag if it
// has none.
func NewRedis(client redis.UniversalClient, prefix string) Store {
	return newRedis(client, prefix, nil)
}

func newRedis(client redis.UniversalClient, prefix string, now func() time.Time) *redisStore {
	if _, cluster := client.(*redis.ClusterClient); cluster && !strings.Contains(prefix, "{") {
		prefix = "{" + prefix + "}"
	}
	s := &redisStore{client: client, prefix: prefix, now: now, jobs: make(chan *job), quit: make(chan struct{}), ended: make(chan struct{})}
	go s.send()
	return s
}

func (s *redisStore) leases() string             { return s.prefix + "leases" }
func (s *redisStore) reservations() string       { return s.prefix + "reservations" }
func (s *redisStore) cursors() string            { return s.prefix + "cursors" }
func (s *redisStore) instances() string          { return s.prefix + "instances" }
func (s *redisStore) counter(name string) string { return s.prefix + "limit:" + name }
func (s *redisStore) total(name string) string   { return s.prefix + "total:" + name }

// clock is the time as scripts get it: empty for the server's own.
func (s *redisStore) clock() string {
	if s.now == nil {
		return ""
	}
	return strconv.FormatInt(s.now().UnixMilli(), 10)
}

// guess is the server's time, as far as this instance knows.
func (s *redisStore) guess() time.Time {
	if s.now != nil {
		return s.now()
	}
	return time.Now().Add(time.Duration(s.offset.Load()))
}

// others returns how many instances share the store, this one included; 0 if that is not known yet.
func (s *redisStore) others() int64 { return s.peers.Load() }

// learn notes the server's time. It returns that time.
func (s *redisStore) learn(ms int64) time.Time {
	at := time.UnixMilli(ms).UTC()
	s.offset.Store(int64(time.Until(at)))
	return at
}

// letters are metrics as scripts know them.
var letters = map[Metric]string{Cost: "c", Requests: "q", Tokens: "t", InputTokens: "i", OutputTokens: "o", Parallel: "p"}

func (n *need) limbs() (high, low uint64) {
	if n.metric == Cost {
		high, low, _ = n.money.Limbs() // needs has checked it
		return high, low
	}
	return uint64(n.count), 0 //nolint:gosec // not negative
}

// expires returns when the key of a counter expires: 0 if the scripts remove it, and the negated number of seconds for one that
// expires when it is unused for that long.
func expires(name string, end int64) int64 {
	switch {
	case idles(name, end):
		return -int64(sessionKept / time.Second)
	case end == 0:
		return 0
	}
	return end + int64(keepWindow/time.Second)
}

// Reserve implements Store.
func (s *redisStore) Reserve(ctx context.Context, r *Reservation) (*Grant, error) {
	for range 3 {
		needs, of, err := needs(r, s.guess())
		if err != nil {
			return nil, err
		}
		reply, at, err := s.run(ctx, s.jobOf(r, needs))
		if err != nil {
			return nil, err
		}
		now := s.learn(at)
		switch code := reply[0]; {
		case code == 0 && len(reply) == 1+4*len(needs):
			states := make([]State, len(needs))
			for i := range needs {
				needs[i].at = now.Unix()
				states[i] = needs[i].stateOf(reply[1+4*i:], now.Unix())
			}
			return grant(r, needs, of, states, now), nil
		case code == 1 && len(reply) == 6 && reply[1] >= 1 && reply[1] <= int64(len(needs)):
			n := &needs[reply[1]-1]
			st := n.stateOf(reply[2:], now.Unix())
			var retry time.Duration
			if n.metric == Cost {
				if !st.ResetsAt.IsZero() {
					retry = st.ResetsAt.Sub(now)
				}
			} else {
				retry = time.Duration(reply[3]) * time.Millisecond
			}
			return nil, n.denial(r, st, retry)
		case code == 2: // a window is just ending, or this is the first call and clocks differ
		default:
			return nil, errReply
		}
	}
	return nil, errors.New("redis: the server's clock jumps")
}

// errReply means that a script of another version answered.
var errReply = errors.New("redis: unexpected answer of a script")

// jobOf encodes a reservation for the script.
func (s *redisStore) jobOf(r *Reservation, needs []need) *job {
	const about = 128 // what a counter takes
	j := &job{call: make([]byte, 0, 64+about*len(needs)), finished: r.finished, done: make(chan struct{})}
	entries := 1
	for i := range needs {
		if entries += 4; needs[i].metric == Cost {
			entries += 5
		}
	}
	b := packText(packList(j.call, entries), r.ID)
	for i := range needs {
		n := &needs[i]
		b = packText(b, letters[n.metric])
		b = packText(b, s.counter(n.name))
		if n.metric == Cost {
			b = packMoney(b, n.money)
			if n.hard >= 0 {
				b = packMoney(b, r.Limits[n.hard].Money)
			} else {
				b = packInt(packInt(b, -1), 0)
			}
			b = packInt(packInt(packInt(b, n.start), n.end), expires(n.name, n.end))
			continue
		}
		most := int64(-1)
		if n.hard >= 0 {
			most = r.Limits[n.hard].Max
		}
		b = packInt(packInt(b, n.count), most)
	}
	j.call = b
	return j
}

// packMoney appends the limbs of an amount, which needs has checked.
func packMoney(b []byte, a price.Amount) []byte {
	high, low, _ := a.Limbs()
	return packInt(packInt(b, int64(high)), int64(low)) //nolint:gosec // below 2^53
}

// stateOf reads the four numbers of a counter after an admission.
func (n *need) stateOf(v []int64, newest int64) (st State) {
	if n.metric == Cost {
		st.Spent, st.Reserved = amountOf(v[0], v[1]), amountOf(v[2], v[3])
		if n.end != 0 {
			st.ResetsAt = time.Unix(n.end, 0).UTC()
		}
		return st
	}
	if st.Used = v[0]; n.metric.rate() && st.Used > 0 {
		st.ResetsAt = time.Unix(newest+rateSeconds, 0).UTC()
	}
	return st
}

func amountOf(high, low int64) price.Amount {
	return price.FromLimbs(uint64(max(0, high)), uint64(max(0, low))) //nolint:gosec // not negative
}

// Renew implements Store.
func (s *redisStore) Renew(ctx context.Context, instance string, calls []*Held) (instances int, err error) {
	const part = 100
	for first := true; first || len(calls) > 0; first = false {
		n := min(part, len(calls))
		args := []any{s.clock(), Lease.Milliseconds(), instance}
		for _, h := range calls[:n] {
			args = append(args, h.ID, h.alone, len(h.need))
			for i := range h.need {
				need := &h.need[i]
				high, low := need.limbs()
				if need.metric.rate() {
					low = uint64(h.second(need)) //nolint:gosec // after 1970
				}
				args = append(args, letters[need.metric], s.counter(need.name), high, low, expires(need.name, need.end))
			}
		}
		calls = calls[n:]
		instances, err = renewScript.Run(ctx, s.client, []string{s.leases(), s.reservations(), s.instances()}, args...).Int()
		if err != nil {
			return 0, err
		}
	}
	return instances, nil
}

// Release implements Store.
func (s *redisStore) Release(ctx context.Context, ids ...string) error {
	args := append(make([]any, 0, 1+len(ids)), s.clock())
	for _, id := range ids {
		args = append(args, id)
	}
	return releaseScript.Run(ctx, s.client, []string{s.leases(), s.reservations()}, args...).Err()
}

// Finish implements Store. Finished calls are sent with admissions.
func (s *redisStore) Finish(ctx context.Context, ids ...string) error {
	_, _, err := s.run(ctx, &job{finished: ids, done: make(chan struct{})})
	return err
}

// Apply implements Store.
func (s *redisStore) Apply(ctx context.Context, b *Batch) (cursor uint64, err error) {
	args, err := s.applyArgs(b)
	if err != nil {
		return 0, err
	}
	return applyScript.Run(ctx, s.client, []string{s.leases(), s.reservations(), s.cursors()}, args...).Uint64()
}

func (s *redisStore) applyArgs(b *Batch) ([]any, error) {
	now := s.guess()
	type budget struct {
		sum price.Amount
		end int64
	}
	budgets := make(map[string]*budget)
	calls := make([]any, 0, 8*len(b.Charges))
	for i := range b.Charges {
		c := &b.Charges[i]
		calls = append(calls, c.ID, c.InputTokens, c.OutputTokens, c.At.Unix(), 0)
		at, rates := len(calls)-1, 0
		for _, name := range c.Counters {
			p, ok := parseCounter(name)
			switch {
			case !ok:
			case p.metric == Cost && p.kept(now):
				if budgets[name] == nil {
					budgets[name] = &budget{end: p.end}
				}
				sum, err := budgets[name].sum.Add(c.Cost)
				if err != nil {
					return nil, err
				}
				budgets[name].sum = sum
			case p.metric.rate() && c.At.After(now.Add(-2*Lease)): // the script looks closer
				calls = append(calls, letters[p.metric], s.counter(name))
				rates++
			}
		}
		calls[at] = rates
	}
	args := []any{s.clock(), b.Spool, strconv.FormatUint(b.From, 10), strconv.FormatUint(b.To, 10), len(budgets)}
	for name, sum := range budgets {
		h, l, ok := sum.sum.Limbs()
		if !ok {
			return nil, fmt.Errorf("%w: a charge of %s", ErrTooLarge, sum.sum)
		}
		args = append(args, s.counter(name), h, l, expires(name, sum.end))
	}
	args = append(args, len(b.Adds))
	for _, a := range b.Adds {
		h, l, ok := a.Amount.Limbs()
		if !ok {
			return nil, fmt.Errorf("%w: %s to be added", ErrTooLarge, a.Amount)
		}
		args = append(args, s.total(a.Total), a.Field, h, l)
	}
	return append(args, calls...), nil
}

// Cursor implements Store.
func (s *redisStore) Cursor(ctx context.Context, spool string) (uint64, error) {
	cursor, err := s.client.HGet(ctx, s.cursors(), spool).Uint64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return cursor, err
}

// Status implements Store.
func (s *redisStore) Status(ctx context.Context, limits []Limit) ([]State, error) {
	states := make([]State, len(limits))
	needs := make([]need, len(limits))
	keys, args := []string{s.leases(), s.reservations()}, []any{s.clock()}
	now := s.guess()
	for i := range limits {
		if err := limits[i].Window.check(); err != nil {
			return nil, err
		}
		n := &needs[i]
		n.metric = limits[i].Metric
		n.name, n.start, n.end = limits[i].counter(now)
		keys, args = append(keys, s.counter(n.name)), append(args, letters[n.metric])
	}
	reply, err := statusScript.Run(ctx, s.client, keys, args...).Int64Slice()
	if err != nil {
		return nil, err
	}
	if len(reply) != 1+4*len(limits) {
		return nil, errReply
	}
	s.learn(reply[0])
	for i := range limits {
		v := reply[1+4*i:]
		states[i] = needs[i].stateOf(v, v[1])
		states[i].Limit, states[i].Counter = limits[i], needs[i].name
	}
	return states, nil
}

// Totals implements Store.
func (s *redisStore) Totals(ctx context.Context, totals ...string) ([]map[string]price.Amount, error) {
	pipe := s.client.Pipeline()
	replies := make([]*redis.MapStringStringCmd, len(totals))
	for i, name := range totals {
		replies[i] = pipe.HGetAll(ctx, s.total(name))
	}
	if len(totals) > 0 {
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, err
		}
	}
	all := make([]map[string]price.Amount, len(totals))
	for i, reply := range replies {
		all[i] = make(map[string]price.Amount)
		for field, text := range reply.Val() {
			n, err := strconv.ParseUint(text, 10, 63)
			if err != nil || field == "" {
				return nil, fmt.Errorf("redis: total %s has %q in field %q", totals[i], text, field)
			}
			limb := price.FromLimbs(n, 0)
			if field[0] == 'l' {
				limb = price.FromLimbs(0, n)
			}
			sum, err := all[i][field[1:]].Add(limb)
			if err != nil {
				return nil, err
			}
			all[i][field[1:]] = sum
		}
	}
	return all, nil
}

// Put implements Store.
func (s *redisStore) Put(ctx context.Context, l Limit, spent price.Amount) error {
	if err := l.checkPut(spent); err != nil {
		return err
	}
	name, _, end := l.counter(s.guess())
	h, low, _ := spent.Limbs() // checked above
	pipe := s.client.TxPipeline()
	pipe.HSet(ctx, s.counter(name), "a", h, "b", low)
	if end != 0 {
		pipe.ExpireAt(ctx, s.counter(name), time.Unix(expires(name, end), 0))
	}
	_, err := pipe.Exec(ctx)
	return err
}

// globs are the characters to escape in a pattern of keys.
var globs = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// Reset implements Store.
func (s *redisStore) Reset(ctx context.Context) error {
	return resetScript.Run(ctx, s.client, []string{s.leases(), s.reservations(), s.cursors()},
		s.clock(), globs.Replace(s.counter(string(Cost)+"|"))+"*", globs.Replace(s.total(""))+"*").Err()
}

// Close ends the sending; the client stays open.
func (s *redisStore) Close() error {
	close(s.quit)
	<-s.ended
	return nil
}

// Interface guard.
var _ Store = (*redisStore)(nil)
