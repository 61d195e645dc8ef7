package translate

import (
	"bytes"
	"errors"
	"net/http"

	"github.com/tidwall/gjson"
)

var errNoAnswer = errors.New("it is no answer of chat completions")

// chatPiece is the members of an answer of chat completions, or of a chunk.
type chatPiece struct {
	id, tier       string
	created        int64
	usage, failure gjson.Result
	timings        gjson.Result // of llama.cpp
	choice         bool         // there is one
	index          int64
	message        gjson.Result // or delta
	finish         string
	sequence       string // the stop sequence that matched, as JSON; of vLLM
}

// readChatPiece reads an answer or a chunk, which is JSON: of its choices the first.
func readChatPiece(root gjson.Result) (p chatPiece) {
	root.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "id":
			p.id = value.Str
		case "created":
			p.created = value.Int()
		case "service_tier":
			p.tier = value.Str
		case "usage":
			if value.IsObject() {
				p.usage = value
			}
		case "x_groq":
			if u := value.Get("usage"); !p.usage.Exists() && u.IsObject() {
				p.usage = u
			}
		case "timings":
			p.timings = value
		case "error":
			if value.IsObject() || value.Type == gjson.String && value.Str != "" {
				p.failure = root
			}
		case "choices":
			value.ForEach(func(_, choice gjson.Result) bool {
				p.choice = true
				choice.ForEach(p.ofChoice)
				return false
			})
		}
		return true
	})
	return p
}

func (p *chatPiece) ofChoice(key, value gjson.Result) bool {
	switch key.Str {
	case "index":
		p.index = value.Int()
	case "delta", "message":
		p.message = value
	case "finish_reason":
		p.finish = value.Str
	case "stop_reason":
		p.sequence = quoted(value)
	case "usage": // of Moonshot
		if !p.usage.Exists() && value.IsObject() {
			p.usage = value
		}
	}
	return true
}

// failed returns the error that an answer or a chunk has in place of content, nil where it has none.
func (p *chatPiece) failed() error {
	if !p.failure.Exists() {
		return nil
	}
	status := int(p.failure.Get("error.code").Int()) // OpenRouter's is the status
	if status < http.StatusBadRequest || status > 599 {
		status = 0
	}
	return readFailure(status, []byte(p.failure.Raw))
}

// whole writes a whole answer of chat completions.
func (r *chatReader) whole(body []byte) error {
	root, err := parse(body)
	if err != nil {
		return errNoAnswer
	}
	p := readChatPiece(root)
	if err := p.failed(); err != nil {
		return err
	}
	if !p.message.IsObject() {
		return errNoAnswer
	}
	dst := r.to.begin(nil, p.id, p.created)
	if dst, err = r.message(dst, p.message); err != nil {
		return err
	}
	if dst, err = r.close(dst); err != nil {
		return err
	}
	r.head(&p)
	if r.finish = p.finish; r.finish == "" {
		return errors.New("it has no finish_reason")
	}
	e, err := r.ending()
	if err != nil {
		return err
	}
	_, err = r.to.end(dst, e)
	return err
}

// chatEvents translates a stream of chat completions.
type chatEvents struct {
	chatReader
	scan *chatScan
	over bool
}

func newChatEvents(r chatReader) *chatEvents { return &chatEvents{chatReader: r, scan: newChatScan()} }

var doneMark = []byte("[DONE]")

func (s *chatEvents) event(dst, name, data []byte) ([]byte, error) {
	if s.over {
		return dst, nil
	}
	data = bytes.TrimSpace(data)
	if bytes.HasPrefix(data, doneMark) {
		return s.end(dst, nil)
	}
	failed := string(name) == "error"
	if s.begun && s.finish == "" && !failed && s.scan.read(data) && (s.scan.called == 0 || s.opened(s.scan.index)) {
		return s.plain(dst)
	}
	root, err := parse(data)
	if err != nil {
		return dst, errNoAnswer
	}
	p := readChatPiece(root)
	if err := p.failed(); err != nil {
		return dst, err
	}
	if failed {
		return dst, readFailure(0, data)
	}
	if p.index != 0 {
		return dst, nil // another answer, which was not asked for
	}
	s.head(&p)
	if !p.choice {
		return dst, nil // Azure's first chunk, or the one with usage
	}
	begun := s.begun
	if !s.begun {
		s.begun = true
		dst = s.to.begin(dst, p.id, p.created)
	}
	if s.finish != "" {
		return dst, nil
	}
	from := len(dst)
	if p.message.IsObject() {
		if dst, err = s.message(dst, p.message); err != nil {
			return dst, err
		}
	}
	if s.finish = p.finish; s.finish != "" {
		return s.close(dst)
	}
	if begun {
		dst = s.waiting(dst, from)
	}
	return dst, nil
}

// waiting appends a ping where a chunk has brought the caller nothing: reasoning that is not shown may take minutes.
func (s *chatEvents) waiting(dst []byte, from int) []byte {
	if len(dst) == from {
		return s.to.ping(dst)
	}
	return dst
}

// plain takes a chunk that was scanned.
func (s *chatEvents) plain(dst []byte) (_ []byte, err error) {
	scan, from := s.scan, len(dst)
	if tier := unquoted(scan.tier); len(tier) > 0 && string(tier) != s.tier {
		s.tier = string(tier)
	}
	if thought := unquoted(scan.thought); len(thought) > 0 {
		if dst, err = s.think(dst, scan.field, string(thought)); err != nil {
			return dst, err
		}
	}
	if scan.called > 0 {
		dst, err = s.arguments(dst, s.open, string(unquoted(scan.arguments)))
	} else {
		dst, err = s.text(dst, string(unquoted(scan.text)))
	}
	if err != nil {
		return dst, err
	}
	return s.waiting(dst, from), nil
}

func (s *chatEvents) ping(dst []byte) []byte {
	if s.over {
		return dst
	}
	return s.to.ping(dst)
}

func (s *chatEvents) ended() bool { return s.over }

func (s *chatEvents) end(dst []byte, cause error) ([]byte, error) {
	if s.over {
		return dst, nil
	}
	s.over = true
	if cause == nil && s.finish == "" {
		cause = errBrokenOff
	}
	var e ending
	if cause == nil {
		e, cause = s.ending()
	}
	if cause == nil {
		from := len(dst)
		if dst, cause = s.to.end(dst, e); cause == nil {
			return dst, nil
		}
		dst = dst[:from]
	}
	return s.to.fail(dst, failureOf(cause)), cause
}
