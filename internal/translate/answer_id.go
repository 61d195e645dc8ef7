package translate

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// maxID bounds an id made of an upstream's: OpenAI takes ids of items up to 64 bytes, with a prefix and a number.
const maxID = 40

// answerID returns an upstream's id without its own prefix, for another one before it. It is safe between quotes.
func answerID(id, instead string) string {
	if id == "" {
		id = instead
	}
	for _, prefix := range []string{"chatcmpl-", "chatcmpl_", "msg_", "resp_", "gen-"} {
		if rest, ok := strings.CutPrefix(id, prefix); ok && rest != "" {
			id = rest
			break
		}
	}
	if id != "" && len(id) <= maxID && !strings.ContainsFunc(id, notInName) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}
