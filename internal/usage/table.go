package usage

import (
	"encoding/binary"
	"slices"
)

// A node defines what to do with the value at one place of an answer. Each API's file builds a tree of them: the API's format, as far as the
// meter needs it. Values without a node are skipped, so that a `usage` inside a text, a tool's schema or a search result is never taken for
// the answer's own.
type node struct {
	leaf  leaf
	slot  slot                // for numbers: where the count goes
	text  dest                // for strings: where the text goes
	class class               // for text: what it counts as
	kind  Kind                // for fees: what is counted
	edges *[32][]edge         // members, if the value is an object; in buckets by headHash
	any   *node               // members with unknown names, such as ids
	elem  *node               // elements, if the value is an array
	open  func(*Reader, byte) // called when an object or array begins here, with its bracket
	item  func(*Reader)       // called for each element of an array
	done  func(*Reader)       // called when an object ends here
}

type edge struct {
	head uint64 // the first bytes of key, see keyHead
	key  string
	to   *node
}

// leaf is what to do with a string or a literal.
type leaf uint8

const (
	leafNone        leaf = iota
	leafCount            // a number to keep in slot
	leafMillisApart      // seconds, kept apart as well
	leafCountApart       // a number to keep apart, in case no usage object comes
	leafMillis           // seconds, as a number or a string, to keep in slot as milliseconds
	leafTrue             // the literal true, kept in slot as 1
	leafText             // text to keep in dest
	leafPrice            // a number to keep in dest as text
	leafOutput           // text of the answer, to be counted
	leafCallName         // text of the answer that is the name of a function which the model calls
	leafError            // anything but null, false and "" is an error
	leafFinish           // anything but null and "" means that the answer is finished
	leafStop             // the same, where the text is needed as a whole (Anthropic)
	leafBase64           // the Base64 form of another event (Bedrock)
	leafFee              // a number that counts a fee, kept beside the usage object
	leafFeeAdded         // the same, where an answer has several to be added up
	leafSeen             // a text that is not empty calls open, as an object or array does
	leafQuery            // a search query, of which the different ones count
)

// dest is a text that is kept.
type dest uint8

const (
	toModel dest = iota
	toID
	toTier
	toGeo
	toSpeed
	toLatency
	toType // the event's type
	toItem // the type of an element of a list
	toAction
	toStatus    // of an element of a list
	toScratch   // another text of an element of a list: a model, a container
	toContext   // the size of a search's context (Perplexity)
	toCost      // a cost in the provider's unit
	toTotalCost // a cost as a member total_cost
	toTicks     // a cost in 10^-10 USD
	toUpstreamCost
	toTTL       // how long tokens live in the cache that they are written to (OpenAI)
	toCacheType // what kind of cache was read (Qwen)
	toCurrency  // the currency of a total_cost, US dollars when it names none
)

// class is what a piece of the answer's text counts as.
type class uint8

const (
	asOutput     class = iota
	asReasoning        // reasoning
	asReasoning2       // the same reasoning under a second name: some servers send both
	asDelta            // text with a class that depends on the event's type, known at the event's end
	asWhole            // text that repeats what went before
	asNothing          // text that is not to be counted
	asPicture          // a query for images
	numClasses
)

// fields are the members of an object that have nodes.
type fields map[string]*node

// keyHead returns the first eight bytes of a name, padded with zeros, as a little-endian number.
func keyHead(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.LittleEndian.Uint64(key)
	}
	var head uint64
	for i, c := range key {
		head |= uint64(c) << (8 * i)
	}
	return head
}

func headHash(head uint64) uint64 { return head * 0x9e3779b97f4a7c15 >> 59 }

func object(f fields) *node { return new(node).with(f) }

// with adds members to a node, in the place of those of the same name.
func (n *node) with(f fields) *node {
	if n.edges == nil {
		n.edges = new([32][]edge)
	}
	for key, to := range f {
		head := keyHead([]byte(key))
		h := headHash(head)
		n.edges[h] = slices.DeleteFunc(n.edges[h], func(e edge) bool { return e.key == key })
		n.edges[h] = append(n.edges[h], edge{head, key, to})
	}
	return n
}

// member returns the node of a member, nil when it does not matter.
func (n *node) member(key []byte) *node { return n.memberByHead(keyHead(key), key) }

func (n *node) memberByHead(head uint64, key []byte) *node {
	for _, e := range n.edges[headHash(head)] {
		if e.head == head && len(e.key) == len(key) && (len(key) <= 8 || e.key[8:] == string(key[8:])) {
			return e.to
		}
	}
	return n.any
}

func list(elem *node) *node                  { return &node{elem: elem} }
func count(s slot) *node                     { return &node{leaf: leafCount, slot: s} }
func countApart(s slot) *node                { return &node{leaf: leafCountApart, slot: s} }
func millis(s slot) *node                    { return &node{leaf: leafMillis, slot: s} }
func isTrue(s slot) *node                    { return &node{leaf: leafTrue, slot: s} }
func fee(k Kind) *node                       { return &node{leaf: leafFee, kind: k} }
func feeAdded(k Kind) *node                  { return &node{leaf: leafFeeAdded, kind: k} }
func text(d dest) *node                      { return &node{leaf: leafText, text: d} }
func price(d dest) *node                     { return &node{leaf: leafPrice, text: d} }
func output(c class) *node                   { return &node{leaf: leafOutput, class: c} }
func finish() *node                          { return &node{leaf: leafFinish} }
func (n *node) onDone(f func(*Reader)) *node { n.done = f; return n }
func (n *node) onOpen(f func(*Reader, byte)) *node {
	n.open = f
	return n
}

// seen is the node of a value of which only the presence matters: an object, an array or a text that is not empty.
func seen(f func(*Reader, byte)) *node { return &node{leaf: leafSeen, open: f} }

// failure is the node of an error: an object, a text, or null when there is none.
func failure() *node {
	return &node{leaf: leafError, open: func(r *Reader, _ byte) { r.failed = true }}
}
