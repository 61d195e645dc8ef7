package spool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// store is what a consumer applies records to: it survives every crash, and knows how far it is in each spool.
type store struct {
	cursors map[LogID]uint64
	applied map[ID]bool
	twice   []ID
}

func newStore() *store {
	return &store{cursors: map[LogID]uint64{}, applied: map[ID]bool{}}
}

func (st *store) clone() *store {
	return &store{cursors: maps.Clone(st.cursors), applied: maps.Clone(st.applied)}
}

// apply takes a batch as internal/books does: what the store has not seen of each spool, and then how far it is in this one.
func (st *store) apply(own LogID, b Batch) {
	for _, r := range b.Records {
		if r.Origin.Seq <= st.cursors[r.Origin.Spool] {
			continue
		}
		st.cursors[r.Origin.Spool] = r.Origin.Seq
		if st.applied[r.ID] {
			st.twice = append(st.twice, r.ID)
		}
		st.applied[r.ID] = true
	}
	st.cursors[own] = max(st.cursors[own], b.To)
}

// consume applies the records that follow, where there are any.
func (st *store) consume(s *Spool, limit int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.mu.Lock()
	some := len(s.after(st.cursors[s.id], s.readable(), 1)) > 0
	s.mu.Unlock()
	if !some {
		return nil
	}
	b, err := s.Read(ctx, st.cursors[s.ID()], limit)
	if err == nil {
		st.apply(s.ID(), b)
	}
	return err
}

// drain applies all that is there.
func (st *store) drain(t testing.TB, s *Spool) {
	for before := uint64(0); ; {
		require.NoError(t, st.consume(s, 7))
		if st.cursors[s.ID()] == before {
			return
		}
		before = st.cursors[s.ID()]
	}
}

// missing lets a copy of the store go on to the end, and returns what is wrong then: settled records that it has not, and
// those that it was given twice.
func (st *store) missing(t testing.TB, s *Spool, found map[ID]Record) (wrong []string) {
	end := st.clone()
	end.drain(t, s)
	for id, r := range found {
		if r.State != StateOpen && r.State != StateInterrupted && !end.applied[id] {
			wrong = append(wrong, fmt.Sprintf("call %x, %d, is missing", id[8:], r.Seq))
		}
	}
	for _, id := range end.twice {
		wrong = append(wrong, fmt.Sprintf("call %x is applied twice", id[8:]))
	}
	return wrong
}

func TestReadFollowsTheOrderOfSettlement(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		o := Options{Dir: t.TempDir(), Durability: d, Consumers: []string{"books"}}
		s := mustOpen(t, o)
		got := make(chan Batch, 1)
		go func() {
			b, err := s.Read(t.Context(), 0, 10)
			if err != nil {
				t.Error(err)
			}
			got <- b
		}()
		settle(t, s, 1)
		first := <-got
		require.Equal(t, []string{"record 1"}, payloads(first.Records))
		require.Equal(t, Origin{Spool: s.ID(), Seq: first.To}, first.Records[0].Origin)
		require.NoError(t, s.Begin(testID(2), nil))
		require.NoError(t, s.Settle(testID(2), []byte("record 2"), false))
		settle(t, s, 3)
		settle(t, s, 4)
		amended, err := s.Claim(t.Context(), 2)
		require.NoError(t, err)
		_, err = s.Amend(amended[1].Seq, []byte("record 3, amended"))
		require.NoError(t, err)
		b, err := s.Read(t.Context(), first.To, 2)
		require.NoError(t, err)
		require.Equal(t, []string{"record 2", "record 3, amended"}, payloads(b.Records))
		require.NoError(t, s.Pass("books", b.To))
		require.Equal(t, map[string]int64{"books": 1}, s.Stats().Unread)
		require.Error(t, s.Pass("others", 1))
		id := s.ID()
		require.NotZero(t, id)
		require.NoError(t, s.Close())
		_, err = s.Read(t.Context(), 0, 1)
		require.ErrorIs(t, err, ErrClosed)

		s = mustOpen(t, o)
		require.Equal(t, id, s.ID())
		require.Equal(t, b.To, s.Cursor("books"))
		settle(t, s, 5)
		b, err = s.Read(t.Context(), s.Cursor("books"), 10)
		require.NoError(t, err)
		require.Equal(t, []string{"record 4", "record 5"}, payloads(b.Records))
		require.Greater(t, b.To, uint64(seqJump), "numbers that the loss of power may have taken are not used again")
		b, err = s.Read(t.Context(), 0, 10)
		require.NoError(t, err)
		require.Len(t, b.Records, 5, "a store that lost everything gets all of it")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = s.Read(ctx, b.To, 1)
		require.ErrorIs(t, err, context.Canceled)
	}
}

// TestRecordsWaitForTheirConsumers finishes records, lets their time pass, and prunes: what a consumer has not passed stays.
func TestRecordsWaitForTheirConsumers(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	o := Options{Dir: t.TempDir(), SegmentBytes: 400, ReserveBytes: -1, Retain: time.Hour, Consumers: []string{"books", "wallets"}, manual: true}
	o.Now = func() time.Time { return now }
	s := mustOpen(t, o)
	for n := range 20 {
		settle(t, s, n)
	}
	claimed, err := s.Claim(t.Context(), 20)
	require.NoError(t, err)
	for _, r := range claimed {
		require.NoError(t, s.Done(r.Seq))
	}
	now = now.Add(100 * time.Hour)
	require.NoError(t, s.Compact())
	require.Equal(t, int64(20), s.Stats().Finished)
	require.NoError(t, s.Pass("books", claimed[19].Seq))
	require.NoError(t, s.Pass("wallets", claimed[9].Seq))
	require.NoError(t, s.Compact())
	b, err := s.Read(t.Context(), s.Cursor("wallets"), 100)
	require.NoError(t, err)
	require.Len(t, b.Records, 10)
	require.Less(t, s.Stats().Finished, int64(20))
	require.NoError(t, s.Close())

	o.Consumers = nil
	s = mustOpen(t, o)
	require.NoError(t, s.Compact())
	require.Zero(t, s.Stats().Finished, "without consumers nothing waits for them")
}

// TestNoConsumerOvertakesASync holds a sync back while another record becomes durable: it is not read before the first one.
func TestNoConsumerOvertakesASync(t *testing.T) {
	s := mustOpen(t, Options{Dir: t.TempDir(), Durability: Fsync, Consumers: []string{"books"}})
	settle(t, s, 1)
	b, err := s.Read(t.Context(), 0, 10)
	require.NoError(t, err)
	s.mu.Lock()
	late := &draft{frame: frame{seq: b.To + 2}}
	s.settling[late] = struct{}{}
	s.mu.Unlock()
	settle(t, s, 2)
	settle(t, s, 3)
	s.mu.Lock()
	require.Equal(t, b.To+2, s.readable())
	require.Empty(t, s.after(b.To, s.readable(), 10))
	delete(s.settling, late)
	s.mu.Unlock()
	b, err = s.Read(t.Context(), b.To, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"record 2", "record 3"}, payloads(b.Records))
}

// TestDamagedRecordDoesNotHoldAConsumerUp checks that a record that cannot be read is left out and reported.
func TestDamagedRecordDoesNotHoldAConsumerUp(t *testing.T) {
	var told []error
	fs := newSimFS()
	s := mustOpen(t, Options{Dir: modelDir, FS: fs, Consumers: []string{"books"}, ReserveBytes: -1, manual: true, OnFault: func(err error) { told = append(told, err) }})
	for n := range 3 {
		settle(t, s, n)
	}
	s.mu.Lock()
	at := s.segments[0].recs[1].off
	s.mu.Unlock()
	fs.content(modelDir + "/" + segmentName(1))[at+frameHeader] ^= 1
	forget(s)
	b, err := s.Read(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"record 0", "record 2"}, payloads(b.Records))
	require.Len(t, told, 1)
	require.ErrorIs(t, told[0], errDamaged)
}

// TestAdoptionHandsOverToConsumers has a dead instance whose consumer had applied a part, and whose cursor in the spool is
// behind the store. Its heir, and the heir's own heir, bring the store to the end, with nothing twice, whichever steps of
// an adoption fail.
func TestAdoptionHandsOverToConsumers(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		for fail := 0; fail < 60; fail++ {
			fs, st := newSimFS(), newStore()
			open := func(dir string) *Spool {
				s, err := Open(Options{Dir: dir, FS: fs, Durability: d, SegmentBytes: 500, ReserveBytes: -1, manual: true, Consumers: []string{"books"}})
				require.NoError(t, err)
				return s
			}
			dead := open("/dead")
			for n := range 8 {
				settle(t, dead, n)
			}
			claimed, err := dead.Claim(t.Context(), 8)
			require.NoError(t, err)
			require.NoError(t, dead.Done(claimed[0].Seq, claimed[4].Seq, claimed[6].Seq))
			_, err = dead.Amend(claimed[5].Seq, []byte("amended"))
			require.NoError(t, err)
			require.NoError(t, st.consume(dead, 2))
			require.NoError(t, dead.Pass("books", st.cursors[dead.ID()]))
			require.NoError(t, st.consume(dead, 2))
			require.NoError(t, dead.Close())

			heir := open("/heir")
			settle(t, heir, 20)
			st.drain(t, heir)
			left := fail
			fs.fault = func(op, _ string) error {
				if left--; op != "read" && left == 0 {
					return errDisk
				}
				return nil
			}
			fs.before = func(op string) {
				if !strings.HasPrefix(op, "create "+adoptedPrefix) {
					return
				}
				fs.before = nil
				settle(t, heir, 23) // behind the copies, which do not count yet
				st.drain(t, heir)
			}
			_, err = heir.Adopt("/dead")
			fs.fault, fs.before = nil, nil
			settle(t, heir, 21)
			st.drain(t, heir)
			require.NoError(t, heir.Close())
			heir = open("/heir")
			if err != nil {
				if _, err := heir.Adopt("/dead"); !errors.Is(err, ErrAdopted) {
					require.NoError(t, err)
				}
			}
			require.NoError(t, st.consume(heir, 3))
			require.NoError(t, heir.Pass("books", st.cursors[heir.ID()]))
			require.NoError(t, heir.Close())

			last := open("/last")
			_, err = last.Adopt("/heir")
			require.NoError(t, err)
			settle(t, last, 22)
			st.drain(t, last)
			require.Empty(t, st.twice, "change %d", fail)
			for _, n := range []int{0, 1, 2, 3, 4, 5, 6, 7, 20, 21, 22} {
				require.True(t, st.applied[testID(n)], "record %d, change %d", n, fail)
			}
			require.NoError(t, last.Close())
		}
	}
}
