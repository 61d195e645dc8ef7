package translate

import "errors"

// content writes an answer in the caller's API, piece by piece as an upstream gives it. Its methods append to dst. Texts are what is
// between the quotes of a JSON string. A piece belongs to the block that is open; one of another kind closes that block and opens its
// own.
type content interface {
	// begin begins the answer. id is the upstream's, empty without one; created is in seconds since 1970, 0 where unknown.
	begin(dst []byte, id string, created int64) []byte
	// thinking appends to the model's reasoning.
	thinking(dst []byte, text string) ([]byte, error)
	// sealed ends the reasoning that is open, or makes one without text. seal is for the next turn: see seal.go.
	sealed(dst []byte, seal string) ([]byte, error)
	text(dst []byte, text string) ([]byte, error)
	refusal(dst []byte, text string) ([]byte, error)
	// call opens a call of a tool by its name upstream. The arguments that follow are pieces of the text of a JSON object.
	call(dst []byte, id, name string) ([]byte, error)
	arguments(dst []byte, piece string) ([]byte, error)
	// close closes the block that is open.
	close(dst []byte) ([]byte, error)
	// ping keeps the caller waiting.
	ping(dst []byte) []byte
	// end ends a complete answer, and fail one that is broken off. An answer that has not begun begins.
	end(dst []byte, e ending) ([]byte, error)
	fail(dst []byte, f failure) []byte
}

// stop is why an answer ended.
type stop uint8

const (
	stopEnd      stop = iota
	stopSequence      // a stop sequence
	stopLength        // the bound on output
	stopWindow        // the model's context window
	stopCalls         // calls of tools
	stopFilter        // the provider's filter
)

// ending is how a complete answer ended.
type ending struct {
	stop     stop
	sequence string // the stop sequence that matched, as JSON; empty where unknown
	details  string // of a refusal, as JSON in the shape of Messages; empty without
	tier     string // the service tier that served, as OpenAI names it; empty where unknown
	tokens   tokens
}

// tokens are an answer's usage. All counts are disjoint but that input holds cached and written, and output holds reasoning.
type tokens struct {
	known                                     bool
	input, cached, written, output, reasoning int64
}

// failure is an error in the middle of a stream.
type failure struct {
	status  int    // that of an answer with the same error
	code    string // OpenAI's; empty where unknown
	message string
}

const (
	// maxHeld bounds what a translation holds back of an answer, in bytes.
	maxHeld = 4 << 20
	// maxAnswer bounds an answer that the caller's API repeats at its end, in bytes.
	maxAnswer = 32 << 20
)

const errHeld = bound("the upstream's answer holds more back than can be kept")

var (
	errNoCall    = errors.New("the upstream's answer has arguments without a call")
	errArguments = errors.New("the arguments of a call are no JSON object")
)
