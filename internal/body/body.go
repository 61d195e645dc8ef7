// Package body scans the JSON body of a model call once. It rejects bodies that the gateway and the provider might read
// differently, records the positions of the members that routing, admission and billing need, and edits them by splicing
// bytes.
package body

import (
	"strconv"
	"sync/atomic"
	"unicode/utf8"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// MaxDepth is the maximum nesting depth of a body.
const MaxDepth = 512

// Span is the byte range [Start, End) of the body. The zero Span means an absent member.
type Span struct{ Start, End int }

// Present reports whether the member is present.
func (s Span) Present() bool { return s.End > 0 }

// Body is the result of scanning a body.
type Body struct {
	Data []byte

	ModelMember   Span   // the whole member `model`, name included
	Model         Span   // its value, quotes included
	BodyModel     string // the model named in the body; empty if none
	ModelName     string // the requested model: BodyModel unless the caller overrides it
	Stream        bool
	StreamOptions Span   // the value of `stream_options`: an object or null
	IncludeUsage  Span   // the value of include_usage in it
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
	Prompts       int64  // number of prompts in `prompt`; 0 if it is not a list
	// Inner are the values of `model` in the elements of `requests`, quotes included, and InnerModels the models they name.
	Inner         []Span
	InnerModels   []string
	Background    bool             // `background`, or xAI's `deferred`: the answer is fetched later
	Others        []llm.OtherModel // other models that the body makes the provider run
	Reasoning     bool             // the body asks the model to reason
	Versioned     bool             // `anthropic_version` is present
	versionMember Span             // that whole member, name included
	Input         Span             // the value of `input`, quotes included, if it is a string
	Units         int64            // the text in thousandths of a token, by the character rule of package usage

	// Audio is the length of the form's file in milliseconds, if it is audio in a known container; 0 until its end has
	// passed.
	Audio *atomic.Int64
	// SoundUnknown: no file of the form is audio whose length is in its header or may still be found there.
	SoundUnknown bool
	// AnswerFormat is `response_format` if it is a string, as in transcriptions; in a form, only if it was read before the
	// call went out.
	AnswerFormat string

	settings [3]Span // the values of Gemini's, Bedrock's and Ollama's objects that may contain an output bound
	bounds   [len(boundMembers)]bound

	form string // the boundary of a form, whose values are unquoted; empty for JSON
	rest *Rest  // what follows Data; nil if nothing does
}

// InputCharacters returns the length of `input` in characters if it is a string, the unit in which speech is billed.
func (b *Body) InputCharacters() int64 {
	if !b.Input.Present() {
		return 0
	}
	return int64(utf8.RuneCountInString(unescape(b.Data[b.Input.Start+1 : b.Input.End-1])))
}

// Error is a fault in a body and its position.
type Error struct {
	Param        string // the member at fault; empty if the JSON itself is
	Problem      string
	Line, Column int // from 1, in characters; both 0 in a form
}

// Error returns the problem and its position.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Problem
	}
	return e.Problem + " at line " + strconv.Itoa(e.Line) + ", column " + strconv.Itoa(e.Column)
}

// Parse scans data, which must be one JSON object. The Body keeps data. Errors are of type *Error.
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
