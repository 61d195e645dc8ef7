// Package translate turns calls of one API of language models into calls of another one, and their answers back. It carries what
// both sides define, and refuses the rest by name.
package translate

import (
	"fmt"
	"slices"
)

// API is one that is translated from or to, by its name in the table of endpoints.
type API string

// The APIs that are translated.
const (
	Chat      API = "chat/completions"
	Messages  API = "messages"
	Responses API = "responses"
)

// Pair is the API of the caller and that of the upstream.
type Pair struct{ Caller, Upstream API }

// String returns the pair as the table of members has it: chat/completions -> messages.
func (p Pair) String() string { return string(p.Caller) + " -> " + string(p.Upstream) }

// Options is what a translation knows beside the bytes.
type Options struct {
	Lossy        bool   // drop what cannot be carried, and name it, instead of refusing
	Model        string // the model's name that the client asked for, given back in answers
	Upstream     string // the model's name sent upstream
	Provider     string // the provider's preset: openai, azure, anthropic, bedrock, vertex, ...
	Official     bool   // the upstream is OpenAI's own API, or Azure's, and not one like it
	Google       bool   // the upstream is Google's own
	OutputLimit  int64  // the most tokens that the model gives, for an upstream that requires a bound; 0: unknown
	OutputMember string // the member of a chat upstream that bounds the answer: max_tokens or max_completion_tokens
	ID           string // made into the answer's id where the upstream gives none
	Created      int64  // the answer's time, in seconds since 1970, where the upstream gives none
	Reasons      bool   // the model is known to take an effort of reasoning

	// Room takes memory for so many bytes of an answer, in the place of what it took before, or says that there is none. Nil: there is.
	Room func(bytes int64) error
}

// Translation is that of one attempt. Its methods are for one goroutine at a time.
type Translation struct {
	Options
	Pair Pair
	// Streamed is whether the body asks for a stream. Request sets it.
	Streamed bool
	// Headers are those that the upstream needs for this body, by canonical name. Request sets them.
	Headers map[string]string

	pair    *pair
	table   table
	facts   facts
	request any // what the pair's answer needs of the request
	dropped []string
	lost    []string
}

// New returns the translation of one attempt; ok is false where the pair is not translated.
func New(p Pair, o Options) (t *Translation, ok bool) {
	with, ok := pairs[p]
	if !ok {
		return nil, false
	}
	return &Translation{Options: o, Pair: p, pair: with, table: tables[p], facts: factsOf(o.Provider, o.Upstream)}, true
}

// Known reports whether a pair is translated.
func Known(p Pair) bool { return pairs[p] != nil }

// Refusal is why a body is not translated: a member of it, and the reason, which completes a sentence that begins with the member.
type Refusal struct{ Member, Reason string } //nolint:errname // it is refused, nothing has failed

// Error returns the member and the reason.
func (r *Refusal) Error() string { return r.Member + " " + r.Reason }

// Request returns the upstream's body. An error is a *Refusal.
func (t *Translation) Request(body []byte) ([]byte, error) { return t.pair.request(t, body) }

// Dropped returns the members that were left out as they mean nothing upstream.
func (t *Translation) Dropped() []string { return t.dropped }

// Lost returns the members that Lossy left out though they ask for something.
func (t *Translation) Lost() []string { return t.lost }

// Answer returns a whole answer of status 2xx in the caller's API.
func (t *Translation) Answer(body []byte) ([]byte, error) { return t.pair.answer(t, body) }

// Error returns the status and the body of an error in the caller's API.
func (t *Translation) Error(status int, body []byte) (int, []byte) {
	return translateError(t.Pair, status, body)
}

// Stream returns the translation of an event stream.
func (t *Translation) Stream() Stream { return &stream{to: t.pair.stream(t), max: maxEvent} }

const (
	// maxNamed bounds how many members Dropped and Lost have each.
	maxNamed = 32
	// maxName bounds the name of one of them, in bytes.
	maxName = 128
)

// note adds a member to a list, once, without the indexes of lists and fit for a header.
func note(list []string, member string) []string {
	name := make([]byte, 0, len(member))
	digits := false // at the begin of an index, or in it
	for i := range len(member) {
		c := member[i]
		switch digits = c == '[' || digits && c >= '0' && c <= '9'; {
		case digits && c != '[':
		case c <= ' ' || c > '~' || c == ',':
			name = append(name, '?')
		default:
			name = append(name, c)
		}
	}
	member = string(name[:min(len(name), maxName)])
	if len(list) == maxNamed || slices.Contains(list, member) {
		return list
	}
	return append(list, member)
}

// drop names a member that is left out as it means nothing upstream.
func (t *Translation) drop(member string) { t.dropped = note(t.dropped, member) }

// refuse refuses a member that cannot be carried. With Lossy it names the member and returns nil: the caller leaves it out.
func (t *Translation) refuse(member, format string, values ...any) error {
	if t.Lossy {
		t.lost = note(t.lost, member)
		return nil
	}
	return invalid(member, format, values...)
}

// invalid refuses a member without which the call has no meaning upstream, so that it cannot be left out either.
func invalid(member, format string, values ...any) error {
	return &Refusal{Member: member, Reason: fmt.Sprintf(format, values...)}
}
