package translate

// A conversation apart from any API. Texts are JSON strings as the caller wrote them, quotes included, so that they are copied and
// not decoded. Empty stands for absent.

// turn is a message, or the outputs of the calls of the turn before.
type turn struct {
	role  role
	parts []part
	at    string // its place in the caller's body
}

type role uint8

const (
	roleSystem role = iota // also developer
	roleUser
	roleAssistant
	roleOutputs // one part for each call of the turn before, in the order of the calls
)

type partKind uint8

const (
	partText     partKind = iota // text
	partRefusal                  // text
	partImage                    // url, detail
	partFile                     // url, title
	partThinking                 // text, seal
	partCall                     // id, name, arguments
	partOutput                   // id, parts, failed
)

// part is a part of a turn.
type part struct {
	kind partKind
	at   string // its place in the caller's body

	text   string
	url    string // http(s): or data:, as a JSON string
	title  string // a file's name, as a JSON string
	detail string // how closely to look, as a JSON string

	seal string // what a thinking's text cannot show: a signature, or what this package made of one

	id        string // a call's; not JSON
	name      string // a tool's at the upstream; not JSON
	arguments string // a call's, as the JSON text of an object
	parts     []part // of an output: texts, images, files
	failed    bool   // an output is that of a failure

	// breakpoint is a prompt_cache_breakpoint of OpenAI's, as JSON.
	breakpoint string
	// cache is a cache_control of Anthropic's, as JSON.
	cache string
}

// inner returns what is between the quotes of a JSON string.
func inner(quoted string) string {
	if len(quoted) < 2 {
		return ""
	}
	return quoted[1 : len(quoted)-1]
}
