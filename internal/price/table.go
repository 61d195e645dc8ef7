package price

import (
	_ "embed" // the price data
	"fmt"
	"slices"
	"sync"
)

//go:embed corrections.json
var correctionsText string

// Table holds layers of price data. It is safe for concurrent use and never changes.
type Table struct {
	version        string
	versionWritten string // with prices written in the configuration
	ignored        []string
	list           *list
	layers         []*layer // the topmost first
	whos           lookups[whoKey, *who]
	known          lookups[appliedKey, *applied]
}

// newTable returns a table over the embedded data with these layers.
func newTable(version string, l *list, layers []*layer) *Table {
	return &Table{version: version, versionWritten: version + " + configuration", list: l, layers: layers}
}

var loadDefault = sync.OnceValue(func() *Table {
	l, err := parseList(dataText)
	if err != nil {
		// The data is part of the program and parsed by its tests.
		panic(fmt.Sprintf("embedded price data: %v", err))
	}
	corrected, err := readOwn([]byte(correctionsText), "corrections", "")
	if err != nil {
		panic(fmt.Sprintf("embedded corrections: %v", err)) // as above
	}
	more := newRows(liteText)
	before := more.finder("!")
	front := func(w *who, name string) *entry {
		if e := corrected(w, name); e != nil {
			return e
		}
		return before(w, name)
	}
	layers := []*layer{{find: front, listed: true}, {find: l.findListed, listed: true}, {find: more.finder(""), listed: true}}
	return newTable(l.version+" + "+more.version, l, layers)
})

// FirstSource returns a table of genai-prices only, in which the generator looks for gaps.
func FirstSource() *Table {
	l := Default().list
	return newTable(l.version, l, []*layer{{find: l.findListed, listed: true}})
}

// Default returns the table of the embedded data. It is parsed once, each provider at its first query.
func Default() *Table { return loadDefault() }

// Version names the data that prices come from, such as "genai-prices 0.2.3 + litellm 1.110.2", followed by " +
// name@hash" for each price file that overrides it.
func (t *Table) Version() string { return t.version }

// Ignored returns the price keys of the table's price files that do not price anything the gateway meters, sorted.
func (t *Table) Ignored() []string { return slices.Clone(t.ignored) }
