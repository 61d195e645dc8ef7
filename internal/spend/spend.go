// Package spend keeps the books: what settled calls cost and used, added up by hour, day and month for payers, callers and backends,
// each record exactly once. docs/books.md describes what is kept, for how long, and how large it gets.
package spend

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// ConsumerName is the consumer's name in a spool: one of spool.Options.Consumers.
const ConsumerName = "spend"

// Dimension is a property that spend is split by. The numbers are on disk.
type Dimension byte

// The dimensions. Each call has one value of each, which may be empty.
const (
	all      Dimension = 0 // everything together
	Payer    Dimension = 1
	Team     Dimension = 2
	User     Dimension = 3
	Key      Dimension = 4 // the key's SHA-256, hexadecimal
	KeyAlias Dimension = 5
	EndUser  Dimension = 6 // kept where it is configured
	Model    Dimension = 7 // as configured
	Upstream Dimension = 8 // the name sent upstream
	Provider Dimension = 9
	Backend  Dimension = 10
	Endpoint Dimension = 11
	Outcome  Dimension = 12
	Source   Dimension = 13 // of the counts: reported, partial, estimated
	Billed   Dimension = 14 // billed, or why not
	Factor   Dimension = 15 // of markup and discount; empty: 1/1
	Session  Dimension = 16 // kept where it is configured

	// Pairs of dimensions, so that a year by both can be answered without reading every tuple.
	payerModel Dimension = 200
	teamModel  Dimension = 201
	userModel  Dimension = 202

	served Dimension = 254 // what Served has, as one text
	tuple  Dimension = 255
)

// pairs are the pairs of dimensions that rows are kept by.
var pairs = [...]struct{ dim, one, two Dimension }{{payerModel, Payer, Model}, {teamModel, Team, Model}, {userModel, User, Model}}

// joint reports whether values of the dimension are those of several: see values.
func (d Dimension) joint() bool { return d == tuple || d >= payerModel && d <= userModel }

// alone reports whether rows are kept by this single dimension: not if it has a new value every few calls.
func (d Dimension) alone() bool { return d != Session }

// numDimensions is one more than the highest number of a dimension of calls.
const numDimensions = 17

var dimensionNames = [numDimensions]string{
	"", "payer", "team", "user", "key", "key_alias", "end_user", "model", "upstream", "provider", "backend", "endpoint", "outcome", "source",
	"billed", "factor", "session",
}

// String returns the dimension's name.
func (d Dimension) String() string {
	if d < numDimensions {
		return dimensionNames[d]
	}
	return fmt.Sprint("dimension ", byte(d))
}

// ParseDimension returns the dimension of that name.
func ParseDimension(name string) (Dimension, error) {
	if i := slices.Index(dimensionNames[1:], name); i >= 0 {
		return Dimension(i + 1), nil //nolint:gosec // fewer than 256
	}
	return 0, fmt.Errorf("%q is none of %s", name, strings.Join(dimensionNames[1:], ", "))
}

// Measures that every row may have. Quantities of a kind of usage are named KindPrefix and the kind, those of lines of prices
// linePrefix and the result of Line.name.
const (
	Calls        = "calls"
	Failed       = "failed"        // calls with an error as their outcome
	Cost         = "cost"          // as billed
	BaseCost     = "base"          // before markup and discount
	ProviderCost = "provider_cost" // of calls for which the provider reports one
	Stated       = "stated"        // calls for which the provider reports a cost
	StatedCost   = "stated_cost"   // as billed, of these calls
	Unpriced     = "unpriced"      // calls with usage and without a price
	InputTokens  = "input_tokens"  // all kinds
	OutputTokens = "output_tokens" // all kinds
	KindPrefix   = "n:"
	linePrefix   = "l:"
)

// Sums are amounts by measure: money in 10^-15 USD, counts as integers.
type Sums map[string]price.Amount

func (s Sums) add(measure string, a price.Amount) error {
	if a.IsZero() {
		return nil
	}
	sum, err := s[measure].Add(a)
	if err == nil {
		s[measure] = sum
	}
	return err
}

// AddAll adds other sums.
func (s Sums) AddAll(other Sums) error {
	for name, a := range other {
		if err := s.add(name, a); err != nil {
			return err
		}
	}
	return nil
}

// Count returns a measure that is not money.
func (s Sums) Count(measure string) int64 {
	high, low, ok := s[measure].Limbs()
	if !ok || high > 1<<33 {
		return 1<<63 - 1
	}
	return int64(high*price.LimbBase + low) //nolint:gosec // checked above
}

func count(n int64) price.Amount { return price.FromLimbs(0, uint64(max(0, n))) } //nolint:gosec // not negative

// Errors of queries.
var (
	// ErrFolded means that a period is no longer kept in such detail.
	ErrFolded = errors.New("not kept in such detail any more")
	// ErrQuery means that a question cannot be answered as it is.
	ErrQuery = errors.New("not a question to the books")
)

// id names a value of a dimension, or a tuple of values, in rows.
type id [8]byte

func (i id) number() uint64 { return binary.BigEndian.Uint64(i[:]) }
func idOf(n uint64) (i id)  { binary.BigEndian.PutUint64(i[:], n); return i }

// name is a value of a dimension or a tuple: its dimension and its text. The text of a tuple or a pair has, for each value that is not
// empty, the dimension's number, the value's length and the value.
type name struct {
	dim  Dimension
	text string
}

// id returns the name's number. Without the store's seed, two names with the same number cannot be found.
func (n name) id(seed []byte) id {
	sum := sha256.Sum256(append(append(slices.Clone(seed), byte(n.dim)), n.text...))
	return id(sum[:8])
}

// values are one value of each dimension.
type values [numDimensions]string

// appendValue appends a value of a tuple.
func appendValue[T string | []byte](b []byte, d Dimension, text T) []byte {
	if len(text) == 0 {
		return b
	}
	b = append(b, byte(d))
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

// parseTuple reads the text of a tuple.
func parseTuple(text string) (v values, ok bool) {
	for len(text) > 0 {
		d := text[0]
		n, size := binary.Uvarint([]byte(text[1:min(len(text), 11)]))
		if size <= 0 || n > uint64(len(text)-1-size) {
			return v, false
		}
		text = text[1+size:]
		if d < numDimensions {
			v[d] = text[:n]
		}
		text = text[n:]
	}
	return v, true
}

// Dimensions returns the names of all dimensions.
func Dimensions() []string { return slices.Clone(dimensionNames[1:]) }
