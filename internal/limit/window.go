package limit

import (
	"fmt"
	"time"
)

// Window defines when a budget starts afresh. Windows follow each other from Anchor on without a gap. The zero value, and a window
// without a length, has no end: then Anchor only distinguishes budgets that were set at different times.
type Window struct {
	Anchor time.Time     // when the first window begins, to the second
	Every  time.Duration // length of a window, whole seconds
	Months int           // or its length in months of the calendar, UTC
}

// at returns the window that contains t. A zero end means that it does not end.
func (w Window) at(t time.Time) (start, end time.Time) {
	anchor := w.Anchor.UTC().Truncate(time.Second)
	switch {
	case w.Months > 0:
		months := (t.UTC().Year()-anchor.Year())*12 + int(t.UTC().Month()) - int(anchor.Month())
		n := floorDiv(months, w.Months)
		start, end = addMonths(anchor, n*w.Months), addMonths(anchor, (n+1)*w.Months)
		if t.Before(start) {
			start, end = addMonths(anchor, (n-1)*w.Months), start
		}
		return start, end
	case w.Every > 0:
		every := int64(w.Every / time.Second)
		first := anchor.Unix()
		if w.Anchor.IsZero() {
			first = 0
		}
		n := t.Unix() - first
		n -= ((n % every) + every) % every
		return time.Unix(first+n, 0).UTC(), time.Unix(first+n+every, 0).UTC()
	case w.Anchor.IsZero():
		return time.Time{}, time.Time{}
	}
	return anchor, time.Time{}
}

// ResetsAt returns when the window that contains t ends; zero if it does not.
func (w Window) ResetsAt(t time.Time) time.Time {
	_, end := w.at(t)
	return end
}

func (w Window) check() error {
	if w.Every < 0 || w.Months < 0 || w.Every%time.Second != 0 || (w.Every > 0 && w.Months > 0) || (w.Months > 0 && w.Anchor.IsZero()) {
		return fmt.Errorf("%w: a window is whole seconds or months long, and months have an anchor", ErrLimit)
	}
	return nil
}

func floorDiv(a, b int) int {
	n := a / b
	if a%b < 0 {
		n--
	}
	return n
}

// addMonths adds calendar months. If the month has no such day, the result is its last day.
func addMonths(t time.Time, n int) time.Time {
	first := time.Date(t.Year(), t.Month()+time.Month(n), 1, t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(t.Day(), last)-1)
}
