// Package audio finds the length of recorded sound from the headers of its container, as the bytes pass: WAV, MP3, FLAC, Ogg
// (Opus, Vorbis), MP4 and M4A, WebM and Matroska, ADTS AAC, and raw PCM. Nothing is decoded.
package audio

import (
	"bytes"
	"encoding/binary"
	"math"
)

// maxWindow bounds what is looked at in one piece: the longest header, an Ogg page's with the first packet.
const maxWindow = 27 + 255 + 32

// A Meter measures one recording. The zero value is ready; it keeps a few bytes whatever passes.
type Meter struct {
	step   func(m *Meter, w []byte) (advance int64, need int) // what to do with the next header
	need   int
	window [maxWindow]byte
	have   int
	skip   int64 // bytes to pass over
	seen   int64 // bytes so far
	at     int64 // where the window ends
	ended  bool  // nothing that follows matters

	rate    int64 // samples, or units, a second
	samples int64
	bytes   int64 // bytes a second, where the sound is not packed
	data    int64 // where the sound begins
	limit   int64 // bytes of sound that the header states; 0 when it states none
	base    int64 // time of the block's cluster
	scale   int64 // nanoseconds of a time unit (WebM)
	serial  uint32
	preSkip int64
	stated  bool // the length is stated as a whole, and not to be counted
}

// PCM returns a meter of raw sound: bytes a second.
func PCM(bytesPerSecond int64) *Meter { return &Meter{bytes: bytesPerSecond, ended: true} }

// Write takes the next bytes. It never fails.
func (m *Meter) Write(p []byte) (int, error) {
	n := len(p)
	m.seen += int64(n)
	if m.step == nil && !m.ended {
		m.step, m.need = sniff, 12
	}
	for len(p) > 0 && !m.ended {
		if m.skip > 0 {
			k := min(m.skip, int64(len(p)))
			m.skip -= k
			p = p[k:]
			continue
		}
		k := copy(m.window[m.have:m.need], p)
		m.have += k
		p = p[k:]
		if m.have < m.need {
			break
		}
		m.at = m.seen - int64(len(p))
		advance, need := m.step(m, m.window[:m.have])
		switch {
		case m.ended:
		case advance < 0 || need <= 0 || need > maxWindow:
			m.ended = true
		case advance < int64(m.have):
			m.have = copy(m.window[:], m.window[advance:m.have])
			m.need = max(need, m.have)
		default:
			m.skip, m.have, m.need = advance-int64(m.have), 0, need
		}
	}
	return n, nil
}

// Milliseconds returns the length so far, rounded up; ok is false when the bytes are no recording that is known here.
func (m *Meter) Milliseconds() (ms int64, ok bool) {
	switch {
	case m.bytes > 0:
		n := m.seen - m.data
		if m.limit > 0 {
			n = min(n, m.limit)
		}
		return ratio(n, m.bytes), n >= 0
	case m.rate > 0 && m.samples > 0:
		return ratio(m.samples, m.rate), true
	}
	return 0, false
}

// Unknown reports whether the length is not known and no further bytes can make it known: the container is none that is known
// here, or its header leaves the length out.
func (m *Meter) Unknown() bool {
	_, ok := m.Milliseconds()
	return m.ended && !ok
}

// ratio returns 1000 n / d, rounded up, and the largest length that is believed where that would not fit.
func ratio(n, d int64) int64 {
	const most = 1 << 40
	if n/d >= most/1000 {
		return most
	}
	return (n*1000 + d - 1) / d
}

func (m *Meter) end() (int64, int) {
	m.ended = true
	return 0, 0
}

// sniff finds the container by its first bytes.
func sniff(m *Meter, w []byte) (int64, int) {
	switch {
	case string(w[:4]) == "RIFF" && string(w[8:12]) == "WAVE":
		m.step = wave
		return 12, 8
	case string(w[:4]) == "fLaC":
		m.step = flac
		return 8, 34
	case string(w[:4]) == "OggS":
		m.step = ogg
		return 0, 27
	case string(w[4:8]) == "ftyp":
		m.step = box
		return 0, 8
	case w[0] == 0x1a && w[1] == 0x45 && w[2] == 0xdf && w[3] == 0xa3:
		m.step, m.scale = element, 1_000_000
		return 0, 12
	case string(w[:3]) == "ID3":
		m.step = frame
		size := int64(w[6]&0x7f)<<21 | int64(w[7]&0x7f)<<14 | int64(w[8]&0x7f)<<7 | int64(w[9]&0x7f)
		return 10 + size, 6
	case w[0] == 0xff && w[1]&0xe0 == 0xe0:
		m.step = frame
		return 0, 6
	}
	return m.end()
}

// wave reads a chunk of a WAV file: fmt has the format, data the sound.
func wave(m *Meter, w []byte) (int64, int) {
	size := int64(binary.LittleEndian.Uint32(w[4:]))
	switch string(w[:4]) {
	case "fmt ":
		if len(w) < 24 {
			return 0, 24
		}
		// Bytes a second by the format itself, where samples are not packed; its own statement of them may be anything.
		channels, rate, bits := int64(binary.LittleEndian.Uint16(w[10:])), int64(binary.LittleEndian.Uint32(w[12:])), int64(binary.LittleEndian.Uint16(w[22:]))
		perSecond := channels * rate * bits / 8
		if perSecond == 0 {
			perSecond = int64(binary.LittleEndian.Uint32(w[16:]))
		}
		m.rate = perSecond
	case "data":
		if m.rate <= 0 {
			return m.end()
		}
		m.bytes, m.data = m.rate, m.at
		m.limit = size
		if size == 0 || size >= math.MaxUint32-1<<16 { // a stream, whose length was not known
			m.limit = 0
		}
		return m.end()
	}
	return 8 + size + size&1, 8
}

// flac reads the stream's description.
func flac(m *Meter, w []byte) (int64, int) {
	m.rate = int64(w[10])<<12 | int64(w[11])<<4 | int64(w[12])>>4
	m.samples = int64(w[13]&0xf)<<32 | int64(binary.BigEndian.Uint32(w[14:]))
	return m.end()
}

// ogg reads a page. The last one of the stream has the number of samples.
func ogg(m *Meter, w []byte) (int64, int) {
	if string(w[:4]) != "OggS" {
		return m.end()
	}
	segments := int(w[26])
	head := 27 + segments
	if len(w) < head {
		return 0, head
	}
	size := int64(head)
	for _, n := range w[27:head] {
		size += int64(n)
	}
	serial := binary.LittleEndian.Uint32(w[14:])
	if w[5]&2 != 0 && m.rate == 0 { // a stream begins
		if need := min(head+30, int(size)); len(w) < need {
			return 0, need
		}
		switch first := w[head:]; {
		case bytes.HasPrefix(first, []byte("OpusHead")) && len(first) >= 12:
			m.rate, m.preSkip, m.serial = 48000, int64(binary.LittleEndian.Uint16(first[10:])), serial
		case bytes.HasPrefix(first, []byte("\x01vorbis")) && len(first) >= 16:
			m.rate, m.serial = int64(binary.LittleEndian.Uint32(first[12:])), serial
		}
	} else if serial == m.serial {
		if at := int64(binary.LittleEndian.Uint64(w[6:])); at > m.preSkip { //nolint:gosec // -1: no packet ends here
			m.samples = max(m.samples, at-m.preSkip)
		}
	}
	return size, 27
}

// box reads a box of an MP4 file. moov and what it holds are gone into; mvhd has the length.
func box(m *Meter, w []byte) (int64, int) {
	size, head := int64(binary.BigEndian.Uint32(w)), int64(8)
	switch size {
	case 0: // up to the end of the file
		return m.end()
	case 1:
		if len(w) < 16 {
			return 0, 16
		}
		size, head = int64(binary.BigEndian.Uint64(w[8:])), 16 //nolint:gosec // a negative size ends it
	}
	if size < head {
		return m.end()
	}
	switch string(w[4:8]) {
	case "moov":
		return head, 8
	case "mvhd":
		if int64(len(w)) < head+32 && size >= head+32 {
			return 0, int(head) + 32
		}
		b := w[head:]
		switch {
		case len(b) < 32:
		case b[0] == 1:
			m.rate, m.samples = int64(binary.BigEndian.Uint32(b[20:])), int64(binary.BigEndian.Uint64(b[24:])) //nolint:gosec // checked by use
		default:
			m.rate, m.samples = int64(binary.BigEndian.Uint32(b[12:])), int64(binary.BigEndian.Uint32(b[16:]))
		}
		return m.end()
	}
	return size, 8
}
