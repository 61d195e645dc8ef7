package record

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// Event is one frozen event of a record: its JSON, exactly as Lago gets it, parsed on demand.
type Event []byte

// EachEvent calls fn with the events of a payload, until it returns an error.
func EachEvent(payload []byte, fn func(Event) error) error {
	bodies, err := Events(payload)
	if err != nil {
		return err
	}
	for _, b := range bodies {
		if err := fn(b); err != nil {
			return err
		}
	}
	return nil
}

func (e Event) text(member string) string { return gjson.GetBytes(e, member).String() }

// ID returns the event's globally unique transaction_id.
func (e Event) ID() string { return e.text("transaction_id") }

// Subscription returns the external id of the paying subscription.
func (e Event) Subscription() string { return e.text("external_subscription_id") }

// Code returns the code of the billable metric.
func (e Event) Code() string { return e.text("code") }

// Cents returns the amount in US cents that a dynamic charge bills; empty for events of other shapes.
func (e Event) Cents() string { return e.text("precise_total_amount_cents") }

// Properties returns the event's properties as a JSON object.
func (e Event) Properties() []byte { return []byte(gjson.GetBytes(e, "properties").Raw) }

// Time returns the event's timestamp: Unix seconds with up to nine decimals.
func (e Event) Time() (time.Time, bool) {
	whole, frac, _ := strings.Cut(e.text("timestamp"), ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || len(frac) > 9 {
		return time.Time{}, false
	}
	ns, err := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(sec, ns), true
}

// Account returns the name of a payload's account.
func Account(payload []byte) string { return gjson.GetBytes(payload, "account").String() }

// Discarded reports whether an operator discarded a payload.
func Discarded(payload []byte) bool { return gjson.GetBytes(payload, "discarded").Exists() }

// AppendListed appends a payload as the ledger lists it: with the members state, seq and, if there is a note, rejected_because.
func AppendListed(b, payload []byte, state string, seq uint64, note []byte) []byte {
	if len(payload) < 2 || payload[len(payload)-1] != '}' {
		payload = []byte("{}")
	}
	o := Object(append(b, payload[:len(payload)-1]...))
	o = o.Str("state", state)
	o = o.Num("seq", int64(seq)) //nolint:gosec // sequence numbers stay far below
	if len(note) > 0 {
		if json.Valid(note) {
			o = append(o.Key("rejected_because"), note...)
		} else {
			o = o.Str("rejected_because", string(note))
		}
	}
	return o.Close()
}
