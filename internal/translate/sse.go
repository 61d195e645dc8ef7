package translate

import (
	"bytes"
	"errors"
)

// maxEvent bounds the bytes of one event that are held until it is whole.
const maxEvent = 4 << 20

const errEventLong = bound("an event of the upstream's stream is too long")

// Stream translates an event stream piece by piece.
type Stream interface {
	// Write appends to dst what the caller gets of a piece, which may be split anywhere. After an error the end is appended
	// already, and nothing of the stream is translated any more.
	Write(dst, piece []byte) ([]byte, error)
	// Ended reports whether what was appended ends a complete answer, or tells of an error of the upstream's.
	Ended() bool
	// Close appends what ends the stream. cause is nil where the upstream's bytes came to their end.
	Close(dst []byte, cause error) ([]byte, error)
}

// stream splits server-sent events and hands them on.
type stream struct {
	to   events
	max  int
	line []byte // the begin of a line that has not ended
	name []byte // of the event that has not ended
	data []byte
	has  bool // a line of data was there
	cr   bool // the last byte was a carriage return
	some bool // the first line is over
	over bool
}

func (s *stream) Write(dst, piece []byte) ([]byte, error) {
	if s.over {
		return dst, nil
	}
	for len(piece) > 0 {
		if s.cr {
			s.cr = false
			if piece[0] == '\n' {
				piece = piece[1:]
				continue
			}
		}
		end := lineEnd(piece)
		if end < 0 {
			if len(s.line)+len(s.data)+len(piece) > s.max {
				return s.fail(dst, errEventLong)
			}
			s.line = append(s.line, piece...)
			return dst, nil
		}
		line := piece[:end]
		if len(s.line)+len(s.data)+len(line) > s.max {
			return s.fail(dst, errEventLong)
		}
		if len(s.line) > 0 {
			s.line = append(s.line, line...)
			line = s.line
		}
		s.cr = piece[end] == '\r'
		piece = piece[end+1:]
		var err error
		dst, err = s.take(dst, line)
		s.line = s.line[:0]
		if err != nil {
			return s.fail(dst, err)
		}
	}
	return dst, nil
}

// lineEnd returns where the first line of a piece ends, -1 where it does not.
func lineEnd(piece []byte) int {
	end := bytes.IndexByte(piece, '\n')
	line := piece
	if end >= 0 {
		line = piece[:end]
	}
	if cr := bytes.IndexByte(line, '\r'); cr >= 0 {
		return cr
	}
	return end
}

// Ended implements Stream.
func (s *stream) Ended() bool { return !s.over && s.to.ended() }

// take takes one line without its end.
func (s *stream) take(dst, line []byte) ([]byte, error) {
	if !s.some {
		s.some = true
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	if len(line) == 0 {
		return s.dispatch(dst)
	}
	if line[0] == ':' {
		return s.to.ping(dst), nil
	}
	field, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch string(field) {
	case "event":
		s.name = append(s.name[:0], value...)
	case "data":
		if s.has {
			s.data = append(s.data, '\n')
		}
		s.data = append(s.data, value...)
		s.has = true
	}
	return dst, nil
}

// dispatch ends an event.
func (s *stream) dispatch(dst []byte) ([]byte, error) {
	var err error
	if s.has {
		dst, err = s.to.event(dst, s.name, s.data)
	}
	s.name, s.data, s.has = s.name[:0], s.data[:0], false
	return dst, err
}

func (s *stream) Close(dst []byte, cause error) ([]byte, error) {
	if s.over {
		return dst, nil
	}
	if len(s.line) > 0 && cause == nil { // some upstreams end without an empty line
		var err error
		if dst, err = s.take(dst, s.line); err != nil {
			return s.fail(dst, err)
		}
	}
	if cause == nil {
		var err error
		if dst, err = s.dispatch(dst); err != nil {
			return s.fail(dst, err)
		}
	}
	s.over = true
	return s.to.end(dst, cause)
}

// fail ends a stream that cannot be translated.
func (s *stream) fail(dst []byte, cause error) ([]byte, error) {
	s.over = true
	s.line, s.data = nil, nil
	dst, err := s.to.end(dst, cause)
	return dst, errors.Join(cause, err)
}
