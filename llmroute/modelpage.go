package llmroute

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// paging is how clients page through an API's lists. Sources: "List models" of Anthropic and of Cohere, Gemini's
// models.list.
type paging struct {
	size   string // parameter: page size from 1 to 1000. Without it there is one page
	after  string // parameter: the end of the previous page
	before string // parameter: the start of the following page; empty if there is no paging backwards
	member string // an entry's name; lists are sorted by it
	opaque bool   // after is a token from the previous page instead of a name
}

var pagings = map[llm.API]paging{
	llm.Anthropic: {size: "limit", after: "after_id", before: "before_id", member: "id"},
	llm.Gemini:    {size: "pageSize", after: "pageToken", member: "name", opaque: true},
	llm.Cohere:    {size: "page_size", after: "page_token", member: "name", opaque: true},
}

// maxPage is the largest page size that all three APIs allow.
const maxPage = 1000

// page returns one page of a list sorted by name, and the token of the next page, which is empty for the last
// page. Positions in the list are names, so entries may come and go between two pages.
func page(api llm.API, entries []members, query url.Values) (_ []members, next string, refused *llm.Error) {
	p, paged := pagings[api]
	if !paged {
		return entries, "", nil
	}
	size := len(entries)
	if text := query.Get(p.size); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return nil, "", invalid(p.size, fmt.Sprintf("%s must be a number from 1 to %d", p.size, maxPage))
		}
		size = n
	}
	after, before := query.Get(p.after), ""
	if p.before != "" {
		before = query.Get(p.before)
	}
	if after != "" && before != "" {
		return nil, "", invalid(p.after, p.after+" and "+p.before+" cannot go together")
	}
	if p.opaque && after != "" {
		name, err := base64.RawURLEncoding.DecodeString(after)
		if err != nil {
			return nil, "", invalid(p.after, p.after+" is not one that a list gave out")
		}
		after = string(name)
	}
	name := func(m members) string { return m[p.member].(string) } //nolint:forcetypeassert // entries are made here
	if before != "" {
		end := slices.IndexFunc(entries, func(m members) bool { return name(m) >= before })
		if end < 0 {
			end = len(entries)
		}
		begin := max(0, end-size)
		if begin > 0 {
			next = name(entries[begin])
		}
		return entries[begin:end], next, nil
	}
	if after != "" {
		begin := slices.IndexFunc(entries, func(m members) bool { return name(m) > after })
		if begin < 0 {
			begin = len(entries)
		}
		entries = entries[begin:]
	}
	if len(entries) <= size {
		return entries, "", nil
	}
	next = name(entries[size-1])
	if p.opaque {
		next = base64.RawURLEncoding.EncodeToString([]byte(next))
	}
	return entries[:size], next, nil
}
