package lago

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/jsonscan"
)

// Verdict is what a sender must do after a batch was sent.
type Verdict uint8

// The verdicts.
const (
	// Accepted: Lago has every event of the batch.
	Accepted Verdict = iota + 1
	// PerEvent: Events lists events that Lago has already or refuses. The others are to be sent again
	// at once: none of them is stored (by Lago before v1.39.0: all of them are, and it will report that).
	PerEvent
	// TooMany: the batch is larger than this Lago takes. Nothing is stored.
	TooMany
	// Poison: the batch is refused as a whole, by Lago or, when Foreign, by what is in front of it.
	Poison
	// Stop: no event is at fault; an operator has to fix the key or the base URL first.
	Stop
	// Retry: the outcome is unknown or the failure passes. The batch is to be sent again, byte-identical.
	Retry
)

// String returns the verdict's name.
func (v Verdict) String() string {
	switch v {
	case Accepted:
		return "accepted"
	case PerEvent:
		return "per event"
	case TooMany:
		return "too many"
	case Poison:
		return "poison"
	case Stop:
		return "stop"
	case Retry:
		return "retry"
	}
	return "unknown"
}

// Fault is what Lago reports of one event of a batch.
type Fault struct {
	// Done means that an event with this transaction id is stored (value_already_exist): the event is delivered,
	// provided that ids are never used for two events.
	Done bool
	// Words are Lago's own, a JSON value: an object of field names and reasons, or a string.
	Words json.RawMessage
}

// Outcome is what came of sending a batch.
type Outcome struct {
	Verdict Verdict
	// Status is Lago's HTTP status, 0 when there was no answer.
	Status int
	// Events holds the faults of single events by their index in the batch, for PerEvent.
	Events map[int]Fault
	// Words describe what happened, in one line fit for a log: never holding the key. Empty when accepted.
	Words string
	// Foreign means that a refusal has no error_details, as those of proxies have none: it is no verdict on the events.
	Foreign bool
	// Suspect means that a single event may be why the whole batch failed (status 500).
	Suspect bool
	// RetryAfter is how long Lago asks to wait, 0 when it does not.
	RetryAfter time.Duration
	// Remaining is how many calls the rate limit leaves, -1 when Lago does not report it.
	Remaining int
}

// Batch sends events, each a JSON object that is sent as it is, byte by byte. It makes exactly one call and never retries.
// Statuses and bodies follow lago-api's app/controllers/api/v1/events_controller.rb and
// app/services/events/create_batch_service.rb.
func (c *Client) Batch(ctx context.Context, events [][]byte) Outcome {
	a := c.call(ctx, http.MethodPost, "/events/batch", batchBody(events))
	o := Outcome{Status: a.status, Remaining: -1}
	if a.header != nil {
		o.RetryAfter, o.Remaining = pace(a.header, time.Now())
	}
	switch {
	case a.status == 0:
		o.Verdict = Retry
		o.Words = "no answer: " + c.clean(a.err.Error())
	case a.status == http.StatusOK:
		o.Verdict = Accepted
		if err := confirm(a, events); err != nil {
			o.Verdict = Retry
			o.Words = "status 200 that does not confirm that the events are stored: " + c.clean(err.Error())
		}
	case a.status == http.StatusUnprocessableEntity && a.err == nil:
		c.unprocessable(&o, a, len(events))
	default:
		o.Verdict = verdictOf(a.status)
		o.Suspect = a.status == http.StatusInternalServerError
		o.Foreign = o.Verdict == Poison && !gjson.GetBytes(a.body, "error_details").Exists()
		o.Words = c.explain(a)
	}
	return o
}

func batchBody(events [][]byte) []byte {
	n := len(`{"events":[]}`) + len(events)
	for _, e := range events {
		n += len(e)
	}
	b := make([]byte, 0, n)
	b = append(b, `{"events":[`...)
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	return append(b, `]}`...)
}

// confirm checks that a 200 is Lago's own and for these events: a proxy's login page is a 200 too.
func confirm(a answer, events [][]byte) error {
	if a.err != nil {
		return a.err
	}
	ids := make([][]byte, 0, 2*len(events))
	n, listed, found := 0, false, false
	c := jsonscan.Cursor{JSON: a.body}
	event := func() bool {
		var id []byte
		seen := false
		valid := c.Members(func(name []byte) bool {
			if seen || !isID(name) {
				return c.Skip()
			}
			if seen = true; c.Peek() != '"' {
				return c.Skip()
			}
			quoted := c.String()
			id = jsonscan.Text(quoted)
			return quoted != nil
		})
		if n++; n <= len(events) {
			ids = append(ids, id)
		}
		return valid
	}
	valid := c.Members(func(name []byte) bool {
		if found || !jsonscan.Is(name, "events") {
			return c.Skip()
		}
		found, listed = true, c.Peek() == '['
		return c.Elements(event)
	})
	switch {
	case !valid || !c.Ended():
		return errors.New("the body is not JSON")
	case !listed:
		return errors.New("the body has no list of events")
	case n != len(events):
		return fmt.Errorf("%d events were sent, %d came back", len(events), n)
	}
	for _, e := range events {
		ids = append(ids, transactionID(e))
	}
	stored, sent := ids[:n], ids[n:]
	if slices.EqualFunc(stored, sent, bytes.Equal) { // Lago keeps the order
		return nil
	}
	slices.SortFunc(stored, bytes.Compare)
	slices.SortFunc(sent, bytes.Compare)
	if !slices.EqualFunc(stored, sent, bytes.Equal) {
		return errors.New("an event that was sent did not come back")
	}
	return nil
}

func isID(name []byte) bool { return jsonscan.Is(name, "transaction_id") }

// transactionID returns the id of an event that is sent, nil when it has none.
func transactionID(event []byte) (id []byte) {
	c := jsonscan.Cursor{JSON: event}
	c.Members(func(name []byte) bool {
		if !isID(name) {
			return c.Skip()
		}
		if c.Peek() == '"' {
			id = jsonscan.Text(c.String())
		}
		return false // nothing else is looked for
	})
	return id
}

// verdictOf classifies the statuses that need no look at the body.
func verdictOf(status int) Verdict {
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests,
		status >= 500, status == http.StatusUnprocessableEntity:
		return Retry
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge:
		return Poison
	case status >= 200 && status < 300:
		return Retry // not Lago: its answer to a batch is 200
	}
	return Stop // 401, 403, 404, 405, redirects, and whatever else shows that this is not Lago
}

func (c *Client) explain(a answer) string {
	why := ""
	switch {
	case a.status == http.StatusUnauthorized:
		why = ": the API key is unknown or expired (a new key may take up to an hour to be known)"
	case a.status == http.StatusForbidden:
		why = ": the API key may not do this"
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed:
		why = ": the base URL is not Lago's"
	case a.status >= 300 && a.status < 400:
		why = ": redirected; the base URL is not Lago's own"
	case a.status == http.StatusTooManyRequests:
		why = ": rate limit"
	}
	text := fmt.Sprintf("status %d%s", a.status, why)
	if w := c.words(a); w != "" {
		text += ": " + w
	}
	return text
}

// unprocessable reads a 422. error_details is an object by index, whose values are objects of fields or plain strings;
// of a single event it can be an object of fields or a plain string itself.
func (c *Client) unprocessable(o *Outcome, a answer, sent int) {
	o.Words = c.explain(a)
	details := gjson.GetBytes(a.body, "error_details")
	if !gjson.ValidBytes(a.body) || !details.Exists() {
		o.Verdict, o.Foreign = Poison, true
		return
	}
	if details.IsObject() {
		if whole := details.Get("events"); whole.IsArray() {
			o.Verdict = Poison
			if contains(whole, "too_many_events") {
				o.Verdict = TooMany
			}
			return
		}
		faults, foreign := make(map[int]Fault), false
		details.ForEach(func(k, v gjson.Result) bool {
			i, err := strconv.Atoi(k.Str)
			if err != nil || i < 0 || i >= sent {
				foreign = true
				return true
			}
			faults[i] = c.fault(v)
			return true
		})
		if len(faults) > 0 && !foreign {
			o.Verdict, o.Events = PerEvent, faults
			return
		}
	}
	if sent == 1 && (details.IsObject() || details.Type == gjson.String) {
		o.Verdict, o.Events = PerEvent, map[int]Fault{0: c.fault(details)}
		return
	}
	o.Verdict = Poison
}

func (c *Client) fault(v gjson.Result) Fault {
	words := []byte(v.Raw)
	if len(words) > 4*maxWords || bytes.Contains(words, []byte(c.key)) {
		// A string always encodes.
		words, _ = json.Marshal(c.clean(v.Raw))
	}
	return Fault{Done: v.IsObject() && contains(v.Get("transaction_id"), "value_already_exist"), Words: words}
}

// contains reports whether v is that word or a list that holds it.
func contains(v gjson.Result, word string) bool {
	if v.IsArray() {
		found := false
		v.ForEach(func(_, e gjson.Result) bool {
			found = e.Str == word
			return !found
		})
		return found
	}
	return v.Type == gjson.String && v.Str == word
}

// pace reads how long to wait and how many calls are left. Lago Cloud sends X-RateLimit-Reset in seconds to the reset;
// proxies send Retry-After, in seconds or as a date.
func pace(h http.Header, now time.Time) (wait time.Duration, remaining int) {
	remaining = -1
	if n, err := strconv.Atoi(h.Get("X-Ratelimit-Remaining")); err == nil && n >= 0 {
		remaining = n
	}
	if s := h.Get("Retry-After"); s != "" {
		if n, err := strconv.ParseInt(s, 10, 32); err == nil && n >= 0 {
			return time.Duration(n) * time.Second, remaining
		}
		if t, err := http.ParseTime(s); err == nil {
			return max(t.Sub(now), 0), remaining
		}
	}
	if n, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64); err == nil && n >= 0 {
		if n >= 1_000_000_000 { // a point in time, as other proxies send it
			return max(time.Unix(n, 0).Sub(now), 0), remaining
		}
		return time.Duration(n) * time.Second, remaining
	}
	return 0, remaining
}
