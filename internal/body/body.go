// Package body reads the JSON body of a model call once: it makes sure that the gateway and the provider read the same,
// notes the place of the members that routing, admission and billing need, and edits them by splicing bytes.
package body

import (
	"strconv"
	"sync/atomic"
	"unicode/utf8"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// MaxDepth is how deep a body may nest.
const MaxDepth = 512

// Span is a stretch of the body, from Start up to End. The zero Span is an absent member.
type Span struct{ Start, End int }

// Present reports whether the member was there.
func (s Span) Present() bool { return s.End > 0 }

// Body is what one scan found.
type Body struct {
	Data []byte

	ModelMember   Span   // the member `model` as a whole, its name included
	Model         Span   // its value, quotes included
	BodyModel     string // the model that the body names; empty when it names none
	ModelName     string // the model that is called: BodyModel, unless the caller sets another
	Stream        bool
	StreamOptions Span   // the value of `stream_options`: an object or null
	IncludeUsage  Span   // the value of its include_usage
	UsageAsked    bool   // include_usage is true
	User          string // `user`
	LiteLLMUser   string // `user` of `litellm_metadata`
	MetadataUser  string // `user_id` of `metadata`
	Session       string // `session_id` of `metadata` or `litellm_metadata`
	SafetyUser    string // `safety_identifier`
	Tier          string // `service_tier` or `serviceTier`, else `speed`
	CacheTTL      string // `prompt_cache_options.ttl` (OpenAI, Moonshot)
	Latency       string // `performanceConfig.latency` (Bedrock)
	N             int64  // `n`
	BestOf        int64  // `best_of` of legacy completions
	Candidates    int64  // Gemini's candidateCount
	Prompts       int64  // how many prompts `prompt` holds; 0 where it is no list
	// Inner are the values of `model` in the elements of `requests`, quotes included, and InnerModels what they name.
	Inner         []Span
	InnerModels   []string
	Background    bool             // `background`, or xAI's `deferred`: the answer comes later
	Others        []llm.OtherModel // other models that the body makes the provider run
	Reasoning     bool             // it asks the model to reason
	Versioned     bool             // `anthropic_version` is there
	versionMember Span             // that member as a whole, its name included
	Input         Span             // the value of `input`, quotes included, where it is a string
	Units         int64            // the text, in thousandths of a token, by the characters rule of package usage

	// Audio is the length of the form's file, where that is sound of a known container, in milliseconds; 0 until its end has passed.
	Audio *atomic.Int64
	// SoundUnknown: no file of the form is sound whose length is known, or can still be found, from its header.
	SoundUnknown bool
	// AnswerFormat is `response_format` where that is a string, as transcriptions have it; of a form, as far as it was read.
	AnswerFormat string

	settings [3]Span // the values of Gemini's, Bedrock's and Ollama's objects that may bound the output
	bounds   [len(boundMembers)]bound

	form string // the boundary of a form, whose values are not quoted; empty for JSON
	rest *Rest  // what follows Data; nil when that is all
}

// InputCharacters returns the length of `input` in characters, where it is a string: speech is billed by it.
func (b *Body) InputCharacters() int64 {
	if !b.Input.Present() {
		return 0
	}
	return int64(utf8.RuneCountInString(unescape(b.Data[b.Input.Start+1 : b.Input.End-1])))
}

// Error is what is wrong with a body, and where.
type Error struct {
	Param        string // the member at fault; empty when the JSON itself is
	Problem      string
	Line, Column int // from 1; a column is a character. Both are 0 in a form
}

// Error returns the problem with its place.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Problem
	}
	return e.Problem + " at line " + strconv.Itoa(e.Line) + ", column " + strconv.Itoa(e.Column)
}

// Parse scans data, which must be one JSON object. It keeps data. Errors are of type *Error.
func Parse(data []byte) (*Body, error) {
	p := parser{data: data, body: &Body{Data: data}}
	p.space()
	if len(data) == p.at {
		return nil, p.fail("the body is empty: a JSON object is expected")
	}
	if p.peek() != '{' {
		return nil, p.fail("a JSON object is expected")
	}
	if err := p.object(1, p.top); err != nil {
		return nil, err
	}
	if p.space(); p.at < len(data) {
		return nil, p.fail("the JSON object has ended, but more follows")
	}
	return p.body, nil
}
