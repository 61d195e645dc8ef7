package translate

import (
	"bytes"

	"github.com/tidwall/gjson"
)

// inputReader takes the text of a custom tool out of the arguments of the function that stands for it, {"input":"..."}, as they come.
// Texts are what is between the quotes of a JSON string.
type inputReader struct {
	state inputState
	held  []byte // what cannot be given yet, as the text of JSON
}

type inputState uint8

const (
	inputBefore inputState = iota // the begin of the object
	inputInside                   // the text
	inputOver                     // behind the text
	inputOther                    // not of that form: held as a whole
)

// write takes a piece of the arguments and returns what of the text is known by it.
func (r *inputReader) write(piece string) (string, error) {
	if len(r.held)+len(piece) > maxHeld {
		return "", errHeld
	}
	r.held = append(r.held, gjson.Parse(`"`+piece+`"`).Str...)
	if r.state == inputBefore {
		n, ok := inputBegin(r.held)
		switch {
		case !ok:
			r.state = inputOther
		case n > 0:
			r.state, r.held = inputInside, r.held[n:]
		}
	}
	if r.state != inputInside {
		if r.state == inputOver {
			r.held = r.held[:0]
		}
		return "", nil
	}
	return string(r.take(false)), nil
}

// rest returns what is left of the text at the end of the arguments. Arguments of another form are given as they are.
func (r *inputReader) rest() string {
	switch r.state {
	case inputInside:
		return string(r.take(true))
	case inputOver:
		return ""
	case inputBefore, inputOther:
	}
	if input := gjson.GetBytes(r.held, "input"); input.Type == gjson.String && gjson.ValidBytes(r.held) {
		return inner(input.Raw)
	}
	return inner(string(appendString(nil, string(r.held))))
}

// inputBegin returns the length of {"input":" at the begin of b, 0 where more is needed to tell; ok is false where b has another begin.
func inputBegin(b []byte) (n int, ok bool) {
	at := 0
	for _, token := range []string{"{", `"input"`, ":", `"`} {
		for at < len(b) && (b[at] == ' ' || b[at] == '\n' || b[at] == '\t' || b[at] == '\r') {
			at++
		}
		if rest := b[at:]; len(rest) < len(token) {
			return 0, bytes.HasPrefix([]byte(token), rest)
		} else if string(rest[:len(token)]) != token {
			return 0, false
		}
		at += len(token)
	}
	return at, true
}

// take takes the text out of what is held, up to an escape that is not whole. What models write against the grammar of JSON, as line
// feeds, is escaped.
func (r *inputReader) take(last bool) []byte {
	var out []byte
	b := r.held
	at := 0
	for at < len(b) {
		c := b[at]
		if c == '"' {
			r.state, r.held = inputOver, r.held[:0]
			return out
		}
		if c < ' ' {
			out = append(out, inner(string(appendString(nil, string(c))))...)
			at++
			continue
		}
		if c != '\\' {
			out = append(out, c)
			at++
			continue
		}
		n, whole := escapeLen(b[at:])
		if !whole && !last {
			break
		}
		if n == 0 {
			out = append(out, '\\', '\\')
			at++
			continue
		}
		out = append(out, b[at:at+n]...)
		at += n
	}
	r.held = append(r.held[:0], b[at:]...)
	return out
}

// escapeLen returns the length of the escape that b begins with, with that of the second half of a pair of surrogates; 0 where it is
// none. whole is false where more bytes may belong to it.
func escapeLen(b []byte) (n int, whole bool) {
	if len(b) < 2 {
		return 0, false
	}
	if b[1] != 'u' {
		if bytes.IndexByte([]byte(`"\/bfnrt`), b[1]) < 0 {
			return 0, true
		}
		return 2, true
	}
	for i := 2; i < 6; i++ {
		if i == len(b) {
			return 0, false
		}
		if !isHex(b[i]) {
			return 0, true
		}
	}
	if b[2]|0x20 != 'd' || b[3] < '8' || b[3] > '9' && b[3]|0x20 > 'b' {
		return 6, true
	}
	if len(b) < 12 && (len(b) == 6 || b[6] == '\\' && (len(b) == 7 || b[7] == 'u')) {
		return 6, false
	}
	if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' && isHex(b[8]) && isHex(b[9]) && isHex(b[10]) && isHex(b[11]) {
		return 12, true
	}
	return 6, true
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }
