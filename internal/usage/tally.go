package usage

import "bytes"

// slot is a place for one number of a usage object, with the provider's meaning. Each API's file turns slots into disjoint kinds.
type slot uint8

const (
	inTotal slot = iota // input, with or without cached tokens, as the API has it
	outTotal
	total
	prompt // input and output under OpenAI's names, where a table serves both
	completion
	cached
	cacheHit
	cacheMiss
	written
	written5m
	written1h
	inAudio
	inImage
	inVideo
	inTool
	cachedAudio
	cachedImage
	cachedVideo
	reasoning
	reasoningApart // reasoning beside the details: inside the output or not, by provider
	outAudio
	outImage
	outVideo
	outText
	citations
	searches
	length // milliseconds
	searchUnits
	images
	pages
	flag    // a yes or no: OpenRouter's is_byok, Ollama's done, Bedrock's metrics
	timedIn // llama.cpp's timings
	timedOut
	timedCached
	cachedRoot // read from the cache, named beside the details (Mistral, Moonshot)
	written12h
	listed // the count of one element of a list
	numSlots
)

// tally is one usage object.
type tally struct {
	n        [numSlots]int64
	set      uint64
	beyond   uint64 // sums that exceeded the largest plausible count
	rejected bool   // a number was negative, too large, or had a fraction
	foreign  bool   // the cost is in another currency than US dollars
	explicit bool   // cached tokens were read from a cache that the request set up (Qwen)
	costKind dest
	context  uint8 // the size of a search's context: 1 low, 2 medium, 3 high
	cost     short
	upstream short
}

// short holds the text of one number.
type short struct {
	n uint8
	b [39]byte
}

func (s *short) put(b []byte) {
	s.n = 0
	if len(b) <= len(s.b) {
		s.n = uint8(copy(s.b[:], b))
	}
}

func (t *tally) has(s slot) bool { return t.set&(1<<s) != 0 }

func (t *tally) put(s slot, n int64) {
	t.n[s] = n
	t.set |= 1 << s
}

// add adds to a slot. A sum beyond the largest plausible count is refused, as such a count is: the slot stays absent.
func (t *tally) add(s slot, n int64) {
	switch n += t.n[s]; {
	case t.beyond&(1<<s) != 0:
	case n > maxCount:
		t.rejected = true
		t.beyond |= 1 << s
		t.drop(s)
	default:
		t.put(s, n)
	}
}

// drop makes a slot absent.
func (t *tally) drop(s slot) {
	t.n[s] = 0
	t.set &^= 1 << s
}

// first returns the first of the slots that is set.
func (t *tally) first(slots ...slot) (n int64, ok bool) {
	for _, s := range slots {
		if t.has(s) {
			return t.n[s], true
		}
	}
	return 0, false
}

// zero reports whether the object holds no count above zero.
func (t *tally) zero() bool {
	for s, n := range t.n {
		if n != 0 && slot(s) != flag {
			return false
		}
	}
	return true
}

var dollars = []byte("USD")

// name holds a short text: a model, an id, a tier. A longer one is left out.
type name struct {
	n uint8
	b [199]byte
}

func (t *name) bytes() []byte { return t.b[:t.n] }

// put keeps a text that is not empty. It reports whether the text may have changed.
func (t *name) put(b []byte) bool {
	if len(b) == 0 || len(b) > len(t.b) || string(b) == string(t.bytes()) {
		return false // usually it is the same
	}
	if bytes.IndexByte(b, '\\') >= 0 {
		t.n = uint8(unescape(t.b[:], b))
		return true
	}
	t.n = uint8(copy(t.b[:], b))
	return true
}

// unescape decodes a JSON string's text into dst, which is as long at least. Names hold no escapes but that of the slash
// and of a few ASCII characters; any other is replaced.
func unescape(dst, src []byte) int {
	n := 0
	for i := 0; i < len(src); i++ {
		c := src[i]
		if c == '\\' && i+1 < len(src) {
			i++
			if c = src[i]; c == 'u' && i+4 < len(src) {
				v := uint16(hexDigit(src[i+1]))<<12 | uint16(hexDigit(src[i+2]))<<8 | uint16(hexDigit(src[i+3]))<<4 | uint16(hexDigit(src[i+4]))
				i += 4
				if c = byte(v); v < 0x20 || v > 0x7e {
					c = '?'
				}
			} else if c != '"' && c != '\\' && c != '/' {
				c = '?'
			}
		}
		dst[n] = c
		n++
	}
	return n
}

// contextSize returns the size of a search's context: 1 to 3, 0 for anything else.
func contextSize(b []byte) uint8 {
	switch string(b) {
	case "low":
		return 1
	case "medium":
		return 2
	case "high":
		return 3
	}
	return 0
}

// tag holds a word. A longer text is left out.
type tag struct {
	n uint8
	b [31]byte
}

func (t *tag) bytes() []byte { return t.b[:t.n] }

func (t *tag) put(b []byte) {
	t.n = 0
	if len(b) <= len(t.b) {
		t.n = uint8(copy(t.b[:], b))
	}
}

// begin starts a usage object.
func begin(r *Reader, bracket byte) {
	if bracket == '{' {
		r.cur = tally{}
		r.event.usage = true
	}
}

// commit ends a usage object. The last one above zero wins: some servers repeat a running total, others
// send zeros beside the true counts. A lone zero is a report too.
func commit(r *Reader) {
	if r.cur.set == 0 && !r.cur.rejected && r.cur.cost.n == 0 || r.kept.set != 0 && r.cur.zero() {
		return
	}
	r.kept = r.cur
	r.event.kept = true
}

// commitApart ends a usage object that counts only if no better one comes.
func commitApart(r *Reader) { r.other = r.cur }

// usageObject is the node of a usage object with these members.
func usageObject(f fields) *node { return object(f).onOpen(begin).onDone(commit) }

// apartObject is the node of a usage object that counts only if no better one comes.
func apartObject(f fields) *node {
	return object(f).onOpen(func(r *Reader, _ byte) { r.cur = tally{} }).onDone(commitApart)
}

// str takes a string value.
func (r *Reader) str(n *node, b []byte) {
	switch n.leaf {
	case leafText:
		r.name(n.text, b)
	case leafMillis:
		r.number(n.slot, b, parseMillis)
	case leafMillisApart:
		r.apart(n.slot, b, parseMillis)
	case leafError:
		r.failed = r.failed || len(b) > 0
	case leafFinish:
		r.event.finish = r.event.finish || len(b) > 0
	case leafStop:
		r.event.finish = r.event.finish || len(b) > 0
		r.refused = r.refused || string(b) == "refusal"
	case leafSeen:
		if len(b) > 0 {
			n.open(r, '"')
		}
	default: // a string where a number is due is ignored
	}
}

// literal takes a number, true, false or null.
func (r *Reader) literal(n *node, b []byte) {
	if b[0] == 'n' {
		return
	}
	switch n.leaf {
	case leafCount:
		r.number(n.slot, b, parseCount)
	case leafCountApart:
		r.apart(n.slot, b, parseCount)
	case leafMillisApart:
		r.apart(n.slot, b, parseMillis)
	case leafMillis:
		r.number(n.slot, b, parseMillis)
	case leafTrue:
		var yes int64
		if b[0] == 't' {
			yes = 1
		}
		r.cur.put(n.slot, yes)
	case leafPrice:
		if n.text == toUpstreamCost {
			r.cur.upstream.put(b)
		} else {
			r.cur.costKind = n.text
			r.cur.cost.put(b)
		}
	case leafFee:
		r.fee(n.kind, b)
	case leafFeeAdded:
		r.feeAdded(n.kind, b)
	case leafError:
		r.failed = r.failed || b[0] != 'f'
	case leafFinish, leafStop:
		r.event.finish = true
	default: // a number where a text is due is ignored
	}
}

func (r *Reader) number(s slot, b []byte, parse func([]byte) (int64, bool)) {
	if len(b) == 0 || b[0] == 't' || b[0] == 'f' {
		return
	}
	n, ok := parse(b)
	if !ok {
		r.cur.rejected = true
		return
	}
	r.cur.put(s, n)
}

// apart takes a number that counts only when no usage object comes.
func (r *Reader) apart(s slot, b []byte, parse func([]byte) (int64, bool)) {
	if n, ok := parse(b); ok {
		r.other.put(s, n)
	}
}

// name takes a text that is kept.
func (r *Reader) name(d dest, b []byte) {
	switch d {
	case toModel:
		if another := r.model.put(b); another && !r.reasons {
			lower := r.model
			r.reasons = reasoningModel(lower.bytes())
		}
	case toID:
		r.id.put(b)
	case toTier:
		r.tier.put(b)
	case toGeo:
		r.geo.put(b)
	case toSpeed:
		r.speed.put(b)
	case toLatency:
		if string(b) == "optimized" { // it has its own prices, and the answer reports "standard" if it fell back
			r.speed.put([]byte("latency-optimized"))
		}
	case toType:
		r.kind.put(b)
	case toItem:
		r.itemType.put(b)
	case toAction:
		r.action.put(b)
	case toStatus:
		r.status.put(b)
	case toScratch:
		r.scratch.n = 0
		r.scratch.put(b)
	case toContext:
		r.cur.context = contextSize(b)
	case toTTL:
		r.ttl.put(b)
	case toCacheType:
		r.cur.explicit = string(b) == "ephemeral"
	case toCurrency:
		r.cur.foreign = !bytes.EqualFold(b, dollars)
	default: // costs are numbers
	}
}
