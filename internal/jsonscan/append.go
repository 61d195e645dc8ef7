package jsonscan

import (
	"encoding/binary"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// unescaped marks the bytes that may appear unescaped in a JSON string.
var unescaped = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// plain reports whether b is ASCII and needs no escaping in a JSON string. It examines eight bytes at once.
func plain(b []byte) bool {
	if len(b) < 8 {
		for _, c := range b {
			if !unescaped[c] {
				return false
			}
		}
		return true
	}
	for at := 0; ; at += 8 {
		at = min(at, len(b)-8)
		w := binary.LittleEndian.Uint64(b[at:])
		q, e := w^quotes, w^backslashes
		if ((q-ones)&^q|(e-ones)&^e|(w-spaces)&^w|w)&tops != 0 {
			return false
		}
		if at == len(b)-8 {
			return true
		}
	}
}

// AppendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	at := len(b)
	b = append(b, s...)
	if plain(b[at:]) { // true of nearly all strings
		return append(b, '"')
	}
	b = b[:at]
	i, from := 0, 0
	for i < len(s) {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(b, s[from:i]...)
				b = append(b, "\ufffd"...)
				i++
				from = i
				continue
			}
			i += n
			continue
		}
		if unescaped[c] {
			i++
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\t':
			b = append(b, '\\', 't')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
		i++
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}
