package spend

import (
	"strings"
	"time"
)

// unit is a length of periods. Its letters are on disk.
type unit byte

const (
	hours  unit = 'h'
	days   unit = 'd'
	months unit = 'm'
	ever   unit = 'e' // one period, 0
)

// of returns the number of the period that contains a moment: hours and days since 1970, months since the year 0, in UTC.
func (u unit) of(t time.Time) uint32 {
	switch t = t.UTC(); u {
	case hours:
		return uint32(t.Unix() / 3600) //nolint:gosec // until the year 2106 by far
	case days:
		return uint32(t.Unix() / 86400) //nolint:gosec // as above
	default:
		return uint32(t.Year()*12 + int(t.Month()) - 1) //nolint:gosec // as above
	}
}

// start returns when a period begins.
func (u unit) start(n uint32) time.Time {
	switch u {
	case hours:
		return time.Unix(int64(n)*3600, 0).UTC()
	case days:
		return time.Unix(int64(n)*86400, 0).UTC()
	default:
		return time.Date(int(n/12), time.Month(n%12+1), 1, 0, 0, 0, 0, time.UTC)
	}
}

// row identifies a row of sums. Hours are kept by tuple only; days and months by tuple and by each single dimension.
type row struct {
	unit   unit
	dim    Dimension // all, one dimension, or tuple
	period uint32
	id     id
}

// Line is a price of one kind. Measures of lines are named after it.
type Line struct {
	Kind  string
	Price string // USD per Per; empty for a sum that the provider reported
	Per   string
	Model string // if it is not the model of the answer
}

// The parts of a line.
const (
	LineCount = "q" // in thousandths of the kind's unit
	LineBase  = "b"
	LineCost  = "c"
)

// Measure names a part of the line in sums.
func (l Line) Measure(part string) string {
	return linePrefix + strings.Join([]string{part, l.Kind, l.Price, l.Per, l.Model}, "|")
}

// ParseLine reads a measure; ok is false if it does not belong to a line.
func ParseLine(measure string) (l Line, part string, ok bool) {
	rest, ok := strings.CutPrefix(measure, linePrefix)
	if !ok {
		return l, "", false
	}
	p := strings.SplitN(rest, "|", 5)
	if len(p) != 5 {
		return l, "", false
	}
	return Line{Kind: p[1], Price: p[2], Per: p[3], Model: p[4]}, p[0], true
}
