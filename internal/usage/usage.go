// Package usage reads token usage out of the bytes of a model's answer as they pass, whatever the provider's format,
// and turns it into counts of disjoint kinds.
package usage

// Kind is a disjoint kind of consumption: a token counted under one kind is counted under no other, so that nothing is
// charged twice whatever the provider's habit.
type Kind uint8

// Token kinds first, then kinds counted in other units.
const (
	Input           Kind = iota // uncached text input tokens
	CacheRead                   // input tokens read from a prompt cache
	CacheWrite                  // input tokens written to a prompt cache, time to live unknown
	CacheWrite5m                // input tokens written to a five-minute prompt cache
	CacheWrite1h                // input tokens written to a one-hour prompt cache
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
	WebSearches                 // searches made by a built-in tool, in calls
	InputCharacters             // characters of input (speech)
	Milliseconds                // audio length, in milliseconds (transcription)
	Pages                       // document pages
	Images                      // images made
	SearchUnits                 // rerank search units
	Citations                   // citation tokens (Perplexity deep research), billed apart from output

	NumKinds = int(Citations) + 1
)

// Counts holds a count for each kind. A kind that was never set is absent, which is not the same as zero.
type Counts struct {
	n   [NumKinds]int64
	set uint32
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
	"input", "cache_read", "cache_write", "cache_write_5m", "cache_write_1h", "input_audio", "input_image", "input_video",
	"cache_read_audio", "cache_read_image", "cache_read_video", "output", "reasoning", "output_audio", "output_image",
	"output_video", "web_searches", "input_characters", "milliseconds", "pages", "images", "search_units", "citations",
}

// String returns the name of the kind as it stands in records and price files.
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

// Source says where counts come from.
type Source string

// The three sources, and none at all.
const (
	None      Source = ""          // no counts
	Reported  Source = "reported"  // the provider said so
	Partial   Source = "partial"   // the provider said part of it (input, or a running total); the rest is estimated
	Estimated Source = "estimated" // counted here, by the characters rule
)

// Result is what one answer said of its own usage.
type Result struct {
	Counts Counts
	Source Source
	How    string // how an estimate or a repair was made; empty for plain reported usage
	Model  string // the model the answer names
	ID     string // the answer's id: for reference only, never an identity
	Tier   string // the service tier the answer names
	// Cost is the price the provider itself reports, as the text of the number, in CostUnit. Empty when it reports none.
	Cost     string
	CostUnit string // "usd" or "usd_ticks" (10^10 ticks are one USD)
	Error    bool   // an error object was seen in the answer
	Complete bool   // the answer's own end was seen: the close of a JSON body, the terminal event of a stream
}
