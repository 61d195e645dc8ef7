package usage

// Ollama's own API: JSON objects, one a line, the last one with `done` and the counts. Source: ollama's api/types.go,
// where both counts are left out when zero.
var ollamaNative = &format{
	root:   ollamaRoot(),
	counts: ollamaCounts,
	ends: func(r *Reader) bool {
		// An answer that is not a stream, such as that of embed, has no `done`.
		return r.cur.n[flag] == 1 || !r.cur.has(flag) && !r.failed
	},
	output: true,
}

func ollamaRoot() *node {
	root := object(fields{
		"model":             text(toModel),
		"error":             failure(),
		"done":              isTrue(flag),
		"prompt_eval_count": count(inTotal),
		"eval_count":        count(outTotal),
		"response":          output(asOutput),
		"thinking":          output(asReasoning),
		"message":           object(fields{"content": output(asOutput), "thinking": output(asReasoning)}),
	})
	return root.onOpen(begin).onDone(func(r *Reader) {
		if r.cur.n[flag] == 1 || r.cur.has(inTotal) || r.cur.has(outTotal) {
			r.kept = r.cur
			r.event.kept = true
		}
	})
}

func ollamaCounts(r *Reader, m *mapped) {
	t := &r.kept
	if t.set == 0 {
		return
	}
	if t.has(inTotal) {
		m.Set(Input, t.n[inTotal])
		m.in = true
	}
	if t.has(outTotal) || t.n[flag] == 1 {
		m.Set(Output, t.n[outTotal])
		m.out = true
	}
	if !t.has(flag) {
		m.out = true // embed has no output
	}
}
