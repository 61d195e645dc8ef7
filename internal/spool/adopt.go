package spool

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

// An adoption has three files. ADOPTING in the other spool names it before anything is copied; from the creation of adopted-NUMBER
// in this spool the copies count, all together; ADOPTED in the other spool ends it. Either file in the other spool prevents it from
// being opened.
const (
	adoptingName  = "ADOPTING"
	adoptedName   = "ADOPTED"
	adoptedPrefix = "adopted-"
)

// adoption is the random number of an adoption.
type adoption [adoptionBytes]byte

func (a adoption) fileName() string { return adoptedPrefix + hex.EncodeToString(a[:]) }

func adoptionOf(name string) (a adoption, ok bool) {
	digits, ok := strings.CutPrefix(name, adoptedPrefix)
	if !ok || len(digits) != 2*len(a) {
		return a, false
	}
	_, err := hex.Decode(a[:], []byte(digits))
	return a, err == nil
}

// adoption returns the number in front of an adopted record.
func (f *frame) adoption() (a adoption, ok bool) {
	if len(f.payload) < len(a) {
		return a, false
	}
	return adoption(f.payload), true
}

// Adopt takes over the unfinished records of another spool, which no process may have open. Calls that were open there
// are interrupted here. It returns how many it took. It is all or nothing, and may be called again after a crash: the
// records are here once, and the other directory cannot be opened or adopted again (ErrAdopted).
func (s *Spool) Adopt(dir string) (n int, err error) {
	s.mu.Lock()
	err = s.beginWrite() // so that Close waits: the adoption must not take effect when another process has the spool
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.endWrite()
	}()
	by, err := filepath.Abs(s.o.Dir)
	if err != nil {
		return 0, err
	}
	from, err := open(Options{Dir: dir, FS: s.o.FS, ReadOnly: true, Now: s.o.Now}, true)
	if err != nil {
		return 0, fmt.Errorf("spool %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, from.closeFiles()) }()
	if from.has(adoptedName) {
		return 0, fmt.Errorf("spool %s: %w", dir, ErrAdopted)
	}
	for _, d := range from.report.Damage {
		s.o.OnFault(fmt.Errorf("spool %s: %d bytes at offset %d of %s hold no readable record and stay there", dir, d.Bytes, d.Offset, d.Segment))
	}
	a, begun, err := from.begunAdoption(by)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	counts, doubt := begun && s.adopted[a], s.doubt
	s.mu.Unlock()
	switch {
	case doubt:
		return 0, fmt.Errorf("%w: whether an adoption counts is not known until the spool is opened again", ErrUnavailable)
	case !counts:
		// Copies from an earlier attempt stay under that attempt's number, and so never count.
		if a, err = from.nameAdoption(by, begun); err != nil {
			return 0, err
		}
		if n, err = s.takeOver(from, a); err != nil {
			return 0, err
		}
	}
	return n, from.mark(adoptedName, []byte(by+"\n"))
}

func (s *Spool) has(name string) bool {
	f, err := s.o.FS.Open(filepath.Join(s.o.Dir, name), true)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return f.Close() == nil
}

// AdoptedBy returns the directory of the spool that took over the records of this one; empty if none did.
func (s *Spool) AdoptedBy() (string, error) {
	content, err := s.content(adoptedName)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSuffix(content, "\n"), err
}

// content reads a small file of the spool's directory.
func (s *Spool) content(name string) (string, error) {
	f, err := s.o.FS.Open(filepath.Join(s.o.Dir, name), true)
	if err != nil {
		return "", err
	}
	content := make([]byte, 64<<10)
	n, err := f.ReadAt(content, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return string(content[:n]), errors.Join(err, f.Close())
}

// mark creates a durable file.
func (s *Spool) mark(name string, content []byte) error {
	f, err := s.o.FS.Create(filepath.Join(s.o.Dir, name))
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, s.o.FS.Remove(filepath.Join(s.o.Dir, name)))
	}
	return s.o.FS.SyncDir(s.o.Dir)
}

// begunAdoption returns the adoption that was begun, if any. Only the spool that began it may continue it: the copies may already
// count there.
func (s *Spool) begunAdoption(by string) (a adoption, begun bool, err error) {
	content, err := s.content(adoptingName)
	if errors.Is(err, fs.ErrNotExist) {
		return a, false, nil
	} else if err != nil {
		return a, false, err
	}
	a, owner, ok := parseAdopting(content)
	if ok && owner != by {
		return a, false, fmt.Errorf("spool %s: %w: %s has begun to, and must go on with it", s.o.Dir, ErrAdopted, owner)
	}
	return a, true, nil // without a complete line, writing it was interrupted before anything was copied
}

// adoptingFile is the content of ADOPTING: the number and the adopter's directory.
func adoptingFile(a adoption, by string) []byte {
	return twice(hex.EncodeToString(a[:]) + " " + strconv.Quote(by))
}

func parseAdopting(content string) (a adoption, by string, ok bool) {
	ok = parseTwice(content, func(text string) bool {
		digits, quoted, _ := strings.Cut(text, " ")
		named, whole := adoptionOf(adoptedPrefix + digits)
		owner, err := strconv.Unquote(quoted)
		a, by = named, owner
		return whole && err == nil
	})
	return a, by, ok
}

// twice is the content of a small file: two equal lines, so that one damaged byte loses nothing. A line is the CRC32C of the text
// after it, and the text.
func twice(text string) []byte {
	line := fmt.Sprintf("%08x %s\n", crc32.Checksum([]byte(text), castagnoli), text)
	return []byte(line + line)
}

// parseTwice passes the text of each undamaged line to parse until it accepts one.
func parseTwice(content string, parse func(text string) bool) bool {
	half := len(content) / 2
	for _, line := range []string{content[:half], content[half:]} {
		sum, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if sum == fmt.Sprintf("%08x", crc32.Checksum([]byte(text), castagnoli)) && parse(text) {
			return true
		}
	}
	return false
}

// nameAdoption names a new adoption in place of one that was begun and has not taken effect.
func (s *Spool) nameAdoption(by string, begun bool) (a adoption, err error) {
	if begun {
		if err := s.o.FS.Remove(filepath.Join(s.o.Dir, adoptingName)); err != nil {
			return a, err
		}
	}
	if _, err := rand.Read(a[:]); err != nil {
		return a, err
	}
	return a, s.mark(adoptingName, adoptingFile(a, by))
}

// copied is the copy of a record that does not count yet.
type copied struct {
	at     place
	seq    uint64
	origin Origin
	id     ID
	state  State
	note   int
}

// takeOver copies the records that are unfinished or not read by a consumer, and makes them count. n is how many are unfinished.
func (s *Spool) takeOver(from *Spool, a adoption) (n int, err error) {
	var live int64
	for _, g := range from.segments {
		live += g.live
	}
	s.mu.Lock()
	full := s.bytes+live >= s.o.MaxBytes
	s.mu.Unlock()
	if full {
		return 0, ErrFull
	}
	var list []copied
	release := func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		var err error
		for _, c := range list {
			err = errors.Join(err, s.release(c.at.seg))
		}
		return err
	}
	s.mu.Lock()
	consumers := s.o.Consumers
	s.mu.Unlock()
	err = from.handOver(consumers, func(r Record) error {
		c, err := s.copyOver(r, a)
		if err == nil {
			list = append(list, c)
		}
		return err
	})
	if err == nil {
		err = s.Sync()
	}
	if err == nil && !s.allHere(list) {
		err = fmt.Errorf("%w: copies were lost in a failed sync", ErrUnavailable)
	}
	if err == nil {
		err = s.commit(a)
	}
	s.mu.Lock()
	if err == nil {
		s.adopted[a] = true
		for _, c := range list {
			m := moved{seq: c.seq, state: c.state, note: make([]byte, c.note)}
			s.addAdopted(&m, c.origin, takenHead, c.id, c.at)
			if c.state.keeps() {
				n++
			}
		}
	}
	if !s.doubt {
		s.adopting = 0
		s.news.ring()
	}
	s.mu.Unlock()
	return n, errors.Join(err, release())
}

// commit makes an adoption take effect. After an error it has not, or that is unknown.
func (s *Spool) commit(a adoption) error {
	err := s.mark(a.fileName(), nil)
	if err == nil {
		return nil
	}
	rerr := s.o.FS.Remove(filepath.Join(s.o.Dir, a.fileName()))
	if errors.Is(rerr, fs.ErrNotExist) {
		rerr = nil
	}
	if rerr = errors.Join(rerr, s.o.FS.SyncDir(s.o.Dir)); rerr != nil {
		s.mu.Lock()
		s.doubt = true
		s.mu.Unlock()
	}
	return errors.Join(err, rerr)
}

// allHere reports whether all copies are outside the tail that a failed sync discarded.
func (s *Spool) allHere(list []copied) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range list {
		if c.at.end() > c.at.seg.size {
			return false
		}
	}
	return true
}

func (s *Spool) copyOver(r Record, a adoption) (c copied, err error) {
	if r.State == StateOpen {
		r.State = StateInterrupted
	}
	m := moved{seq: r.Origin.Seq, time: millis(r.Time), state: r.State, note: r.Note, payload: r.Payload}
	head := append(a[:len(a):len(a)], r.Origin.Spool[:]...)
	d := draft{frame: frame{kind: kindTaken, time: millis(s.o.Now()), id: r.ID, payload: m.append(head)}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.beginWrite(); err != nil {
		return c, err
	}
	defer s.endWrite()
	if s.adopting == 0 {
		s.adopting = s.nextSeq
	}
	at, err := s.write(&d)
	if err != nil {
		return c, s.wentWrong(err)
	}
	return copied{at: at, seq: d.seq, origin: r.Origin, id: r.ID, state: r.State, note: len(r.Note)}, nil
}

// addAdopted indexes an adopted record, before which its frame has head bytes.
func (s *Spool) addAdopted(m *moved, origin Origin, head uint32, id ID, at place) {
	if m.state == StateInterrupted || m.state == StateOpen {
		if s.open[id] == nil {
			s.addOpen(id, &openCall{seq: m.seq, at: at, state: StateInterrupted})
		}
		return
	}
	s.addRecord(at, m.seq, m.state)
	if m.state == StateDone {
		at.seg.finished = max(at.seg.finished, at.seg.newest)
	}
	if origin.Spool != (LogID{}) {
		s.origins[m.seq] = origin
	}
	if len(m.note) > 0 {
		n := movedNote(at, len(m.note))
		n.off += head
		s.notes[m.seq] = n
	}
}
