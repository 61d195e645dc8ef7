package translate

import "github.com/tidwall/gjson"

// reasoningDetails puts the pieces of OpenRouter's reasoning_details together, as streams give them: those that follow each other with
// the same index and type are one entry, whose texts are joined.
type reasoningDetails struct {
	list []*reasoningDetail
	size int
}

type reasoningDetail struct {
	kind, index string // JSON
	names       []string
	values      [][]byte // JSON
}

// add adds the entries of an array.
func (d *reasoningDetails) add(array gjson.Result) error {
	if d.size += len(array.Raw); d.size > maxHeld {
		return errHeld
	}
	array.ForEach(func(_, entry gjson.Result) bool {
		if !entry.IsObject() {
			return true
		}
		kind, index := entry.Get("type").Raw, entry.Get("index").Raw
		var to *reasoningDetail
		if n := len(d.list); n > 0 && index != "" && d.list[n-1].kind == kind && d.list[n-1].index == index {
			to = d.list[n-1]
		} else {
			to = &reasoningDetail{kind: kind, index: index}
			d.list = append(d.list, to)
		}
		entry.ForEach(func(key, value gjson.Result) bool {
			to.join(key.Str, value)
			return true
		})
		return true
	})
	return nil
}

// join adds a member of a piece. Where the entry has it, texts are joined and other values stay.
func (d *reasoningDetail) join(name string, value gjson.Result) {
	for i, n := range d.names {
		if n != name {
			continue
		}
		was := d.values[i]
		switch {
		case string(was) == "null":
			d.values[i] = []byte(value.Raw)
		case value.Type == gjson.String && was[0] == '"' && (name == "text" || name == "summary" || name == "data"):
			d.values[i] = append(append(was[:len(was)-1], inner(value.Raw)...), '"')
		}
		return
	}
	d.names = append(d.names, name)
	d.values = append(d.values, []byte(value.Raw))
}

// append appends the entries as a JSON array.
func (d *reasoningDetails) append(dst []byte) []byte {
	dst = append(dst, '[')
	for i, entry := range d.list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		for i, name := range entry.names {
			dst = append(appendMember(dst, name), entry.values[i]...)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// shown returns what of the entries of an array can be shown, as what is between the quotes of a JSON string.
func shownDetails(array gjson.Result) string {
	var shown string
	array.ForEach(func(_, entry gjson.Result) bool {
		switch entry.Get("type").Str {
		case "reasoning.text":
			shown += inner(quoted(entry.Get("text")))
		case "reasoning.summary":
			shown += inner(quoted(entry.Get("summary")))
		}
		return true
	})
	return shown
}
