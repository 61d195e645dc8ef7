package usage

import (
	"encoding/binary"
	"hash/crc32"
)

// The binary event stream of AWS: frames of a prelude (length of the frame, length of its headers, CRC-32 of both), the
// headers, a payload, and the CRC-32 of all before it; numbers are big-endian. Source: the format of
// aws-sdk-go-v2/aws/protocol/eventstream.
const (
	preludeLen   = 12
	checksumLen  = 4
	maxFrame     = 24<<20 + 128<<10 + preludeLen + checksumLen // what AWS's decoder takes at most
	maxHeaders   = 128 << 10
	headerString = 7
)

// binaryStream is the place in a binary event stream.
type binaryStream struct {
	at, total, headers uint32 // position in the frame, its length, the length of its headers
	sum, want          uint32 // checksum of the frame so far, and the one it names
	prelude            [preludeLen]byte
	head               [256]byte // the headers, as far as they fit
	before             tally     // the usage kept before this frame, in case its checksum is wrong
	failedBefore       bool
}

// nextFrame reads a binary event stream up to the end of a frame.
func (r *Reader) nextFrame(p []byte) (int, Mark) {
	b := &r.frame
	i := 0
	for i < len(p) {
		switch {
		case b.at < preludeLen:
			n := copy(b.prelude[b.at:], p[i:])
			i += n
			if b.at += uint32(n); b.at == preludeLen && !r.frameBegins() {
				return len(p), More
			}
		case b.at < preludeLen+b.headers:
			q := p[i:min(len(p), i+int(preludeLen+b.headers-b.at))]
			if off := b.at - preludeLen; int(off) < len(b.head) {
				copy(b.head[off:], q)
			}
			b.take(q)
			i += len(q)
			if b.at == preludeLen+b.headers && int(b.headers) <= len(b.head) {
				r.frameHeaders(b.head[:b.headers])
			}
		case b.at < b.total-checksumLen:
			q := p[i:min(len(p), i+int(b.total-checksumLen-b.at))]
			if r.sc.st != stDone && r.sc.st != stBad {
				r.sc.run(r, q)
			}
			b.take(q)
			i += len(q)
		default:
			b.want = b.want<<8 | uint32(p[i])
			i++
			if b.at++; b.at == b.total {
				return r.frameEnds(p, i)
			}
		}
	}
	return i, More
}

func (b *binaryStream) take(p []byte) {
	b.sum = crc32.Update(b.sum, crc32.IEEETable, p)
	b.at += uint32(len(p))
}

// frameBegins reads the prelude. It reports whether there is a frame to read.
func (r *Reader) frameBegins() bool {
	b := &r.frame
	b.total = binary.BigEndian.Uint32(b.prelude[:])
	b.headers = binary.BigEndian.Uint32(b.prelude[4:])
	if binary.BigEndian.Uint32(b.prelude[8:]) != crc32.ChecksumIEEE(b.prelude[:8]) || b.total > maxFrame ||
		b.headers > maxHeaders || b.total < preludeLen+b.headers+checksumLen {
		r.breakOff("the event stream has a broken prelude")
		return false
	}
	b.sum, b.want = crc32.ChecksumIEEE(b.prelude[:]), 0
	b.before, b.failedBefore = r.kept, r.failed
	r.begin()
	return true
}

// frameEnds checks a frame that ends at position i.
func (r *Reader) frameEnds(p []byte, i int) (int, Mark) {
	b := &r.frame
	b.at = 0
	if b.sum != b.want {
		r.kept, r.failed, r.extra = b.before, b.failedBefore, nil
		r.breakOff("the event stream has a frame with a wrong checksum")
		return len(p), More
	}
	ends := r.f.ends != nil && r.f.ends(r)
	r.eventDone()
	if ends {
		r.final = true
		if m := r.end(); m != More {
			return i, m
		}
	}
	return i, EventEnd
}

// breakOff gives up an answer that cannot be read from here on.
func (r *Reader) breakOff(why string) {
	r.framing, r.broken = opaque, why
	r.event = event{}
}

// frameHeaders reads the type of an event from its headers.
func (r *Reader) frameHeaders(h []byte) {
	for len(h) > 0 {
		n := int(h[0])
		if len(h) < n+2 {
			return
		}
		key, kind := string(h[1:n+1]), h[n+1]
		h = h[n+2:]
		size, long := headerSize(kind), kind == 6 || kind == headerString
		if long {
			if len(h) < 2 {
				return
			}
			size = int(binary.BigEndian.Uint16(h))
			h = h[2:]
		}
		if len(h) < size {
			return
		}
		if value := h[:size]; kind == headerString {
			switch {
			case key == ":event-type":
				r.kind.put(value)
			case key == ":message-type" && string(value) != "event":
				r.failed = true
			}
		}
		h = h[size:]
	}
}

// headerSize returns the size of a header value of a type with a fixed size.
func headerSize(kind byte) int {
	if kind < 10 {
		return [10]int{2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}[kind]
	}
	return 0
}

// base64Text decodes the Base64 text of an event inside an event.
type base64Text struct {
	acc uint32
	n   uint8
}

func (b *base64Text) reset() { *b = base64Text{} }

// base64 takes a piece of the text and gives what it holds to the inner scanner.
func (r *Reader) base64(p []byte) {
	var buf [512]byte
	n := 0
	b := &r.b64
	for _, c := range p {
		v := base64Value[c]
		if v < 0 {
			continue // padding, or the backslash before an escaped slash
		}
		b.acc = b.acc<<6 | uint32(v)
		if b.n += 6; b.n >= 8 {
			b.n -= 8
			buf[n] = byte(b.acc >> b.n)
			if n++; n == len(buf) {
				r.innerText(buf[:n])
				n = 0
			}
		}
	}
	r.innerText(buf[:n])
}

func (r *Reader) innerText(p []byte) {
	if r.inner.st != stDone && r.inner.st != stBad {
		r.inner.run(r, p)
	}
}

var base64Value = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		t[c] = int8(i)
	}
	return t
}()
