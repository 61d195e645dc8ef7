package record

import (
	"strconv"
	"time"

	"github.com/tollgate-llm/tollgate/internal/jsonscan"
)

// Object builds a JSON object at the end of a buffer; its methods append members. Records are written for every call, hence
// no reflection, and no allocation but the buffer's growth.
type Object []byte

// OpenObject begins an object at the end of b.
func OpenObject(b []byte) Object { return append(b, '{') }

// Close ends the object and returns the buffer.
func (o Object) Close() []byte { return append(o, '}') }

// comma separates a member from the previous one. The buffer ends in a brace only before the first.
func (o Object) comma() Object {
	if o[len(o)-1] == '{' {
		return o
	}
	return append(o, ',')
}

// Key appends a member's name, which must need no escaping.
func (o Object) Key(name string) Object {
	o = append(o.comma(), '"')
	o = append(o, name...)
	return append(o, '"', ':')
}

// Own appends a string member whose name may need escaping.
func (o Object) Own(name, value string) Object {
	return jsonscan.AppendString(append(jsonscan.AppendString(o.comma(), name), ':'), value)
}

// Str appends a string member, even if empty.
func (o Object) Str(name, value string) Object { return jsonscan.AppendString(o.Key(name), value) }

// Opt appends a string member unless it is empty.
func (o Object) Opt(name, value string) Object {
	if value == "" {
		return o
	}
	return o.Str(name, value)
}

// Num appends a number.
func (o Object) Num(name string, n int64) Object { return strconv.AppendInt(o.Key(name), n, 10) }

// optNum appends a number unless it is zero.
func (o Object) optNum(name string, n int64) Object {
	if n == 0 {
		return o
	}
	return o.Num(name, n)
}

// Quoted appends a number as a decimal string, as Lago expects quantities.
func (o Object) Quoted(name string, n int64) Object {
	return append(strconv.AppendInt(append(o.Key(name), '"'), n, 10), '"')
}

// flag appends true, or nothing.
func (o Object) flag(name string, on bool) Object {
	if !on {
		return o
	}
	return append(o.Key(name), "true"...)
}

// time appends a time in UTC with milliseconds, unless it is the zero time.
func (o Object) time(name string, t time.Time) Object {
	if t.IsZero() {
		return o
	}
	return append(AppendTime(append(o.Key(name), '"'), t), '"')
}

// names appends a list of strings, unless it is empty.
func (o Object) names(name string, list []string) Object {
	if len(list) == 0 {
		return o
	}
	o = append(o.Key(name), '[')
	for i, s := range list {
		if i > 0 {
			o = append(o, ',')
		}
		o = jsonscan.AppendString(o, s)
	}
	return append(o, ']')
}

// AppendTime appends t in UTC as RFC 3339 with milliseconds. Package time is fast only for RFC 3339 without a fraction.
func AppendTime(b []byte, t time.Time) []byte {
	b = t.UTC().AppendFormat(b, time.RFC3339)
	b = AppendThousandths(b[:len(b)-1], int64(t.Nanosecond()/1e6))
	return append(b, 'Z')
}

// AppendThousandths appends the three decimals of n thousandths.
func AppendThousandths(b []byte, n int64) []byte {
	return append(b, '.', byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
}

// AppendTimestamp appends t as Lago takes timestamps: Unix seconds with milliseconds, as a decimal number.
func AppendTimestamp(b []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	return AppendThousandths(strconv.AppendInt(b, ms/1000, 10), ms%1000)
}
