package usage

import (
	"math/big"
	"strconv"
	"strings"
)

// maxCount is the largest count that is believed: the largest integer that every JSON implementation holds exactly.
const maxCount = 1 << 53

// parseCount reads a count: an integer from 0 to 2^53, or a float of that range without a fraction, as Cohere and Vertex
// write them.
func parseCount(b []byte) (n int64, ok bool) {
	return parseScaled(b, 0)
}

// parseMillis reads a number of seconds as milliseconds, rounded half up.
func parseMillis(b []byte) (n int64, ok bool) {
	return parseScaled(b, 3)
}

// parseScaled reads a JSON number times 10^shift. Without a shift a fraction is refused, otherwise it is rounded
// half up.
func parseScaled(b []byte, shift int) (n int64, ok bool) {
	var (
		mant  int64
		exp   = shift
		point bool
		i     int
		seen  bool
		up    bool // the first digit that did not fit was 5 or more
		rest  bool // a digit that did not fit was not zero
		full  bool
	)
	for ; i < len(b); i++ {
		c := b[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		seen = true
		d := int64(c - '0')
		switch {
		case full || mant > (1<<62)/10:
			if !full {
				up = d >= 5
			}
			full = true
			rest = rest || d != 0
			if !point {
				exp++
			}
		default:
			mant = mant*10 + d
			if point {
				exp--
			}
		}
	}
	if !seen {
		return 0, false
	}
	if i < len(b) {
		if b[i] != 'e' && b[i] != 'E' {
			return 0, false
		}
		e, err := strconv.ParseInt(string(b[i+1:]), 10, 16)
		if err != nil {
			return 0, false
		}
		exp += int(e)
	}
	if mant == 0 && !rest {
		return 0, true
	}
	for ; exp > 0; exp-- {
		if mant > maxCount {
			return 0, false
		}
		mant *= 10
	}
	for ; exp < 0 && mant > 0; exp++ {
		rest = rest || mant%10 != 0
		up = mant%10 >= 5
		mant /= 10
	}
	if exp < 0 {
		up = false
	}
	if rest && shift == 0 {
		return 0, false
	}
	if up && rest {
		mant++
	}
	return mant, mant <= maxCount
}

// priceText returns the text of a cost if it is a number that can be one: not negative and of a sane size.
func priceText(b []byte) string {
	if len(b) == 0 || b[0] < '0' || b[0] > '9' {
		return ""
	}
	mantissa, e, exp := strings.Cut(strings.ToLower(string(b)), "e")
	if exp {
		if n, err := strconv.Atoi(e); err != nil || n > 20 || n < -60 {
			return ""
		}
	}
	if strings.Trim(mantissa, "0123456789.") != "" || strings.Count(mantissa, ".") > 1 {
		return ""
	}
	return string(b)
}

// addPrices adds two numbers given as text, exactly.
func addPrices(a, b string) string {
	x, okA := new(big.Rat).SetString(a)
	y, okB := new(big.Rat).SetString(b)
	if !okA || !okB {
		return a
	}
	sum := x.Add(x, y)
	digits, _ := sum.FloatPrec()
	return sum.FloatString(digits)
}
