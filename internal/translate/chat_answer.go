package translate

import (
	"bytes"
	"errors"
	"net/http"

	"github.com/tidwall/gjson"
)

var errNoAnswer = errors.New("it is no answer of chat completions")

// chatFailure returns the error that an answer or a chunk has in place of content; ok is false where it has none.
func chatFailure(root gjson.Result) (f failure, ok bool) {
	e := root.Get("error")
	if !e.IsObject() && (e.Type != gjson.String || e.Str == "") {
		return f, false
	}
	status := int(e.Get("code").Int()) // OpenRouter's is the status
	if status < http.StatusBadRequest || status > 599 {
		status = 0
	}
	return readFailure(status, []byte(root.Raw)), true
}

// whole writes a whole answer of chat completions.
func (r *chatReader) whole(body []byte) error {
	root, err := parse(body)
	if err != nil {
		return errNoAnswer
	}
	if f, failed := chatFailure(root); failed {
		return f
	}
	choice := root.Get("choices.0")
	if !choice.Get("message").IsObject() {
		return errNoAnswer
	}
	dst := r.to.begin(nil, root.Get("id").Str, root.Get("created").Int())
	if dst, err = r.message(dst, choice.Get("message")); err != nil {
		return err
	}
	if dst, err = r.close(dst); err != nil {
		return err
	}
	r.choice(choice)
	r.head(root)
	if r.finish == "" {
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
	over bool
}

var doneMark = []byte("[DONE]")

func (s *chatEvents) event(dst, name, data []byte) ([]byte, error) {
	if s.over {
		return dst, nil
	}
	data = bytes.TrimSpace(data)
	if bytes.HasPrefix(data, doneMark) {
		return s.end(dst, nil)
	}
	root, err := parse(data)
	if err != nil {
		return dst, errNoAnswer
	}
	if f, failed := chatFailure(root); failed {
		return dst, f
	}
	if string(name) == "error" {
		return dst, readFailure(0, data)
	}
	s.head(root)
	choice := root.Get("choices.0")
	if !choice.Exists() {
		return dst, nil // Azure's first chunk, or the one with usage
	}
	if !s.begun {
		s.begun = true
		dst = s.to.begin(dst, root.Get("id").Str, root.Get("created").Int())
	}
	if choice.Get("index").Int() != 0 {
		return dst, nil
	}
	if delta := choice.Get("delta"); delta.IsObject() && s.finish == "" {
		if dst, err = s.message(dst, delta); err != nil {
			return dst, err
		}
	}
	if s.finish == "" {
		if s.choice(choice); s.finish != "" {
			return s.close(dst)
		}
	}
	return dst, nil
}

func (s *chatEvents) ping(dst []byte) []byte {
	if s.over {
		return dst
	}
	return s.to.ping(dst)
}

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
