package usage

import (
	"slices"
	"strings"
)

// format is how one API reports usage. Each API's file has one.
type format struct {
	root    *node
	wrapper *node                        // the event around the root's events, in a binary event stream
	counts  func(*Reader, *mapped)       // turns what was kept into disjoint kinds
	ends    func(*Reader) bool           // whether the current event, whose object has closed, ends the stream
	part    func(*Reader, bool) partMark // how the current event, which may have ended, affects its part; nil: its finish decides
	delta   func([]byte) class           // the class of text that depends on the event's type; nil: output
	output  bool                         // answers hold generated text
	strips  bool                         // streams may have a chunk with nothing but usage
	closes  bool                         // streams have no terminal event: a finish reason completes it
	marked  bool                         // streams end in a marker that some servers leave out: the finish and usage complete them too
	within  bool                         // what other models used lies within the totals
	spoken  bool                         // the request's characters count when no usage is reported
}

// formats holds the format of each API.
var formats = map[API]*format{
	OpenAIChat:          openAIChat,
	OpenAIResponses:     openAIResponses,
	OpenAIEmbeddings:    openAIEmbeddings,
	OpenAIImages:        openAIImages,
	OpenAITranscription: openAITranscription,
	OpenAISpeech:        openAISpeech,
	AnthropicMessages:   anthropicMessages,
	GeminiGenerate:      geminiGenerate,
	GeminiEmbed:         geminiEmbed,
	BedrockConverse:     bedrockConverse,
	BedrockInvoke:       bedrockInvoke,
	CohereChat:          cohereChat,
	CohereEmbed:         cohereEmbed,
	CohereRerank:        cohereEmbed,
	OllamaNative:        ollamaNative,
	MistralOCR:          mistralOCR,
	NotBillable:         notBillable,
}

// notBillable reads nothing but the answer's end.
var notBillable = &format{root: object(nil), counts: func(*Reader, *mapped) {}}

// mapped is usage in disjoint kinds.
type mapped struct {
	Counts
	in, out bool     // input and output were reported
	floor   int64    // output reported so far, when it is known to be too low
	how     []string // repairs
	writes  Kind     // of tokens written to a cache, if usage does not name the time to live; Input stands for CacheWrite
}

func (m *mapped) note(s string) {
	if !slices.Contains(m.how, s) {
		m.how = append(m.how, s)
	}
}

// part is a part of a total that the provider names.
type part struct {
	kind Kind
	n    int64
	set  bool
}

// of makes a part of slot s.
func (t *tally) of(k Kind, s slot) part { return part{k, t.n[s], t.has(s)} }

// split divides a total into its parts and the rest, which is a separate kind, so that they sum to the total. Parts beyond the total are
// cut, with a note.
func (m *mapped) split(all int64, rest Kind, parts ...part) {
	left := all
	for _, p := range parts {
		if !p.set {
			continue
		}
		n := min(max(p.n, 0), left)
		if n < p.n {
			m.note("the details exceed their total and were cut")
		}
		m.Add(p.kind, n)
		left -= n
	}
	m.Add(rest, left)
}

// Result returns what the answer has reported so far or, where it reported nothing, the best estimate: running totals and the
// text since, input that was reported early and the text that passed, or the request's and the answer's text. It may be
// called at any time and any number of times. An answer that is an error, or not billable, has no counts.
func (r *Reader) Result(e Estimate) Result {
	failed := r.failed || r.failing()
	res := Result{
		Model:    string(r.model.bytes()),
		ID:       string(r.id.bytes()),
		Tier:     r.tierName(),
		Error:    failed || r.failedStatus(),
		Complete: r.complete || r.f.closes && (r.finished || r.event.finish),
	}
	if r.o.API == NotBillable || r.failedStatus() || failed && r.framing == body {
		return res
	}
	m := &r.mapped
	*m = mapped{writes: r.writeKind()}
	r.f.counts(r, m)
	if r.kept.rejected {
		m.note("a count that is negative, above 2^53 or not whole was refused")
	}
	reported := !m.Empty()
	text := r.OutputUnits()
	since := text
	if m.out {
		since = text - r.atUsage
	}
	if r.event.kept {
		since = 0
	}
	final := r.complete && !failed || r.framing == body || since <= 0 &&
		(r.final || r.finished || r.event.kept && (!r.event.choice || r.event.finish))
	if r.f.marked && since <= 0 && r.framing == events && !failed &&
		(r.finished || r.event.finish) && (r.final || r.event.kept && (!r.event.choice || r.event.finish)) {
		res.Complete = true
	}
	if r.extra != nil {
		if r.f.within {
			r.extra.partsWithin(m)
		} else {
			r.extra.addParts(m)
		}
	}
	switch {
	case reported && m.in && (m.out && final || !r.f.output):
		res.Source = Reported
		r.cost(&res)
	case failed:
		if reported {
			res.Source = Partial
			m.note("the stream ended in an error: only what was reported")
		}
	case r.broken != "" && !r.compressed && !reported && text == 0:
		// This is not an answer of this API: there is no usage to read.
	default:
		r.estimate(m, e, since, final)
		if !m.Empty() {
			res.Source = Estimated
			if reported {
				res.Source = Partial
			}
		}
	}
	if r.extra != nil {
		res.Parts = r.extra.apply(r, m)
		res.Containers = r.extra.containers.distinct()
	}
	if !failed && !r.compressed {
		r.lengths(m, e)
	}
	if r.f == openAIChat && !r.servedBy("openrouter", "openrouter.ai") && !m.Empty() && m.N(WebSearches) == 0 &&
		(searchesAlways(r.model.bytes()) || r.model.n == 0 && searchesAlways([]byte(r.o.Model))) {
		m.Set(WebSearches, 1)
	}
	if r.broken != "" {
		m.note(r.broken)
	}
	if res.Source == None && !m.Empty() {
		if res.Source = Partial; r.sound != nil || r.o.API == OpenAITranscription {
			res.Source = Estimated
		}
	}
	res.Counts = m.Counts
	res.How = strings.Join(m.how, "; ")
	return res
}

// writeKind returns what tokens are that were written to a cache, by the time to live that the answer repeats or the request asks for.
func (r *Reader) writeKind() Kind {
	ttl := string(r.ttl.bytes())
	if ttl == "" {
		ttl = r.o.CacheTTL
	}
	switch ttl {
	case "1h":
		return CacheWrite1h
	case "12h":
		return CacheWrite12h
	}
	return CacheWrite
}

// estimate estimates what was not reported, by the characters rule.
func (r *Reader) estimate(m *mapped, e Estimate, since int64, final bool) {
	const rule = " by the characters rule"
	if !m.in && r.f.spoken && e.InputCharacters > 0 {
		// Some speech models are priced by characters, others by tokens.
		m.Set(InputCharacters, e.InputCharacters)
		m.note("characters of the request")
	}
	if !m.in && e.InputUnits > 0 {
		m.Set(Input, tokens(e.InputUnits))
		m.note("input estimated" + rule)
	}
	if !r.f.output || r.compressed || since == 0 && m.Empty() {
		return
	}
	switch {
	case m.out && final:
	case m.out:
		m.Add(Output, tokens(max(since, 0)))
		m.note("running total, and the text since" + rule)
	default:
		think := min(r.reasoningUnits(), since)
		if think > 0 {
			m.Add(Reasoning, tokens(think))
		}
		m.Add(Output, max(tokens(since-think), m.floor-tokens(think), 0))
		m.note("output estimated" + rule)
	}
}

// tokens rounds units up to tokens.
func tokens(units int64) int64 { return (units + 999) / 1000 }

// cost fills in the cost that the provider itself reports, from the providers that are known to state it in that unit.
func (r *Reader) cost(res *Result) {
	t := &r.kept
	text := priceText(t.cost.b[:t.cost.n])
	if text == "" {
		return
	}
	switch t.costKind {
	case toTicks:
		if r.servedBy("xai", "x.ai") {
			res.Cost, res.CostUnit = text, "usd_ticks"
		}
	case toTotalCost:
		if r.servedBy("perplexity", "perplexity.ai") && !t.foreign {
			res.Cost, res.CostUnit = text, "usd"
		}
	case toCost:
		if !r.servedBy("openrouter", "openrouter.ai") && !servedAt(r.o.BaseURL, "ai-gateway.vercel.sh") {
			return
		}
		res.Cost, res.CostUnit = text, "usd"
		if t.n[flag] == 1 {
			// With the caller's own key, the cost is OpenRouter's fee alone.
			if up := priceText(t.upstream.b[:t.upstream.n]); up != "" {
				res.Cost = addPrices(text, up)
			} else {
				res.Cost, res.CostUnit = "", ""
			}
		}
	default: // no cost
	}
}

// servedAt reports whether a base URL's host is a domain or below it.
func servedAt(baseURL, domain string) bool {
	_, host, ok := strings.Cut(baseURL, "://")
	if !ok {
		return false
	}
	if end := strings.IndexAny(host, "/:?#"); end >= 0 {
		host = host[:end]
	}
	host = strings.ToLower(host)
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// tierName returns the service tier, joined by "+" with the other things an answer names that change its price: a speed
// other than standard, and the place of inference as "geo-us", unless it is anywhere.
func (r *Reader) tierName() string {
	parts := make([]string, 0, 3)
	if r.tier.n > 0 {
		parts = append(parts, string(r.tier.bytes()))
	}
	if s := string(r.speed.bytes()); s != "" && s != "standard" {
		parts = append(parts, s)
	}
	if s := string(r.geo.bytes()); s != "" && s != "global" && s != "not_available" {
		parts = append(parts, "geo-"+s)
	}
	if r.kept.explicit && r.kept.n[cached] > 0 {
		parts = append(parts, ExplicitCache)
	}
	return strings.Join(parts, "+")
}
