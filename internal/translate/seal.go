package translate

import (
	"encoding/base64"
	"strings"
)

// sealPrefix begins what is kept of a chat upstream's reasoning in the signature of a thinking block, in the data of a redacted one or
// in encrypted_content. The client gives it back unchanged; it is no secret and proves nothing.
const sealPrefix = "tollgate.chat.1."

// seal is what a chat upstream's reasoning has beside its text, for the next request of the conversation.
type seal struct {
	provider string // the preset that gave it: another one does not get it
	field    string // the member that the text came in: reasoning_content, reasoning; empty: none
	text     string // the text, as a JSON string, where the caller does not see it
	details  string // reasoning_details, as a JSON array
	extra    string // extra_content of the message, as JSON
	calls    string // extra_content of calls by their ids, as a JSON object
}

// String returns the seal as clients have it.
func (s *seal) String() string {
	dst := appendString([]byte(`{"p":`), s.provider)
	if s.field != "" {
		dst = appendString(appendMember(dst, "f"), s.field)
	}
	for _, m := range [...]struct{ name, value string }{{"t", s.text}, {"d", s.details}, {"e", s.extra}, {"c", s.calls}} {
		if m.value != "" {
			dst = appendRaw(dst, m.name, m.value)
		}
	}
	return sealPrefix + base64.RawURLEncoding.EncodeToString(append(dst, '}'))
}

// openSeal reads a seal; ok is false where it is none of this package's.
func openSeal(text string) (s seal, ok bool) {
	rest, ok := strings.CutPrefix(text, sealPrefix)
	if !ok {
		return s, false
	}
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil {
		return s, false
	}
	root, err := parse(b)
	if err != nil || !root.IsObject() {
		return s, false
	}
	s = seal{provider: root.Get("p").Str, field: root.Get("f").Str, text: quoted(root.Get("t"))}
	if d := root.Get("d"); d.IsArray() {
		s.details = d.Raw
	}
	if e := root.Get("e"); e.IsObject() {
		s.extra = e.Raw
	}
	if c := root.Get("c"); c.IsObject() {
		s.calls = c.Raw
	}
	return s, true
}
