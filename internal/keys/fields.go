package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// Fields are the members of a request to the key API. A member that is absent leaves a field as it is; one that is null
// clears it.
type Fields struct {
	raw   map[string]json.RawMessage // as they were written
	value map[string]any             // decoded by validate; none of those that are null
}

// A check decodes the value of a field, or returns what is wrong with it. It is not asked about null.
type check func(raw json.RawMessage) (value any, fault string)

// folded are the fields that LiteLLM keeps, and gives back, within metadata.
var folded = []string{"model_rpm_limit", "model_tpm_limit", "guardrails", "prompts", "tags", "enforced_params"}

// validate refuses unknown fields and wrong values by name, so that no limit is lost to a slip of the pen.
func (f Fields) validate(known map[string]check) *llm.Error {
	names := make([]string, 0, len(f.raw))
	for n := range f.raw {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		c, ok := known[n]
		if !ok {
			return Invalid(n, "unknown field")
		}
		if null(f.raw[n]) {
			continue
		}
		value, fault := c(f.raw[n])
		if fault != "" {
			return Invalid(n, fault)
		}
		f.value[n] = value
	}
	return nil
}

func noFields() Fields { return Fields{raw: map[string]json.RawMessage{}, value: map[string]any{}} }

// ParseFields reads a request's body: a JSON object, or nothing.
func ParseFields(body []byte) (Fields, *llm.Error) {
	f := noFields()
	if len(bytes.TrimSpace(body)) == 0 {
		return f, nil
	}
	if err := json.Unmarshal(body, &f.raw); err != nil || f.raw == nil {
		return Fields{}, &llm.Error{
			Status: http.StatusBadRequest, Type: "bad_request_error", Param: "body",
			Message: "the request's body is not a JSON object" + where(err),
		}
	}
	return f, nil
}

// split parts the named fields from the others.
func (f Fields) split(named []string) (others, these Fields) {
	others = Fields{raw: map[string]json.RawMessage{}, value: map[string]any{}}
	these = Fields{raw: map[string]json.RawMessage{}, value: map[string]any{}}
	for n, raw := range f.raw {
		if slices.Contains(named, n) {
			these.raw[n] = raw
		} else {
			others.raw[n] = raw
		}
	}
	return others, these
}

// first returns the name of the first field.
func (f Fields) first() string { return slices.Min(slices.Collect(maps.Keys(f.raw))) }

// Texts reads a request whose only field is a list of texts with at least one.
func (f Fields) Texts(field string) ([]string, *llm.Error) {
	if refusal := f.validate(map[string]check{field: texts}); refusal != nil {
		return nil, refusal
	}
	list := get[[]string](f, field)
	if len(list) == 0 {
		return nil, Invalid(field, "name at least one")
	}
	return list, nil
}

// With returns the fields with one more, in place of one of its name.
func (f Fields) With(field string, raw json.RawMessage) Fields {
	return Fields{raw: fieldsWith(f.raw, field, raw), value: map[string]any{}}
}

func fieldsWith(m map[string]json.RawMessage, field string, raw json.RawMessage) map[string]json.RawMessage {
	out := maps.Clone(m)
	out[field] = raw
	return out
}

// serviceAccount is a member of metadata that is never changed: it marks a key as a service account.
const serviceAccount = "service_account_id"

// MarkServiceAccount makes the key that is asked for a service account, by the name of its alias unless metadata has one.
func (f Fields) MarkServiceAccount() *llm.Error {
	var meta map[string]json.RawMessage
	if raw, ok := f.raw["metadata"]; ok && json.Unmarshal(raw, &meta) != nil {
		return Invalid("metadata", "must be an object")
	}
	if stringMember(meta, serviceAccount) != "" {
		return nil
	}
	alias := f.Text("key_alias")
	if alias == "" {
		return Invalid("key_alias", "is missing: it names the service account")
	}
	if meta == nil {
		meta = make(map[string]json.RawMessage)
	}
	f.raw["metadata"] = encodeValue(fieldsWith(meta, serviceAccount, encodeValue(alias)))
	return nil
}

// Set sets a field to a text, in place of what the body has.
func (f Fields) Set(name, value string) { f.raw[name] = encodeValue(value) }

// Key returns the key that a valid request names, as it was written.
func (f Fields) Key() string { return get[string](f, "key") }

func where(err error) string {
	if syntax, ok := err.(*json.SyntaxError); ok { //nolint:errorlint // Unmarshal returns it as it is
		return ": " + syntax.Error() + " at byte " + strconv.FormatInt(syntax.Offset, 10)
	}
	return ""
}

func null(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// get returns a field's value; the zero value when it is absent or null.
func get[T any](f Fields, name string) T {
	v, _ := f.value[name].(T)
	return v
}

// Text returns a field that is a text, of a request that was not validated yet.
func (f Fields) Text(name string) (s string) {
	if json.Unmarshal(f.raw[name], &s) != nil {
		return ""
	}
	return s
}

// Raw returns a field as it was written; nil where there is none.
func (f Fields) Raw(name string) json.RawMessage { return f.raw[name] }

// Has reports whether a request has a field, null or not.
func (f Fields) Has(name string) bool { _, ok := f.raw[name]; return ok }

// typed returns a check of values that decode as T.
func typed[T any](fault string) check {
	return func(raw json.RawMessage) (any, string) {
		var v T
		if json.Unmarshal(raw, &v) != nil {
			return nil, fault
		}
		return v, ""
	}
}

var (
	text       = typed[string]("must be a string")
	boolean    = typed[bool]("must be true or false")
	list       = typed[[]json.RawMessage]("must be a list")
	texts      = typed[[]string]("must be a list of strings")
	object     = typed[map[string]json.RawMessage]("must be an object")
	textObject = typed[map[string]string]("must be an object of strings")
)

// name checks a text that may become a payer or a property of an event.
func name(raw json.RawMessage) (any, string) {
	v, fault := text(raw)
	if s, ok := v.(string); ok {
		if err := llm.CheckName(s); err != nil {
			return nil, err.Error()
		}
	}
	return v, fault
}

// count checks a whole number that is not negative.
func count(raw json.RawMessage) (any, string) {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(raw)), 10, 64)
	if err != nil || n < 0 {
		return nil, "must be a whole number that is not negative"
	}
	if n >= maxCount {
		return nil, tooHigh
	}
	return n, ""
}

const tooHigh = "is higher than can be counted"

// amount checks an amount of US dollars that is not negative and that can be kept to the digit. It is kept as it was written.
func amount(raw json.RawMessage) (any, string) {
	v, fault := number(raw)
	if fault != "" {
		return nil, fault
	}
	a, err := price.ParseUSD(string(bytes.TrimSpace(raw)))
	switch {
	case errors.Is(err, price.ErrInexact):
		return nil, "has more than 15 decimals"
	case err != nil || a.Cmp(maxBudget) > 0:
		return nil, tooHigh
	}
	return v, ""
}

// number checks a number that is not negative.
func number(raw json.RawMessage) (any, string) {
	s := bytes.TrimSpace(raw)
	if len(s) == 0 || s[0] < '0' || s[0] > '9' {
		return nil, "must be a number that is not negative"
	}
	return json.Number(s), ""
}

func metadata(raw json.RawMessage) (any, string) {
	v, fault := object(raw)
	if m, ok := v.(map[string]json.RawMessage); ok {
		return m, CheckMetadata(m)
	}
	return v, fault
}

// CheckMetadata returns what is wrong with the members of a key's or team's metadata that decide who pays; empty when nothing is.
func CheckMetadata(m map[string]json.RawMessage) string {
	for _, c := range []struct {
		member string
		check  check
	}{{subscriptionMember, name}, {fixedPayerMember, boolean}} {
		raw, ok := m[c.member]
		if !ok {
			continue
		}
		if null(raw) {
			return c.member + " must not be null"
		}
		if _, fault := c.check(raw); fault != "" {
			return c.member + " " + fault
		}
	}
	return ""
}

func oneOf(values ...string) check {
	return func(raw json.RawMessage) (any, string) {
		v, _ := text(raw)
		if s, ok := v.(string); !ok || !slices.Contains(values, s) {
			return nil, "must be one of " + strings.Join(values, ", ")
		}
		return v, ""
	}
}

const periodUnits = "a number and one of s, m, h, d, w, mo, such as 30d"

func period(raw json.RawMessage) (any, string) {
	v, _ := text(raw)
	s, isText := v.(string)
	if !isText {
		return nil, "must be a string: " + periodUnits
	}
	if _, ok := limit.AddPeriod(time.Time{}, s); !ok && s != neverExpires {
		return nil, "must be " + periodUnits
	}
	return s, ""
}

// neverExpires is the duration by which LiteLLM's clients take an expiry away.
const neverExpires = "-1"

// merge returns the metadata that results from a request: `metadata` replaces what was there, but for what is folded
// into it, which only its own fields change.
func (f Fields) merge(old map[string]json.RawMessage, known map[string]check) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(old))
	for n, v := range old {
		if !f.Has("metadata") || slices.Contains(folded, n) {
			out[n] = v
		}
	}
	maps.Copy(out, get[map[string]json.RawMessage](f, "metadata"))
	for _, n := range folded {
		if _, ok := known[n]; !ok || !f.Has(n) {
			continue
		}
		if null(f.raw[n]) {
			delete(out, n)
		} else {
			out[n] = f.raw[n]
		}
	}
	return out
}

// keep returns the fields that are stored as they were given: all but the named ones and what is folded into metadata.
func (f Fields) keep(old map[string]json.RawMessage, own ...string) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(old)+len(f.raw))
	maps.Copy(out, old)
	for n, v := range f.raw {
		switch {
		case slices.Contains(own, n) || slices.Contains(folded, n):
		case null(v):
			delete(out, n)
		default:
			out[n] = v
		}
	}
	return out
}
