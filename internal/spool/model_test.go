package spool

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const modelDir = "/spool"

// call is what the model knows of one call: the states in which an auditor may find its record.
type call struct {
	state    string   // acknowledged; empty: there is no record
	maybe    []string // under way
	ghosts   []string // refused after a failed sync: only the loss of power, before anything else was synced, may bring them back
	pruned   string   // finished, retained and gone: harmless should the loss of power bring it back
	finished time.Time
	seq      uint64 // of the settled record, once it was seen
}

// model drives a spool through a random workload and knows what must be found after a crash.
type model struct {
	t       testing.TB
	r       *rand.Rand
	fs      *simFS
	o       Options
	s       *Spool
	now     time.Time
	calls   map[ID]*call
	ids     []ID
	claimed map[ID]Record
	seqs    map[uint64]ID // every sequence number that was ever seen
	faulty  bool          // steps may fail
	haunted bool          // what was refused may come back with the loss of power, until something else is synced
	insist  bool          // acknowledgements are tried until they succeed, as delivery does
	trace   []string
	checks  int
	store   *store // of the consumer
}

func newModel(t testing.TB, seed uint64, d Durability) *model {
	m := &model{
		t: t, r: rand.New(rand.NewPCG(seed, uint64(d))), fs: newSimFS(), now: time.UnixMilli(1_800_000_000_000),
		calls: map[ID]*call{}, claimed: map[ID]Record{}, seqs: map[uint64]ID{}, store: newStore(),
	}
	m.o = Options{Dir: modelDir, Durability: d, Retain: time.Hour, SegmentBytes: 1800, ReserveBytes: 700, manual: true, Consumers: []string{"books"}}
	m.o.Now = func() time.Time { return m.now }
	return m
}

func (m *model) open() {
	m.o.FS = m.fs
	s, err := Open(m.o)
	require.NoError(m.t, err)
	m.s = s
	clear(m.claimed)
}

func stateOf(r Record) string {
	switch r.State {
	case StateOpen, StateInterrupted:
		return "open " + string(r.Payload)
	case StateRejected:
		return "rejected " + string(r.Payload) + " because " + string(r.Note)
	default:
		return r.State.String() + " " + string(r.Payload)
	}
}

// scan returns every record in the spool, and checks that none is there twice.
func scan(t testing.TB, s *Spool) map[ID]Record {
	found := map[ID]Record{}
	seqs := map[uint64]ID{}
	err := s.Scan(time.Time{}, time.Time{}, func(r Record) error {
		if first, twice := found[r.ID]; twice {
			t.Errorf("call %x has two records: %q and %q", r.ID[8:], stateOf(first), stateOf(r))
		}
		if _, twice := seqs[r.Seq]; twice {
			t.Errorf("sequence number %d is there twice", r.Seq)
		}
		found[r.ID], seqs[r.Seq] = r, r.ID
		return nil
	})
	require.NoError(t, err)
	st := s.Stats()
	require.Equal(t, int64(len(found)), st.Open+st.Interrupted+st.Pending+st.Rejected+st.Finished, "stats count other records than there are")
	return found
}

// check holds what is found against what was acknowledged.
func (m *model) check(found map[ID]Record, after string, powerLost bool) {
	m.checks++
	fail := func(format string, args ...any) {
		m.t.Helper()
		m.t.Fatalf("%s\nafter %s, power lost: %v\nsteps:\n%s", fmt.Sprintf(format, args...), after, powerLost, strings.Join(m.trace, "\n"))
	}
	for id, r := range found {
		c := m.calls[id]
		if c == nil {
			fail("a record of an unknown call: %v", r)
		}
		got := stateOf(r)
		if got != c.state && !slices.Contains(c.maybe, got) && !(powerLost && (got == c.pruned || m.haunted && slices.Contains(c.ghosts, got))) {
			fail("call %x is %q, not %q or %q", id[8:], got, c.state, c.maybe)
		}
		if was, seen := m.seqs[r.Seq]; seen && was != id {
			fail("sequence number %d of call %x belongs to call %x", r.Seq, id[8:], was[8:])
		}
		if c.seq != 0 && r.State != StateOpen && r.State != StateInterrupted && r.Seq != c.seq {
			fail("call %x had sequence number %d and has %d", id[8:], c.seq, r.Seq)
		}
	}
	for id, c := range m.calls {
		if _, there := found[id]; there || c.state == "" || slices.Contains(c.maybe, "") {
			continue
		}
		if strings.HasPrefix(c.state, "done ") && m.now.Sub(c.finished) >= m.o.Retain && m.store.applied[id] {
			continue
		}
		fail("call %x is lost: it was %q", id[8:], c.state)
	}
}

// accept takes what is found for the truth: a crash has decided what was under way.
func (m *model) accept(found map[ID]Record) {
	for id, c := range m.calls {
		if strings.HasPrefix(c.state, "done ") {
			c.pruned = c.state
		}
		c.state, c.maybe, c.ghosts = "", nil, nil
		if r, there := found[id]; there {
			c.state = stateOf(r)
		}
	}
	m.see(found)
}

// see notes the sequence numbers that were given out.
func (m *model) see(found map[ID]Record) {
	for id, r := range found {
		m.seqs[r.Seq] = id
		if r.State != StateOpen && r.State != StateInterrupted {
			m.calls[id].seq = r.Seq
		}
	}
}

// change makes a step that is to bring calls into new states.
func (m *model) change(what string, to map[ID]string, do func() error) error {
	m.trace = append(m.trace, what)
	for id, state := range to {
		m.calls[id].maybe = []string{state}
	}
	err := do()
	for try := 0; err != nil && m.insist && what != "begin" && what != "settle" && try < 200; try++ {
		err = do()
	}
	if err != nil && !m.faulty {
		m.t.Fatalf("%s: %v\nsteps:\n%s", what, err, strings.Join(m.trace, "\n"))
	}
	for id, state := range to {
		c := m.calls[id]
		c.maybe = nil
		if err != nil {
			c.ghosts = append(c.ghosts, state)
			continue
		}
		if c.state = state; strings.HasPrefix(state, "done ") {
			c.finished = m.now
		}
	}
	if err == nil && len(to) > 0 {
		for _, c := range m.calls {
			c.ghosts = nil
		}
	}
	return err
}

func (m *model) pick(prefix string) (ID, bool) {
	var match []ID
	for _, id := range m.ids {
		if strings.HasPrefix(m.calls[id].state, prefix) {
			match = append(match, id)
		}
	}
	if len(match) == 0 {
		return ID{}, false
	}
	return match[m.r.IntN(len(match))], true
}

func (m *model) text(what string) string {
	return fmt.Sprintf("%s %d %s", what, m.r.IntN(1000), strings.Repeat("x", m.r.IntN(260)))
}

func payloadOf(state string) string {
	_, rest, _ := strings.Cut(state, " ")
	rest, _, _ = strings.Cut(rest, " because ")
	return rest
}

// begin opens a call; settle settles one that is open.
func (m *model) begin() {
	var id ID
	binary.BigEndian.PutUint64(id[8:], uint64(len(m.ids)+1))
	m.ids = append(m.ids, id)
	m.calls[id] = &call{}
	p := m.text("opened")
	_ = m.change("begin", map[ID]string{id: "open " + p}, func() error { return m.s.Begin(id, []byte(p)) })
}

func (m *model) settle() {
	id, ok := m.pick("open ")
	if !ok {
		m.begin()
		return
	}
	p, deliver, state := m.text("settled"), m.r.IntN(5) > 0, "done "
	if deliver {
		state = "pending "
	}
	_ = m.change("settle", map[ID]string{id: state + p}, func() error { return m.s.Settle(id, []byte(p), deliver) })
}

// deliver claims records and finishes, rejects or releases each.
func (m *model) deliver() {
	if st := m.s.Stats(); st.Pending <= st.Claimed {
		return
	}
	m.trace = append(m.trace, "claim")
	if len(m.trace)%2 == 0 {
		forget(m.s)
	}
	got, err := m.s.Claim(context.Background(), 1+m.r.IntN(4))
	if err != nil {
		require.True(m.t, m.faulty, err)
	}
	done, seqs := map[ID]string{}, []uint64(nil)
	for _, r := range got {
		require.Equal(m.t, m.calls[r.ID].state, stateOf(r), "a claimed record")
		require.NotContains(m.t, m.claimed, r.ID, "claimed by two")
		m.claimed[r.ID] = r
		switch m.r.IntN(4) {
		case 0:
			note := m.text("note")
			err := m.change("reject", map[ID]string{r.ID: "rejected " + string(r.Payload) + " because " + note}, func() error { return m.s.Reject(r.Seq, []byte(note)) })
			m.forget(err, r)
		case 1:
			m.s.Release(r.Seq)
			delete(m.claimed, r.ID)
		default:
			done[r.ID] = "done " + string(r.Payload)
			seqs = append(seqs, r.Seq)
		}
	}
	if len(seqs) == 0 {
		return
	}
	err = m.change(fmt.Sprint("done ", seqs), done, func() error { return m.s.Done(seqs...) })
	for _, r := range got {
		if done[r.ID] != "" {
			m.forget(err, r)
		}
	}
}

// forget gives a claim back when its acknowledgement was refused.
func (m *model) forget(err error, r Record) {
	if err != nil {
		m.s.Release(r.Seq)
	}
	delete(m.claimed, r.ID)
}

func (m *model) retry() {
	to := map[ID]string{}
	for id, c := range m.calls {
		if strings.HasPrefix(c.state, "rejected ") {
			to[id] = "pending " + payloadOf(c.state)
		}
	}
	_ = m.change("retry", to, func() error { _, err := m.s.Retry(); return err })
}

func (m *model) replay() {
	to := map[ID]string{}
	for id, r := range scan(m.t, m.s) {
		if r.State == StateDone && m.r.IntN(4) == 0 {
			to[id] = "pending " + string(r.Payload)
		}
	}
	_ = m.change("replay", to, func() error {
		_, err := m.s.Replay(time.Time{}, time.Time{}, func(r Record) bool { return to[r.ID] != "" })
		return err
	})
}

func (m *model) amend() {
	id, ok := m.pick([]string{"rejected ", "pending "}[m.r.IntN(2)])
	if !ok || m.calls[id].seq == 0 {
		return
	}
	c := m.calls[id]
	state, rest, _ := strings.Cut(c.state, " ")
	_, note, rejected := strings.Cut(rest, " because ")
	p := m.text("amended")
	to := state + " " + p
	if rejected {
		to += " because " + note
	}
	_ = m.change("amend", map[ID]string{id: to}, func() error { _, err := m.s.Amend(c.seq, []byte(p)); return err })
}

// consume applies records to the consumer's store. At times the cursor in the spool stays behind, as after a crash, or goes
// back to where the store is.
func (m *model) consume() {
	m.trace = append(m.trace, "consume")
	err := m.store.consume(m.s, 1+m.r.IntN(5))
	if err == nil && m.r.IntN(3) > 0 {
		err = m.s.Pass("books", m.store.cursors[m.s.ID()])
	}
	if err != nil {
		require.True(m.t, m.faulty, err)
	}
}

func (m *model) compact() {
	m.now = m.now.Add(time.Duration(m.r.IntN(50)) * time.Minute)
	_ = m.change("compact", nil, func() error { return m.s.Compact() })
}

func (m *model) reopen() {
	m.trace = append(m.trace, "reopen")
	if err := m.s.Close(); err != nil {
		require.True(m.t, m.faulty, err)
	}
	m.open()
}

// crash goes on with the disk that a crash left, which decides what was under way.
func (m *model) crash() {
	lost := m.o.Durability == Fsync && m.r.IntN(2) == 0
	m.trace = append(m.trace, fmt.Sprint("crash, power lost: ", lost))
	before, torn, fault, limit := m.fs.before, m.fs.torn, m.fs.fault, m.fs.limit
	if lost {
		m.fs = m.fs.lostPower(m.r)
	} else {
		m.fs = m.fs.killed()
	}
	m.fs.before, m.fs.torn, m.fs.fault, m.fs.limit = before, torn, fault, limit
	m.open()
	found := scan(m.t, m.s)
	m.check(found, "a crash between two steps", lost)
	m.accept(found)
}

// step makes one random step, and holds the spool against the model.
func (m *model) step() {
	steps := []struct {
		weight int
		do     func()
	}{
		{24, m.begin},
		{24, m.settle},
		{16, m.deliver},
		{4, m.retry},
		{3, m.replay},
		{8, m.amend},
		{9, m.compact},
		{10, m.consume},
		{4, m.reopen},
		{4, m.crash},
	}
	n := 0
	for _, s := range steps {
		n += s.weight
	}
	at := m.r.IntN(n)
	for _, s := range steps {
		if at -= s.weight; at < 0 {
			s.do()
			break
		}
	}
	found := scan(m.t, m.s)
	m.check(found, "a step", false)
	m.see(found)
}

// verify opens a disk that a crash left behind, and holds it against the model. deep crashes the opening too, at every
// change it makes.
func (m *model) verify(disk *simFS, after string, powerLost, deep bool) {
	o := m.o
	o.FS = disk
	if deep {
		crash := func(op string) {
			m.verify(disk.killed(), after+", then "+op+" while opening", powerLost, false)
			if o.Durability == Fsync {
				m.verify(disk.lostPower(m.r), after+", then the loss of power at "+op+" while opening", true, false)
			}
		}
		disk.before, disk.torn = crash, crash
	}
	s, err := Open(o)
	require.NoError(m.t, err, after)
	disk.before, disk.torn = nil, nil
	found := scan(m.t, s)
	m.check(found, after, powerLost)
	require.Empty(m.t, m.store.missing(m.t, s, found), "%s: a consumer goes on and does not read a record once", after)
	if !deep {
		require.NoError(m.t, s.Close())
		return
	}
	// It accepts records again, under unused numbers, and finds all of them when it is opened once more.
	id := ID{0: 1}
	if err := s.Begin(id, []byte("opened")); err != nil && disk.limit > 0 {
		require.ErrorIs(m.t, err, ErrUnavailable)
		disk.limit, m.now = 0, m.now.Add(probeEvery)
		require.NoError(m.t, s.Begin(id, []byte("opened")), "with room on the disk again")
	} else {
		require.NoError(m.t, err)
	}
	require.NoError(m.t, s.Settle(id, []byte("settled"), true))
	r := scan(m.t, s)[id]
	require.NotContains(m.t, m.seqs, r.Seq, "a sequence number was given out again")
	require.NoError(m.t, s.Close())
	s, err = Open(o)
	require.NoError(m.t, err)
	again := scan(m.t, s)
	require.Equal(m.t, "pending settled", stateOf(again[id]))
	delete(again, id)
	require.Equal(m.t, states(found), states(again), "another opening finds other records")
	require.NoError(m.t, s.Close())
}

func states(found map[ID]Record) map[ID]string {
	out := map[ID]string{}
	for id, r := range found {
		out[id] = fmt.Sprint(r.Seq, stateOf(r))
	}
	return out
}
