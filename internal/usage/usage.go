// Package usage reads token usage from the bytes of a model's answer as they pass, in any provider's format, and turns it into counts of
// disjoint kinds.
package usage

import (
	"iter"
	"math/bits"
)

// Kind is a disjoint kind of consumption: a token counted under one kind is counted under no other, so that nothing is charged twice,
// regardless of the provider's format.
type Kind uint8

// Token kinds first, then kinds counted in other units, fees last.
const (
	Input           Kind = iota // uncached text input tokens
	CacheRead                   // input tokens read from a prompt cache
	CacheWrite                  // input tokens written to a prompt cache, time to live unknown
	CacheWrite5m                // input tokens written to a five-minute prompt cache
	CacheWrite1h                // input tokens written to a one-hour prompt cache
	CacheWrite12h               // input tokens written to a twelve-hour prompt cache
	InputAudio                  // uncached audio input tokens
	InputImage                  // uncached image (and document) input tokens
	InputVideo                  // uncached video input tokens
	CacheReadAudio              // audio input tokens read from a prompt cache
	CacheReadImage              // image input tokens read from a prompt cache
	CacheReadVideo              // video input tokens read from a prompt cache
	Output                      // text output tokens, without reasoning
	Reasoning                   // output tokens spent on reasoning
	OutputAudio                 // audio output tokens
	OutputImage                 // image output tokens
	OutputVideo                 // video output tokens
	WebSearches                 // web searches made by a built-in tool, in the unit that the provider bills
	InputCharacters             // characters of input (speech)
	Milliseconds                // audio length, in milliseconds: what was transcribed, or spoken
	Pages                       // document pages
	Images                      // images made
	SearchUnits                 // rerank search units
	Citations                   // citation tokens (Perplexity deep research), billed apart from output

	MapsSearches         // answers grounded in a map (Gemini)
	ImageSearches        // searches for images
	PostSearches         // searches of X's posts (xAI)
	FileSearches         // searches of the operator's own files or collections
	AttachmentSearches   // searches of attached files (xAI)
	DirectorySearches    // searches for people or of financial data (Perplexity)
	WebFetches           // pages fetched or opened, where that has a fee
	CodeCalls            // runs of code, where each has a fee
	CodeSessions         // sessions of a code container, times the gigabytes of its memory
	SearchRequestsLow    // calls that search with a low context size (Perplexity's request fee)
	SearchRequestsMedium // the same with a medium one
	SearchRequestsHigh   // the same with a high one
	GuardrailTopics      // units of a guardrail's topic policy (Bedrock)
	GuardrailContents    // units of its content policy
	GuardrailImages      // images that its content policy looked at
	GuardrailSensitive   // units of its policy on sensitive information
	GuardrailGrounding   // units of its contextual grounding policy
	GuardrailReasoning   // units of its automated reasoning policy
	WebSearchesPreview   // web searches by OpenAI's earlier tool, web_search_preview
	AnnotatedPages       // document pages of an answer with annotations (Mistral's OCR)

	NumKinds = int(AnnotatedPages) + 1
)

// Counts holds a count for each kind. A kind that was never set is absent, which is not the same as zero.
type Counts struct {
	n   [NumKinds]int64
	set uint64
}

// Set records n for kind k. A negative n is not recorded.
func (c *Counts) Set(k Kind, n int64) {
	if n < 0 {
		return
	}
	c.n[k] = n
	c.set |= 1 << k
}

// Add adds n, which must not be negative, to kind k.
func (c *Counts) Add(k Kind, n int64) { c.Set(k, c.n[k]+n) }

// Get returns the count of kind k and whether it was set.
func (c *Counts) Get(k Kind) (n int64, ok bool) { return c.n[k], c.set&(1<<k) != 0 }

// N returns the count of kind k, zero when absent.
func (c *Counts) N(k Kind) int64 { return c.n[k] }

// All returns the kinds that were set, in their order, and their counts.
func (c *Counts) All() iter.Seq2[Kind, int64] {
	return func(yield func(Kind, int64) bool) {
		for set := c.set; set != 0; set &= set - 1 {
			k := Kind(bits.TrailingZeros64(set)) //nolint:gosec // there are fewer than 64 kinds
			if !yield(k, c.n[k]) {
				return
			}
		}
	}
}

// AddAll adds all counts of other.
func (c *Counts) AddAll(other *Counts) {
	for k, n := range other.All() {
		c.Add(k, n)
	}
}

// Less returns c without what parts of it took.
func (c Counts) Less(parts []Part) Counts {
	for i := range parts {
		for k, n := range parts[i].Counts.All() {
			if n > 0 {
				c.Set(k, max(c.n[k]-n, 0))
			}
		}
	}
	return c
}

// drop makes kind k absent.
func (c *Counts) drop(k Kind) {
	c.n[k] = 0
	c.set &^= 1 << k
}

// Empty reports whether no kind was set.
func (c *Counts) Empty() bool { return c.set == 0 }

// InputTokens returns all input tokens, cached ones included.
func (c *Counts) InputTokens() int64 {
	var t int64
	for k := Input; k <= CacheReadVideo; k++ {
		t += c.n[k]
	}
	return t
}

// OutputTokens returns all output tokens, reasoning included.
func (c *Counts) OutputTokens() int64 {
	var t int64
	for k := Output; k <= OutputVideo; k++ {
		t += c.n[k]
	}
	return t + c.n[Citations]
}

var kindNames = [NumKinds]string{
	"input", "cache_read", "cache_write", "cache_write_5m", "cache_write_1h", "cache_write_12h", "input_audio", "input_image", "input_video",
	"cache_read_audio", "cache_read_image", "cache_read_video", "output", "reasoning", "output_audio", "output_image",
	"output_video", "web_searches", "input_characters", "milliseconds", "pages", "images", "search_units", "citations",
	"maps_searches", "image_searches", "post_searches", "file_searches", "attachment_searches", "directory_searches",
	"web_fetches", "code_calls", "code_sessions", "search_requests_low", "search_requests_medium", "search_requests_high",
	"guardrail_topic_units", "guardrail_content_units", "guardrail_image_units", "guardrail_sensitive_units",
	"guardrail_grounding_units", "guardrail_reasoning_units", "web_searches_preview", "annotated_pages",
}

// String returns the name of the kind in records and price files.
func (k Kind) String() string { return kindNames[k] }

// KindByName returns the kind with that name.
func KindByName(name string) (Kind, bool) {
	for i, n := range kindNames {
		if n == name {
			return Kind(i), true
		}
	}
	return 0, false
}

// Source is where counts come from.
type Source string

// The three sources, and none at all.
const (
	None      Source = ""          // no counts
	Reported  Source = "reported"  // by the provider
	Partial   Source = "partial"   // by the provider in part (input, or a running total); the rest is estimated
	Estimated Source = "estimated" // counted here, by the characters rule
)

// Part is what another model than the answer's own used in the making of an answer: an adviser, an image tool.
type Part struct {
	Model  string
	Counts Counts
}

// ExplicitCache is the part of a Result's Tier that reports that cached tokens were read from a cache which the request asked for, where
// the provider has a separate price for these (Qwen). It changes no other price.
const ExplicitCache = "explicit-cache"

// Result is what one answer reported of its usage.
type Result struct {
	Counts Counts // of all models together
	Parts  []Part // what of Counts belongs to other models; the rest is that of Model
	// Containers are hashes of the ids of the different code containers that the answer shows, each of which has the same share of
	// CodeSessions.
	Containers []uint64
	Source     Source
	How        string // how an estimate or a repair was made; empty for plain reported usage
	Model      string // the model the answer names
	ID         string // the answer's id: for reference only, never an identity
	Tier       string // the service tier that the answer names, and other things that change its price, joined by "+"
	// Cost is the price the provider itself reports, as the text of the number, in CostUnit. Empty when it reports none.
	Cost     string
	CostUnit string // "usd" or "usd_ticks" (10^10 ticks are one USD)
	Error    bool   // an error object was seen in the answer
	Complete bool   // the answer's own end was seen: the close of a JSON body, the terminal event of a stream
}
