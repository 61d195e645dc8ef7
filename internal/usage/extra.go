package usage

import (
	"bytes"
	"slices"
)

// maxParts bounds the other models of one answer, maxHashes the queries or containers that are distinguished.
const (
	maxParts  = 6
	maxHashes = 48
)

// extra is what few answers report: fees, and what other models used. A reader allocates it for the first of these.
type extra struct {
	fees       Counts
	queries    hashes // of the web
	pictures   hashes // for images
	containers hashes
	grounded   bool // an answer was grounded in a map
	gigabytes  int64
	executed   uint64 // tools by their index (Groq)
	cited      bool   // the answer cites a page of the web
	plain      bool   // the answer repeats a tool that searches the web
	preview    bool   // the same of its preview
	zai        bool   // the answer has results of Z.ai's search
	toolModel  name   // the model of a hosted tool that the answer names
	parts      [maxParts]modelPart
	numParts   int
}

// modelPart is what another model used.
type modelPart struct {
	model  name // empty: that of the hosted tool
	counts Counts
}

// hashes is a set of texts, by their hashes. Once it is full, every text counts as a new one.
type hashes struct {
	n    int64
	seen [maxHashes]uint64
}

func (h *hashes) add(x uint64) {
	for i := range min(h.n, maxHashes) {
		if h.seen[i] == x {
			return
		}
	}
	if h.n < maxHashes {
		h.seen[h.n] = x
	}
	h.n++
}

// more returns the reader's extra.
func (r *Reader) more() *extra {
	if r.extra == nil {
		r.extra = new(extra)
	}
	return r.extra
}

// The FNV-1a hash of 64 bits.
const (
	hashBegin uint64 = 14695981039346656037
	hashPrime uint64 = 1099511628211
)

func hash(h uint64, p []byte) uint64 {
	for _, c := range p {
		h = (h ^ uint64(c)) * hashPrime
	}
	return h
}

// fee takes the count of a fee. A repeated count replaces the previous one, unless it is zero.
func (r *Reader) fee(k Kind, b []byte) {
	n, ok := parseCount(b)
	if !ok || n == 0 && r.extra == nil {
		return
	}
	if x := r.more(); n > 0 || x.fees.N(k) == 0 {
		x.fees.Set(k, n)
	}
}

// feeAdded is fee for counts that an answer has several times and that add up.
func (r *Reader) feeAdded(k Kind, b []byte) {
	if n, ok := parseCount(b); ok && n > 0 {
		if x := r.more(); x.fees.N(k)+n <= maxCount {
			x.fees.Add(k, n)
		}
	}
}

// query takes a search query whose text has this hash.
func (r *Reader) query(n *node, h uint64) {
	if h == hashBegin {
		return // an empty query does not count
	}
	if n.class == asPicture {
		r.more().pictures.add(h)
	} else {
		r.more().queries.add(h)
	}
}

// part keeps what another model used. Beyond the bound, usage counts for the answer's own model, with a note.
func (r *Reader) part(model *name, c *Counts) {
	x := r.more()
	if x.numParts == maxParts {
		return
	}
	p := &x.parts[x.numParts]
	p.model, p.counts = *model, *c
	x.numParts++
}

// noParts forgets what other models used: a list of them begins again.
func (r *Reader) noParts() {
	if r.extra != nil {
		r.extra.numParts = 0
	}
}

// distinct returns the hashes, or none if the set has overflowed.
func (h *hashes) distinct() []uint64 {
	if h.n == 0 || h.n > maxHashes {
		return nil
	}
	return slices.Clone(h.seen[:h.n])
}

// apply adds fees and other models to what was mapped, and returns the models' parts.
func (x *extra) apply(r *Reader, m *mapped) []Part {
	for k := range Kind(NumKinds) {
		if n, ok := x.fees.Get(k); ok && n+m.N(k) > 0 {
			m.Set(k, n)
		}
	}
	if n := x.queries.n; n > 0 {
		if promptsBilled(r.model.bytes(), r.o.Model) {
			n = 1
		}
		m.Set(WebSearches, n)
	}
	if x.grounded {
		m.Set(MapsSearches, 1)
	}
	if x.pictures.n > 0 {
		m.Set(ImageSearches, x.pictures.n)
	}
	if r.servedBy("xai", "x.ai") {
		x.containers = hashes{} // it bills each run
	}
	if x.containers.n > 0 {
		m.Set(CodeSessions, x.containers.n*max(x.gigabytes, 1))
	}
	if _, known := m.Get(WebSearches); !known && x.cited && r.citesAsSearch() {
		m.Set(WebSearches, 1)
	}
	if _, known := m.Get(WebSearches); !known && x.zai {
		m.Set(WebSearches, 1)
	}
	if n, known := m.Get(WebSearches); known && x.preview && !x.plain {
		m.drop(WebSearches)
		m.Set(WebSearchesPreview, n)
	}
	if x.numParts == maxParts {
		m.note("more models took part than are told apart")
	}
	var parts []Part
	for i := range x.numParts {
		p := &x.parts[i]
		model := p.model.bytes()
		if len(model) == 0 {
			model = x.toolModel.bytes()
		}
		if len(model) == 0 {
			m.note("a tool's model is not named: its tokens are the answer's own model's")
			continue
		}
		parts = append(parts, Part{string(model), p.counts})
	}
	return parts
}

// addParts adds to the totals what other models used, which they do not include.
func (x *extra) addParts(m *mapped) {
	for i := range x.numParts {
		m.AddAll(&x.parts[i].counts)
	}
}

// partsWithin raises the totals to the sum of their parts, if the answer includes the parts in the totals.
func (x *extra) partsWithin(m *mapped) {
	var sum Counts
	for i := range x.numParts {
		sum.AddAll(&x.parts[i].counts)
	}
	for k := range Kind(NumKinds) {
		if n, ok := sum.Get(k); ok && n > m.N(k) {
			m.Set(k, n)
		}
	}
}

// promptsBilled reports whether Google bills per grounded prompt, regardless of the number of queries: it does for models before
// Gemini 3.
func promptsBilled(answered []byte, sent string) bool {
	for _, model := range [...][]byte{answered, []byte(sent)} {
		if _, rest, ok := bytes.Cut(model, []byte("gemini-")); ok {
			return len(rest) > 0 && (rest[0] == '1' || rest[0] == '2') && (len(rest) == 1 || rest[1] == '.' || rest[1] == '-')
		}
	}
	return false
}

// citesAsSearch reports whether cited pages mean that a chat completion searched. If the model is known by name, that decides; the name
// may also be that of a deployment.
func (r *Reader) citesAsSearch() bool {
	model := r.model.bytes()
	switch r.o.Provider {
	case "azure":
		o := len(model) > 1 && model[0] == 'o' && '1' <= model[1] && model[1] <= '9'
		return !o && !bytes.Contains(model, []byte("gpt-"))
	case "openai":
		return len(model) == 0
	}
	return false
}

// searchesAlways reports whether a model of chat completions searches the web once in each call.
func searchesAlways(model []byte) bool {
	return bytes.Contains(model, []byte("-search-preview")) || bytes.Contains(model, []byte("-search-api"))
}
