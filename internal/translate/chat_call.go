package translate

import (
	"strconv"
	"strings"
)

// chatCall is a call of a tool as a stream of chat completions gives it.
type chatCall struct {
	index    int64
	given    string // its id upstream
	id, name string // as the caller has them; the id is set when the call is opened
	extra    string // extra_content, as JSON
	held     []byte // arguments that wait for their turn
	scan     objectScan
	closed   bool
}

// another reports whether a piece with the index of a call is the begin of another one: some give each call the index 0, with or without
// an id.
func (c *chatCall) another(id, name, arguments string) bool {
	if name == "" {
		return false
	}
	if id != "" {
		return c.given != "" && id != c.given
	}
	return c.given == "" && (c.closed || c.scan.ended) && strings.HasPrefix(arguments, "{")
}

// objectScan follows the text of a JSON object, given as what is between the quotes of JSON strings, to tell where it ends. It does not
// check it.
type objectScan struct {
	depth   int
	inside  bool // a string
	escaped bool // the next byte of the string is escaped
	ended   bool
}

// write takes a piece. more reports whether there is something other than space behind the object's end.
func (s *objectScan) write(piece string) (more bool) {
	for at := 0; at < len(piece); at++ {
		c := piece[at]
		if c == '\\' && at+1 < len(piece) {
			at++
			switch c = piece[at]; c {
			case 'n', 't', 'r':
				c = ' '
			case 'b', 'f':
				c = 'x'
			case 'u':
				c = 'x'
				if at+4 < len(piece) {
					if n, err := strconv.ParseUint(piece[at+1:at+5], 16, 16); err == nil && n < 0x80 {
						c = byte(n)
					}
					at += 4
				}
			}
		}
		switch {
		case s.ended:
			more = more || c != ' '
		case s.escaped:
			s.escaped = false
		case s.inside:
			s.escaped = c == '\\'
			s.inside = c != '"'
		case c == '"':
			s.inside = true
		case c == '{' || c == '[':
			s.depth++
		case c == '}' || c == ']':
			s.depth--
			s.ended = s.depth <= 0
		}
	}
	return more
}
