package keyauth

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/modelinfo"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// What a call is taken to use at most. docs/limits.md has these numbers.
const (
	// inputMargin is added to the input by the characters rule, in percent, and inputBeside for what a provider adds.
	inputMargin = 25
	inputBeside = 64
	// firstOutput is the output of a model of which too little is known, where nothing bounds it and a budget has no room for all
	// that the model can give, or that is not known either.
	firstOutput = 4_096
	// firstStored is what is taken for input that the provider has stored, where a budget has no room for all that the model can take.
	firstStored = 16_384
	// imageTokens are what an image within a prompt counts, and madeTokens what an image that is made does.
	imageTokens = 1_600
	madeTokens  = 6_300
	// audioMinutes is the length of audio to be transcribed, where it is not known yet.
	audioMinutes = 10
	// searches are those of a call with a search tool, and sessions the containers of one that may run code.
	searches = 10
	sessions = 1
	// pages are those of documents to be read.
	pages = 100
)

// estimate returns what a call may use at most at each of the targets. With less, an output that nothing bounds is taken for no more
// than firstOutput as long as the model's are not known, and stored input for no more than firstStored.
func estimate(list []limit.Limit, c *llm.Call, targets []*llm.Target, outputs *limit.Outputs, less bool) []claim {
	claims := make([]claim, len(targets))
	for i, t := range targets {
		claims[i].target = t
	}
	if c.Endpoint == nil || c.Endpoint.Billing != llm.Billable {
		return claims
	}
	money := slices.ContainsFunc(list, func(l limit.Limit) bool { return l.Metric == limit.Cost && !l.Soft })
	q := &c.Request
	in := (q.TextUnits*(100+inputMargin)/100+999)/1000 + inputBeside
	seen := mentionsIn(q.Data)
	in += imageTokens * seen.images
	for i, t := range targets {
		out, bounded, guessed := outputOf(c, t, outputs, less)
		counted := out
		if !bounded {
			counted = fitting(list, in, out)
		}
		from, more := in, out
		if seen.has(stored) {
			hidden := storedInput(t, in, less)
			from, guessed = in+hidden, guessed || hidden > firstStored
		}
		if seen.has(prediction) {
			more += in
		}
		cost, err := costOf(c, t, &seen, from, more)
		if err != nil && money {
			claims[i].refused = noPrice("model", q.Asked, err)
		}
		claims[i].Claim = limit.Claim{Cost: cost, InputTokens: in, OutputTokens: counted}
		claims[i].unbounded, claims[i].guessed, claims[i].output = !bounded, guessed, out
		if refused := addOthers(&claims[i], c, &seen, in, outputs, less); refused != nil && money && claims[i].refused == nil {
			claims[i].refused = refused
		}
	}
	return claims
}

// storedInput returns how many tokens of input a provider may add to a body that names a conversation, a file or a cache of its.
func storedInput(t *llm.Target, in int64, less bool) int64 {
	window, _ := modelinfo.Sizes(t.Providers(), t.Upstream)
	if window == 0 || less {
		return firstStored
	}
	return max(firstStored, window-in)
}

// addOthers raises a claim by what the other models that the body names may use: fallbacks in place of the one asked for, and
// models that it may call in addition. A model that the provider chooses is taken for the one asked for.
func addOthers(to *claim, c *llm.Call, seen *mentions, in int64, outputs *limit.Outputs, less bool) (refused *llm.Error) {
	own := to.Claim
	for _, o := range c.Request.Others {
		other := own
		if o.Name != "" {
			t := *to.target
			t.Model, t.Upstream, t.Prices = o.Name, o.Name, nil // written prices are of the model asked for
			out, _, _ := outputOf(c, &t, outputs, less)
			cost, err := costOf(c, &t, seen, in, out)
			if err != nil && refused == nil {
				refused = noPrice(o.Member, o.Name, err)
			}
			other = limit.Claim{Cost: cost, InputTokens: in, OutputTokens: out}
		}
		if !slices.Contains(besideMembers, o.Member) {
			more(&to.Claim, &other)
			continue
		}
		if sum, err := to.Cost.Add(other.Cost); err == nil {
			to.Cost = sum
		}
		to.InputTokens += other.InputTokens
		to.OutputTokens += other.OutputTokens
	}
	return refused
}

// besideMembers are the members of bodies whose models run beside the one asked for, and not instead of it.
var besideMembers = []string{"tools", "plugins", "guardrails", "compound_custom", "data_sources", "dataSources"}

// noPrice is the refusal of a call under a budget to a model without a price.
func noPrice(member, model string, err error) *llm.Error {
	return &llm.Error{
		Status: http.StatusBadRequest, Type: "unpriced_model", Param: member, Err: err,
		Message: "the model " + strconv.Quote(model) + " has no price here, so its calls cannot be kept within a budget; ask the operator to give it one",
	}
}

// fitting cuts an output that nothing bounds to what rates of tokens have room for at all, so that a call that may answer
// little is not refused for good.
func fitting(limits []limit.Limit, in, out int64) int64 {
	for i := range limits {
		switch l := &limits[i]; l.Metric {
		case limit.Tokens:
			out = min(out, max(0, l.Max-in))
		case limit.OutputTokens:
			out = min(out, l.Max)
		case limit.Cost, limit.Requests, limit.InputTokens, limit.Parallel:
		}
	}
	return out
}

// maxAnswers is how many answers are counted with: more than any provider makes, and few enough to count their tokens.
const maxAnswers = 1_000_000

// answers returns how many answers a call asks for.
func answers(c *llm.Call) int64 { return min(max(1, c.Request.N), maxAnswers) }

// outputOf returns how many tokens the answers may have, whether they can have no more, and whether that is what the model can give, as
// its answers are not known. less is that of estimate.
func outputOf(c *llm.Call, t *llm.Target, outputs *limit.Outputs, less bool) (n int64, bounded, guessed bool) {
	switch c.Endpoint.Reader {
	case usage.OpenAIEmbeddings, usage.GeminiEmbed, usage.CohereEmbed, usage.CohereRerank:
		return 0, true, false
	case usage.OpenAIImages:
		return madeTokens * answers(c), false, false
	default:
	}
	bound, most := c.Request.MaxOutput, int64(0)
	if member, _ := llm.CapMember(c.Endpoint, t); bound == 0 && member != "" {
		bound = t.OutputCap
	}
	if bound == 0 {
		_, most = modelinfo.Sizes(t.Providers(), t.Upstream)
	}
	n, bounded, ok := outputs.Estimate(t.Model, answers(c), bound, most)
	if bounded || ok && outputs.Known(t.Model) {
		return n, bounded, false
	}
	if first := firstOutput * answers(c); !ok || less && first < n {
		return first, false, false
	}
	return n, false, true
}

// costOf returns what a call may cost at a target. Of the kinds that its tokens may turn out to be, the dearest counts.
func costOf(c *llm.Call, t *llm.Target, seen *mentions, in, out int64) (price.Amount, error) {
	q := &c.Request
	var first error
	// dearest adds the highest of the costs of alternatives that have a price; it needs one where the call surely has such a kind.
	var total price.Amount
	dearest := func(needed bool, n int64, kinds ...usage.Kind) {
		var most price.Amount
		known := n == 0
		var failed error
		for _, k := range kinds {
			var counts usage.Counts
			counts.Set(k, n)
			cost, err := c.Quote(c, t, &counts)
			if err != nil {
				failed = err
				continue
			}
			known = true
			if cost.Cmp(most) > 0 {
				most = cost
			}
		}
		if !known && needed && first == nil {
			first = failed
		}
		if sum, err := total.Add(most); err == nil {
			total = sum
		} else if first == nil {
			first = err
		}
	}
	inputs := []usage.Kind{usage.Input}
	if api := c.At(t).API; api == llm.Anthropic || api == llm.Bedrock || seen.has(cacheWrite) {
		inputs = append(inputs, usage.CacheWrite1h, usage.CacheWrite) // a prompt may be written to the provider's cache
	}
	made := answers(c)
	switch c.Endpoint.Reader {
	case usage.CohereRerank:
		dearest(false, in, usage.Input)
		dearest(total.IsZero(), 1, usage.SearchUnits)
	case usage.OpenAIImages:
		dearest(false, in, usage.Input)
		both := total
		dearest(false, out, usage.OutputImage, usage.Output)
		perImage := total == both
		dearest(perImage, made, usage.Images)
	case usage.MistralOCR:
		dearest(true, pages, usage.Pages, usage.AnnotatedPages)
	case usage.OpenAITranscription:
		length := int64(audioMinutes * 60_000)
		if q.Audio != nil && q.Audio.Load() > 0 {
			length = q.Audio.Load()
		}
		dearest(true, length, usage.Milliseconds)
	case usage.OpenAISpeech:
		dearest(false, q.InputCharacters, usage.InputCharacters)
		byCharacter := !total.IsZero()
		dearest(!byCharacter, in, usage.Input)
		dearest(!byCharacter, out, usage.OutputAudio, usage.Output)
	default:
		outs := []usage.Kind{usage.Output, usage.Reasoning}
		if seen.has(audioPart) {
			inputs, outs = append(inputs, usage.InputAudio), append(outs, usage.OutputAudio)
		}
		if seen.has(imagePart) {
			inputs, outs = append(inputs, usage.InputImage), append(outs, usage.OutputImage)
		}
		dearest(true, in, inputs...)
		dearest(true, out, outs...)
		fees(seen, t, dearest)
	}
	return total, first
}

// fees adds what the built-in tools of a body may cost beside tokens, and what some models charge for each call. dearest adds one
// of alternatives; those without a price are free.
func fees(seen *mentions, t *llm.Target, dearest func(needed bool, n int64, kinds ...usage.Kind)) {
	if seen.has(webSearch) || strings.Contains(t.Upstream, "-search-") {
		dearest(false, searches, usage.WebSearches, usage.WebSearchesPreview, usage.PostSearches)
	}
	if seen.has(mapSearch) {
		dearest(false, searches, usage.MapsSearches)
	}
	if seen.has(fileSearch) {
		dearest(false, searches, usage.FileSearches)
	}
	if seen.has(webFetch) {
		dearest(false, searches, usage.WebFetches)
	}
	if seen.has(codeRun) {
		dearest(false, sessions, usage.CodeSessions)
		dearest(false, searches, usage.CodeCalls)
	}
	if seen.has(imageTool) {
		dearest(false, madeTokens, usage.OutputImage)
	}
	if t.Provider == "perplexity" { // each call has a fee, by the size of its search
		dearest(false, 1, usage.SearchRequestsHigh, usage.SearchRequestsMedium, usage.SearchRequestsLow)
	}
}
