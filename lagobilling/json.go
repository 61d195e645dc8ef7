package lagobilling

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// object appends the members of one JSON object to a buffer. Records are written for every call, so they are put together
// by hand: no reflection, no allocation but the buffer's own growth.
type object struct {
	b     []byte
	empty bool
}

// openObject begins an object at the end of b.
func openObject(b []byte) object { return object{b: append(b, '{'), empty: true} }

// close ends the object and returns the buffer.
func (o *object) close() []byte { return append(o.b, '}') }

// key appends a member's name that is ours, and so needs no escaping.
func (o *object) key(name string) {
	b := o.b
	if !o.empty {
		b = append(b, ',')
	}
	o.empty = false
	b = append(b, '"')
	b = append(b, name...)
	o.b = append(b, '"', ':')
}

// own appends a string member whose name an operator chose.
func (o *object) own(name, value string) {
	if !o.empty {
		o.b = append(o.b, ',')
	}
	o.empty = false
	o.b = append(appendString(o.b, name), ':')
	o.b = appendString(o.b, value)
}

// str appends a string member, also an empty one.
func (o *object) str(name, value string) {
	o.key(name)
	o.b = appendString(o.b, value)
}

// opt appends a string member unless it is empty.
func (o *object) opt(name, value string) {
	if value != "" {
		o.str(name, value)
	}
}

// num appends a number.
func (o *object) num(name string, n int64) {
	o.key(name)
	o.b = strconv.AppendInt(o.b, n, 10)
}

// optNum appends a number unless it is zero.
func (o *object) optNum(name string, n int64) {
	if n != 0 {
		o.num(name, n)
	}
}

// quoted appends a number as a decimal string, as Lago wants its quantities.
func (o *object) quoted(name string, n int64) {
	o.key(name)
	o.b = append(o.b, '"')
	o.b = strconv.AppendInt(o.b, n, 10)
	o.b = append(o.b, '"')
}

// flag appends true, or nothing.
func (o *object) flag(name string, on bool) {
	if on {
		o.key(name)
		o.b = append(o.b, "true"...)
	}
}

// time appends a time in UTC with milliseconds.
func (o *object) time(name string, t time.Time) {
	if t.IsZero() {
		return
	}
	o.key(name)
	o.b = append(o.b, '"')
	o.b = append(appendTime(o.b, t), '"')
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
