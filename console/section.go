package console

import (
	"strconv"
	"time"
)

// content is the content of a page.
type content struct {
	Title    string
	Notice   string
	Nav      []navItem
	Who      string // name of the signed-in user; empty if no one is signed in
	Token    string // the session's form token
	Live     bool   // the page reloads itself while it is visible
	Sections []section
}

type navItem struct {
	Path, Title string
	Current     bool
}

// section is a part of a page. Empty elements are left out.
type section struct {
	Title  string
	Bare   bool // without a frame
	Text   string
	Alarms []string
	Secret string // shown once
	Tiles  []tile
	Facts  []fact
	First  bool // the forms come before the chart and the tables
	Charts []*chart
	Tables []*table
	Blocks []string // texts shown verbatim
	Forms  []form
}

// tile is a key figure.
type tile struct {
	Name, Value, Note string
	Link              string
	Tone              tone
}

// tone is a style class that shows whether a value is good or bad.
type tone string

const (
	plainTone tone = ""
	goodTone  tone = "good"
	waitTone  tone = "wait"
	badTone   tone = "bad"
)

type fact struct {
	Name  string
	Value cell
}

// table is a table with a caption. The first cell of a row is the row's heading.
type table struct {
	Caption string
	Head    []string
	Rows    [][]cell
	Empty   string // shown if there are no rows
	More    string // path to the next rows
	Folded  bool   // collapsed until opened
	File    string // path to the rows as a file
}

// Numeric reports whether a column contains numbers.
func (t *table) Numeric(column int) bool {
	return len(t.Rows) > 0 && column < len(t.Rows[0]) && t.Rows[0][column].Number
}

// cell is text or a number, which is aligned as a number. Form is a form that changes the row.
type cell struct {
	Text   string
	Link   string
	Number bool
	Once   bool // never wraps
	ID     bool // an id
	Note   string
	Tone   tone // tone of a state
	Form   *form
}

// Class returns the cell's style class.
func (c cell) Class() string {
	switch {
	case c.Number:
		return "number"
	case c.ID:
		return "id"
	case c.Once:
		return "once"
	}
	return ""
}

// state returns a cell for a state, coloured by its tone.
func state(s string, t tone) cell { return cell{Text: s, Tone: t} }

// form is a form with its fields. With Do it requests a change, otherwise it is a search.
type form struct {
	Title  string
	Action string // path
	Do     string
	Hidden []field
	Fields []field
	Button string
	Danger bool
}

// field is an input of a form. With Options it is a choice.
type field struct {
	Name, Label, Value, Hint string
	Type                     string // input type; empty means text
	Pattern                  string // pattern of allowed values
	Options                  []option
	Required                 bool
	Wide                     bool
}

type option struct {
	Value, Label string
	Selected     bool
}

func choice(name, label, value string, options ...string) field {
	f := field{Name: name, Label: label}
	for _, o := range options {
		shown := o
		if o == "" {
			shown = "any"
		}
		f.Options = append(f.Options, option{o, shown, o == value})
	}
	return f
}

func text(s string) cell { return cell{Text: s} }

func orDash(s string) cell {
	if s == "" {
		s = "–"
	}
	return cell{Text: s}
}

func link(s, to string) cell { return cell{Text: s, Link: to} }

func number[T int | int64](n T) cell {
	return cell{Text: strconv.FormatInt(int64(n), 10), Number: true}
}

func figure(s string) cell {
	c := orDash(s)
	c.Number = true
	return c
}

// moment shows a time in UTC.
func moment(t time.Time) cell {
	if t.IsZero() {
		return orDash("")
	}
	return cell{Text: t.UTC().Format("2006-01-02 15:04:05"), Once: true}
}

// facts appends a fact if it has a value.
func facts(list []fact, name, value string) []fact {
	if value == "" {
		return list
	}
	return append(list, fact{name, text(value)})
}
