package llm

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the longest allowed name in bytes, the limit of Lago's identifiers.
const MaxName = 255

var (
	errNameLong    = errors.New("is longer than 255 bytes")
	errNameUTF8    = errors.New("is not valid UTF-8")
	errNameControl = errors.New("holds a control character")
	errNameSpace   = errors.New("begins or ends with white space")
)

// CheckName returns an error if s cannot name a key, team, user, model, payer or the value of an event property. A name has
// at most MaxName bytes of valid UTF-8 without control characters (C0, DEL and C1) and without leading or trailing white
// space. It may be empty. The error completes a sentence that begins with what s is.
//
// Lago trims white space from the ids that it stores but not from those in events, and fails a whole batch for one NUL.
func CheckName(s string) error {
	if len(s) > MaxName {
		return errNameLong
	}
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			return errNameControl
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if !ascii {
		if !utf8.ValidString(s) {
			return errNameUTF8
		}
		if strings.ContainsFunc(s, unicode.IsControl) {
			return errNameControl
		}
	}
	if strings.TrimSpace(s) != s {
		return errNameSpace
	}
	return nil
}
