package keyauth

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	cacheShards = 64
	cacheKeys   = 100_000 / cacheShards // known keys of a shard
	cacheNone   = 16_384 / cacheShards  // unknown keys of a shard, kept apart so that a flood of them evicts no known key
	evictAmong  = 8                     // entries of which the least recently confirmed one goes
	recently    = 16                    // changes that a shard remembers
)

// cached is what a store said of a key, and when.
type cached struct {
	state *keyState // nil: there is no such key
	at    time.Time
	epoch uint64
}

// cache holds what the store said of keys, bounded in number. An entry serves while it is fresh; afterwards it only
// tells what was true last.
type cache struct {
	epoch  atomic.Uint64 // counts the times at which changes may have been missed
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mu      sync.RWMutex
	changes uint64           // counts the changes heard of, so that an answer older than one of them is not kept
	recent  [recently]change // the last of them, by their number
	known   map[digest]cached
	unknown map[digest]cached
	teams   map[string]int // teams of known keys to how many: most teams have none here, and need no search
}

// change is what was heard of a record: that of a key, or of a team.
type change struct {
	isTeam  bool
	key     digest
	team    string
	version string // empty: not known
}

// note counts a change. The shard is locked.
func (s *cacheShard) note(c change) {
	s.changes++
	s.recent[s.changes%recently] = c
}

// outdated reports whether an answer to a question of that time may be older than a change heard of since.
func (s *cacheShard) outdated(d digest, state *keyState, since uint64) bool {
	if s.changes-since > recently {
		return true
	}
	for n := since + 1; n <= s.changes; n++ {
		switch c := &s.recent[n%recently]; {
		case !c.isTeam && c.key == d:
			if state == nil || c.version == "" || c.version != state.version {
				return true
			}
		case c.isTeam && state != nil && c.team == state.identity.TeamID:
			if c.version == "" || c.version != state.teamVersion {
				return true
			}
		}
	}
	return false
}

func newCache() *cache {
	c := new(cache)
	for i := range c.shards {
		c.shards[i].known = make(map[digest]cached)
		c.shards[i].unknown = make(map[digest]cached)
		c.shards[i].teams = make(map[string]int)
	}
	return c
}

func (c *cache) shard(d digest) *cacheShard { return &c.shards[d[0]%cacheShards] }

// get returns what is known of a key, however old, and whether nothing has called it in question since.
func (c *cache) get(d digest) (entry cached, current, ok bool) {
	s := c.shard(d)
	s.mu.RLock()
	entry, ok = s.known[d]
	if !ok {
		entry, ok = s.unknown[d]
	}
	s.mu.RUnlock()
	return entry, ok && entry.epoch == c.epoch.Load(), ok
}

// ticket notes the state of the cache before the store is asked, for put.
type ticket struct{ changes, epoch uint64 }

func (c *cache) ticket(d digest) ticket {
	s := c.shard(d)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return ticket{changes: s.changes, epoch: c.epoch.Load()}
}

// put keeps the store's answer, unless a change came between the question and the answer which the answer does not hold.
func (c *cache) put(d digest, t ticket, state *keyState, at time.Time) {
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outdated(d, state, t.changes) {
		return
	}
	s.forget(d)
	entry := cached{state: state, at: at, epoch: t.epoch}
	if state == nil {
		if len(s.unknown) >= cacheNone {
			s.forget(oldest(s.unknown))
		}
		s.unknown[d] = entry
		return
	}
	if len(s.known) >= cacheKeys {
		s.forget(oldest(s.known))
	}
	s.known[d] = entry
	if team := state.identity.TeamID; team != "" {
		s.teams[team]++
	}
}

// forget drops an entry, if it is there. The shard is locked.
func (s *cacheShard) forget(d digest) {
	delete(s.unknown, d)
	e, there := s.known[d]
	if !there {
		return
	}
	delete(s.known, d)
	if team := e.state.identity.TeamID; team != "" {
		if s.teams[team]--; s.teams[team] == 0 {
			delete(s.teams, team)
		}
	}
}

// oldest returns the least recently confirmed of a few entries.
func oldest(m map[digest]cached) digest {
	var oldest digest
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
func (c *cache) drop(d digest, version string) {
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(change{key: d, version: version})
	if e, there := s.known[d]; !there || version == "" || e.state.version != version {
		s.forget(d)
	}
}

// dropTeam forgets the keys of a team, unless what is known of them was made of that version of its record.
func (c *cache) dropTeam(id, version string) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.note(change{isTeam: true, team: id, version: version})
		if s.teams[id] > 0 {
			for d, e := range s.known {
				if e.state.identity.TeamID == id && (version == "" || e.state.teamVersion != version) {
					s.forget(d)
				}
			}
		}
		s.mu.Unlock()
	}
}

// doubt makes every entry, and every answer under way, be asked for again before it serves, but keeps known keys for the case
// that the store is down.
func (c *cache) doubt() {
	c.epoch.Add(1)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		clear(s.unknown)
		s.mu.Unlock()
	}
}
