package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/tidwall/gjson"
)

// messagesChat is what the answer to a Messages call on chat completions needs of its request.
type messagesChat struct {
	hidden  bool   // the caller does not see the reasoning
	omitted bool   // the caller sees that there is reasoning, without its text
	stops   string // the stop sequences, as a JSON array
}

// maxUserID is the length of the longest safety_identifier that OpenAI takes.
const maxUserID = 128

// messagesToChat returns the body of a chat completion for one of Messages.
func messagesToChat(t *Translation, body []byte) ([]byte, error) {
	r, err := readMessages(t, body)
	if err != nil {
		return nil, err
	}
	t.Streamed = r.streamed
	t.request = &messagesChat{hidden: r.thinking == "disabled", omitted: r.display == "omitted", stops: r.stops}
	if n := len(r.turns); n > 0 && r.turns[n-1].role == roleAssistant {
		if err := t.refuse(r.turns[n-1].at, "is the begin of an answer, which chat completions does not go on with"); err != nil {
			return nil, err
		}
	}
	b := newChatBody(t)
	if r.streamed {
		b.member("stream", "true")
	}
	if err := b.messages(r.turns); err != nil {
		return nil, err
	}
	parallel := ""
	if r.serial {
		parallel = "false"
	}
	if err := b.tools(r.tools, r.choice, parallel); err != nil {
		return nil, err
	}
	b.maxTokens(r.maxTokens)
	b.member("temperature", r.temperature)
	b.member("top_p", r.topP)
	if r.topK != "" {
		if b.facts.topK {
			b.member("top_k", r.topK)
		} else if err := t.refuse("top_k", "is not known to the backend"); err != nil {
			return nil, err
		}
	}
	if r.stopCount > maxStops && t.Official {
		if err := t.refuse("stop_sequences", "are more than the %d that OpenAI takes", maxStops); err != nil {
			return nil, err
		}
	} else if r.stopCount > 0 {
		b.member("stop", r.stops)
	}
	if r.schema != "" {
		strict := "false"
		if isStrict(gjson.Parse(r.schema)) {
			strict = "true"
		}
		b.schema(`"output"`, "", r.schema, strict)
	}
	b.effort(r)
	b.userID(r.userID)
	switch {
	case r.tier == "":
	case !t.Official:
		t.drop("service_tier")
	case r.tier == "standard_only":
		b.member("service_tier", `"default"`)
	default:
		b.text("service_tier", r.tier)
	}
	return b.end(), nil
}

// maxStops is how many stop sequences OpenAI takes.
const maxStops = 4

// effort adds how much the model is to reason, where it is known to take that. Claude Code says it in each call, so that it is left out
// elsewhere.
func (b *chatBody) effort(r *messagesRequest) {
	effort := r.effort
	switch {
	case r.thinking == "disabled":
		if effort = ""; b.t.Official && takesNone.MatchString(strings.ToLower(b.t.Upstream)) {
			effort = "none"
		}
	case effort == "" && r.thinking == "enabled":
		effort = effortOf(r.budget)
	}
	if effort != "" && (b.t.Reasons || effort == "none") {
		b.text("reasoning_effort", effort)
		return
	}
	if r.thinking != "" {
		b.t.drop("thinking")
	}
	if r.effort != "" {
		b.t.drop("output_config.effort")
	}
}

// effortOf returns the effort that goes with a budget of tokens for thinking.
func effortOf(budget int64) string {
	switch {
	case budget < 2048:
		return "low"
	case budget < 16384:
		return "medium"
	case budget < 32000:
		return "high"
	}
	return "xhigh"
}

// userID adds who the end user is. An id that is too long is hashed.
func (b *chatBody) userID(id string) {
	switch {
	case id == "":
	case b.facts.noUser:
		b.t.drop("metadata.user_id")
	case !b.t.Official:
		b.member("user", id)
	case len(id)-2 > maxUserID:
		sum := sha256.Sum256([]byte(gjson.Parse(id).Str))
		b.text("safety_identifier", hex.EncodeToString(sum[:]))
	default:
		b.member("safety_identifier", id)
	}
}
