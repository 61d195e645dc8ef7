package translate

import "github.com/tidwall/gjson"

// appendString appends a text as a JSON string.
func appendString(dst []byte, text string) []byte { return gjson.AppendJSONString(dst, text) }

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
