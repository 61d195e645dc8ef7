package lagobilling

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// object is a JSON object under way at the end of a buffer: its methods append members. Records are written for every call,
// so they are put together by hand: no reflection, no allocation but the buffer's own growth.
type object []byte

// openObject begins an object at the end of b.
func openObject(b []byte) object { return append(b, '{') }

// close ends the object and returns the buffer.
func (o object) close() []byte { return append(o, '}') }

// comma parts a member from the one before. A brace is last only while there is none.
func (o object) comma() object {
	if o[len(o)-1] == '{' {
		return o
	}
	return append(o, ',')
}

// key appends a member's name that is ours, and so needs no escaping.
func (o object) key(name string) object {
	o = append(o.comma(), '"')
	o = append(o, name...)
	return append(o, '"', ':')
}

// own appends a string member whose name an operator chose.
func (o object) own(name, value string) object {
	return appendString(append(appendString(o.comma(), name), ':'), value)
}

// str appends a string member, also an empty one.
func (o object) str(name, value string) object { return appendString(o.key(name), value) }

// opt appends a string member unless it is empty.
func (o object) opt(name, value string) object {
	if value == "" {
		return o
	}
	return o.str(name, value)
}

// num appends a number.
func (o object) num(name string, n int64) object { return strconv.AppendInt(o.key(name), n, 10) }

// optNum appends a number unless it is zero.
func (o object) optNum(name string, n int64) object {
	if n == 0 {
		return o
	}
	return o.num(name, n)
}

// quoted appends a number as a decimal string, as Lago wants its quantities.
func (o object) quoted(name string, n int64) object {
	return append(strconv.AppendInt(append(o.key(name), '"'), n, 10), '"')
}

// flag appends true, or nothing.
func (o object) flag(name string, on bool) object {
	if !on {
		return o
	}
	return append(o.key(name), "true"...)
}

// time appends a time in UTC with milliseconds, unless it is the zero time.
func (o object) time(name string, t time.Time) object {
	if t.IsZero() {
		return o
	}
	return append(appendTime(append(o.key(name), '"'), t), '"')
}

// appendTime appends t in UTC as RFC 3339 with milliseconds. Package time is quick at RFC 3339 without a fraction alone.
func appendTime(b []byte, t time.Time) []byte {
	b = t.UTC().AppendFormat(b, time.RFC3339)
	b = appendThousandths(b[:len(b)-1], int64(t.Nanosecond()/1e6))
	return append(b, 'Z')
}

// appendThousandths appends the three decimals of n thousandths.
func appendThousandths(b []byte, n int64) []byte {
	return append(b, '.', byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
}

const hexDigits = "0123456789abcdef"

// unescaped says of each byte whether it stands in a JSON string as it is, as a character of its own.
var unescaped = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendString appends s as a JSON string. What is not valid UTF-8 becomes U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	i := 0
	for i < len(s) && unescaped[s[i]] {
		i++
	}
	if i == len(s) { // nearly all are
		return append(append(b, s...), '"')
	}
	from := 0
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

// appendTimestamp appends t as Lago takes timestamps: Unix seconds with milliseconds, as a decimal number.
func appendTimestamp(b []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	return appendThousandths(strconv.AppendInt(b, ms/1000, 10), ms%1000)
}
