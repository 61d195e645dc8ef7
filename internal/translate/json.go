package translate

import (
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/jsonscan"
)

// appendString appends a text as a JSON string. Of code, which is full of them, no < and > are escaped: a body would grow sixfold.
func appendString(dst []byte, text string) []byte { return jsonscan.AppendString(dst, text) }

// appendMember appends a member's name, with a comma unless it is the first of its object. The value follows.
func appendMember(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = appendString(dst, name)
	return append(dst, ':')
}

// appendRaw appends a member with a value that is JSON already.
func appendRaw(dst []byte, name, value string) []byte {
	return append(appendMember(dst, name), value...)
}

// appendEvent appends a server-sent event; without `event:` where name is empty.
func appendEvent(dst []byte, name string, data []byte) []byte {
	if name != "" {
		dst = append(append(append(dst, "event: "...), name...), '\n')
	}
	dst = append(append(dst, "data: "...), data...)
	return append(dst, '\n', '\n')
}

// parse returns a JSON text, once it is known to be one.
func parse(body []byte) (gjson.Result, error) {
	c := jsonscan.Cursor{JSON: body}
	if !c.Skip() || !c.Ended() {
		return gjson.Result{}, invalid("body", "is not JSON")
	}
	return gjson.ParseBytes(body), nil
}
