package lagobilling

import (
	"strings"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// placeholder gives the values of {http.tollgate.*}, for access logs. Before the call is settled they are empty.
func (m *meter) placeholder(key string) (any, bool) {
	name, ours := strings.CutPrefix(key, "http.tollgate.")
	if !ours {
		return nil, false
	}
	r := m.Record()
	switch name {
	case "id":
		return m.call.ID, true
	case "model":
		return m.Target().Model, true
	case "upstream":
		return m.Target().Upstream, true
	case "backend":
		return m.Target().Backend, true
	case "provider":
		return m.Target().Provider, true
	case "session":
		return m.call.Request.Session, true
	case "payer":
		return r.Payer, true
	case "outcome":
		return r.Outcome, true
	case "cost":
		return r.Cost, true
	case "usage":
		return string(r.Source), true
	case "input_tokens":
		return m.tokens((*usage.Counts).InputTokens), true
	case "output_tokens":
		return m.tokens((*usage.Counts).OutputTokens), true
	case "total_tokens":
		return m.tokens(func(c *usage.Counts) int64 { return c.InputTokens() + c.OutputTokens() }), true
	}
	kind, isKind := strings.CutPrefix(name, "kinds.")
	if !isKind {
		return nil, false
	}
	k, known := usage.KindByName(kind)
	if !known {
		return nil, false
	}
	if n, ok := r.Counts.Get(k); ok {
		return n, true
	}
	return "", true
}

// tokens returns a sum of counts, or nothing while there are none: absent is not zero.
func (m *meter) tokens(sum func(*usage.Counts) int64) any {
	if m.Record().Counts.Empty() {
		return ""
	}
	return sum(&m.Record().Counts.Counts)
}
