package feed

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// ErrChange is why a document of prices is refused: it changes a price by more than the bound, or drops one.
var ErrChange = errors.New("a change beyond the bound")

// maxInstants bounds the dates at which two documents are compared.
const maxInstants = 20

// compareDocuments returns ErrChange if a document changes a price of one of the models that it or the one before names by more than times, or
// drops a price that the one before had. It looks at the prices of now, and at those of the dates from which the new document states others.
func compareDocuments(before, after *document, times uint64) error {
	models, err := price.Models(before.data, before.name)
	if err != nil {
		return err
	}
	more, err := price.Models(after.data, after.name)
	if err != nil {
		return err
	}
	for _, at := range instants(after.data, time.Now()) {
		for _, m := range slices.Concat(models, more) {
			q := price.Query{Provider: m.Provider, Model: m.Name, At: at}
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
					return fmt.Errorf("%w: it drops %s of %s, which was %s", ErrChange, p.Name, m.Name, p.Price)
				case beyond(uint64(p.Price), uint64(is[n].Price), times): //nolint:gosec // no price is negative
					return fmt.Errorf("%w: %s of %s would go from %s to %s, which is more than %d times as much or less",
						ErrChange, p.Name, m.Name, p.Price, is[n].Price, times)
				}
			}
		}
	}
	return nil
}

// states reports whether a price is stated by the document itself.
func (d *document) states(p price.Listed) bool { return strings.HasPrefix(p.Source, d.name+"@") }

// instants returns now, and the dates after it from which a document in our own format has other prices.
func instants(data []byte, now time.Time) []time.Time {
	list := []time.Time{now}
	var file struct {
		Models []struct {
			Later []struct {
				From string `json:"from"`
			} `json:"later"`
		} `json:"models"`
	}
	if json.Unmarshal(data, &file) != nil {
		return list // LiteLLM's format has no dates
	}
	for _, m := range file.Models {
		for _, later := range m.Later {
			at, err := time.Parse(time.DateOnly, later.From)
			if err == nil && at.After(now) && !slices.Contains(list, at) && len(list) < maxInstants {
				list = append(list, at)
			}
		}
	}
	return list
}

// beyond reports whether one of two prices is more than that many times the other.
func beyond(a, b, times uint64) bool {
	low, high := min(a, b), max(a, b)
	over, product := bits.Mul64(low, times)
	return over == 0 && high > product
}
