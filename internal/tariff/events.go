package tariff

import (
	"strconv"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Shapes of events.
const (
	PerRequest   = "per_request"
	PerTokenType = "per_token_type" //nolint:gosec // a setting, no credential
	Cost         = "cost"
)

// Conventions of counts in events per token type.
const (
	Disjoint = "disjoint"
	SDK      = "sdk"
)

// Default codes of billable metrics.
const (
	DefaultCode     = "llm_usage"
	DefaultCostCode = "llm_cost"
)

// shape is the configured shape of events.
type shape struct {
	kind   string
	counts string
	code   string
}

// bill is a settled record whose events are being made.
type bill struct {
	*record.Record
	target *llm.Target
	unsent bool // the provider did not get the call
	charge charge
}

// take takes over the usage that the answer reported.
func (b *bill) take(res *usage.Result) {
	b.Counts = record.Counts{Counts: res.Counts}
	b.takeModels(res.Parts)
	b.Source, b.How = res.Source, res.How
	// Only the answer's tier counts: one that the client asked for and the provider did not confirm would let the client
	// choose its own price.
	b.ResponseModel, b.ResponseID, b.Tier = record.Clip(res.Model), record.Clip(res.ID), record.Clip(res.Tier)
	if b.NotBilled != "" {
		return
	}
	switch {
	case b.Outcome == record.OutcomeError:
		b.NotBilled = record.NotBilledError
	case b.unsent:
		b.NotBilled = record.NotBilledUnsent
	case res.Counts.Empty():
		b.NotBilled = record.NotBilledUsage
	case b.Payer == "":
		b.NotBilled = record.NotBilledPayer
	}
}

// upstream is the billed model: the one sent upstream, another one that the call let the provider run, or the requested one
// if no attempt was made.
func (b *bill) upstream() string {
	switch {
	case b.target != nil && b.target.Upstream != "":
		return b.target.Upstream
	case b.Upstream != "":
		return b.Upstream
	}
	return b.Asked
}

// appendEvents appends the record's events, comma-separated, or notes in the record why there are none.
func (s shape) appendEvents(dst []byte, b *bill) []byte {
	if b.NotBilled != "" {
		return dst
	}
	switch s.kind {
	case PerTokenType:
		dst = s.perTokenType(dst, b)
	case Cost:
		dst = s.perCost(dst, b)
	default:
		dst = s.perRequest(dst, b)
	}
	if len(dst) == 0 && b.NotBilled == "" {
		b.NotBilled = record.NotBilledNothing // all counts are zero, which is not the same as unknown
	}
	return dst
}

// event begins an event and returns its properties object.
func (b *bill) event(dst []byte, code, cents string) record.Object {
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	o := record.OpenObject(dst)
	o = o.Str("transaction_id", llm.NewID())
	o = o.Str("external_subscription_id", b.Payer)
	o = o.Str("code", code)
	o = append(record.AppendTimestamp(append(o.Key("timestamp"), '"'), b.Settled), '"')
	if cents != "" {
		o = o.Str("precise_total_amount_cents", cents)
	}
	return record.OpenObject(o.Key("properties"))
}

// end closes properties and event. Configured properties come last; none has a reserved name.
func (b *bill) end(p record.Object) []byte {
	p = p.Str("provider", b.Provider)
	p = p.Opt("key_alias", b.KeyAlias)
	p = p.Opt("team_id", b.Team)
	p = p.Opt("user_id", b.User)
	p = p.Str("call_id", b.ID)
	p = p.Str("usage", string(b.Source))
	for _, own := range b.Properties {
		p = p.Own(own.Name, own.Value)
	}
	return append(p.Close(), '}')
}

// requestProperties names, for events per request, the properties of kinds that are included in the totals: those of Lago's
// agent SDK without its prefix.
var requestProperties = named("", [usage.NumKinds]string{
	usage.CacheRead:       "cached_input_tokens",
	usage.CacheReadAudio:  "cached_audio_input_tokens",
	usage.CacheReadImage:  "cached_image_input_tokens",
	usage.CacheReadVideo:  "cached_video_input_tokens",
	usage.CacheWrite:      "cache_creation_tokens",
	usage.CacheWrite5m:    "cache_write_5m_tokens",
	usage.CacheWrite1h:    "cache_write_1h_tokens",
	usage.CacheWrite12h:   "cache_write_12h_tokens",
	usage.InputAudio:      "audio_input_tokens",
	usage.InputImage:      "image_input_tokens",
	usage.InputVideo:      "video_input_tokens",
	usage.Reasoning:       "reasoning_tokens",
	usage.OutputAudio:     "audio_output_tokens",
	usage.OutputImage:     "image_output_tokens",
	usage.OutputVideo:     "video_output_tokens",
	usage.Citations:       "citation_tokens",
	usage.WebSearches:     "web_searches",
	usage.InputCharacters: "input_characters",
	usage.Milliseconds:    "audio_seconds",
	usage.Pages:           "pages",
	usage.Images:          "images",
	usage.SearchUnits:     "search_units",
})

// named gives every kind without a name, except plain input and output, its own name with a prefix.
func named(prefix string, names [usage.NumKinds]string) [usage.NumKinds]string {
	for k := range names {
		if kind := usage.Kind(k); names[k] == "" && kind != usage.Input && kind != usage.Output {
			names[k] = prefix + kind.String()
		}
	}
	return names
}

// reserved are our property names, which configured properties may not have.
var reserved = func() map[string]bool {
	names := map[string]bool{}
	for _, n := range requestProperties {
		if n != "" {
			names[n] = true
		}
	}
	for _, n := range []string{
		"model", "model_group", "response_cost", "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens",
		"output_tokens", "provider", "key_alias", "team_id", "user_id", "call_id", "usage", "value", "api", "token_type",
		"unit", "unit_price", "unit_price_per", "base_cost", "price_source",
	} {
		names[n] = true
	}
	return names
}()

// Reserved reports whether events have a property of that name already.
func Reserved(name string) bool { return reserved[name] }

// perRequest appends the one event of LiteLLM's callback: the totals under the names that it sends and those that it
// documents, and the kinds included in them.
func (s shape) perRequest(dst []byte, b *bill) []byte {
	p := b.event(dst, s.code, "")
	p = p.Str("model", b.upstream())
	p = p.Str("model_group", b.Asked)
	p = p.Opt("response_cost", b.Cost)
	in, out := b.Counts.InputTokens(), b.Counts.OutputTokens()
	p = p.Quoted("prompt_tokens", in)
	p = p.Quoted("completion_tokens", out)
	p = p.Quoted("total_tokens", in+out)
	p = p.Quoted("input_tokens", in)
	p = p.Quoted("output_tokens", out)
	for k, n := range b.Counts.All() {
		if name := requestProperties[k]; name != "" {
			p = quantity(p, name, k, n)
		}
	}
	return b.end(p)
}

// quantity appends a count as a plain decimal string, milliseconds converted to seconds.
func quantity(o record.Object, name string, k usage.Kind, n int64) record.Object {
	return append(appendQuantity(append(o.Key(name), '"'), k, n), '"')
}

func appendQuantity(b []byte, k usage.Kind, n int64) []byte {
	if k != usage.Milliseconds {
		return strconv.AppendInt(b, n, 10)
	}
	return record.AppendThousandths(strconv.AppendInt(b, n/1000, 10), n%1000)
}

// tokenCodes are the billable metrics of events per token type, named as in Lago's agent SDK; those that it lacks follow its
// pattern.
var tokenCodes = named("llm_", [usage.NumKinds]string{
	usage.Input:           "llm_input_tokens",
	usage.Output:          "llm_output_tokens",
	usage.CacheRead:       "llm_cached_input_tokens",
	usage.CacheWrite:      "llm_cache_creation_tokens",
	usage.CacheWrite5m:    "llm_cache_write_5m_tokens",
	usage.CacheWrite1h:    "llm_cache_write_1h_tokens",
	usage.CacheWrite12h:   "llm_cache_write_12h_tokens",
	usage.Reasoning:       "llm_reasoning_tokens",
	usage.InputImage:      "llm_image_input_tokens",
	usage.InputAudio:      "llm_audio_input_tokens",
	usage.OutputAudio:     "llm_audio_output_tokens",
	usage.InputVideo:      "llm_video_input_tokens",
	usage.CacheReadAudio:  "llm_cached_audio_input_tokens",
	usage.CacheReadImage:  "llm_cached_image_input_tokens",
	usage.CacheReadVideo:  "llm_cached_video_input_tokens",
	usage.OutputImage:     "llm_image_output_tokens",
	usage.OutputVideo:     "llm_video_output_tokens",
	usage.Citations:       "llm_citation_tokens",
	usage.WebSearches:     "llm_web_searches",
	usage.InputCharacters: "llm_input_characters",
	usage.Milliseconds:    "llm_audio_seconds",
	usage.Pages:           "llm_pages",
	usage.Images:          "llm_images",
	usage.SearchUnits:     "llm_search_units",
})

// perTokenType appends one event for each kind that is not zero, in the convention of Lago's agent SDK.
func (s shape) perTokenType(dst []byte, b *bill) []byte {
	own := b.Counts.Counts
	for _, m := range b.Models {
		own = own.Less([]usage.Part{{Counts: m.Counts.Counts}})
	}
	dst = s.tokensOf(dst, b, b.upstream(), own)
	for _, m := range b.Models {
		dst = s.tokensOf(dst, b, m.Model, m.Counts.Counts)
	}
	return dst
}

// tokensOf appends the events of one model.
func (s shape) tokensOf(dst []byte, b *bill, model string, c usage.Counts) []byte {
	if s.counts == SDK {
		c = overlapping(c, b.target.API, b.Provider)
	}
	for k, n := range c.All() {
		if n == 0 {
			continue
		}
		p := b.event(dst, tokenCodes[k], "")
		p = quantity(p, "value", k, n)
		p = p.Str("model", model)
		p = p.Str("model_group", b.Asked)
		p = p.Str("api", b.Endpoint)
		dst = b.end(p)
	}
	return dst
}

// overlapping converts disjoint counts to those that Lago's agent SDK sends, which differ by provider: OpenAI-compatible ones
// include cached, cache-write and media tokens in the input and reasoning in the output; Gemini counts reasoning separately;
// Anthropic and Bedrock count the cache separately, with the total of writes beside its two parts, and include reasoning in
// the output without naming it. Kinds that the SDK does not send for a provider become zero.
func overlapping(c usage.Counts, flavour llm.API, provider string) usage.Counts {
	out := c
	sum := func(to usage.Kind, kinds ...usage.Kind) {
		total, set := int64(0), false
		for _, k := range kinds {
			n, ok := c.Get(k)
			total += n
			set = set || ok
		}
		if set {
			out.Set(to, total)
		}
	}
	zero := func(kinds ...usage.Kind) {
		for _, k := range kinds {
			out.Set(k, 0)
		}
	}
	if flavour == llm.Anthropic || flavour == llm.Bedrock || provider == "anthropic" || provider == "bedrock" {
		sum(usage.CacheWrite, usage.CacheWrite, usage.CacheWrite5m, usage.CacheWrite1h)
		sum(usage.Output, usage.Output, usage.Reasoning)
		zero(usage.Reasoning)
		return out
	}
	if n := c.InputTokens(); n > 0 {
		out.Set(usage.Input, n)
	}
	sum(usage.CacheRead, usage.CacheRead, usage.CacheReadAudio, usage.CacheReadImage, usage.CacheReadVideo)
	sum(usage.InputAudio, usage.InputAudio, usage.CacheReadAudio)
	sum(usage.InputImage, usage.InputImage, usage.CacheReadImage)
	sum(usage.InputVideo, usage.InputVideo, usage.CacheReadVideo)
	zero(usage.CacheReadAudio, usage.CacheReadImage, usage.CacheReadVideo, usage.CacheWrite, usage.CacheWrite5m, usage.CacheWrite1h,
		usage.CacheWrite12h)
	sum(usage.Output, usage.Output, usage.OutputAudio, usage.OutputImage, usage.OutputVideo)
	if flavour != llm.Gemini && provider != "gemini" && provider != "vertex" {
		out.Set(usage.Output, out.N(usage.Output)+c.N(usage.Reasoning))
	}
	return out
}

// perCost appends one event for each priced kind, with its exact amount for Lago's dynamic charge.
func (s shape) perCost(dst []byte, b *bill) []byte {
	if !b.charge.known {
		b.NotBilled = record.NotBilledPrice
		return dst
	}
	if len(b.charge.lines) == 0 {
		b.NotBilled = record.NotBilledNothing
		return dst
	}
	for i := range b.charge.lines {
		l := &b.charge.lines[i]
		p := b.event(dst, s.code, b.charge.billed[i].Cents())
		p = p.Str("token_type", l.Kind)
		p = p.Str("unit", l.Count)
		p = p.Str("value", l.Count)
		p = p.Opt("unit_price", l.Price)
		p = p.Opt("unit_price_per", l.Per)
		p = p.Str("base_cost", l.Base)
		p = p.Str("price_source", b.charge.source)
		model := l.Model
		if model == "" {
			model = b.upstream()
		}
		p = p.Str("model", model)
		p = p.Str("model_group", b.Asked)
		p = p.Str("api", b.Endpoint)
		dst = b.end(p)
	}
	return dst
}
