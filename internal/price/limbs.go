package price

import (
	"encoding/binary"
	"math/bits"
)

// LimbBase is the factor between the two limbs of an amount: 10^9.
const LimbBase = 1_000_000_000

// Limbs returns the amount as high * LimbBase + low: whole millionths of a US dollar and the rest, for stores with narrow numbers. ok
// is false if high does not fit into 53 bits, which is nine billion dollars.
func (a Amount) Limbs() (high, low uint64, ok bool) {
	if a.hi >= LimbBase {
		return 0, 0, false
	}
	high, low = bits.Div64(a.hi, a.lo, LimbBase)
	return high, low, high < 1<<53
}

// FromLimbs returns high * LimbBase + low.
func FromLimbs(high, low uint64) Amount {
	hi, lo := bits.Mul64(high, LimbBase)
	lo, carry := bits.Add64(lo, low, 0)
	return Amount{hi + carry, lo}
}

// Sub returns a - b, or zero if b is larger.
func (a Amount) Sub(b Amount) Amount {
	if a.Cmp(b) <= 0 {
		return Amount{}
	}
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(a.hi, b.hi, borrow)
	return Amount{hi, lo}
}

// Share returns a / n, rounded down.
func (a Amount) Share(n uint64) Amount {
	if n == 0 {
		return Amount{}
	}
	hi, rem := a.hi/n, a.hi%n
	lo, _ := bits.Div64(rem, a.lo, n)
	return Amount{hi, lo}
}

// AppendBinary appends the amount as 16 bytes, big endian.
func (a Amount) AppendBinary(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint64(b, a.hi)
	return binary.BigEndian.AppendUint64(b, a.lo), nil
}

// AmountOf reads the output of AppendBinary; anything else is zero.
func AmountOf(b []byte) Amount {
	if len(b) != 16 {
		return Amount{}
	}
	return Amount{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}
