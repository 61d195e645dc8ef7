package keys

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keystore"
)

const (
	shardCount   = 64
	shardKeys    = 100_000 / shardCount // known keys of a shard
	shardUnknown = 16_384 / shardCount  // unknown keys of a shard, kept apart so that a flood of them evicts no known key
	evictAmong   = 8                    // entries of which the least recently confirmed one goes
	recently     = 16                   // changes that a shard remembers
)

// entry is a store's answer about a key, and its time.
type entry struct {
	state *State // nil: there is no such key
	at    time.Time
	epoch uint64
}

// entries holds the store's answers about keys, bounded in number. An entry serves while it is fresh; afterwards it
// only shows what was true last.
type entries struct {
	epoch  atomic.Uint64 // counts the times at which changes may have been missed
	shards [shardCount]shard
}

type shard struct {
	mu      sync.RWMutex
	changes uint64           // counts the announced changes, so that an answer older than one of them is not kept
	recent  [recently]change // the last of them, by their number
	known   map[Digest]entry
	unknown map[Digest]entry
	parts   map[part]int // records that known keys depend on to how many: most have none here, and need no search
}

// part names a record that keys depend on: a team's, a user's, a member's or a budget's.
type part struct {
	kind keystore.Kind
	id   string
}

// change is an announced change of a record: that of a key, or of a part.
type change struct {
	part
	key     Digest // zero for a part
	version string // empty: not known
}

// note counts a change. The shard is locked.
func (s *shard) note(c change) {
	s.changes++
	s.recent[s.changes%recently] = c
}

// outdated reports whether an answer to a question of that time may be older than a change announced since.
func (s *shard) outdated(d Digest, state *State, since uint64) bool {
	if s.changes-since > recently {
		return true
	}
	for n := since + 1; n <= s.changes; n++ {
		switch c := &s.recent[n%recently]; {
		case c.kind == "" && c.key == d:
			if state == nil || c.version == "" || c.version != state.version {
				return true
			}
		case c.kind != "" && state != nil:
			if version, of := state.parts[c.part]; of && (c.version == "" || c.version != version) {
				return true
			}
		}
	}
	return false
}

func newEntries() *entries {
	c := new(entries)
	for i := range c.shards {
		c.shards[i].known = make(map[Digest]entry)
		c.shards[i].unknown = make(map[Digest]entry)
		c.shards[i].parts = make(map[part]int)
	}
	return c
}

func (c *entries) shard(d Digest) *shard { return &c.shards[d[0]%shardCount] }

// get returns what is known of a key, however old, and whether nothing has called it in question since.
func (c *entries) get(d Digest) (entry entry, current, ok bool) {
	s := c.shard(d)
	s.mu.RLock()
	entry, ok = s.known[d]
	if !ok {
		entry, ok = s.unknown[d]
	}
	s.mu.RUnlock()
	return entry, ok && entry.epoch == c.epoch.Load(), ok
}

// ticket notes the state of the entries before the store is asked, for put.
type ticket struct{ changes, epoch uint64 }

func (c *entries) ticket(d Digest) ticket {
	s := c.shard(d)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return ticket{changes: s.changes, epoch: c.epoch.Load()}
}

// put keeps the store's answer, unless a change came between the question and the answer which the answer does not hold.
func (c *entries) put(d Digest, t ticket, state *State, at time.Time) {
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outdated(d, state, t.changes) {
		return
	}
	s.forget(d)
	entry := entry{state: state, at: at, epoch: t.epoch}
	if state == nil {
		if len(s.unknown) >= shardUnknown {
			s.forget(oldest(s.unknown))
		}
		s.unknown[d] = entry
		return
	}
	if len(s.known) >= shardKeys {
		s.forget(oldest(s.known))
	}
	s.known[d] = entry
	for p := range state.parts {
		s.parts[p]++
	}
}

// forget drops an entry, if it is there. The shard is locked.
func (s *shard) forget(d Digest) {
	delete(s.unknown, d)
	e, there := s.known[d]
	if !there {
		return
	}
	delete(s.known, d)
	for p := range e.state.parts {
		if s.parts[p]--; s.parts[p] == 0 {
			delete(s.parts, p)
		}
	}
}

// oldest returns the least recently confirmed of a few entries.
func oldest(m map[Digest]entry) Digest {
	var oldest Digest
	var at time.Time
	n := 0
	for d, e := range m {
		if n == 0 || e.at.Before(at) {
			oldest, at = d, e.at
		}
		if n++; n == evictAmong {
			break
		}
	}
	return oldest
}

// drop forgets a key, unless what is known of it was made of that version of its record.
func (c *entries) drop(d Digest, version string) {
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(change{key: d, version: version})
	if e, there := s.known[d]; !there || version == "" || e.state.version != version {
		s.forget(d)
	}
}

// dropPart forgets the keys that depend on a record, unless what is known of them was made of that version of it. It returns how many
// entries it looked at.
func (c *entries) dropPart(p part, version string) (searched int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.note(change{part: p, version: version})
		if s.parts[p] > 0 {
			searched += len(s.known)
			for d, e := range s.known {
				if v, of := e.state.parts[p]; of && (version == "" || v != version) {
					s.forget(d)
				}
			}
		}
		s.mu.Unlock()
	}
	return searched
}

// invalidate makes every entry, and every answer under way, be asked for again before it serves, but keeps known keys for the case
// that the store is down.
func (c *entries) invalidate() {
	c.epoch.Add(1)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		clear(s.unknown)
		s.mu.Unlock()
	}
}
