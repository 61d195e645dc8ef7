package record

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/gjson"
)

// Restamp changes the timestamps of a payload's events before they are first sent. The record notes it.
func Restamp(payload []byte, at time.Time) ([]byte, error) {
	timestamp := string(AppendTimestamp(nil, at))
	out := make([]byte, 0, len(payload)+64)
	from := 0
	n := int(gjson.GetBytes(payload, "events.#").Int())
	for i := range n {
		r := gjson.GetBytes(payload, "events."+strconv.Itoa(i)+".timestamp")
		if r.Type != gjson.String || r.Index <= 0 {
			return nil, fmt.Errorf("event %d has no timestamp", i)
		}
		out = append(out, payload[from:r.Index]...)
		out = append(out, '"')
		out = append(out, timestamp...)
		out = append(out, '"')
		from = r.Index + len(r.Raw)
	}
	if n == 0 || payload[len(payload)-1] != '}' {
		return nil, fmt.Errorf("the record has no events")
	}
	out = append(out, payload[from:len(payload)-1]...)
	return Object(out).time("restamped", at).Close(), nil
}

// Discard adds the reason for discarding it to a settled record.
func Discard(payload []byte, reason string) ([]byte, error) {
	if !gjson.ValidBytes(payload) || !gjson.ParseBytes(payload).IsObject() {
		return nil, errors.New("the record is no JSON object")
	}
	if Discarded(payload) {
		return payload, nil
	}
	end := len(payload) - 1
	for payload[end] != '}' {
		end--
	}
	return Object(slices.Clone(payload[:end])).Str("discarded", reason).Close(), nil
}
