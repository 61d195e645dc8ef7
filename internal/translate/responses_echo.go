package translate

import (
	"strings"

	"github.com/tidwall/gjson"
)

// echoes are the members of a request that the answer repeats, and their values where they are absent. Where there is none, an absent
// member is absent from the answer too.
var echoes = []struct{ name, absent string }{
	{"background", "false"},
	{"instructions", "null"},
	{"max_output_tokens", "null"},
	{"max_tool_calls", "null"},
	{"metadata", "{}"},
	{"parallel_tool_calls", "true"},
	{"previous_response_id", "null"},
	{"prompt_cache_key", ""},
	{"prompt_cache_options", ""},
	{"prompt_cache_retention", ""},
	{"reasoning", `{"effort":null,"summary":null}`},
	{"safety_identifier", ""},
	{"temperature", "null"},
	{"text", `{"format":{"type":"text"}}`},
	{"tool_choice", `"auto"`},
	{"tools", "[]"},
	{"top_p", "null"},
	{"truncation", `"disabled"`},
	{"user", "null"},
}

// echoed returns the members of a request that the answer repeats, each with a comma before it. `store` is false: nothing is stored.
func echoed(root gjson.Result) []byte {
	dst := []byte(`,"store":false`)
	given := make(map[string]string)
	root.ForEach(func(key, value gjson.Result) bool {
		given[key.Str] = present(value)
		return true
	})
	for _, e := range echoes {
		value := given[e.name]
		if value == "" {
			value = e.absent
		}
		if strings.ContainsAny(value, "\r\n") { // a line of an event stream will hold it
			if compact, err := compactJSON(value); err == nil {
				value = compact
			}
		}
		if value != "" {
			dst = appendRaw(dst, e.name, value)
		}
	}
	return dst
}
