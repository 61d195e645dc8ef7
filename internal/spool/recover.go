package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/spool/disk"
)

// recover reads the segments into the index.
func (s *Spool) recover() error {
	start := s.o.Now()
	// While the names are being read, a writer may remove a segment after copying its unfinished records into a new one.
	err := s.recoverOnce()
	for try := 0; s.o.ReadOnly && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, errChanged)) && try < 100; try++ {
		err = s.recoverOnce()
	}
	if err != nil && !errors.Is(err, errChanged) {
		return err
	}
	s.report.Took = s.o.Now().Sub(start)
	return nil
}

// errChanged means that segments came or went while they were read.
var errChanged = errors.New("the segments changed while they were read")

func (s *Spool) recoverOnce() error {
	if err := s.letGo(); err != nil {
		return err
	}
	s.segments, s.bytes, s.report, s.counts = nil, 0, Report{}, [stateGone + 1]int64{}
	s.nextSeq, s.nextSeg, s.lostSeq = 1, 1, 0
	s.open, s.notes = make(map[ID]*openCall), make(map[uint64]place)
	s.claims, s.adopted = make(map[uint64]ID), make(map[adoption]bool)
	s.cursors, s.origins, s.settling = make(map[string]uint64), make(map[uint64]Origin), make(map[*draft]struct{})
	names, err := s.o.FS.ReadDir(s.o.Dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	var segments []*segment
	var infos []segmentInfo
	for _, name := range names {
		if a, ok := adoptionOf(name); ok {
			s.adopted[a] = true
		}
		if !s.o.ReadOnly && (name == adoptingName || name == adoptedName) {
			return ErrAdopted
		}
		number, ok := segmentNumber(name)
		if !ok {
			continue
		}
		s.nextSeg = max(s.nextSeg, number+1)
		g := &segment{number: number}
		segments = append(segments, g)
		info, err := s.survey(g)
		if err != nil {
			return err
		}
		infos = append(infos, info)
	}
	s.segments = segments
	s.leaveOut(infos)
	loading := s.segments
	s.segments = nil
	for i, g := range loading {
		s.segments = append(s.segments, g)
		if err := s.load(g, i == len(loading)-1); err != nil {
			return err
		}
		s.bytes += g.size
		g.recs, g.carried = slices.Clone(g.recs), slices.Clone(g.carried) // drops spare capacity
	}
	s.nextSeq = max(s.nextSeq, s.lostSeq)
	if err := s.recoverConsumers(); err != nil {
		return err
	}
	for _, c := range s.open {
		if c.state == StateOpen && !s.o.ReadOnly {
			s.counts[StateOpen]--
			s.counts[StateInterrupted]++
			c.state = StateInterrupted
		}
	}
	if !s.o.ReadOnly && (len(s.adopted) > 0 || s.o.Durability == Fsync) {
		// What is valid now, an adoption or a segment of a killed process, must not be undone by a loss of power.
		s.note(s.o.FS.SyncDir(s.o.Dir))
	}
	s.report.Interrupted = int(s.counts[StateInterrupted])
	for st := StateOpen; st < stateGone; st++ {
		s.report.Records += int(s.counts[st])
	}
	if s.o.ReadOnly {
		now, err := s.o.FS.ReadDir(s.o.Dir)
		if slices.Sort(now); err == nil && !slices.Equal(segmentsAmong(names), segmentsAmong(now)) {
			err = errChanged
		}
		return err
	}
	return nil
}

func segmentsAmong(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, ok := segmentNumber(name)
		return !ok
	})
}

// survey reads a segment's size and header.
func (s *Spool) survey(g *segment) (info segmentInfo, err error) {
	f, err := s.acquire(g)
	if err != nil {
		return info, err
	}
	size, err := f.Size()
	if s.o.Durability == Fsync && !s.o.ReadOnly {
		// What a killed process left in the page cache counts as written, so it must survive a loss of power too.
		s.note(f.Sync())
	}
	if err != nil {
		return info, errors.Join(err, s.release(g))
	}
	g.size, g.synced = size, size
	head := make([]byte, min(size, segmentHeader))
	if err := readWhole(f, head, 0); err != nil {
		return info, errors.Join(err, s.release(g))
	}
	info, ok, _ := parseSegmentInfo(head)
	if !ok || info.number != g.number {
		info = segmentInfo{}
	}
	return info, s.release(g)
}

// leaveOut removes what is not part of the log according to the headers: the tail after the last good offset of a segment, and files
// left over from a failed attempt to begin a segment.
func (s *Spool) leaveOut(infos []segmentInfo) {
	var kept []*segment
	for i, g := range s.segments {
		void := false
		for _, later := range infos[i+1:] {
			if later.number == 0 {
				continue
			}
			void = void || later.before < g.number
			if later.before == g.number {
				g.size = min(g.size, max(later.good, segmentHeader))
				g.synced = g.size
			}
		}
		// A file with no more than the start of a header has no frames.
		void = void || (infos[i].number == 0 && g.size < segmentHeader)
		if !void {
			kept = append(kept, g)
			continue
		}
		if !s.o.ReadOnly {
			// A file that stays is harmless: the next header leaves it out too.
			s.note(s.o.FS.Remove(s.segmentPath(g)))
		}
	}
	s.segments = kept
}

// readWhole fills b from off. Parts that the disk cannot read stay zero: the checksums find them.
func readWhole(f disk.File, b []byte, off int64) error {
	_, err := f.ReadAt(b, off)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	if errors.Is(err, fs.ErrClosed) {
		return err
	}
	const sector = 4096
	for at := 0; at < len(b); at += sector {
		part := b[at:min(at+sector, len(b))]
		if _, err := f.ReadAt(part, off+int64(at)); err != nil && !errors.Is(err, io.EOF) {
			clear(part)
		}
	}
	return nil
}

// load reads one segment's frames. Bytes that hold no readable frame are moved to a damage file; the frames around them stay.
func (s *Spool) load(g *segment, last bool) (err error) {
	f, err := s.acquire(g)
	if err != nil {
		return err
	}
	defer func() {
		if g.held = s.o.ReadOnly && err == nil; !g.held {
			err = errors.Join(err, s.release(g))
		}
	}()
	w := window{file: f, size: g.size}
	head, err := w.at(0, segmentHeader)
	if err != nil {
		return err
	}
	info, ok, whole := parseSegmentInfo(head[:min(len(head), segmentHeader)])
	named := ok && info.number == g.number
	if named {
		s.nextSeq = max(s.nextSeq, info.first)
	}
	g.first = s.nextSeq
	if !whole {
		s.setAside(g, f, 0, min(g.size, segmentHeader))
	}
	bad := int64(-1)
	pos := int64(segmentHeader)
	for pos < g.size {
		b, err := w.at(pos, frameHeader)
		if err != nil {
			return err
		}
		fr, length, ok := parseHeader(b)
		if ok = ok && pos+int64(frameHeader+length) <= g.size; ok {
			if b, err = w.at(pos, frameHeader+length); err != nil {
				return err
			}
			fr, ok = parseFrame(b, g.number, pos)
		}
		if !ok || fr.seq < s.nextSeq {
			if bad < 0 {
				bad = pos
			}
			pos += int64(1 + nextMagic(b[1:]))
			continue
		}
		if bad >= 0 {
			s.setAside(g, f, bad, pos-bad)
			bad = -1
		}
		if !named { // the index starts at the first frame, which may be far ahead
			named, g.first = true, fr.seq
		}
		s.replay(&fr, place{g, uint32(pos), uint32(length)}) //nolint:gosec // segments stay below 4 GiB
		pos += int64(frameHeader + length)
	}
	if bad < 0 {
		return nil
	}
	// Lost frames had sequence numbers, which are not used again.
	s.lostSeq = max(s.lostSeq, s.nextSeq+uint64(g.size-bad)/frameHeader+1) //nolint:gosec // not negative
	// While another process writes, the last segment may end in an unfinished write.
	if !s.o.ReadOnly || !last {
		s.setAside(g, f, bad, g.size-bad)
	}
	return nil
}

// window reads a file from front to back in large steps.
type window struct {
	file disk.File
	size int64
	base int64
	buf  []byte
}

// at returns n or more bytes of the file from pos on, fewer at its end.
func (w *window) at(pos int64, n int) ([]byte, error) {
	const step = 1 << 20
	if at := pos - w.base; at >= 0 && at+int64(n) <= int64(len(w.buf)) {
		return w.buf[at:], nil
	}
	want := int(min(int64(max(n, step)), w.size-pos))
	w.buf = slices.Grow(w.buf[:0], want)[:want]
	w.base = pos
	clear(w.buf)
	return w.buf, readWhole(w.file, w.buf, pos)
}

// replay applies one frame to the index, as was done when it was written.
func (s *Spool) replay(f *frame, at place) {
	s.nextSeq = f.seq + 1
	g := at.seg
	if g.created == 0 {
		g.created = f.time
	}
	g.newest = max(g.newest, f.time)
	switch f.kind {
	case kindOpened:
		if s.open[f.id] != nil {
			s.dropOpen(f.id)
		}
		s.addOpen(f.id, &openCall{seq: f.seq, at: at, state: StateOpen})
	case kindSettled, kindLedger:
		if s.open[f.id] != nil {
			s.dropOpen(f.id)
		}
		if f.kind == kindSettled {
			s.addRecord(at, f.seq, StatePending)
			break
		}
		s.addRecord(at, f.seq, StateDone)
		g.finished = max(g.finished, f.time)
	case kindDone:
		eachFinished(f.payload, func(seq uint64, id ID) {
			if _, r := s.find(seq); r == nil && s.open[id] != nil {
				s.dropOpen(id) // its settled record is damaged, but Lago has it
			}
			s.change(seq, StateDone, f.time)
		})
	case kindRetry:
		eachSeq(f.payload, func(seq uint64) { s.change(seq, StatePending, f.time) })
	case kindRejected:
		if len(f.payload) >= 8 {
			eachSeq(f.payload[:8], func(seq uint64) { s.reject(seq, at, f.time) })
		}
	case kindMoved:
		if m, ok := f.record(); ok {
			s.replaceWith(&m, f.id, at)
		}
	case kindAdopted, kindTaken:
		head := uint32(adoptionBytes)
		if f.kind == kindTaken {
			head = takenHead
		}
		if a, ok := f.adoption(); ok && s.adopted[a] {
			if m, ok := f.record(); ok {
				s.addAdopted(&m, f.origin(), head, f.id, at)
			}
		}
	case kindPassed:
		if seq, name, ok := f.passed(); ok {
			s.cursors[name] = seq
		}
	}
}

// replaceWith gives a record the place of its copy.
func (s *Spool) replaceWith(m *moved, id ID, at place) {
	if m.state == StateOpen || m.state == StateInterrupted {
		if s.open[id] != nil {
			s.dropOpen(id)
		}
		s.addOpen(id, &openCall{seq: m.seq, at: at, state: m.state})
		return
	}
	if s.open[id] != nil {
		s.dropOpen(id) // its settled frame is damaged, and the copy replaces it
	}
	delete(s.notes, m.seq)
	s.remove(m.seq)
	s.addCarried(at, m.seq, m.state)
	if len(m.note) > 0 {
		s.notes[m.seq] = movedNote(at, len(m.note))
	}
}

// movedNote is where a copy of a rejected record has its note.
func movedNote(at place, n int) place {
	return place{at.seg, at.off + frameHeader + movedHead, uint32(n)} //nolint:gosec // bounded by maxNote
}

// setAside copies damaged bytes into a separate file and reports them. It returns no error: a failure to copy the bytes must not
// prevent the spool from opening.
func (s *Spool) setAside(g *segment, from disk.File, off, n int64) {
	name := segmentName(g.number)
	d := Damage{Segment: name, Offset: off, Bytes: n}
	if !s.o.ReadOnly {
		d.File = fmt.Sprintf("%s.damaged-%d", strings.TrimSuffix(name, segmentSuffix), off)
		known, err := s.copyAside(filepath.Join(s.o.Dir, d.File), from, off, n)
		if d.Known = known; err != nil {
			d.File = ""
			s.lastErr = err
		}
	}
	s.report.Damage = append(s.report.Damage, d)
}

func (s *Spool) copyAside(name string, from disk.File, off, n int64) (known bool, err error) {
	if f, err := s.o.FS.Open(name, true); err == nil {
		same, err := sameBytes(f, from, off, n)
		if err = errors.Join(err, f.Close()); err == nil && same {
			return true, nil
		}
		if err := s.o.FS.Remove(name); err != nil {
			return false, err
		}
	}
	to, err := s.o.FS.Create(name)
	if err != nil {
		return false, err
	}
	err = eachPart(from, off, n, func(part []byte, at int64) error {
		_, err := to.WriteAt(part, at)
		return err
	})
	if err == nil {
		err = to.Sync() // the segment may be removed before anyone looks
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return false, errors.Join(err, s.o.FS.Remove(name))
	}
	return false, nil
}

// sameBytes reports whether f consists of the n bytes at off of the other file.
func sameBytes(f, of disk.File, off, n int64) (bool, error) {
	size, err := f.Size()
	same := err == nil && size == n
	if !same {
		return false, err
	}
	err = eachPart(of, off, n, func(part []byte, at int64) error {
		have := make([]byte, len(part))
		err := readWhole(f, have, at)
		same = same && bytes.Equal(part, have)
		return err
	})
	return same && err == nil, err
}

// eachPart reads n bytes of a file from off on, part by part. fn gets each part and its distance from off.
func eachPart(f disk.File, off, n int64, fn func(part []byte, at int64) error) error {
	buf := make([]byte, min(n, 1<<20))
	for at := int64(0); at < n; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), n-at)]
		clear(buf)
		if err := readWhole(f, buf, off+at); err != nil {
			return err
		}
		if err := fn(buf, at); err != nil {
			return err
		}
	}
	return nil
}
