package feed

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// ErrChange means that a document of prices was refused because it changes a price by more than the bound, or drops one.
var ErrChange = errors.New("a change beyond the bound")

// maxTurns bounds the times at which the prices of one model are compared.
const maxTurns = 100

// compareDocuments returns ErrChange if a document changes a price of a model in it or in the previous one by more than times, or drops
// a price of the previous one. It compares current prices, and those of the dates and hours for which either has other prices.
func compareDocuments(before, after *document, times uint64) error {
	models, err := price.Models(before.data, before.name)
	if err != nil {
		return err
	}
	more, err := price.Models(after.data, after.name)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, m := range slices.Concat(models, more) {
		q := price.Query{Provider: m.Provider, Model: m.Name, At: now}
		turns := slices.Concat([]time.Time{now}, before.table.Turns(q), after.table.Turns(q))
		if len(turns) > maxTurns {
			return fmt.Errorf("%w: the prices of %s have more than %d dates and hours", ErrChange, m.Name, maxTurns)
		}
		for _, q.At = range turns {
			if err := compare(before, after, q, times); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare compares the prices of one model at one time.
func compare(before, after *document, q price.Query, times uint64) error {
	was, err := before.table.List(q)
	if err != nil {
		return err
	}
	is, err := after.table.List(q)
	if err != nil {
		return err
	}
	for _, p := range was {
		n := slices.IndexFunc(is, func(n price.Listed) bool { return n.Name == p.Name && n.Unit == p.Unit })
		switch {
		case n < 0, before.states(p) && !after.states(is[n]):
			return fmt.Errorf("%w: it drops %s of %s, which was %s", ErrChange, p.Name, q.Model, p.Price)
		case beyond(uint64(p.Price), uint64(is[n].Price), times): //nolint:gosec // no price is negative
			return fmt.Errorf("%w: %s of %s would go from %s to %s, which is more than %d times as much or less",
				ErrChange, p.Name, q.Model, p.Price, is[n].Price, times)
		}
	}
	return compareNew(before, is, was, q, times)
}

// compareNew compares the prices that only the later document has with the fallbacks that they replace.
func compareNew(before *document, is, was []price.Listed, q price.Query, times uint64) error {
	for _, n := range is {
		if slices.ContainsFunc(was, func(p price.Listed) bool { return p.Name == n.Name && p.Unit == n.Unit }) {
			continue
		}
		p, per, ok, err := before.table.Billed(q, n.Name)
		if err != nil {
			return err
		}
		if ok && per == n.Unit && beyond(uint64(p), uint64(n.Price), times) { //nolint:gosec // no price is negative
			return fmt.Errorf("%w: %s of %s, which was billed at %s, would be %s, which is more than %d times as much or less",
				ErrChange, n.Name, q.Model, p, n.Price, times)
		}
	}
	return nil
}

// states reports whether the document itself has a price.
func (d *document) states(p price.Listed) bool { return strings.HasPrefix(p.Source, d.name+"@") }

// beyond reports whether one of two prices is more than that many times the other.
func beyond(a, b, times uint64) bool {
	low, high := min(a, b), max(a, b)
	over, product := bits.Mul64(low, times)
	return over == 0 && high > product
}
