package price

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// maxNumberLen bounds the text of a number: no price needs more.
const maxNumberLen = 400

// parseDecimal returns the number in text times 10^scale, rounded half to even; exact is false when it had to be rounded.
func parseDecimal(text string, scale int) (a Amount, exact bool, err error) {
	var buf [maxNumberLen]byte
	digits, exp, err := splitDecimal(buf[:0], text)
	if err != nil || len(digits) == 0 {
		return Amount{}, err == nil, err
	}
	// keep is how many of the digits are before the decimal point once scaled; it may be negative or beyond the last.
	keep := len(digits) + exp + scale
	if keep > 39 { // 2^128 has 39 digits
		return Amount{}, false, ErrOverflow
	}
	for i := range keep {
		var d uint64
		if i < len(digits) {
			d = uint64(digits[i] - '0')
		}
		if a, err = a.mulDiv(10, 1); err == nil {
			a, err = a.Add(Amount{lo: d})
		}
		if err != nil {
			return Amount{}, false, err
		}
	}
	if keep >= len(digits) {
		return a, true, nil
	}
	if keep >= 0 {
		rest := digits[keep:]
		if rest[0] > '5' || rest[0] == '5' && (len(rest) > 1 || a.lo&1 == 1) {
			a, err = a.Add(Amount{lo: 1})
		}
	}
	return a, false, err
}

// tens are the powers of ten that pad a fraction of fewer than amountDecimals digits.
var tens = func() (t [amountDecimals + 1]uint64) {
	t[0] = 1
	for i := range amountDecimals {
		t[i+1] = 10 * t[i]
	}
	return t
}()

// parsePlain reads a number of US dollars as amounts are written: digits, and at most 15 decimals. ok is false for any other
// text, and for one of more than 19 digits, whether or not it is a number.
func parsePlain[T string | []byte](text T) (a Amount, ok bool) {
	point := len(text)
	var n uint64
	for i := range len(text) {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			n = 10*n + uint64(c-'0')
		case c == '.' && point == len(text):
			point = i
		default:
			return Amount{}, false
		}
	}
	digits, decimals := len(text), 0
	if point < len(text) {
		digits, decimals = digits-1, len(text)-point-1
		if decimals == 0 {
			return Amount{}, false
		}
	}
	if point == 0 || digits > 19 || decimals > amountDecimals {
		return Amount{}, false
	}
	hi, lo := bits.Mul64(n, tens[amountDecimals-decimals])
	return Amount{hi, lo}, true
}

// splitDecimal appends to buf the digits of a non-negative decimal number, without leading or trailing zeros, and returns
// them with the power of ten they are multiplied with. There are none for zero.
func splitDecimal(buf []byte, text string) (digits []byte, exp int, err error) {
	if strings.HasPrefix(text, "-") {
		return nil, 0, fmt.Errorf("%.60q is negative", text)
	}
	mantissa := text
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa = text[:i]
		if exp, err = strconv.Atoi(text[i+1:]); err != nil || exp > math.MaxInt16 || exp < -math.MaxInt16 {
			return nil, 0, notDecimal(text)
		}
	}
	whole, frac, point := strings.Cut(mantissa, ".")
	if len(text) > maxNumberLen || whole == "" || point && frac == "" || !allDigits(whole) || !allDigits(frac) {
		return nil, 0, notDecimal(text)
	}
	digits = bytes.TrimLeft(append(append(buf, whole...), frac...), "0")
	n := len(digits)
	digits = bytes.TrimRight(digits, "0")
	return digits, exp - len(frac) + n - len(digits), nil
}

func notDecimal(text string) error { return fmt.Errorf("%.60q is not a decimal number", text) }

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
