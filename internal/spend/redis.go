package spend

import (
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate-llm/tollgate/internal/price"
)

//go:embed apply.lua
var applyLua string

var applyScript = redis.NewScript(applyLua)

const (
	// RedisBatchSize is the best number of records to apply in one batch in Redis.
	RedisBatchSize = BatchSize
	// redisMost bounds how many sums one script changes: Redis serves no other client meanwhile, for some milliseconds at most.
	redisMost = 3000
	// readAtOnce bounds how many hashes are asked for in one round trip.
	readAtOnce = 500
)

// redisMedium keeps the books of an account in Redis, for all instances together. docs/redis.md has the layout.
type redisMedium struct {
	client redis.UniversalClient
	prefix string
	now    func() time.Time
}

// NewRedis returns the books of an account in Redis. Closing them closes the client. In a cluster the prefix gets a hash tag if it has
// none, as one script changes all rows.
func NewRedis(client redis.UniversalClient, prefix, account string, o Options) *Book {
	if _, cluster := client.(*redis.ClusterClient); cluster && !strings.Contains(prefix, "{") {
		prefix = "{" + prefix + "}"
	}
	m := &redisMedium{client: client, prefix: prefix + "books:" + url.PathEscape(account) + ":"}
	b := newBook(m, o)
	m.now = b.o.Now
	return b
}

func (m *redisMedium) close() error            { return m.client.Close() }
func (m *redisMedium) most() int               { return redisMost }
func (m *redisMedium) pairs() string           { return m.prefix + "pairs" }
func (m *redisMedium) cursors() string         { return m.prefix + "cursors" }
func (m *redisMedium) name(d Dimension) string { return m.prefix + "names:" + strconv.Itoa(int(d)) }

// place names a period of rows.
func (m *redisMedium) place(u unit, d Dimension, period uint32) string {
	return string(byte(u)) + strconv.Itoa(int(d)) + ":" + strconv.FormatUint(uint64(period), 10)
}

func (m *redisMedium) shards(place string) string { return m.prefix + "shards:" + place }

func (m *redisMedium) rows(place, shard string) string {
	return m.prefix + "rows:" + place + ":" + shard
}

// shardOf distributes the rows of a period over hashes that stay small.
func shardOf(d Dimension, i id) string {
	n := binary.BigEndian.Uint16(i[:2])
	if d == tuple {
		return strconv.Itoa(int(n >> 4))
	}
	return strconv.Itoa(int(n >> 10))
}

func (m *redisMedium) cursor(ctx context.Context, spool string) (uint64, error) {
	cursor, err := m.client.HGet(ctx, m.cursors(), spool).Uint64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return cursor, err
}

func (m *redisMedium) seed(ctx context.Context) ([]byte, error) {
	key := m.prefix + "seed"
	if err := m.client.SetNX(ctx, key, newSeed(), 0).Err(); err != nil {
		return nil, err
	}
	return m.client.Get(ctx, key).Bytes()
}

func (m *redisMedium) apply(ctx context.Context, spool string, from, to uint64, b *batch) (uint64, error) {
	args := make([]any, 0, 6+3*len(b.names)+6*len(b.rows)+3*b.size())
	tomorrow := days.of(m.now()) + 1
	args = append(args, spool, strconv.FormatUint(from, 10), strconv.FormatUint(to, 10), m.pairs(), tomorrow, len(b.names))
	for i, n := range b.names {
		args = append(args, m.name(n.dim), string(i[:]), n.text)
	}
	now := m.now()
	for n := range b.rows {
		r := &b.rows[n]
		place, shard := m.place(r.unit, r.dim, r.period), shardOf(r.dim, r.id)
		args = append(args, m.rows(place, shard), m.shards(place), shard, r.live(now), string(r.id[:]), len(r.sums))
		for _, e := range r.sums {
			high, low, ok := e.amount.Limbs()
			if !ok {
				return 0, fmt.Errorf("books: an amount of %s is too large", e.amount)
			}
			args = append(args, b.name(e.measure), high, low)
		}
	}
	return applyScript.Run(ctx, m.client, []string{m.cursors()}, args...).Uint64()
}

// live returns how many seconds a row is kept; 0: for ever.
func (r *row) live(now time.Time) int64 {
	keep := KeepHours
	switch {
	case !r.dim.joint() || r.unit == months:
		return 0
	case r.unit == days:
		keep = KeepDays
	}
	return max(1, int64(r.unit.start(r.period+1).Add(keep).Sub(now)/time.Second))
}

func (m *redisMedium) view(ctx context.Context, fn func(reader) error) error {
	return fn(&redisReader{ctx, m, &codes{of: make(map[string]int)}})
}

// redisReader reads rows batch by batch: records added meanwhile may be in some of them.
type redisReader struct {
	ctx context.Context //nolint:containedctx // it lives for one question
	m   *redisMedium
	c   *codes
}

func (r *redisReader) pairsFrom() (uint32, error) {
	n, err := r.m.client.Get(r.ctx, r.m.pairs()).Uint64()
	if errors.Is(err, redis.Nil) || err == nil && n > math.MaxUint32 {
		return math.MaxUint32, nil // nothing was added since pairs were introduced
	}
	return uint32(n), err //nolint:gosec // checked above
}

func (r *redisReader) names(d Dimension, fn func(id, string) error) error {
	all, err := r.m.client.HGetAll(r.ctx, r.m.name(d)).Result()
	if err != nil {
		return err
	}
	for i, text := range all {
		if len(i) != len(id{}) {
			return errDamaged
		}
		if err := fn(id([]byte(i)), text); err != nil {
			return err
		}
	}
	return nil
}

// hash is a hash of rows to read.
type hash struct {
	period uint32
	key    string
}

func (r *redisReader) scan(u unit, d Dimension, from, to uint32, ids []id, fn func(uint32, id) *sums) error {
	wanted := make(map[string]bool)
	asked := make(map[id]bool)
	for _, i := range ids {
		wanted[shardOf(d, i)], asked[i] = true, true
	}
	for from < to {
		end := min(to, from+readAtOnce)
		hashes, err := r.hashes(u, d, from, end, ids != nil, wanted)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(hashes, readAtOnce) {
			err := r.read(part, func(period uint32, i id) *sums {
				if ids != nil && !asked[i] {
					return nil
				}
				return fn(period, i)
			})
			if err != nil {
				return err
			}
		}
		from = end
	}
	return nil
}

// hashes lists the existing hashes of periods.
func (r *redisReader) hashes(u unit, d Dimension, from, to uint32, some bool, wanted map[string]bool) (list []hash, err error) {
	pipe := r.m.client.Pipeline()
	replies := make([]*redis.StringSliceCmd, 0, to-from)
	for period := from; period < to; period++ {
		replies = append(replies, pipe.SMembers(r.ctx, r.m.shards(r.m.place(u, d, period))))
	}
	if _, err := pipe.Exec(r.ctx); err != nil {
		return nil, err
	}
	for n, reply := range replies {
		period := from + uint32(n) //nolint:gosec // small
		for _, shard := range reply.Val() {
			if !some || wanted[shard] {
				list = append(list, hash{period, r.m.rows(r.m.place(u, d, period), shard)})
			}
		}
	}
	return list, nil
}

func (r *redisReader) read(list []hash, fn func(uint32, id) *sums) error {
	pipe := r.m.client.Pipeline()
	replies := make([]*redis.MapStringStringCmd, len(list))
	for n, h := range list {
		replies[n] = pipe.HGetAll(r.ctx, h.key)
	}
	if _, err := pipe.Exec(r.ctx); err != nil {
		return err
	}
	for n, reply := range replies {
		for field, text := range reply.Val() {
			const head = len(id{})
			v, err := strconv.ParseUint(text, 10, 63)
			if err != nil || len(field) < head+2 {
				return errDamaged
			}
			s := fn(list[n].period, id([]byte(field[:head])))
			if s == nil {
				continue
			}
			a := price.FromLimbs(v, 0)
			if field[head] == 'l' {
				a = price.FromLimbs(0, v)
			}
			if err := s.add(r.code(field[head+1:]), a, r.c); err != nil {
				return err
			}
		}
	}
	return nil
}

// code numbers a measure, for this question.
func (r *redisReader) code(measure string) int {
	code, known := r.c.of[measure]
	if !known {
		code = len(r.c.names)
		r.c.of[measure] = code
		r.c.names = append(r.c.names, measure)
	}
	return code
}
