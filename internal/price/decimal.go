package price

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxNumberLen bounds the text of a number: no price needs more, and a longer one is not worth reading.
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
