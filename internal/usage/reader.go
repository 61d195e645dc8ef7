package usage

import (
	"net/http"
	"sync"

	"github.com/tollgate-llm/tollgate/internal/audio"
)

// API is a format in which answers report usage. Each has one file in this package.
type API string

// The APIs whose usage can be read.
const (
	OpenAIChat          API = "openai_chat"          // also completions, Azure and every OpenAI-compatible provider
	OpenAIResponses     API = "openai_responses"     // also responses/compact
	OpenAIEmbeddings    API = "openai_embeddings"    //
	OpenAIImages        API = "openai_images"        // generations, edits, variations
	OpenAITranscription API = "openai_transcription" // transcriptions and translations
	OpenAISpeech        API = "openai_speech"        //
	AnthropicMessages   API = "anthropic_messages"   //
	GeminiGenerate      API = "gemini_generate"      // generateContent, streamGenerateContent
	GeminiEmbed         API = "gemini_embed"         // embedContent, batchEmbedContents
	BedrockConverse     API = "bedrock_converse"     // converse, converse-stream
	BedrockInvoke       API = "bedrock_invoke"       // invoke, invoke-with-response-stream
	CohereChat          API = "cohere_chat"          //
	CohereEmbed         API = "cohere_embed"         //
	CohereRerank        API = "cohere_rerank"        // also rerank of the OpenAI-compatible crowd
	OllamaNative        API = "ollama"               //
	MistralOCR          API = "mistral_ocr"          //
	NotBillable         API = "not_billable"         // token counters, moderations: nothing to read
)

// Options are the known properties of an answer when its header has arrived.
type Options struct {
	API         API
	Provider    string // provider preset, for habits that the format alone does not show: xai, perplexity, ...
	Status      int    // HTTP status; an answer of 400 or more is never priced
	ContentType string
	// Header is the answer's header, from which counts and tiers of some providers are read. The body takes precedence.
	Header http.Header
	Model  string // the model name sent upstream, for habits of models that the answer does not name
	// BaseURL is the backend's: it identifies which of the providers that state a cost serves an OpenAI-compatible API.
	BaseURL string
	// CacheTTL is the time to live that the request asks for tokens written to a cache. It applies if usage counts such tokens and the
	// answer does not report their time to live.
	CacheTTL string
	// Priced: the backend has configured prices, which take precedence over a cost reported by the provider. Fees that such a cost
	// includes are then counted too.
	Priced bool
}

// Mark is what ended at the position that Next returned.
type Mark uint8

// The marks.
const (
	More      Mark = iota // nothing ended: all bytes were taken, an event or a body may be incomplete
	EventEnd              // an event of a stream ended; it may pass
	UsageOnly             // an event with usage and an empty list of choices ended: the chunk that include_usage adds
	End                   // the answer's own end: the byte that closes a JSON body, the line end of a terminal event
)

// Estimate has the known size of the request, for answers that report no usage.
type Estimate struct {
	InputUnits int64 // text of the request in thousandths of a token, see Units
	// InputCharacters is the length of the text to be spoken, in characters; 0 when unknown. Speech models without token
	// usage are priced by it.
	InputCharacters int64
	// InputMilliseconds is the length of the uploaded recording; 0 when unknown. Transcription is priced by it.
	InputMilliseconds int64
}

// maxHold is how far into an event the meter may be asked to hold it back: a chunk with only usage is far smaller.
const maxHold = 16 << 10

// A Reader reads the usage from one answer as its bytes pass. It keeps only the bytes of one short event of a stream, uses less than 8 KB
// regardless of the answer, and is not safe for concurrent use.
type Reader struct {
	// What each event of a stream needs is kept together, in few cache lines.
	f       *format
	framing framing
	sse     sse
	event   event
	units   [numClasses]int64 // text passed so far
	sc      scanner
	inner   scanner // events inside events (Bedrock)

	o     Options
	cur   tally // the current usage object
	kept  tally // the usage that counts
	outer tally // the usage object around an element of its list
	sums  tally // sums over such a list
	other tally // usage from a second place, in case the first stays empty

	model, id, tier, geo, speed name
	kind                        name // the type of the event under way
	ttl                         tag  // of the cache that tokens are written to, as the answer repeats it
	itemType, action, status    tag  // of the element of a list under way
	searches, fileSearches      int64
	scratch                     name
	text                        uint64 // hash of the text under way
	extra                       *extra
	sound                       *audio.Meter // of an answer that is spoken
	cue                         cue          // of an answer that is subtitles

	atUsage    int64 // text that had passed when the kept usage came
	failed     bool  // an error was seen
	inChoice   bool  // the kept usage was inside a choice
	blocked    bool  // the prompt was blocked
	refused    bool  // the model refused (Anthropic)
	begun      bool  // content has begun (Anthropic)
	finished   bool  // the answer reported that it is finished, before its own end
	final      bool  // the kept usage is for the whole answer
	ended      bool  // End was given
	complete   bool
	broken     string // why the bytes could not be read
	compressed bool   // the reason is compression: it is still an answer
	open       bool

	inArray bool
	delta   bool // the usage that ends an answer was seen (Anthropic)

	near     bool // a part that the client sees has ended, and no other has begun
	thinking bool // the content block under way is one of thinking (Anthropic)
	reasons  bool // the answer shows that its model reasons

	mapped mapped // what Result makes of it

	frame binaryStream
	b64   base64Text
}

// event is the state of the current event.
type event struct {
	bytes   int64 // bytes taken of it
	usage   bool  // it has a usage object
	kept    bool  // the usage reports more than what was kept before
	choices bool  // it has a list of choices
	choice  bool  // the list is not empty
	finish  bool  // it reports that the answer is finished
	done    bool  // it is terminal by its data
}

var readers = sync.Pool{New: func() any { return new(Reader) }}

// NewReader returns a reader for one answer. Close gives it back.
func NewReader(o Options) *Reader {
	r := readers.Get().(*Reader)
	f := formats[o.API]
	if f == nil {
		f = formats[NotBillable]
	}
	r.o, r.f, r.open = o, f, true
	r.header()
	r.begin()
	return r
}

// begin prepares for the next event.
func (r *Reader) begin() {
	if r.framing == frames && r.f.wrapper != nil {
		r.sc.reset(r.f.wrapper)
		r.inner.reset(r.f.root)
		return
	}
	r.sc.reset(r.f.root)
}

// Close gives the reader back; it must not be used afterwards. Results stay valid.
func (r *Reader) Close() {
	if r.open {
		*r = Reader{}
		readers.Put(r)
	}
}

// Next takes the next bytes of the answer, up to and including the end of an event, and returns what ended there. It takes
// at least one byte when there is one. The bytes of an EventEnd or UsageOnly, together with those given since the mark
// before, are exactly one event with its blank line. Those of End hold what makes the answer complete for a client: the
// bill must be settled before they are forwarded. End is given once at most.
func (r *Reader) Next(p []byte) (n int, m Mark) {
	if len(p) == 0 {
		return 0, More
	}
	if r.framing == unknown {
		n = r.sniff(p)
		if n == len(p) {
			return n, More
		}
		p = p[n:]
	}
	var took int
	switch r.framing {
	case events:
		took, m = r.nextSSE(p)
	case body:
		took, m = r.nextBody(p)
	case lines:
		took, m = r.nextLine(p)
	case array:
		took, m = r.nextElement(p)
	case frames:
		took, m = r.nextFrame(p)
	default:
		took = len(p)
		if r.sound != nil {
			_, _ = r.sound.Write(p) // it never fails
		}
		if r.o.API == OpenAITranscription && r.broken == "" {
			r.units[asOutput] += units(p)
			r.cue.read(p)
		}
	}
	n += took
	r.event.bytes += int64(n)
	if m == UsageOnly && r.event.bytes > maxHold {
		m = EventEnd
	}
	if m == EventEnd || m == UsageOnly {
		r.event.bytes = 0
	}
	return n, m
}

// Holding reports whether the event under way might still turn out to be UsageOnly. While it does, the meter keeps back
// the event's bytes when the client did not ask for that chunk.
func (r *Reader) Holding() bool {
	return r.f.strips && r.framing == events && r.event.bytes > 0 && r.event.bytes <= maxHold && r.sse.mayStrip() &&
		!r.event.choice && r.sc.st != stBad && (r.sc.st != stDone || r.event.choices && r.event.usage)
}

// OutputUnits returns the text of the answer that has passed so far, in thousandths of a token.
func (r *Reader) OutputUnits() int64 {
	n := r.units[asOutput] + r.units[asDelta] + r.reasoningUnits()
	return max(n, r.units[asWhole])
}

func (r *Reader) reasoningUnits() int64 { return max(r.units[asReasoning], r.units[asReasoning2]) }

func (r *Reader) textUnits(c class, n int64) { r.units[c] += n }

// failedStatus reports whether the status alone means an error.
func (r *Reader) failedStatus() bool { return r.o.Status >= http.StatusBadRequest }

// eventDone ends the event under way: what it reported is taken over, and the next one may begin.
func (r *Reader) eventDone() {
	if n := r.units[asDelta]; n > 0 {
		r.units[asDelta] = 0
		r.units[r.deltaClass()] += n
	}
	r.weigh()
	n := r.event.bytes
	r.event = event{bytes: n}
	r.kind.n = 0
	r.begin()
}

// deltaClass returns what the event's delta counts as.
func (r *Reader) deltaClass() class {
	if r.f.delta == nil {
		return asOutput
	}
	return r.f.delta(r.kind.bytes())
}

// weigh decides whether the usage of the event under way is for the whole answer or a running total.
func (r *Reader) weigh() {
	if r.event.finish {
		r.finished = true
	}
	r.seePart()
	if r.event.kept {
		r.atUsage = r.OutputUnits()
	}
	if r.event.kept && (!r.event.choice || r.event.finish) {
		r.final = true
	}
}

// end notes that the answer is complete, and returns the mark for it: End, but once only.
func (r *Reader) end() Mark {
	r.complete = true
	if r.ended {
		return More
	}
	r.ended = true
	return End
}
