package operator

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize/english"
)

// Printer writes lines for people and stops at the first error. In the values it prints, characters that
// a terminal would interpret are escaped.
type Printer struct {
	w   io.Writer
	err error
}

// NewPrinter returns a printer that writes to w.
func NewPrinter(w io.Writer) *Printer { return &Printer{w: w} }

// Line writes a line.
func (p *Printer) Line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", escaped(args)...)
	}
}

// Err returns the first write error.
func (p *Printer) Err() error { return p.err }

// flushEvery is how many rows a table buffers to align its columns. Column widths can grow between
// batches.
const flushEvery = 1000

// Table prints rows in aligned columns, with the same escaping as Printer.
type Table struct {
	Printer
	columns *tabwriter.Writer
	rows    int
}

// NewTable returns a table with an optional header row.
func NewTable(w io.Writer, head ...string) *Table {
	columns := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	t := &Table{Printer: Printer{w: columns}, columns: columns}
	if len(head) > 0 {
		t.Line("%s", rawText(strings.Join(head, "\t")))
	}
	return t
}

// rawText is text whose tabs separate cells.
type rawText string

// Row writes a row.
func (t *Table) Row(cells ...any) {
	t.Line(strings.TrimSuffix(strings.Repeat("%v\t", len(cells)), "\t"), cells...)
	if t.rows++; t.rows%flushEvery == 0 && t.err == nil {
		t.err = t.columns.Flush()
	}
}

// End flushes the table and returns the first error.
func (t *Table) End() error {
	if t.err == nil {
		t.err = t.columns.Flush()
	}
	return t.err
}

func escaped(args []any) []any {
	out := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			out[i] = Escape(v)
		case json.RawMessage:
			out[i] = Escape(string(v))
		case error:
			out[i] = Escape(v.Error())
		case fmt.Stringer:
			out[i] = Escape(v.String())
		case rawText:
			out[i] = v
		default:
			if out[i] = v; reflect.ValueOf(v).Kind() == reflect.String {
				out[i] = Escape(reflect.ValueOf(v).String())
			}
		}
	}
	return out
}

// Escape returns s with Go escapes, such as \u202e, for everything that is not a visible character:
// control characters, line breaks, bidirectional marks, and invalid UTF-8.
func Escape(s string) string {
	at := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError })
	if at < 0 {
		return s
	}
	b := []byte(s[:at])
	for i := at; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(b, fmt.Sprintf(`\x%02x`, s[i])...)
		case unicode.IsPrint(r):
			b = append(b, s[i:i+n]...)
		default:
			quoted := strconv.QuoteRune(r)
			b = append(b, quoted[1:len(quoted)-1]...)
		}
		i += n
	}
	return string(b)
}

// Counted returns a count with its noun: 1 record, 2 records.
func Counted(n int, thing string) string {
	return strconv.Itoa(n) + " " + english.PluralWord(n, thing, "")
}

// OrDash returns s, or a dash if s is empty.
func OrDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
