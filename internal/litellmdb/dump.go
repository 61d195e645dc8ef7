package litellmdb

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// maxRow bounds a row of a dump, in bytes.
const maxRow = 4 << 20

// DumpRow is a row of a dump, with its place.
type DumpRow struct {
	Row
	Line  int          // where the row begins in CSV and ends in JSON, from 1
	N     int          // from 1, within its table in the file
	Fault *ColumnError // a value that is none of its column's type
}

// Dump reads a file of rows. Formats: CSV with a header, as PostgreSQL's COPY writes it; JSON: an array of rows, as json_agg
// makes it, rows one after the other (NDJSON), or one object with the tables' names as members.
type Dump struct {
	Name  string // of the file, for messages
	Table *Table // of all rows; nil: by the file's name or by what it holds
}

// Each calls fn for every row. Its errors name the place; rows before that place were given to fn.
func (d *Dump) Each(r io.Reader, fn func(*DumpRow) error) error {
	in := newLineReader(r)
	br := bufio.NewReaderSize(in, 64<<10)
	var skipped, lines int
	if bom, _ := br.Peek(3); string(bom) == "\xef\xbb\xbf" {
		skipped, _ = br.Discard(3) // peeked
	}
	for {
		c, err := br.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%s: is empty", d.Name)
		case err != nil:
			return fmt.Errorf("%s: %w", d.Name, err)
		case c == '\n':
			lines++
			skipped++
			continue
		case c == ' ' || c == '\t' || c == '\r':
			skipped++
			continue
		}
		_ = br.UnreadByte() // just read
		if c == '{' || c == '[' || c == 'n' && isNull(br) {
			return d.eachJSON(br, in, int64(skipped), fn)
		}
		in.breaks, in.tracked = nil, false
		return d.eachCSV(br, in, lines, fn)
	}
}

func isNull(br *bufio.Reader) bool {
	b, _ := br.Peek(5)
	return string(bytes.TrimSpace(b)) == "null"
}

// tableOf finds the table of rows with these columns.
func (d *Dump) tableOf(has func(string) bool) (*Table, error) {
	t := d.Table
	if t == nil {
		t = tableByFile(filepath.Base(d.Name))
	}
	if t == nil {
		t = tableByColumns(has)
	}
	if t == nil {
		return nil, errors.New("neither the file's name nor its columns show which table this is: name it with --table, one of " + Names())
	}
	if !has(t.id) {
		return nil, fmt.Errorf("there is no column %s, which rows of %s have", t.id, t.Name)
	}
	return t, nil
}

// eachCSV reads CSV, in front of whose header some empty lines stood.
func (d *Dump) eachCSV(br *bufio.Reader, in *lineReader, begin int, fn func(*DumpRow) error) error {
	r := csv.NewReader(br)
	r.ReuseRecord = true
	fail := func(err error) error {
		if at, ok := errors.AsType[*csv.ParseError](err); ok {
			return fmt.Errorf("%s:%d: column %d: %w", d.Name, at.Line+begin, at.Column, at.Err)
		}
		return fmt.Errorf("%s: %w", d.Name, err)
	}
	record, err := r.Read()
	if err != nil {
		return fail(err)
	}
	if len(record) == 1 && strings.Contains(record[0], "\t") {
		return fmt.Errorf("%s: is separated by tabs, as COPY writes text: dump it with CSV HEADER", d.Name)
	}
	header := make([]string, len(record))
	place := make(map[string]int, len(record))
	for i, n := range record {
		header[i] = strings.TrimSpace(n)
		if _, twice := place[header[i]]; twice || header[i] == "" {
			return fmt.Errorf("%s:%d: the header names column %q twice or not at all", d.Name, begin+1, header[i])
		}
		place[header[i]] = i
	}
	has := func(n string) bool { _, ok := place[n]; return ok }
	t, err := d.tableOf(has)
	if err != nil {
		return fmt.Errorf("%s:%d: %w", d.Name, begin+1, err)
	}
	types := make([]columnType, len(header))
	for i, n := range header {
		var known bool
		if types[i], known = t.typeOf(n); !known {
			types[i] = textColumn
		}
	}
	for n := 1; ; n++ {
		in.bound()
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fail(err)
		}
		line, _ := r.FieldPos(0)
		row := &DumpRow{Row: Row{t.Name, make(map[string]json.RawMessage, len(record))}, Line: line + begin, N: n}
		for i, s := range record {
			if s == "" {
				continue // NULL; an empty text, which COPY writes as "", means the same
			}
			value, reason := types[i].fromText(strings.Clone(s))
			if reason != "" {
				if row.Fault == nil { // the rest of the row still identifies it
					line, _ := r.FieldPos(i)
					row.Line, row.Fault = line+begin, &ColumnError{header[i], reason}
				}
				continue
			}
			row.Columns[header[i]] = value
		}
		if err := fn(row); err != nil {
			return err
		}
	}
}

// eachJSON reads JSON, in front of which some bytes stood.
func (d *Dump) eachJSON(br *bufio.Reader, in *lineReader, skipped int64, fn func(*DumpRow) error) error {
	j := &jsonDump{Dump: d, in: in, dec: json.NewDecoder(br), skipped: skipped, fn: fn}
	for {
		in.bound()
		token, err := j.dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return j.fail(err)
		}
		switch token {
		case nil: // json_agg of no rows
		case json.Delim('['):
			err = j.rows(nil)
		case json.Delim('{'):
			err = j.object()
		default:
			err = j.fail(errors.New("an array of rows, a row, or an object of tables is expected"))
		}
		if err != nil {
			return err
		}
	}
}

type jsonDump struct {
	*Dump
	in      *lineReader
	dec     *json.Decoder
	skipped int64
	fn      func(*DumpRow) error

	found *Table // of rows outside an object of tables
	n     int
}

func (j *jsonDump) fail(err error) error {
	offset := j.skipped + j.dec.InputOffset()
	if at, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = max(offset, j.skipped+at.Offset)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		offset, err = j.in.read, errors.New("the JSON ends in the middle")
	}
	return fmt.Errorf("%s:%d: %w", j.Name, j.in.lineAt(offset), err)
}

// object reads what follows an opening brace: an object of tables, or one row.
func (j *jsonDump) object() error {
	row := make(map[string]json.RawMessage)
	tables := false
	for first := true; j.dec.More(); first = false {
		token, err := j.dec.Token()
		if err != nil {
			return j.fail(err)
		}
		member, _ := token.(string) // a member's name is nothing else
		if t := Find(member); first && t != nil {
			tables = true
		}
		if !tables {
			var value json.RawMessage
			if err := j.dec.Decode(&value); err != nil {
				return j.fail(err)
			}
			row[member] = value
			continue
		}
		if err := j.member(member); err != nil {
			return err
		}
	}
	if _, err := j.dec.Token(); err != nil {
		return j.fail(err)
	}
	if tables {
		return nil
	}
	return j.row(nil, row)
}

// member reads a table's rows.
func (j *jsonDump) member(name string) error {
	t := Find(name)
	switch {
	case t == nil:
		return j.fail(fmt.Errorf("unknown table %q: one of %s", name, Names()))
	case j.Table != nil:
		return j.fail(errors.New("the file names its tables itself: leave --table out"))
	}
	token, err := j.dec.Token()
	switch {
	case err != nil:
		return j.fail(err)
	case token == nil:
		return nil
	case token != json.Delim('['):
		return j.fail(fmt.Errorf("%s must be an array of rows", t.Name))
	}
	j.n = 0
	return j.rows(t)
}

// rows reads an array of rows up to its end.
func (j *jsonDump) rows(t *Table) error {
	for j.dec.More() {
		j.in.bound()
		var row map[string]json.RawMessage
		err := j.dec.Decode(&row)
		if _, other := errors.AsType[*json.UnmarshalTypeError](err); other || err == nil && row == nil {
			err = errors.New("a row must be an object with the columns as members")
		}
		if err != nil {
			return j.fail(err)
		}
		if err := j.row(t, row); err != nil {
			return err
		}
	}
	if _, err := j.dec.Token(); err != nil {
		return j.fail(err)
	}
	return nil
}

func (j *jsonDump) row(t *Table, row map[string]json.RawMessage) error {
	if t == nil {
		if j.found == nil {
			var err error
			if j.found, err = j.tableOf(func(n string) bool { _, ok := row[n]; return ok }); err != nil {
				return j.fail(err)
			}
		}
		t = j.found
	}
	j.n++
	return j.fn(&DumpRow{Row: Row{t.Name, row}, Line: j.in.lineAt(j.skipped + j.dec.InputOffset()), N: j.n})
}

var errRowTooLong = fmt.Errorf("a row is longer than %d MB", maxRow>>20)

// readAhead is the most that readers behind a lineReader hold besides the row under way.
const readAhead = 1 << 20

// lineReader returns the line of an offset that was read lately, and ends rows that are too long.
type lineReader struct {
	r    io.Reader
	left int // bytes that may still be read for the row under way

	tracked bool
	read    int64
	breaks  []int64 // offsets of newlines that lineAt has not passed
	passed  int     // newlines before those
}

func newLineReader(r io.Reader) *lineReader {
	l := &lineReader{r: r, tracked: true}
	l.bound()
	return l
}

// bound begins a row.
func (l *lineReader) bound() { l.left = maxRow + readAhead }

// Read reads on.
func (l *lineReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, errRowTooLong
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	for i := 0; l.tracked && i < n; i++ {
		at := bytes.IndexByte(p[i:n], '\n')
		if at < 0 {
			break
		}
		i += at
		l.breaks = append(l.breaks, l.read+int64(i))
	}
	l.read += int64(n)
	l.left -= n
	return n, err
}

// lineAt returns the line of an offset, from 1. Offsets never go back.
func (l *lineReader) lineAt(offset int64) int {
	for len(l.breaks) > 0 && l.breaks[0] < offset {
		l.breaks = l.breaks[1:]
		l.passed++
	}
	return l.passed + 1
}
