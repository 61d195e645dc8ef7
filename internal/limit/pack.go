package limit

import (
	"encoding/binary"
	"math"
)

// Scripts take and return MessagePack: one argument instead of fifty, which neither side has to parse.

// packList appends the beginning of a list of n.
func packList(b []byte, n int) []byte {
	return binary.BigEndian.AppendUint16(append(b, 0xdc), uint16(n)) //nolint:gosec // lists are far below 2^16
}

// packText appends a text.
func packText(b []byte, s string) []byte {
	if len(s) <= math.MaxUint8 {
		b = append(b, 0xd9, byte(len(s))) //nolint:gosec // just compared
	} else {
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(len(s))) //nolint:gosec // names are far below 2^32
	}
	return append(b, s...)
}

// packInt appends a number.
func packInt(b []byte, n int64) []byte {
	if 0 <= n && n <= math.MaxInt8 {
		return append(b, byte(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(n)) //nolint:gosec // two's complement
}

// unpacker reads numbers and lists.
type unpacker struct {
	b   string
	bad bool // something else was found
}

// take returns the next n bytes.
func (u *unpacker) take(n int) string {
	if len(u.b) < n {
		u.b, u.bad = "", true
		return "\x00\x00\x00\x00\x00\x00\x00\x00"[:n]
	}
	t := u.b[:n]
	u.b = u.b[n:]
	return t
}

// big returns the number that the next n bytes are.
func (u *unpacker) big(n int) (v uint64) {
	for _, c := range []byte(u.take(n)) {
		v = v<<8 | uint64(c)
	}
	return v
}

// list returns how many entries the list has that begins here.
func (u *unpacker) list() int {
	switch c := u.big(1); {
	case c&0xf0 == 0x90:
		return int(c & 0x0f)
	case c == 0xdc:
		return int(u.big(2)) //nolint:gosec // two bytes
	}
	u.bad = true
	return 0
}

// int returns the number that begins here.
func (u *unpacker) int() int64 {
	switch c := u.big(1); {
	case c <= math.MaxInt8:
		return int64(c) //nolint:gosec // one byte
	case c >= 0xe0:
		return int64(int8(c)) //nolint:gosec // two's complement of one byte
	case c >= 0xcc && c <= 0xcf:
		return int64(u.big(1 << (c - 0xcc))) //nolint:gosec // numbers are at most 2^53
	case c == 0xd0:
		return int64(int8(u.big(1))) //nolint:gosec // two's complement
	case c == 0xd1:
		return int64(int16(u.big(2))) //nolint:gosec // two's complement
	case c == 0xd2:
		return int64(int32(u.big(4))) //nolint:gosec // two's complement
	case c == 0xd3:
		return int64(u.big(8)) //nolint:gosec // two's complement
	}
	u.bad = true
	return 0
}
