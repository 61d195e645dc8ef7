package spool

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sort"
)

const (
	idName = "id"
	// seqJump is how far sequence numbers skip ahead when a spool with consumers is opened: records that a loss of power took from the
	// end of the log had numbers that a consumer's store may know.
	seqJump = 1 << 32
)

// Batch is what a consumer reads in one step.
type Batch struct {
	// Records are settled records in the order of their sequence numbers: all above the number that was asked for and up to To, except
	// those that are no longer readable.
	Records []Record
	To      uint64
}

// ID returns the number that identifies this spool; zero if it never had a consumer.
func (s *Spool) ID() LogID { return s.id }

// Cursor returns the sequence number up to which a consumer has passed the records. The store to which it applies them has the exact
// number: this one is behind after a crash, or if the disk lost the last cursor.
func (s *Spool) Cursor(consumer string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursors[consumer]
}

// Last returns the highest sequence number of a settled record; 0 if there are none.
func (s *Spool) Last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range slices.Backward(s.segments) {
		if n := len(g.recs); n > 0 {
			return g.first + uint64(g.recs[n-1].delta)
		}
	}
	return 0
}

// Next returns the lowest sequence number that is not yet used.
func (s *Spool) Next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nextSeq
}

// Read returns up to limit settled records with sequence numbers above after. It waits until there is one, the context
// ends, or the spool closes (ErrClosed). A record that cannot be read back is left out and reported to Options.OnFault.
func (s *Spool) Read(ctx context.Context, after uint64, limit int) (Batch, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Batch{}, err
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return Batch{}, ErrClosed
		}
		list := s.after(after, s.readable(), limit)
		if len(list) > 0 {
			return s.readBatch(list)
		}
		wake := s.news.wait()
		s.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
		}
	}
}

// readable returns the sequence number from which records may still become known out of order.
func (s *Spool) readable() uint64 {
	end := s.nextSeq
	for d := range s.settling {
		if d.seq > 0 {
			end = min(end, d.seq)
		}
	}
	if s.adopting > 0 {
		end = min(end, s.adopting)
	}
	return end
}

// after locates settled records with sequence numbers above after and below end, in that order. Copies of records from removed
// segments are left out: every consumer has passed them.
func (s *Spool) after(after, end uint64, limit int) []located {
	if len(s.segments) == 0 || limit <= 0 {
		return nil
	}
	var list []located
	add := func(g *segment, seq uint64, r rec) {
		if r.state() != stateGone {
			list = append(list, located{place: place{g, r.off, r.len()}, seq: seq, state: r.state()})
		}
	}
	first := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].first > after })
	for _, g := range s.segments[max(0, first-1):] {
		for _, r := range g.recs[g.above(after):] {
			seq := g.first + uint64(r.delta)
			if seq >= end {
				break
			}
			if add(g, seq, r); len(list) == limit {
				end = seq
			}
		}
	}
	after = max(after, s.segments[0].first-1)
	own := len(list)
	for _, g := range s.segments {
		from, _ := g.findCarried(after + 1)
		for _, c := range g.carried[from:] {
			if c.seq >= end {
				break
			}
			add(g, c.seq, c.rec)
		}
	}
	if len(list) > own {
		slices.SortFunc(list, func(a, b located) int { return cmp.Compare(a.seq, b.seq) })
	}
	return list[:min(limit, len(list))]
}

// above returns the index of the segment's first own record with a higher sequence number.
func (g *segment) above(after uint64) int {
	return sort.Search(len(g.recs), func(i int) bool { return g.first+uint64(g.recs[i].delta) > after })
}

// readBatch reads located records. The caller has the lock, which is released.
func (s *Spool) readBatch(list []located) (Batch, error) {
	batch := Batch{Records: make([]Record, len(list)), To: list[len(list)-1].seq}
	var missing []located
	for i, l := range list {
		r, kept := s.recent.get(l)
		if !kept {
			missing = append(missing, l)
		}
		var adopted bool
		if r.Origin, adopted = s.origins[l.seq]; !adopted {
			r.Origin = Origin{Spool: s.id, Seq: l.seq}
		}
		batch.Records[i] = r
	}
	if err := s.acquireAll(missing); err != nil {
		s.mu.Unlock()
		return Batch{}, err
	}
	s.mu.Unlock()
	if len(missing) == 0 {
		return batch, nil
	}
	i := 0
	err := read(missing, func(l located, r Record, err error) error {
		for list[i].seq != l.seq {
			i++
		}
		if err != nil {
			s.o.OnFault(fmt.Errorf("consumers cannot count a record: %w", err))
			return nil
		}
		r.Origin = batch.Records[i].Origin
		batch.Records[i] = r
		return nil
	})
	batch.Records = slices.DeleteFunc(batch.Records, func(r Record) bool { return r.Seq == 0 })
	return batch, errors.Join(err, s.releaseAll(missing))
}

// Pass moves a consumer's cursor: the consumer has applied everything up to seq durably to its store. A lower number than before
// requests that records which the consumer needs again are kept. The cursor takes effect immediately, even if it cannot be written;
// then a later process will find an earlier one.
func (s *Spool) Pass(consumer string, seq uint64) error {
	d := draft{frame: frame{kind: kindPassed, time: millis(s.o.Now())}}
	d.payload = append(binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(consumer)), seq), consumer...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(consumer) > maxConsumer || !slices.Contains(s.o.Consumers, consumer) {
		return fmt.Errorf("the spool has no consumer %q", consumer)
	}
	if s.cursors[consumer] == seq {
		return nil
	}
	if err := s.beginWrite(); err != nil {
		return err
	}
	defer s.endWrite()
	s.cursors[consumer] = seq
	at, err := s.write(&d) // not synced: an earlier cursor does no harm
	if err != nil {
		return s.wentWrong(err)
	}
	return s.release(at.seg)
}

// Consume adds or removes a consumer that records wait for, in a spool that was opened with at least one. A new consumer gets the
// records that are still here.
func (s *Spool) Consume(consumer string, reads bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.o.Consumers, consumer)
	switch list := slices.Clone(s.o.Consumers); {
	case reads && at < 0:
		s.o.Consumers = append(list, consumer)
	case !reads && at >= 0:
		s.o.Consumers = slices.Delete(list, at, at+1)
	}
}

// passed decodes a kindPassed frame.
func (f *frame) passed() (seq uint64, consumer string, ok bool) {
	if len(f.payload) < 8 {
		return 0, "", false
	}
	return binary.LittleEndian.Uint64(f.payload), string(f.payload[8:]), true
}

// passed reports whether every consumer has passed the records of a segment.
func (s *Spool) passed(g *segment) bool {
	if len(g.recs) == 0 {
		return true
	}
	last := g.first + uint64(g.recs[len(g.recs)-1].delta)
	for _, name := range s.o.Consumers {
		if s.cursors[name] < last {
			return false
		}
	}
	return true
}

// unread counts the settled records above a cursor. Copies outside their own segments are left out.
func (s *Spool) unread(after uint64) (n int64) {
	for _, g := range slices.Backward(s.segments) {
		from := g.above(after)
		n += int64(len(g.recs) - from)
		if from > 0 {
			break
		}
	}
	return n
}

// handOver calls fn for each record that is unfinished, or that one of the consumers may not have read, with its origin.
// Settled ones come in the order of their sequence numbers. The spool is open only for reading.
func (s *Spool) handOver(consumers []string, fn func(Record) error) error {
	unread := s.nextSeq
	for _, name := range consumers {
		unread = min(unread, s.cursors[name])
	}
	visit := func(l located, r Record, err error) error {
		if err != nil {
			return err
		}
		if l.state == StateRejected {
			r.Note = s.readNote(l.seq)
		}
		if origin, adopted := s.origins[l.seq]; adopted {
			r.Origin = origin
		} else if s.id != (LogID{}) {
			r.Origin = Origin{Spool: s.id, Seq: l.seq}
		}
		return fn(r)
	}
	s.mu.Lock()
	calls, err := s.openCalls()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err = errors.Join(read(calls, visit), s.releaseAll(calls)); err != nil {
		return err
	}
	var list []located
	for _, g := range s.segments {
		for _, l := range g.list(s.nextSeq, nil) {
			if l.state.keeps() || l.seq > unread {
				list = append(list, l)
			}
		}
	}
	slices.SortFunc(list, func(a, b located) int { return cmp.Compare(a.seq, b.seq) })
	for part := range slices.Chunk(list, maxListed) {
		s.mu.Lock()
		err := s.acquireAll(part)
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if err := errors.Join(read(part, visit), s.releaseAll(part)); err != nil {
			return err
		}
	}
	return nil
}

// acquireAll acquires the segment of each record, or none. releaseAll is its counterpart.
func (s *Spool) acquireAll(list []located) error {
	for i, l := range list {
		if _, err := s.acquire(l.seg); err != nil {
			for _, l := range list[:i] {
				err = errors.Join(err, s.release(l.seg))
			}
			return err
		}
	}
	return nil
}

// recoverConsumers reads the spool's own number, or assigns one if it has consumers.
func (s *Spool) recoverConsumers() error {
	content, err := s.content(idName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	found := err == nil
	whole := parseTwice(content, func(text string) bool {
		n, err := hex.Decode(s.id[:], []byte(text))
		return err == nil && n == len(s.id)
	})
	if s.o.ReadOnly || len(s.o.Consumers) == 0 {
		return nil
	}
	if s.nextSeq > 1 {
		s.nextSeq += seqJump
	}
	if whole {
		return nil
	}
	if found { // creating it was interrupted, before anything was read
		if err := s.o.FS.Remove(filepath.Join(s.o.Dir, idName)); err != nil {
			return err
		}
	}
	if _, err := rand.Read(s.id[:]); err != nil {
		return err
	}
	return s.mark(idName, twice(s.id.String()))
}
