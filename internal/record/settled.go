package record

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tollgate-llm/tollgate/internal/jsonscan"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Settled is the part of a settled record that totals need; see Record for the members. Reading allocates only for strings
// with escapes. Strings are parts of the payload.
type Settled struct {
	ID, Outcome, Endpoint, Model, Upstream, Backend, Provider       []byte
	Payer, KeyAlias, Team, User, EndUser, Session, KeyID            []byte
	Source, ProviderCost, ProviderUnit, Factor, Unpriced, NotBilled []byte

	At       time.Time // when it was settled
	Admitted time.Time
	Limits   [][]byte
	Counts   usage.Counts
	Cost     price.Amount
	Priced   bool         // there is a Cost
	BaseCost price.Amount // Cost, if the record has no other
	Lines    []SettledLine
}

// SettledLine is a Line of a settled record.
type SettledLine struct {
	Kind, Price, Per, Model []byte
	Count                   uint64 // in thousandths of the kind's unit
	Base, Cost              price.Amount
}

// Read replaces s by a settled payload, which must not change while s is in use.
func (s *Settled) Read(payload []byte) error {
	*s = Settled{Limits: s.Limits[:0], Lines: s.Lines[:0]}
	r := settledReader{Cursor: jsonscan.Cursor{JSON: payload}, into: s, version: Version}
	if payload := bytes.TrimLeft(payload, " \t\r\n"); len(payload) == 0 || payload[0] != '{' {
		return errUnreadable
	}
	if !r.Members(r.member) || !r.Ended() {
		if r.err == nil {
			r.err = errUnreadable
		}
		return fmt.Errorf("unreadable record: %w", r.err)
	}
	if r.version > Version {
		return fmt.Errorf("record %s has version %d, newer than this program knows (%d)", s.ID, r.version, Version)
	}
	if !r.based {
		s.BaseCost = s.Cost
	}
	return nil
}

// settledReader reads members into a Settled. Its methods return false if a value has the wrong type.
type settledReader struct {
	jsonscan.Cursor
	into    *Settled
	version int64
	based   bool
	err     error
}

var (
	errText   = errors.New("a text is expected")
	errNumber = errors.New("a whole number is expected")
	errList   = errors.New("a list is expected")
	errObject = errors.New("an object is expected")
	errCount  = errors.New("a quantity is not a number with up to three decimals")
)

func (r *settledReader) member(name []byte) bool {
	s := r.into
	switch string(name[1 : len(name)-1]) {
	case "v":
		return r.whole(&r.version)
	case "id":
		return r.text(&s.ID)
	case "settled":
		return r.time(&s.At)
	case "outcome":
		return r.text(&s.Outcome)
	case "endpoint":
		return r.text(&s.Endpoint)
	case "model":
		return r.text(&s.Model)
	case "upstream":
		return r.text(&s.Upstream)
	case "backend":
		return r.text(&s.Backend)
	case "provider":
		return r.text(&s.Provider)
	case "payer":
		return r.text(&s.Payer)
	case "key_alias":
		return r.text(&s.KeyAlias)
	case "team":
		return r.text(&s.Team)
	case "user":
		return r.text(&s.User)
	case "end_user":
		return r.text(&s.EndUser)
	case "session":
		return r.text(&s.Session)
	case "key_id":
		return r.text(&s.KeyID)
	case "admitted":
		return r.time(&s.Admitted)
	case "limits":
		return r.limits()
	case "counts":
		return r.counts()
	case "source":
		return r.text(&s.Source)
	case "cost":
		s.Priced = true
		return r.amount(&s.Cost)
	case "base_cost":
		r.based = true
		return r.amount(&s.BaseCost)
	case "provider_cost":
		return r.text(&s.ProviderCost)
	case "provider_cost_unit":
		return r.text(&s.ProviderUnit)
	case "factor":
		return r.text(&s.Factor)
	case "lines":
		return r.lines()
	case "unpriced":
		return r.text(&s.Unpriced)
	case "not_billed":
		return r.text(&s.NotBilled)
	case "events":
		if bytes.HasSuffix(r.JSON, eventsEnd) { // the last member, and half of the payload
			r.At = len(r.JSON) - 1
			return true
		}
	}
	return r.Skip()
}

// eventsEnd is the end of a payload whose last member is its events.
var eventsEnd = []byte("}]}")

// fail keeps the reason why a value cannot be read.
func (r *settledReader) fail(err error) bool {
	if r.err == nil {
		r.err = fmt.Errorf("at byte %d: %w", r.At, err)
	}
	return false
}

func (r *settledReader) text(to *[]byte) bool {
	if r.Peek() != '"' {
		return r.fail(errText)
	}
	quoted := r.String()
	if quoted == nil {
		return false
	}
	*to = jsonscan.Text(quoted)
	return true
}

// word returns the raw value that begins here.
func (r *settledReader) word() []byte {
	r.Peek()
	from := r.At
	if !r.Skip() {
		return nil
	}
	return r.JSON[from:r.At]
}

func (r *settledReader) whole(to *int64) bool {
	word := r.word()
	if word == nil {
		return false
	}
	n, err := strconv.ParseInt(string(word), 10, 64)
	if err != nil {
		return r.fail(errNumber)
	}
	*to = n
	return true
}

func (r *settledReader) time(to *time.Time) bool {
	var text []byte
	if !r.text(&text) {
		return false
	}
	t, err := parseTime(text)
	if err != nil {
		return r.fail(err)
	}
	*to = t
	return true
}

func (r *settledReader) amount(to *price.Amount) bool {
	var text []byte
	if !r.text(&text) {
		return false
	}
	a, err := price.ParseUSDBytes(text)
	if err != nil {
		return r.fail(err)
	}
	*to = a
	return true
}

func (r *settledReader) limits() bool {
	if r.Peek() != '[' {
		return r.fail(errList)
	}
	return r.Elements(func() bool {
		r.into.Limits = append(r.into.Limits, nil)
		return r.text(&r.into.Limits[len(r.into.Limits)-1])
	})
}

func (r *settledReader) counts() bool {
	if r.Peek() != '{' {
		return r.fail(errObject)
	}
	return r.Members(func(name []byte) bool {
		kind, known := usage.KindByName(string(name[1 : len(name)-1]))
		if !known {
			return r.fail(fmt.Errorf("unknown kind %s", name))
		}
		var n int64
		if !r.whole(&n) {
			return false
		}
		r.into.Counts.Set(kind, n)
		return true
	})
}

func (r *settledReader) lines() bool {
	if r.Peek() != '[' {
		return r.fail(errList)
	}
	return r.Elements(func() bool {
		r.into.Lines = append(r.into.Lines, SettledLine{})
		l := &r.into.Lines[len(r.into.Lines)-1]
		if r.Peek() != '{' {
			return r.fail(errObject)
		}
		differs := false
		ok := r.Members(func(name []byte) bool {
			switch string(name[1 : len(name)-1]) {
			case "kind":
				return r.text(&l.Kind)
			case "count":
				var text []byte
				return r.text(&text) && r.thousandths(text, &l.Count)
			case "price":
				return r.text(&l.Price)
			case "per":
				return r.text(&l.Per)
			case "base":
				return r.amount(&l.Base)
			case "cost":
				differs = true
				return r.amount(&l.Cost)
			case "model":
				return r.text(&l.Model)
			}
			return r.Skip()
		})
		if !differs {
			l.Cost = l.Base
		}
		return ok
	})
}

// thousandths reads a quantity with up to three decimals.
func (r *settledReader) thousandths(text []byte, to *uint64) bool {
	whole, frac, _ := bytes.Cut(text, []byte("."))
	if len(whole) == 0 || len(frac) > 3 {
		return r.fail(errCount)
	}
	var buf [32]byte
	digits := append(append(buf[:0], whole...), frac...)
	n, err := strconv.ParseUint(string(append(digits, "000"[len(frac):]...)), 10, 64)
	if err != nil {
		return r.fail(errCount)
	}
	*to = n
	return true
}

// parseTime parses RFC 3339, fastest as AppendTime writes it.
func parseTime(b []byte) (time.Time, error) {
	const form = "2006-01-02T15:04:05.000Z"
	ok := len(b) == len(form)
	digits := func(at, n int) (v int) {
		for _, c := range b[at : at+n] {
			ok = ok && c >= '0' && c <= '9'
			v = 10*v + int(c-'0')
		}
		return v
	}
	if ok && b[4] == '-' && b[7] == '-' && b[10] == 'T' && b[13] == ':' && b[16] == ':' && b[19] == '.' && b[23] == 'Z' {
		year, month, day, hour, minute, second, ms := digits(0, 4), digits(5, 2), digits(8, 2), digits(11, 2), digits(14, 2), digits(17, 2), digits(20, 3)
		if ok && month >= 1 && month <= 12 && day >= 1 && day <= 28 && hour < 24 && minute < 60 && second < 60 { // months end on different days
			return time.Date(year, time.Month(month), day, hour, minute, second, ms*1e6, time.UTC), nil
		}
	}
	return time.Parse(time.RFC3339, string(b))
}
