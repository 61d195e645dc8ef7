package scripted

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// Refusal returns why a provider would refuse a request to its chat completions, Responses or Messages: members, types or
// values outside its published schema, and rules from its documentation. Empty if it accepts the request.
func Refusal(t testing.TB, c Call) string {
	body := gjson.ParseBytes(c.Body)
	path, _, _ := strings.Cut(c.URI, "?")
	switch {
	case strings.HasSuffix(path, "/chat/completions"): // OpenAI-compatible servers also accept the reasoning of earlier turns
		text := without(c.Body, "messages", "reasoning_content", "reasoning")
		if strings.HasSuffix(path, "/openapi/chat/completions") || strings.HasSuffix(path, "/v1beta/openai/chat/completions") { // Google's
			if fault := unsigned(body); fault != "" {
				return fault
			}
			text = signatures.ReplaceAll(text, nil)
		}
		if err := requestSchema(t, "chat").validate(text); err != nil {
			return err.Error()
		}
		return chatOrder(body)
	case strings.HasSuffix(path, "/responses"):
		if err := requestSchema(t, "responses").validate(c.Body); err != nil {
			return err.Error()
		}
	case strings.HasSuffix(path, "/messages"):
		return messagesFault(t, c.Header.Get("Anthropic-Version"), c.Body, body)
	case strings.HasSuffix(path, "/invoke"), strings.HasSuffix(path, "/invoke-with-response-stream"):
		if body.Get("stream").Exists() {
			return "stream: Extra inputs are not permitted"
		}
		return cloudFault(t, "bedrock-2023-05-31", c.Body, body)
	case strings.HasSuffix(path, ":rawPredict"), strings.HasSuffix(path, ":streamRawPredict"):
		if body.Get("stream").Bool() != strings.HasSuffix(path, ":streamRawPredict") {
			return "stream does not go with the path"
		}
		return cloudFault(t, "vertex-2023-10-16", c.Body, body)
	}
	return ""
}

// cloudFault checks a Messages request to a cloud: the path names the model, the body has the version, and URL sources
// are not allowed.
func cloudFault(t testing.TB, version string, text []byte, body gjson.Result) string {
	switch {
	case body.Get("anthropic_version").String() != version:
		return "anthropic_version: " + body.Get("anthropic_version").Raw
	case body.Get("model").Exists(), body.Get("service_tier").Exists():
		return "model, service_tier: Extra inputs are not permitted"
	case strings.Contains(body.Raw, `"type":"url"`):
		return "URL sources are not supported"
	}
	var v map[string]any
	if err := json.Unmarshal(without(text, "", "anthropic_version"), &v); err != nil {
		return err.Error()
	}
	v["model"] = "m"
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return messagesFault(t, "2023-06-01", text, body)
}

// without returns a JSON object with the named members removed, or, if within is set, removed from each element of the
// list it names.
func without(text []byte, within string, names ...string) []byte {
	var v map[string]any
	if json.Unmarshal(text, &v) != nil {
		return text
	}
	objects := []any{v}
	if within != "" {
		objects, _ = v[within].([]any)
	}
	for _, o := range objects {
		if o, ok := o.(map[string]any); ok {
			for _, name := range names {
				delete(o, name)
			}
		}
	}
	if b, err := json.Marshal(v); err == nil {
		return b
	}
	return text
}

// signatures matches the thought signatures of tool calls in Gemini chat requests, in JSON with sorted members.
var signatures = regexp.MustCompile(`"extra_content":\{"google":\{"thought_signature":"[^"]+"\}\},`)

// unsigned reports what Gemini 3 refuses: an assistant message whose first tool call has no thought signature.
func unsigned(body gjson.Result) string {
	if !strings.Contains(body.Get("model").Str, "gemini-3") {
		return ""
	}
	for _, m := range body.Get("messages").Array() {
		if call := m.Get("tool_calls.0"); call.Exists() && call.Get("extra_content.google.thought_signature").Str == "" {
			return "Function call is missing a thought_signature in functionCall parts: " + call.Raw
		}
	}
	return ""
}

// chatOrder checks the order of messages as strict servers do: each tool call is followed directly by its one result.
func chatOrder(body gjson.Result) string {
	var open []string
	for _, m := range body.Get("messages").Array() {
		if m.Get("role").String() == "tool" {
			id := m.Get("tool_call_id").String()
			i := slices.Index(open, id)
			if i < 0 {
				return "a tool message answers no call: " + id
			}
			open = append(open[:i], open[i+1:]...)
			continue
		}
		if len(open) > 0 {
			return "a call has no answer: " + open[0]
		}
		for _, call := range m.Get("tool_calls").Array() {
			if !gjson.Valid(call.Get("function.arguments").String()) {
				return "arguments are no JSON"
			}
			open = append(open, call.Get("id").String())
		}
	}
	if len(open) > 0 {
		return "a call has no answer: " + open[0]
	}
	return ""
}

// messagesFault checks a Messages request by its version: the newer one has no sampling members.
func messagesFault(t testing.TB, version string, text []byte, body gjson.Result) string {
	switch version {
	case "2023-06-01":
		text = without(text, "", "temperature", "top_p", "top_k")
	case "2026-10-21":
	default:
		return "anthropic-version: " + version
	}
	if err := requestSchema(t, "messages").validate(text); err != nil {
		return err.Error()
	}
	var open []string
	before := ""
	for _, m := range body.Get("messages").Array() {
		role := m.Get("role").String()
		if role == before && role == "user" && len(open) > 0 {
			return "a call has no result: " + open[0]
		}
		results := true
		for _, b := range m.Get("content").Array() {
			switch kind := b.Get("type").String(); kind {
			case "tool_result":
				i := slices.Index(open, b.Get("tool_use_id").String())
				if i < 0 || !results {
					return "a result answers no call, or comes after other content: " + b.Raw
				}
				open = append(open[:i], open[i+1:]...)
				continue
			case "text":
				if strings.TrimSpace(b.Get("text").String()) == "" {
					return "text content blocks must be non-empty"
				}
			case "tool_use":
				open = append(open, b.Get("id").String())
			case "thinking":
				if b.Get("signature").String() == "" {
					return "a thinking block has no signature"
				}
			}
			results = false
		}
		if role == "user" && len(open) > 0 {
			return "a call has no result: " + open[0]
		}
		before = role
	}
	if len(open) > 0 {
		return "a call has no result: " + open[0]
	}
	return ""
}
