package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/spool/disk"
)

// A segment begins with two copies of its header, so that one damaged byte cannot lose what it records of the
// segment before it.
const (
	segmentSuffix = ".seg"
	segmentMagic  = "TGSPOOL1"
	headerCopy    = 48
	segmentHeader = 2 * headerCopy
)

// segment is one file of the log with the index of its records. The spool's lock guards it.
type segment struct {
	number   uint64
	first    uint64    // all frames here have this sequence number or a higher one, and all in older segments a lower one
	size     int64     // last good offset: the next frame goes here
	synced   int64     // offset up to which the file survives a loss of power
	syncing  bool      // one caller is syncing for all that wait
	failed   error     // the sync that failed and sealed the segment
	file     disk.File // open while refs > 0
	refs     int       // the writer, readers, and writes that are not durable yet
	held     bool      // by offline reading, until it closes
	created  int64     // Unix milliseconds of the first frame
	newest   int64     // that of the newest frame
	finished int64     // when the last of its records was finished
	recs     []rec     // settled records, in order of sequence number
	carried  []carried
	pending  int   // records here that are pending
	low      int   // no record of recs below this index is pending
	kept     int   // records here, open calls included, that keep the segment from being removed
	live     int64 // their size in bytes
}

// segmentInfo is a segment's header.
type segmentInfo struct {
	number uint64
	before uint64 // the segment before this one; files numbered in between are not part of the log. 0: none
	good   int64  // where the segment before ends; what follows is not part of the log
	first  uint64 // the lowest sequence number possible here
}

func (h *segmentInfo) encode() []byte {
	b := append(make([]byte, 0, segmentHeader), segmentMagic...)
	b = binary.LittleEndian.AppendUint64(b, h.number)
	b = binary.LittleEndian.AppendUint64(b, h.before)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.good)) //nolint:gosec // an offset is not negative
	b = binary.LittleEndian.AppendUint64(b, h.first)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	b = append(b, 0, 0, 0, 0)
	return append(b, b...)
}

// parseSegmentInfo reads the copies of a header. whole is false if one of them is damaged.
func parseSegmentInfo(b []byte) (h segmentInfo, ok, whole bool) {
	whole = len(b) == segmentHeader
	for ; len(b) >= headerCopy; b = b[headerCopy:] {
		if string(b[:8]) != segmentMagic || crc32.Checksum(b[:40], castagnoli) != binary.LittleEndian.Uint32(b[40:]) {
			whole = false
			continue
		}
		whole = whole && binary.LittleEndian.Uint32(b[44:]) == 0
		if !ok {
			h.number, h.before = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
			h.good = int64(binary.LittleEndian.Uint64(b[24:])) //nolint:gosec // written from an int64
			h.first = binary.LittleEndian.Uint64(b[32:])
			ok = true
		}
	}
	return h, ok, whole
}

func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, segmentSuffix) }

func segmentNumber(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil && n > 0 && name == segmentName(n)
}

func (s *Spool) segmentPath(g *segment) string { return filepath.Join(s.o.Dir, segmentName(g.number)) }

// newSegment begins a segment. Its header seals the one before at its last good offset.
func (s *Spool) newSegment() (*segment, error) {
	h := segmentInfo{number: s.nextSeg, first: s.nextSeq}
	// A number is used once, so that a file left over by a failed try is never taken for a segment's continuation.
	s.nextSeg++
	if n := len(s.segments); n > 0 {
		h.before, h.good = s.segments[n-1].number, s.segments[n-1].size
	}
	g := &segment{number: h.number, first: h.first, size: segmentHeader, created: millis(s.o.Now()), refs: 1}
	f, err := s.o.FS.Create(s.segmentPath(g))
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteAt(h.encode(), 0); err == nil && s.o.Durability == Fsync {
		if err = f.Sync(); err == nil {
			err = s.o.FS.SyncDir(s.o.Dir)
		}
	}
	if err != nil {
		// A file that stays is harmless: the next header names the segment before it and so leaves it out.
		return nil, errors.Join(err, f.Close(), s.o.FS.Remove(s.segmentPath(g)))
	}
	if s.o.Durability == Fsync {
		g.synced = segmentHeader
	}
	g.file = f
	s.segments = append(s.segments, g)
	s.current = g
	s.bytes += segmentHeader
	return g, nil
}

// acquire keeps a segment's file open until release.
func (s *Spool) acquire(g *segment) (disk.File, error) {
	if g.file == nil {
		f, err := s.o.FS.Open(s.segmentPath(g), s.o.ReadOnly)
		if err != nil {
			return nil, err
		}
		g.file = f
	}
	g.refs++
	return g.file, nil
}

func (s *Spool) release(g *segment) error {
	if g.refs--; g.refs > 0 {
		return nil
	}
	f := g.file
	g.file = nil
	return f.Close()
}

// letGo closes the files that offline reading keeps open. They keep its view consistent while a writer removes segments.
func (s *Spool) letGo() error {
	var err error
	for _, g := range s.segments {
		if g.held {
			g.held = false
			err = errors.Join(err, s.release(g))
		}
	}
	return err
}

// retire ends the current segment: nothing is written to it again.
func (s *Spool) retire() error {
	g := s.current
	s.current = nil
	select {
	case s.compactor <- struct{}{}:
	default:
	}
	return s.release(g)
}
