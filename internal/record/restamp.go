package record

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// Restamp moves the events of a payload to another time, before they are first sent. The record says that it was done.
func Restamp(payload []byte, at time.Time) ([]byte, error) {
	stamp := string(AppendTimestamp(nil, at))
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
		out = append(out, stamp...)
		out = append(out, '"')
		from = r.Index + len(r.Raw)
	}
	if n == 0 || payload[len(payload)-1] != '}' {
		return nil, fmt.Errorf("the record has no events")
	}
	out = append(out, payload[from:len(payload)-1]...)
	return Object(out).time("restamped", at).Close(), nil
}

// Discard adds the reason to a settled record.
func Discard(payload []byte, reason string) ([]byte, error) {
	if !gjson.ValidBytes(payload) || !gjson.ParseBytes(payload).IsObject() {
		return nil, errors.New("the record is no JSON object")
	}
	if gjson.GetBytes(payload, "discarded").Exists() {
		return payload, nil
	}
	end := len(payload) - 1
	for payload[end] != '}' {
		end--
	}
	return Object(slices.Clone(payload[:end])).Str("discarded", reason).Close(), nil
}

// EventTime reads a timestamp of ours: Unix seconds with up to nine decimals.
func EventTime(s string) (time.Time, bool) {
	whole, frac, _ := strings.Cut(s, ".")
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
