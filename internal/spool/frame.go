package spool

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"time"
)

// A frame on disk, little endian; docs/spool.md has the table. The last byte of the magic never occurs in UTF-8 text, so a search for
// the next frame does not stop inside payloads.
const (
	frameMagic    = 0xfe4754f1
	frameHeader   = 48
	maxFrame      = 1<<24 - 1 // the index keeps a payload's length in 24 bits
	maxPayload    = 8 << 20
	maxNote       = 1 << 20
	maxListed     = 4096 // records that one acknowledgement may name
	doneEntry     = 24
	movedHead     = 24
	adoptionBytes = 16
	takenHead     = adoptionBytes + 16
	maxConsumer   = 255
)

// kind is what a frame holds.
type kind uint8

const (
	kindOpened   kind = 1  // the opened record
	kindSettled  kind = 2  // the settled record, to be delivered
	kindLedger   kind = 3  // the settled record, finished at once
	kindDone     kind = 4  // sequence number and id of each record that is finished
	kindRejected kind = 5  // a sequence number, then why it was rejected
	kindRetry    kind = 6  // sequence numbers of records that are pending again
	kindMoved    kind = 7  // an unfinished record in its present form: copied forward or amended
	kindAdopted  kind = 8  // the number of the adoption, then an unfinished record of another spool as it was there
	kindTaken    kind = 9  // the same with the record's origin in front of it; it may be finished
	kindPassed   kind = 10 // the sequence number up to which a consumer has read, then its name
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is one entry of the log.
type frame struct {
	kind    kind
	seq     uint64
	time    int64 // Unix milliseconds
	id      ID
	payload []byte
}

// checksum also covers the frame's position, so that a stray copy of a frame, left in reused disk blocks or inside
// another's payload, is never taken for one. where is what appendWhere makes.
func checksum(where, b []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, where), castagnoli, b[8:])
}

func appendWhere(b []byte, segment uint64, off int64) []byte {
	b = binary.LittleEndian.AppendUint64(b, segment)
	return binary.LittleEndian.AppendUint64(b, uint64(off)) //nolint:gosec // an offset is not negative
}

// appendFrame appends f as written to disk at that offset of that segment.
func appendFrame(b []byte, f *frame, segment uint64, off int64) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, frameMagic)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.payload))) //nolint:gosec // bounded by maxFrame
	b = append(b, byte(f.kind), 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, f.seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.time)) //nolint:gosec // times are after 1970
	b = append(b, f.id[:]...)
	b = append(b, f.payload...)
	end := len(b)
	b = appendWhere(b, segment, off) // after the frame, as a separate array would be an allocation
	binary.LittleEndian.PutUint32(b[at+4:], checksum(b[end:], b[at:end]))
	return b[:end]
}

// parseHeader reads a frame's header and the length of its payload. ok is false if no frame begins there. The result must not be
// trusted before the checksum is compared.
func parseHeader(b []byte) (f frame, length int, ok bool) {
	if len(b) < frameHeader || binary.LittleEndian.Uint32(b) != frameMagic {
		return f, 0, false
	}
	n := binary.LittleEndian.Uint32(b[8:])
	f.kind = kind(b[12])
	if n > maxFrame || f.kind < kindOpened || f.kind > kindPassed || b[13]|b[14]|b[15] != 0 {
		return f, 0, false
	}
	f.seq = binary.LittleEndian.Uint64(b[16:])
	f.time = int64(binary.LittleEndian.Uint64(b[24:])) //nolint:gosec // written from an int64
	copy(f.id[:], b[32:48])
	return f, int(n), true
}

// parseFrame reads the whole frame at the beginning of b, and at off of the segment. Its payload shares b.
func parseFrame(b []byte, segment uint64, off int64) (f frame, ok bool) {
	f, length, ok := parseHeader(b)
	if !ok || len(b) < frameHeader+length {
		return f, false
	}
	b = b[: frameHeader+length : frameHeader+length]
	f.payload = b[frameHeader:]
	return f, checksum(appendWhere(make([]byte, 0, 16), segment, off), b) == binary.LittleEndian.Uint32(b[4:])
}

var magicBytes = binary.LittleEndian.AppendUint32(nil, frameMagic)

// nextMagic returns where the next frame may begin in b. Up to three bytes at the end may be the start of one.
func nextMagic(b []byte) int {
	if i := bytes.Index(b, magicBytes); i >= 0 {
		return i
	}
	return max(0, len(b)-len(magicBytes)+1)
}

// finished names a record in a kindDone frame. The id identifies what was finished when the record itself is damaged.
type finished struct {
	seq uint64
	id  ID
}

func appendFinished(b []byte, list []finished) []byte {
	for _, e := range list {
		b = binary.LittleEndian.AppendUint64(b, e.seq)
		b = append(b, e.id[:]...)
	}
	return b
}

func eachFinished(b []byte, fn func(seq uint64, id ID)) {
	for ; len(b) >= doneEntry; b = b[doneEntry:] {
		fn(binary.LittleEndian.Uint64(b), ID(b[8:doneEntry]))
	}
}

func appendSeqs(b []byte, seqs []uint64) []byte {
	for _, s := range seqs {
		b = binary.LittleEndian.AppendUint64(b, s)
	}
	return b
}

func eachSeq(b []byte, fn func(uint64)) {
	for ; len(b) >= 8; b = b[8:] {
		fn(binary.LittleEndian.Uint64(b))
	}
}

// moved is the payload of a kindMoved frame, and that of a kindAdopted frame after the adoption's number.
type moved struct {
	seq     uint64 // the record's own; a record keeps it for life
	time    int64  // Unix milliseconds of the record
	state   State
	note    []byte
	payload []byte
}

func (m *moved) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, m.seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.time)) //nolint:gosec // times are after 1970
	b = append(b, byte(m.state), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.note))) //nolint:gosec // bounded by maxNote
	b = append(b, m.note...)
	return append(b, m.payload...)
}

func parseMoved(b []byte) (m moved, ok bool) {
	if len(b) < movedHead {
		return m, false
	}
	m.seq = binary.LittleEndian.Uint64(b)
	m.time = int64(binary.LittleEndian.Uint64(b[8:])) //nolint:gosec // written from an int64
	m.state = State(b[16])
	n := int(binary.LittleEndian.Uint32(b[20:]))
	if n > len(b)-movedHead || (!m.state.keeps() && m.state != StateDone) {
		return m, false
	}
	m.note, m.payload = b[movedHead:movedHead+n], b[movedHead+n:]
	return m, true
}

// origin returns where the record of a kindTaken frame was settled.
func (f *frame) origin() (o Origin) {
	if f.kind == kindTaken && len(f.payload) >= takenHead+8 {
		o.Spool = LogID(f.payload[adoptionBytes:takenHead])
		o.Seq = binary.LittleEndian.Uint64(f.payload[takenHead:])
	}
	return o
}

// record returns the record that a frame claims to hold.
func (f *frame) record() (m moved, ok bool) {
	switch f.kind {
	case kindMoved:
		return parseMoved(f.payload)
	case kindAdopted:
		if len(f.payload) < adoptionBytes {
			return m, false
		}
		m, ok = parseMoved(f.payload[adoptionBytes:])
		m.seq = f.seq
		return m, ok
	case kindTaken:
		if len(f.payload) < takenHead {
			return m, false
		}
		m, ok = parseMoved(f.payload[takenHead:])
		m.seq = f.seq
		return m, ok
	case kindOpened:
		return moved{seq: f.seq, time: f.time, state: StateOpen, payload: f.payload}, true
	case kindSettled:
		return moved{seq: f.seq, time: f.time, state: StatePending, payload: f.payload}, true
	case kindLedger:
		return moved{seq: f.seq, time: f.time, state: StateDone, payload: f.payload}, true
	default:
		return m, false
	}
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms) }
