package translate

import "github.com/tidwall/gjson"

// usage notes counts as the bill does. Those of a message_delta, later, are totals and take the place of earlier ones.
func (m *messagesAnswer) usage(v gjson.Result, later bool) {
	count := func(path string) (int64, bool) {
		n := v.Get(path)
		return n.Int(), n.Type == gjson.Number && n.Num >= 0
	}
	fresh, hasFresh := count("input_tokens")
	cached, hasCached := count("cache_read_input_tokens")
	written, hasWritten := count("cache_creation_input_tokens")
	if !hasWritten {
		short, some := count("cache_creation.ephemeral_5m_input_tokens")
		long, more := count("cache_creation.ephemeral_1h_input_tokens")
		written, hasWritten = short+long, some || more
	}
	output, hasOutput := count("output_tokens")
	thought, hasThought := count("output_tokens_details.thinking_tokens")

	u := &m.ending.tokens
	keep := later && fresh+cached+written == 0 && u.input > 0
	switch {
	case keep && hasFresh && output == 0:
		return // an end that some gateways make up
	case later && !m.later && !hasFresh && cached+written > 0 && u.cached+u.written == 0:
		m.fresh = max(m.fresh-cached-written, 0) // of Alibaba: the start has the whole prompt
	}
	for _, c := range [...]struct {
		to  *int64
		n   int64
		set bool
	}{
		{&m.fresh, fresh, hasFresh && !keep},
		{&u.cached, cached, hasCached && !keep},
		{&u.written, written, hasWritten && !keep},
		{&u.output, output, hasOutput},
		{&u.reasoning, thought, hasThought},
	} {
		if c.set {
			*c.to, u.known = c.n, true
		}
	}
	u.reasoning = min(u.reasoning, u.output)
	u.input = m.fresh + u.cached + u.written
	m.later = m.later || later && hasOutput
	switch v.Get("service_tier").Str {
	case "standard":
		m.ending.tier = "default"
	case "priority":
		m.ending.tier = "priority"
	}
}
