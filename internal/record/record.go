package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/jsonscan"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Version is the version of the payload format. docs/records.md specifies it.
const Version = 1

// Outcomes of a call, the values of the label `outcome`.
const (
	OutcomeCompleted   = "completed"   // the answer is complete
	OutcomeError       = "error"       // the provider or the gateway answered with an error: never priced
	OutcomeCut         = "cut"         // the upstream ended the answer before its end
	OutcomeClientGone  = "client_gone" // the client hung up
	OutcomeInterrupted = "interrupted" // the gateway's process ended before the call did
	OutcomeRefused     = "refused"     // nothing was forwarded; there is no record
	OutcomeLocal       = "local"       // answered by the gateway itself; there is no record
)

// Why a call is not billed.
const (
	NotBilledFree   = "free endpoint"
	NotBilledError  = "the answer is an error"
	NotBilledPayer  = "nobody pays"
	NotBilledUnsent = "no backend took the call"
	NotBilledUsage  = "no usage is known"
	NotBilledPrice  = "no price is known"

	NotBilledNothing = "it costs nothing"

	NotBilledDiscarded = "discarded by an operator"
)

// Record is the payload of a usage record: one call's usage, cost and payer, and the frozen events for Lago. An opened
// payload holds the members that are known before the call is forwarded.
type Record struct {
	V             int       `json:"v"`
	ID            string    `json:"id"`
	Account       string    `json:"account"`
	Opened        time.Time `json:"opened"`
	Settled       time.Time `json:"settled,omitzero"`
	Outcome       string    `json:"outcome,omitempty"`
	Hangup        string    `json:"hangup,omitempty"` // what a hang-up led to: drained, cancelled
	Status        int       `json:"status,omitempty"`
	Endpoint      string    `json:"endpoint"`
	Asked         string    `json:"asked"`              // the model name as the client wrote it
	Model         string    `json:"model,omitempty"`    // the configured model
	Upstream      string    `json:"upstream,omitempty"` // the model name sent upstream
	Backend       string    `json:"backend,omitempty"`
	Provider      string    `json:"provider,omitempty"`
	ResponseModel string    `json:"response_model,omitempty"`
	ResponseID    string    `json:"response_id,omitempty"`
	Tier          string    `json:"tier,omitempty"`
	TranslatedTo  string    `json:"translated_to,omitempty"` // the endpoint upstream; empty where the call was not translated
	Dropped       []string  `json:"dropped,omitempty"`       // members of the request without an equivalent there
	Lost          []string  `json:"lost,omitempty"`          // those of them that asked for something
	Stream        bool      `json:"stream,omitempty"`
	Attempts      int       `json:"attempts,omitempty"`
	Tried         []Attempt `json:"tried,omitempty"` // failed attempts, in order

	Payer    string `json:"payer,omitempty"`
	ChargeBy string `json:"charge_by,omitempty"` // the source of the payer
	Key      string `json:"key,omitempty"`       // the key's abbreviation
	KeyHash  string `json:"key_hash,omitempty"`  // the first twelve digits of the key's SHA-256
	KeyAlias string `json:"key_alias,omitempty"`
	Team     string `json:"team,omitempty"`
	User     string `json:"user,omitempty"`
	EndUser  string `json:"end_user,omitempty"`
	Session  string `json:"session,omitempty"` // the conversation that the request names

	KeyID    string    `json:"key_id,omitempty"`  // the key's whole SHA-256, hexadecimal
	Admitted time.Time `json:"admitted,omitzero"` // by the limits store's clock
	Limits   []string  `json:"limits,omitempty"`  // the limit counters of the call

	// What prices an estimate of an opened record.
	BaseURL string            `json:"base_url,omitempty"`
	Written map[string]string `json:"written_prices,omitempty"`

	Tariff *Tariff `json:"tariff,omitempty"` // opened records only

	InputUnits int64  `json:"input_units,omitempty"` // the request's text in thousandths of a token; opened records only
	Counts     Counts `json:"counts,omitzero"`
	// Models are the parts of the counts that models other than ResponseModel used.
	Models []ModelCounts `json:"models,omitempty"`
	Source usage.Source  `json:"source,omitempty"`
	How    string        `json:"how,omitempty"`

	Cost         string `json:"cost,omitempty"`               // USD, as billed
	BaseCost     string `json:"base_cost,omitempty"`          // USD, before markup and discount, if they change it
	ProviderCost string `json:"provider_cost,omitempty"`      // as the provider reported it
	ProviderUnit string `json:"provider_cost_unit,omitempty"` // of ProviderCost; absent: USD
	Factor       string `json:"factor,omitempty"`             // what markup and discount make of a cost, as an exact fraction; absent: 1/1
	Lines        []Line `json:"lines,omitempty"`              // the parts of the cost; they add up to Cost
	Unpriced     string `json:"unpriced,omitempty"`           // why there is no cost
	Prices       string `json:"prices,omitempty"`             // version of the price data
	PriceNote    string `json:"price_note,omitempty"`         // such as which price replaced a missing one
	NotBilled    string `json:"not_billed,omitempty"`         // why there are no events
	Discarded    string `json:"discarded,omitempty"`          // why an operator discarded it

	Bytes    int64 `json:"bytes,omitempty"`
	TTFT     int64 `json:"ttft_ms,omitempty"`
	Duration int64 `json:"duration_ms,omitempty"`

	Properties []Property        `json:"properties,omitempty"`
	Events     []json.RawMessage `json:"events,omitempty"`
}

// ForgetOpened clears the members that only an estimate needs.
func (r *Record) ForgetOpened() {
	r.InputUnits, r.BaseURL, r.Written, r.Tariff = 0, "", nil, nil
}

// Counts are a record's quantities by kind.
type Counts struct{ usage.Counts }

// IsZero reports whether no kind is set.
func (c Counts) IsZero() bool { return c.Empty() }

// UnmarshalJSON reads an object of kinds.
func (c *Counts) UnmarshalJSON(b []byte) error {
	var m map[string]int64
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	for name, n := range m {
		k, ok := usage.KindByName(name)
		if !ok {
			return fmt.Errorf("unknown kind %q", name)
		}
		c.Set(k, n)
	}
	return nil
}

// ModelCounts are the quantities of one model.
type ModelCounts struct {
	Model  string `json:"model"`
	Counts Counts `json:"counts"`
}

// Property is an event property with its value.
type Property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Parse reads a payload.
func Parse(payload []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(payload, &r); err != nil {
		return nil, fmt.Errorf("unreadable record: %w", err)
	}
	if r.V > Version {
		return nil, fmt.Errorf("record %s has version %d, newer than this program knows (%d)", r.ID, r.V, Version)
	}
	return &r, nil
}

// eventsMember begins the events of a record. It cannot occur elsewhere, as quotes within strings are escaped.
var eventsMember = []byte(`,"events":[`)

var errUnreadable = errors.New("unreadable record: it is not a JSON object")

// Events returns the frozen event bodies of a payload, as parts of it. The rest is not validated: the payload is ours, and
// the spool checks its checksum.
func Events(payload []byte) ([][]byte, error) {
	rest := behindEventsMember(payload)
	if rest == nil {
		if !gjson.ValidBytes(payload) || payload[0] != '{' {
			return nil, errUnreadable
		}
		return nil, nil
	}
	if payload[len(payload)-1] != '}' {
		return nil, errUnreadable
	}
	out := make([][]byte, 0, 1)
	for {
		n := objectLength(rest)
		if n == 0 || n == len(rest) {
			return nil, errUnreadable
		}
		out = append(out, rest[:n:n])
		switch rest[n] {
		case ',':
			rest = rest[n+1:]
		case ']':
			return out, nil
		default:
			return nil, errUnreadable
		}
	}
}

// behindEventsMember returns the payload from its first event on, nil without events. It searches for a bracket first, which
// is rarer in records than commas and quotes.
func behindEventsMember(payload []byte) []byte {
	for at := 0; ; {
		n := bytes.IndexByte(payload[at:], '[')
		if n < 0 {
			return nil
		}
		at += n + 1
		if bytes.HasSuffix(payload[:at], eventsMember) {
			return payload[at:]
		}
	}
}

// objectLength returns the length of the JSON object at the start of b; 0 if there is no complete one.
func objectLength(b []byte) int {
	c := jsonscan.Cursor{JSON: b}
	if len(b) == 0 || b[0] != '{' || !c.Skip() {
		return 0
	}
	return c.At
}

// Append appends the record. events are its comma-separated events; the Events member is only for reading.
func (r *Record) Append(b, events []byte) []byte {
	o := OpenObject(b)
	o = o.Num("v", Version)
	o = o.Str("id", r.ID)
	o = o.Str("account", r.Account)
	o = o.time("opened", r.Opened)
	o = o.time("settled", r.Settled)
	o = o.Opt("outcome", r.Outcome)
	o = o.Opt("hangup", r.Hangup)
	o = o.optNum("status", int64(r.Status))
	o = o.Str("endpoint", r.Endpoint)
	o = o.Str("asked", r.Asked)
	o = o.Opt("model", r.Model)
	o = o.Opt("upstream", r.Upstream)
	o = o.Opt("backend", r.Backend)
	o = o.Opt("provider", r.Provider)
	o = o.Opt("response_model", r.ResponseModel)
	o = o.Opt("response_id", r.ResponseID)
	o = o.Opt("tier", r.Tier)
	o = o.Opt("translated_to", r.TranslatedTo)
	o = o.names("dropped", r.Dropped)
	o = o.names("lost", r.Lost)
	o = o.flag("stream", r.Stream)
	o = o.optNum("attempts", int64(r.Attempts))
	o = r.appendTried(o)
	o = o.Opt("payer", r.Payer)
	o = o.Opt("charge_by", r.ChargeBy)
	o = o.Opt("key", r.Key)
	o = o.Opt("key_hash", r.KeyHash)
	o = o.Opt("key_alias", r.KeyAlias)
	o = o.Opt("team", r.Team)
	o = o.Opt("user", r.User)
	o = o.Opt("end_user", r.EndUser)
	o = o.Opt("session", r.Session)
	o = o.Opt("key_id", r.KeyID)
	o = o.time("admitted", r.Admitted)
	o = o.names("limits", r.Limits)
	o = o.Opt("base_url", r.BaseURL)
	o = r.appendWritten(o)
	o = r.Tariff.append(o)
	o = o.optNum("input_units", r.InputUnits)
	if !r.Counts.Empty() {
		o = r.Counts.append(o.Key("counts"))
	}
	o = r.appendModels(o)
	o = o.Opt("source", string(r.Source))
	o = o.Opt("how", r.How)
	o = o.Opt("cost", r.Cost)
	o = o.Opt("base_cost", r.BaseCost)
	o = o.Opt("provider_cost", r.ProviderCost)
	o = o.Opt("provider_cost_unit", r.ProviderUnit)
	o = o.Opt("factor", r.Factor)
	o = o.lines("lines", r.Lines)
	o = o.Opt("unpriced", r.Unpriced)
	o = o.Opt("prices", r.Prices)
	o = o.Opt("price_note", r.PriceNote)
	o = o.Opt("not_billed", r.NotBilled)
	o = o.Opt("discarded", r.Discarded)
	o = o.optNum("bytes", r.Bytes)
	o = o.optNum("ttft_ms", r.TTFT)
	o = o.optNum("duration_ms", r.Duration)
	o = r.appendProperties(o)
	if len(events) > 0 {
		o = append(o.Key("events"), '[')
		o = append(o, events...)
		o = append(o, ']')
	}
	return o.Close()
}

func (c *Counts) append(b []byte) Object {
	kinds := OpenObject(b)
	for k, n := range c.All() {
		kinds = kinds.Num(k.String(), n)
	}
	return kinds.Close()
}

func (r *Record) appendModels(o Object) Object {
	if len(r.Models) == 0 {
		return o
	}
	o = append(o.Key("models"), '[')
	for i := range r.Models {
		if i > 0 {
			o = append(o, ',')
		}
		one := OpenObject(o).Str("model", r.Models[i].Model)
		o = r.Models[i].Counts.append(one.Key("counts"))
		o = o.Close()
	}
	return append(o, ']')
}

func (r *Record) appendWritten(o Object) Object {
	if len(r.Written) == 0 {
		return o
	}
	var few [16]string
	names := few[:0]
	for name := range r.Written {
		names = append(names, name)
	}
	slices.Sort(names)
	prices := OpenObject(o.Key("written_prices"))
	for _, name := range names {
		prices = prices.Own(name, r.Written[name])
	}
	return prices.Close()
}

// appendProperties appends the evaluated properties of an opened record. Settled records have them in their events.
func (r *Record) appendProperties(o Object) Object {
	if len(r.Properties) == 0 || !r.Settled.IsZero() {
		return o
	}
	o = append(o.Key("properties"), '[')
	for i, p := range r.Properties {
		if i > 0 {
			o = append(o, ',')
		}
		one := OpenObject(o)
		one = one.Str("name", p.Name)
		one = one.Str("value", p.Value)
		o = one.Close()
	}
	return append(o, ']')
}

// Clip returns a foreign text if it is a valid name, otherwise an empty one.
func Clip(s string) string {
	if s = strings.TrimSpace(s); llm.CheckName(s) != nil {
		return ""
	}
	return s
}
