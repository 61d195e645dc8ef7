package price

import (
	"errors"
	"fmt"
	"math/big"
	"math/bits"
)

// Errors that callers distinguish.
var (
	// ErrOverflow means that an amount does not fit. It is an error on the record, never a wrapped number.
	ErrOverflow = errors.New("amount overflows")
	// ErrInexact means that a number has more decimals than can be kept.
	ErrInexact = errors.New("number has too many decimals")
	// ErrUnpriced means that no price is known for the provider, the model, the tier or a kind of token.
	ErrUnpriced = errors.New("unpriced")
)

// amountDecimals is the number of decimals of a US dollar that an Amount keeps: tokens times a price of 9 decimals per
// million tokens is an integer in this unit, so that no division is needed.
const amountDecimals = 15

// maxDecimal is the length of the longest decimal of an Amount: 2^128 has 39 digits.
const maxDecimal = 39 + len(".")

// Amount is an exact, non-negative amount of money in units of 10^-15 USD, 128 bits wide (up to 3.4 * 10^23 USD). The zero
// value is zero; amounts compare with ==.
type Amount struct {
	hi, lo uint64
}

// Add returns a + b, or ErrOverflow.
func (a Amount) Add(b Amount) (Amount, error) {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, carry := bits.Add64(a.hi, b.hi, carry)
	if carry != 0 {
		return Amount{}, ErrOverflow
	}
	return Amount{hi, lo}, nil
}

// IsZero reports whether the amount is zero.
func (a Amount) IsZero() bool { return a == Amount{} }

// Rat returns the amount in US dollars, exactly.
func (a Amount) Rat() *big.Rat {
	n := new(big.Int).SetUint64(a.hi)
	n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(a.lo))
	return new(big.Rat).SetFrac(n, big.NewInt(1_000_000_000_000_000))
}

// Cmp returns -1, 0 or +1 as a is less than, equal to or greater than b.
func (a Amount) Cmp(b Amount) int {
	switch {
	case a == b:
		return 0
	case a.hi < b.hi || a.hi == b.hi && a.lo < b.lo:
		return -1
	default:
		return 1
	}
}

// Scale returns a * num / den, for a markup or a discount. When the result is not a whole number of 10^-15 USD it is
// rounded half to even: this is the only rounding made, so scale once, by one ratio. A negative num or a den that is not
// positive is an error; a result that does not fit is ErrOverflow.
func (a Amount) Scale(num, den int64) (Amount, error) {
	if num < 0 || den <= 0 {
		return Amount{}, fmt.Errorf("cannot scale an amount by %d/%d", num, den)
	}
	return a.mulDiv(uint64(num), uint64(den))
}

// mulDiv returns a * mul / div, rounded half to even.
func (a Amount) mulDiv(mul, div uint64) (Amount, error) {
	// The product has three words: p2, p1, p0.
	c, p0 := bits.Mul64(a.lo, mul)
	p2, p1 := bits.Mul64(a.hi, mul)
	p1, carry := bits.Add64(p1, c, 0)
	p2 += carry
	if div == 1 {
		if p2 != 0 {
			return Amount{}, ErrOverflow
		}
		return Amount{p1, p0}, nil
	}
	if p2 >= div {
		return Amount{}, ErrOverflow
	}
	hi, rem := bits.Div64(p2, p1, div)
	lo, rem := bits.Div64(rem, p0, div)
	q := Amount{hi, lo}
	if half := div - rem; rem > half || rem == half && lo&1 == 1 {
		return q.Add(Amount{lo: 1})
	}
	return q, nil
}

// String returns the amount in US dollars as a plain decimal: no exponent, no trailing zeros.
func (a Amount) String() string {
	var buf [maxDecimal]byte
	return string(a.appendDecimal(buf[:0], amountDecimals))
}

// Cents returns the amount in US cents as a plain decimal: no exponent, no trailing zeros, nothing rounded.
func (a Amount) Cents() string {
	var buf [maxDecimal]byte
	return string(a.appendDecimal(buf[:0], amountDecimals-2))
}

// MarshalText implements encoding.TextMarshaler with String.
func (a Amount) MarshalText() ([]byte, error) { return a.AppendText(nil) }

// AppendText implements encoding.TextAppender with String.
func (a Amount) AppendText(b []byte) ([]byte, error) { return a.appendDecimal(b, amountDecimals), nil }

// UnmarshalText implements encoding.TextUnmarshaler with ParseUSD.
func (a *Amount) UnmarshalText(text []byte) error {
	v, err := ParseUSD(string(text))
	if err != nil {
		return err
	}
	*a = v
	return nil
}

// appendDecimal appends the amount divided by 10^decimals.
func (a Amount) appendDecimal(dst []byte, decimals int) []byte {
	const chunk = 1e19 // the largest power of ten in 64 bits
	var digits [40]byte
	i := len(digits)
	for hi, lo := a.hi, a.lo; hi != 0 || lo != 0 || i > len(digits)-decimals-1; {
		var rem uint64
		hi, rem = hi/chunk, hi%chunk
		lo, rem = bits.Div64(rem, lo, chunk)
		for range 19 {
			if i == 0 {
				break
			}
			i--
			digits[i] = byte('0' + rem%10)
			rem /= 10
		}
	}
	point := len(digits) - decimals
	for i < point-1 && digits[i] == '0' {
		i++
	}
	end := len(digits)
	for end > point && digits[end-1] == '0' {
		end--
	}
	dst = append(dst, digits[i:point]...)
	if end > point {
		dst = append(dst, '.')
		dst = append(dst, digits[point:end]...)
	}
	return dst
}

// ParseUSD parses the text of a non-negative decimal number of US dollars, as written in JSON; exponent forms such as 4.4e-05 are
// accepted. It is exact: more than 15 decimals are ErrInexact, a number that does not fit is ErrOverflow.
func ParseUSD(text string) (Amount, error) {
	if a, ok := parsePlain(text); ok {
		return a, nil
	}
	a, exact, err := parseDecimal(text, amountDecimals)
	if err == nil && !exact {
		return Amount{}, fmt.Errorf("%w: %.60q", ErrInexact, text)
	}
	return a, err
}

// ParseUSDBytes is ParseUSD of a text in bytes.
func ParseUSDBytes(text []byte) (Amount, error) {
	if a, ok := parsePlain(text); ok {
		return a, nil
	}
	return ParseUSD(string(text))
}

// ParseReported parses a cost that a provider reports in its own unit: "usd", or "usd_ticks" of which 10^10 are one US
// dollar. Providers compute such costs in floats, which may have noise beyond 15 decimals: these are rounded half to even and exact
// is false.
func ParseReported(text, unit string) (a Amount, exact bool, err error) {
	switch unit {
	case "usd":
		return parseDecimal(text, amountDecimals)
	case "usd_ticks":
		return parseDecimal(text, amountDecimals-10)
	default:
		return Amount{}, false, fmt.Errorf("unknown unit %q of a reported cost", unit)
	}
}
