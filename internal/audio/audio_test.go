package audio

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func le[T any](v T) []byte { b, _ := binary.Append(nil, binary.LittleEndian, v); return b }
func be[T any](v T) []byte { b, _ := binary.Append(nil, binary.BigEndian, v); return b }

func wav(rate uint32, channels, bits uint16, data int, stated uint32, more ...[]byte) []byte {
	perSecond := rate * uint32(channels) * uint32(bits) / 8
	return bytes.Join(append([][]byte{
		[]byte("RIFF"), le(uint32(0)), []byte("WAVE"), []byte("LIST"), le(uint32(3)), []byte("abc\x00"),
		[]byte("fmt "), le(uint32(16)), le(uint16(1)), le(channels), le(rate), le(perSecond), le(uint16(1)), le(bits),
		[]byte("data"), le(stated), make([]byte, data),
	}, more...), nil)
}

func oggPage(flags byte, granule int64, payload []byte) []byte {
	segments := make([]byte, 0, 4)
	for left := len(payload); ; left -= 255 {
		if left < 255 {
			segments = append(segments, byte(left))
			break
		}
		segments = append(segments, 255)
	}
	return bytes.Join([][]byte{[]byte("OggS\x00"), {flags}, le(granule), le(uint32(7)), le(uint32(0)), le(uint32(0)), {byte(len(segments))}, segments, payload}, nil)
}

func mp4Box(kind string, content ...[]byte) []byte {
	b := bytes.Join(content, nil)
	return append(append(be(uint32(8+len(b))), kind...), b...)
}

func ebml(id []byte, content ...[]byte) []byte {
	b := bytes.Join(content, nil)
	return bytes.Join([][]byte{id, be(uint32(0x10000000 | len(b))), b}, nil)
}

// TestLength measures one recording of each container, written here by its specification, cut at every byte.
func TestLength(t *testing.T) {
	mp3 := bytes.Repeat(append([]byte{0xff, 0xfb, 0x90, 0x00}, make([]byte, 413)...), 100)   // 128 kbit/s, 44.1 kHz: 417 bytes, 1152 samples
	mp3Low := bytes.Repeat(append([]byte{0xff, 0xf3, 0x48, 0xc4}, make([]byte, 140)...), 50) // version 2, 32 kbit/s, 16 kHz: 144 bytes, 576 samples
	adts := bytes.Repeat(append([]byte{0xff, 0xf1, 0x50, 0x80, 0x0c, 0x80, 0x00}, make([]byte, 93)...), 43)
	opusHead := append([]byte("OpusHead\x01\x01"), le(uint16(312))...)
	opusHead = append(opusHead, le(uint32(48000))...)
	vorbisHead := bytes.Join([][]byte{[]byte("\x01vorbis"), le(uint32(0)), {1}, le(uint32(44100)), make([]byte, 14)}, nil)
	streamInfo := bytes.Join([][]byte{make([]byte, 10), {0x0a, 0xc4, 0x42, 0xf0}, be(uint32(441000)), make([]byte, 16)}, nil)
	mvhd := func(b ...[]byte) []byte { return mp4Box("mvhd", append(b, make([]byte, 80))...) }
	head := ebml([]byte{0x1a, 0x45, 0xdf, 0xa3}, []byte("abcdefgh"))
	segment := []byte{0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff} // of unknown size
	info := func(b ...[]byte) []byte { return ebml([]byte{0x15, 0x49, 0xa9, 0x66}, b...) }
	scale := ebml([]byte{0x2a, 0xd7, 0xb1}, []byte{0x0f, 0x42, 0x40})
	cluster := func(at uint16, times ...int16) []byte {
		b := [][]byte{{0x1f, 0x43, 0xb6, 0x75, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, ebml([]byte{0xe7}, be(at))}
		for _, x := range times {
			b = append(b, ebml([]byte{0xa3}, []byte{0x81}, be(x), make([]byte, 30)))
		}
		return bytes.Join(b, nil)
	}
	for name, c := range map[string]struct {
		data []byte
		want int64
	}{
		"wav, 8 kHz, 8 bit, 11 s":            {wav(8000, 1, 8, 88000, 88000), 11000},
		"wav, stereo, with what follows":     {wav(44100, 2, 16, 176400, 176400, []byte("LIST"), make([]byte, 5000)), 1000},
		"wav, a stream of unknown length":    {wav(24000, 1, 16, 48000, math.MaxUint32), 1000},
		"wav, cut short":                     {wav(24000, 1, 16, 24000, 48000), 500},
		"mp3":                                {mp3, (100*1152*1000 + 44099) / 44100},
		"mp3, with a tag before and after":   {bytes.Join([][]byte{[]byte("ID3\x04\x00\x00\x00\x00\x02\x01"), make([]byte, 257), mp3, []byte("TAG"), make([]byte, 125)}, nil), (100*1152*1000 + 44099) / 44100},
		"mp3, version 2":                     {mp3Low, 50 * 576 / 16},
		"aac":                                {adts, (43*1024*1000 + 44099) / 44100},
		"flac":                               {bytes.Join([][]byte{[]byte("fLaC\x00\x00\x00\x22"), streamInfo, make([]byte, 100)}, nil), 10000},
		"opus":                               {bytes.Join([][]byte{oggPage(2, 0, opusHead), oggPage(0, 0, []byte("OpusTags")), oggPage(0, 48000+312, make([]byte, 700)), oggPage(4, 3*48000+312, make([]byte, 20))}, nil), 3000},
		"vorbis":                             {bytes.Join([][]byte{oggPage(2, 0, vorbisHead), oggPage(0, -1, make([]byte, 300)), oggPage(4, 88200, make([]byte, 20))}, nil), 2000},
		"m4a, its header first":              {bytes.Join([][]byte{mp4Box("ftyp", []byte("M4A \x00\x00\x00\x00")), mp4Box("moov", mvhd(make([]byte, 12), be(uint32(1000)), be(uint32(7500)))), mp4Box("mdat", make([]byte, 900))}, nil), 7500},
		"m4a, its header last, of version 1": {bytes.Join([][]byte{mp4Box("ftyp", []byte("M4A \x00\x00\x00\x00")), mp4Box("mdat", make([]byte, 900)), mp4Box("moov", mvhd([]byte{1}, make([]byte, 19), be(uint32(600)), be(uint64(600*90))))}, nil), 90000},
		"webm, with a length":                {bytes.Join([][]byte{head, segment, info(scale, ebml([]byte{0x44, 0x89}, be(math.Float64bits(2345)))), cluster(0, 0, 20)}, nil), 2345},
		"webm, recorded as a stream":         {bytes.Join([][]byte{head, segment, info(scale), cluster(0, 0, 500, 990), cluster(1000, 0, 480)}, nil), 1480},
	} {
		t.Run(name, func(t *testing.T) {
			for cut := 0; cut < min(len(c.data), 1500); cut++ {
				var m Meter
				m.Write(c.data[:cut]) //nolint:errcheck,gosec // never fails
				m.Write(c.data[cut:]) //nolint:errcheck,gosec // never fails
				ms, ok := m.Milliseconds()
				require.True(t, ok)
				require.Equal(t, c.want, ms, "cut at %d", cut)
			}
			var m Meter
			for i := range c.data {
				m.Write(c.data[i : i+1]) //nolint:errcheck,gosec // never fails
			}
			ms, _ := m.Milliseconds()
			require.Equal(t, c.want, ms)
		})
	}
	m := PCM(48000)
	m.Write(make([]byte, 24000)) //nolint:errcheck,gosec // never fails
	ms, ok := m.Milliseconds()
	require.True(t, ok)
	require.EqualValues(t, 500, ms)
}

func FuzzMeter(f *testing.F) {
	f.Add(wav(8000, 1, 8, 100, 100), 20)
	f.Add([]byte("OggS\x00\x02"), 3)
	f.Add([]byte("\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00moov"), 9)
	f.Add([]byte{0x1a, 0x45, 0xdf, 0xa3, 0x80, 0x18, 0x53, 0x80, 0x67, 0xff, 0x44, 0x89, 0x84, 1, 2, 3, 4}, 5)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		var whole, parts Meter
		whole.Write(data) //nolint:errcheck,gosec // never fails
		at := 0
		if len(data) > 0 {
			at = int(uint(cut) % uint(len(data)))
		}
		parts.Write(data[:at]) //nolint:errcheck,gosec // never fails
		parts.Write(data[at:]) //nolint:errcheck,gosec // never fails
		a, okA := whole.Milliseconds()
		b, okB := parts.Milliseconds()
		require.Equal(t, okA, okB)
		require.Equal(t, a, b)
		require.GreaterOrEqual(t, a, int64(0))
	})
}
