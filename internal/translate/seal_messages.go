package translate

import (
	"encoding/base64"
	"strings"

	"github.com/tidwall/gjson"
)

// blockPrefix begins the seal of a block of thinking of Messages. The block follows in base64: its signature is over its bytes.
const blockPrefix = "tollgate.messages.1."

// sealBlock returns a seal that holds a block of thinking of Messages, which is JSON.
func sealBlock(block []byte) string {
	return blockPrefix + base64.StdEncoding.EncodeToString(block)
}

// openBlock returns the block of a seal. ok is false where the seal is another upstream's, or not whole.
func openBlock(seal string) (block string, ok bool) {
	encoded, ok := strings.CutPrefix(seal, blockPrefix)
	if !ok {
		return "", false
	}
	b, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !validJSON(b) {
		return "", false
	}
	return string(b), isThinking(gjson.ParseBytes(b))
}

// isThinking reports whether a value is a block of thinking and nothing else: who calls could have made it up.
func isThinking(block gjson.Result) bool {
	var members []string
	switch block.Get("type").Str {
	case "thinking":
		members = []string{"type", "thinking", "signature"}
	case "redacted_thinking":
		members = []string{"type", "data"}
	default:
		return false
	}
	n := 0
	ok := true
	block.ForEach(func(key, value gjson.Result) bool {
		ok = n < len(members) && key.Str == members[n] && value.Type == gjson.String
		n++
		return ok
	})
	return ok && n == len(members)
}

// appendThinking appends a block of thinking. The texts are what is between the quotes of JSON strings.
func appendThinking[T string | []byte](dst []byte, text, signature T) []byte {
	dst = append(append(dst, `{"type":"thinking","thinking":"`...), text...)
	dst = append(append(dst, `","signature":"`...), signature...)
	return append(dst, `"}`...)
}

// appendRedacted appends a block of hidden thinking.
func appendRedacted[T string | []byte](dst []byte, data T) []byte {
	dst = append(append(dst, `{"type":"redacted_thinking","data":"`...), data...)
	return append(dst, `"}`...)
}
