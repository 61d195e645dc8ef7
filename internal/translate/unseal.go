package translate

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"
)

// Unseal returns a body of the caller's API without the reasoning of other upstreams that translated answers put into the conversation:
// a provider that is sent the body untranslated takes the seal for a signature of its own and refuses it. ok is false where there is none.
// A message of which nothing is left goes too.
func Unseal(api API, body []byte) (unsealed []byte, ok bool) {
	if api != Messages && api != Responses { // chat completions have no place for a seal
		return nil, false
	}
	if !bytes.Contains(body, []byte(`"tollgate.`)) { // all seals begin so
		return nil, false
	}
	root := gjson.ParseBytes(body)
	if api == Responses {
		return without(body, root.Get("input"), func(item gjson.Result) (string, bool) { return "", isSealed(item) })
	}
	return without(body, root.Get("messages"), func(message gjson.Result) (string, bool) {
		content := gjson.Get(message.Raw, "content")
		left, ok := without([]byte(message.Raw), content, func(block gjson.Result) (string, bool) { return "", isSealed(block) })
		if ok && len(gjson.GetBytes(left, "content").Array()) == 0 {
			return "", true
		}
		return string(left), ok
	})
}

// isSealed reports whether a block of thinking or a reasoning item has a seal.
func isSealed(of gjson.Result) bool {
	var member string
	switch of.Get("type").Str {
	case "thinking":
		member = "signature"
	case "redacted_thinking":
		member = "data"
	case "reasoning":
		member = "encrypted_content"
	default:
		return false
	}
	text := of.Get(member).String()
	return strings.HasPrefix(text, sealPrefix) || strings.HasPrefix(text, blockPrefix)
}

// without returns a body in which elements of one of its arrays are replaced, and left out where change returns none. ok is false where
// none is.
func without(body []byte, list gjson.Result, change func(gjson.Result) (string, bool)) (changed []byte, ok bool) {
	if !list.IsArray() || list.Index == 0 {
		return nil, false
	}
	changed = append(make([]byte, 0, len(body)), body[:list.Index]...)
	changed = append(changed, '[')
	list.ForEach(func(_, element gjson.Result) bool {
		text, replaced := change(element)
		ok = ok || replaced
		if !replaced {
			text = element.Raw
		}
		if text != "" {
			if changed[len(changed)-1] != '[' {
				changed = append(changed, ',')
			}
			changed = append(changed, text...)
		}
		return true
	})
	return append(append(changed, ']'), body[list.Index+len(list.Raw):]...), ok
}
