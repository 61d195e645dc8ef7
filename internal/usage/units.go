package usage

import (
	"encoding/binary"
	"math/bits"
)

// asciiUnits is what one ASCII character counts: four characters make a token.
const asciiUnits = 250

// leadUnits is the characters rule: the size of a character in thousandths of a token, by the first byte of its UTF-8 form. Continuation
// bytes count nothing, so a text may be cut anywhere and its parts added up. The values are rounded from the sizes of common text in each
// script with current vocabularies:
//
//	ASCII                                      250   four characters a token
//	Cyrillic                                   400
//	Arabic                                     450
//	accented Latin, Greek, Hebrew              500
//	Indic scripts, Thai, Lao                   500
//	punctuation and symbols (U+2000 to U+2FFF) 500
//	Georgian, Ethiopic, Khmer, Vietnamese      600
//	Armenian, kana, Hangul                     700
//	Han, full-width forms                      800
//	other two-byte scripts                    1000
//	private use                               1500
//	beyond the basic plane: emoji, rare Han   2000
var leadUnits = func() (t [256]int16) {
	set := func(from, to int, units int16) {
		for b := from; b <= to; b++ {
			t[b] = units
		}
	}
	set(0x00, 0x7f, asciiUnits)
	set(0xc2, 0xcf, 500)
	set(0xd0, 0xd3, 400)
	set(0xd4, 0xd5, 700)
	set(0xd6, 0xd7, 500)
	set(0xd8, 0xdb, 450)
	set(0xdc, 0xdf, 1000)
	set(0xe0, 0xe0, 500)
	set(0xe1, 0xe1, 600)
	set(0xe2, 0xe2, 500)
	set(0xe3, 0xe3, 700)
	set(0xe4, 0xe9, 800)
	set(0xea, 0xed, 700)
	set(0xee, 0xee, 1500)
	set(0xef, 0xef, 800)
	set(0xf0, 0xf4, 2000)
	return t
}()

// Units counts a text in thousandths of a token, by the characters rule of the package. It is additive: the units of a
// text are the sum of the units of its pieces, wherever it is cut.
func Units[T ~string | ~[]byte](text T) int64 { return units([]byte(text)) }

func units(p []byte) int64 {
	var n int64
	for ; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint64(p)&highBits == 0 {
			n += 8 * asciiUnits
		} else {
			n += units8((*[8]byte)(p))
		}
	}
	for _, b := range p {
		n += int64(leadUnits[b])
	}
	return n
}

// units8 is units of eight bytes.
func units8(b *[8]byte) int64 {
	return int64(leadUnits[b[0]]) + int64(leadUnits[b[1]]) + int64(leadUnits[b[2]]) + int64(leadUnits[b[3]]) +
		int64(leadUnits[b[4]]) + int64(leadUnits[b[5]]) + int64(leadUnits[b[6]]) + int64(leadUnits[b[7]])
}

// jsonText counts the text of one JSON string, given in pieces that may be cut inside an escape.
type jsonText struct {
	esc  uint8 // 0: plain, 1: after a backslash, 2 to 5: that digit of \uXXXX is due
	code uint16
}

// add returns the units of a piece.
func (t *jsonText) add(p []byte) int64 {
	var n int64
	for t.esc > 0 && len(p) > 0 {
		n += t.escaped(p[0])
		p = p[1:]
	}
	for len(p) >= 8 {
		w := binary.LittleEndian.Uint64(p)
		x := w ^ backslashes
		escapes := (x - lowBits) &^ x & highBits
		if escapes == 0 {
			if w&highBits == 0 {
				n += 8 * asciiUnits
			} else {
				n += units8((*[8]byte)(p))
			}
			p = p[8:]
			continue
		}
		end := bits.TrailingZeros64(escapes) / 8
		if w&(escapes&-escapes-1)&highBits == 0 {
			n += int64(end) * asciiUnits
		} else {
			n += units(p[:end])
		}
		if p = p[end:]; len(p) > 1 && p[1] != 'u' {
			n += asciiUnits
			p = p[2:]
			continue
		}
		t.esc = 1
		for p = p[1:]; t.esc > 0 && len(p) > 0; p = p[1:] {
			n += t.escaped(p[0])
		}
	}
	for _, c := range p {
		switch {
		case t.esc > 0:
			n += t.escaped(c)
		case c == '\\':
			t.esc = 1
		default:
			n += int64(leadUnits[c])
		}
	}
	return n
}

// escaped takes a byte of an escape and returns the units of the character that it completes.
func (t *jsonText) escaped(c byte) int64 {
	switch {
	case t.esc == 1 && c == 'u':
		t.esc, t.code = 2, 0
	case t.esc == 1:
		t.esc = 0
		return asciiUnits
	default:
		t.code = t.code<<4 | uint16(hexDigit(c))
		if t.esc++; t.esc == 6 {
			t.esc = 0
			return runeUnits(t.code)
		}
	}
	return 0
}

// runeUnits counts an escaped UTF-16 code unit. A pair of surrogates counts once, at its first half.
func runeUnits(c uint16) int64 {
	switch {
	case c < 0x80:
		return asciiUnits
	case c < 0x800:
		return int64(leadUnits[0xc0|c>>6])
	case c >= 0xd800 && c < 0xdc00:
		return int64(leadUnits[0xf0])
	case c >= 0xdc00 && c < 0xe000:
		return 0
	}
	return int64(leadUnits[0xe0|c>>12])
}

func hexDigit(c byte) byte {
	switch {
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return c & 0xf
}
