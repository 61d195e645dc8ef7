package spool

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkCall does what a call does in all: its record is opened and settled, and every hundred are claimed and
// acknowledged together. Segments end and are pruned meanwhile. It runs one caller, and 32, and one that has touched so
// much memory before each step that caches are cold; that one's time is of the steps alone.
func BenchmarkCall(b *testing.B) {
	for _, callers := range []int{1, 32} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			c := newCaller(b)
			b.ReportAllocs()
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n := c.calls.Add(1)
					c.begin(n)
					c.settle(n)
					c.deliver(n)
				}
			})
		})
	}
	b.Run("cold", func(b *testing.B) {
		c, other := newCaller(b), make([]byte, 4<<20)
		var took time.Duration
		for b.Loop() {
			n := c.calls.Add(1)
			for _, step := range []func(uint64){c.begin, c.settle, c.deliver} {
				for i := 0; i < len(other); i += 64 {
					other[i]++
				}
				start := time.Now()
				step(n)
				took += time.Since(start)
			}
		}
		b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/call")
	})
}

// caller is what the callers of a benchmark share.
type caller struct {
	b               *testing.B
	s               *Spool
	calls           atomic.Uint64
	one             sync.Mutex // who delivers
	opened, settled []byte
}

func newCaller(b *testing.B) *caller {
	s := mustOpen(b, Options{Dir: b.TempDir(), Retain: time.Millisecond})
	return &caller{b: b, s: s, opened: make([]byte, 450), settled: make([]byte, 1370)}
}

// id is as evenly spread as a UUIDv7.
func (*caller) id(n uint64) (id ID) {
	binary.BigEndian.PutUint64(id[:], n)
	binary.BigEndian.PutUint64(id[8:], n*0x9e3779b97f4a7c15)
	return id
}

func (c *caller) begin(n uint64) {
	if err := c.s.Begin(c.id(n), c.opened); err != nil {
		c.b.Error(err)
	}
}

func (c *caller) settle(n uint64) {
	if err := c.s.Settle(c.id(n), c.settled, true); err != nil {
		c.b.Error(err)
	}
}

func (c *caller) deliver(n uint64) {
	if n%100 != 0 {
		return
	}
	c.one.Lock()
	defer c.one.Unlock()
	for c.s.Stats().Pending >= 100 {
		records, err := c.s.Claim(c.b.Context(), 100)
		if err != nil {
			c.b.Error(err)
		}
		seqs := make([]uint64, len(records))
		for i, r := range records {
			seqs[i] = r.Seq
		}
		if err := c.s.Done(seqs...); err != nil {
			c.b.Error(err)
		}
	}
}
