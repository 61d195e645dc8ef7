package audio

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// kilobits are the bit rates of MPEG audio, in thousands of bits a second: by version 1 or 2, by layer.
var kilobits = [2][3][16]int64{
	{
		{0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448},
		{0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384},
		{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
	},
	{
		{0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256},
		{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
		{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
	},
}

// adtsRates are the sample rates of ADTS frames.
var adtsRates = [16]int64{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

// frame reads a frame of MP3 or of ADTS AAC, and looks for the next one where there is none.
func frame(m *Meter, w []byte) (int64, int) {
	const need = 6
	if w[0] != 0xff || w[1]&0xe0 != 0xe0 {
		return 1, need
	}
	if w[1]&0xf6 == 0xf0 { // ADTS
		rate := adtsRates[w[2]>>2&0xf]
		size := int64(w[3]&3)<<11 | int64(w[4])<<3 | int64(w[5])>>5
		if rate == 0 || size < 7 {
			return 1, need
		}
		m.count(1024, rate)
		return size, need
	}
	version, layer := w[1]>>3&3, w[1]>>1&3 // 3 is version 1, 2 version 2, 0 version 2.5; layers count down from 3
	if version == 1 || layer == 0 || w[2]>>2&3 == 3 {
		return 1, need
	}
	rate := [3]int64{44100, 48000, 32000}[w[2]>>2&3]
	second := 0
	switch version {
	case 2:
		rate, second = rate/2, 1
	case 0:
		rate, second = rate/4, 1
	}
	rank := 3 - layer // 0 is layer I
	speed := kilobits[second][rank][w[2]>>4] * 1000
	if speed == 0 {
		return 1, need
	}
	padding := int64(w[2] >> 1 & 1)
	samples := int64(1152)
	var size int64
	switch {
	case rank == 0:
		samples = 384
		size = (12*speed/rate + padding) * 4
	case rank == 2 && second == 1:
		samples = 576
		size = 72*speed/rate + padding
	default:
		size = 144*speed/rate + padding
	}
	m.count(samples, rate)
	return max(size, 4), need
}

// count adds samples at a rate, which is that of the first frame for all: samples of another are converted.
func (m *Meter) count(samples, rate int64) {
	if m.rate == 0 {
		m.rate = rate
	}
	m.samples += samples * m.rate / rate
}

// The elements of WebM that are gone into or read.
const (
	idSegment   = 0x18538067
	idInfo      = 0x1549a966
	idScale     = 0x2ad7b1
	idDuration  = 0x4489
	idCluster   = 0x1f43b675
	idTimecode  = 0xe7
	idSimple    = 0xa3
	idGroup     = 0xa0
	idBlock     = 0xa1
	unknownSize = -1
)

// element reads an element of WebM or Matroska. The segment's information may state the length; a recording that was made
// as a stream has none, and its last block's time is taken.
func element(m *Meter, w []byte) (int64, int) {
	const need = 12
	id, n := vint(w, true)
	if n == 0 || n > 4 {
		return m.end()
	}
	size, k := vint(w[n:], false)
	if k == 0 {
		return m.end()
	}
	head := int64(n + k)
	payload := w[head:]
	more := func(bytes int) bool { return len(payload) < bytes }
	switch id {
	case idSegment, idInfo, idCluster, idGroup:
		return head, need
	case idScale, idTimecode, idDuration:
		if size < 1 || size > 8 {
			return m.end()
		}
		if more(int(size)) {
			return 0, int(head + size)
		}
		v := uint64(0)
		for _, c := range payload[:size] {
			v = v<<8 | uint64(c)
		}
		switch id {
		case idScale:
			m.scale = int64(min(v, 1e9)) //nolint:gosec // bounded
		case idTimecode:
			m.base = int64(min(v, math.MaxInt32*1000)) //nolint:gosec // bounded
		case idDuration:
			m.duration(v, size)
		}
		return head + size, need
	case idSimple, idBlock:
		if more(4) {
			return 0, int(head) + 4
		}
		_, track := vint(payload, false)
		if track != 1 || size < 4 {
			break
		}
		if at := m.base + int64(int16(binary.BigEndian.Uint16(payload[1:]))); !m.stated && at > 0 { //nolint:gosec // a signed time
			m.rate, m.samples = 1000, max(m.samples, min(at, math.MaxInt64/m.nanos())*m.nanos()/1_000_000)
		}
	}
	if size == unknownSize {
		return m.end()
	}
	return head + size, need
}

func (m *Meter) nanos() int64 { return max(m.scale, 1) }

// duration takes the stated length, a float of the time unit.
func (m *Meter) duration(v uint64, size int64) {
	length := math.Float64frombits(v)
	if size == 4 {
		length = float64(math.Float32frombits(uint32(v))) //nolint:gosec // four bytes
	}
	if ms := length * float64(m.nanos()) / 1e6; ms > 0 && ms < 1<<40 {
		m.rate, m.samples, m.stated = 1000, int64(math.Ceil(ms)), true
	}
}

// vint reads a number of variable length and returns how many bytes it has, 0 when it is none. marked keeps the bit that
// is marked, as in ids; a size of all ones is unknown.
func vint(w []byte, marked bool) (v int64, n int) {
	if len(w) == 0 || w[0] == 0 {
		return 0, 0
	}
	n = bits.LeadingZeros8(w[0]) + 1
	if len(w) < n {
		return 0, 0
	}
	first := w[0]
	if !marked {
		first &= 1<<(8-n) - 1
	}
	ones := first == 1<<(8-n)-1
	v = int64(first)
	for _, c := range w[1:n] {
		v = v<<8 | int64(c)
		ones = ones && c == 0xff
	}
	if !marked && ones {
		return unknownSize, n
	}
	return v, n
}
