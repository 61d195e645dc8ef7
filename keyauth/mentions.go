package keyauth

import (
	"bytes"
	"encoding/hex"
)

// mentions are what a body holds that may cost something beside its text.
type mentions struct {
	of     mention
	images int64 // that it holds or names
}

// mention is a set of such things.
type mention uint16

const (
	webSearch mention = 1 << iota // the provider's search tools
	mapSearch
	fileSearch
	webFetch
	codeRun
	imageTool  // images made by a tool
	cacheWrite // writes to the provider's cache
	audioPart
	imagePart  // as input or output
	imageInput // one image of the input
	stored     // input that the body does not have: conversations, files and caches at the provider
	prediction // an output that the client expects; what the answer does not take of it is billed as output too
)

// members are the names of members; null is none.
const members = imageInput | stored | prediction

// mentioned are the beginnings of texts, without their quote, by their first bytes: names of members and values of all APIs.
var mentioned = func() (by [256][]struct {
	text []byte
	of   mention
},
) {
	for of, texts := range map[mention][]string{
		webSearch:  {"web_search", "google_search", "googleSearch", "search_parameters", "$web_search"},
		mapSearch:  {"google_maps", "googleMaps"},
		fileSearch: {"file_search", "fileSearch", "collections_search"},
		webFetch:   {"web_fetch", "fetch_url", "browser_search"},
		codeRun:    {"code_interpreter", "code_execution", "codeExecution", `shell"`},
		imageTool:  {"image_generation"},
		cacheWrite: {`cache_control"`},
		audioPart:  {`audio"`, `AUDIO"`, `input_audio"`},
		imagePart:  {"image", `IMAGE"`},
		stored: {
			`previous_response_id"`, `conversation"`, `file_id"`, `file_url"`, `fileUri"`, `file_uri"`, `cachedContent"`, `cached_content"`, `s3Location"`,
		},
		prediction: {`prediction"`},
		imageInput: {`image_url"`, `source"`, `inlineData"`, `inline_data"`, `fileData"`, `file_data"`},
	} {
		for _, text := range texts {
			by[text[0]] = append(by[text[0]], struct {
				text []byte
				of   mention
			}{[]byte(text), of})
		}
	}
	return by
}()

// has reports whether a body mentions one of a set.
func (m *mentions) has(of mention) bool { return m.of&of != 0 }

// mentionsIn looks through a body once.
func mentionsIn(data []byte) (m mentions) {
	for rest := plain(data); ; {
		at := bytes.IndexByte(rest, '"')
		if at < 0 || at+1 == len(rest) {
			return m
		}
		rest = rest[at+1:]
		for _, known := range mentioned[rest[0]] {
			if !bytes.HasPrefix(rest, known.text) {
				continue
			}
			if known.of&members != 0 && !valued(rest[len(known.text):]) {
				continue
			}
			if m.of |= known.of; known.of == imageInput {
				m.images++
			}
		}
	}
}

// valued reports whether what follows a text is a value, so that the text is the name of a member, and not null.
func valued(rest []byte) bool {
	const blanks = " \t\r\n"
	value, ok := bytes.CutPrefix(bytes.TrimLeft(rest, blanks), []byte(":"))
	return ok && !bytes.HasPrefix(bytes.TrimLeft(value, blanks), []byte("null"))
}

// plain returns a body in which no letter is escaped. Encoders escape none; who wants to hide a tool may.
func plain(data []byte) []byte {
	escape := []byte(`\u00`)
	var out []byte
	for rest := data; ; {
		at := bytes.Index(rest, escape)
		if at < 0 || len(rest) < at+6 {
			if out == nil {
				return data
			}
			return append(out, rest...)
		}
		end := at + len(escape)
		var c [1]byte
		if _, err := hex.Decode(c[:], rest[end:end+2]); err != nil || !nameByte(c[0]) {
			if out != nil {
				out = append(out, rest[:end]...)
			}
			rest = rest[end:]
			continue
		}
		if out == nil {
			out = append(make([]byte, 0, len(data)), data[:len(data)-len(rest)]...)
		}
		out = append(append(out, rest[:at]...), c[0])
		rest = rest[end+2:]
	}
}

// nameByte reports whether names of members and tools have that byte.
func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '$'
}
