package translate

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/tidwall/gjson"
)

// frames unpacks AWS' binary event stream, by which Bedrock answers InvokeModelWithResponseStream: the events of the model's own API are
// the Base64 text in `bytes` of an event.
type frames struct {
	stream
	decoder *eventstream.Decoder
	held    []byte // frames that have not ended
	payload []byte
	bytes   []byte
}

const (
	framesType = "application/vnd.amazon.eventstream"
	// leastFrame is the length of a frame without headers and payload, in bytes.
	leastFrame = 16
)

var errFrame = badAnswer("the backend sent a frame that is none of an event stream")

func newFrames(to events) *frames {
	return &frames{stream: stream{to: to, max: maxEvent}, decoder: eventstream.NewDecoder()}
}

// Write implements Stream.
func (f *frames) Write(dst, piece []byte) ([]byte, error) {
	if f.over {
		return dst, nil
	}
	f.held = append(f.held, piece...)
	rest := f.held
	for len(rest) >= 4 {
		size := int64(binary.BigEndian.Uint32(rest))
		if size > int64(f.max) {
			return f.fail(dst, errEventLong)
		}
		if size < leastFrame {
			return f.fail(dst, errFrame)
		}
		if int64(len(rest)) < size {
			break
		}
		var err error
		if dst, err = f.take(dst, rest[:size]); err != nil {
			return f.fail(dst, err)
		}
		rest = rest[size:]
	}
	f.held = f.held[:copy(f.held, rest)]
	return dst, nil
}

// take takes one frame.
func (f *frames) take(dst, frame []byte) ([]byte, error) {
	m, err := f.decoder.Decode(bytes.NewReader(frame), f.payload[:0])
	if err != nil {
		return dst, errFrame
	}
	f.payload = m.Payload
	switch textHeader(m, ":message-type") {
	case "event":
		if textHeader(m, ":event-type") != "chunk" {
			return dst, nil // AWS adds kinds of events
		}
		if f.bytes, err = base64.StdEncoding.AppendDecode(f.bytes[:0], []byte(gjson.GetBytes(m.Payload, "bytes").Str)); err != nil {
			return dst, errFrame
		}
		return f.to.event(dst, nil, f.bytes)
	case "exception":
		return f.exception(dst, textHeader(m, ":exception-type"), gjson.GetBytes(m.Payload, "message").Str)
	case "error":
		return f.exception(dst, textHeader(m, ":error-code"), textHeader(m, ":error-message"))
	}
	return dst, errFrame
}

// exceptions are the statuses that AWS documents for the exceptions of a stream, by their names in lower case.
var exceptions = map[string]int{
	"internalserverexception": http.StatusInternalServerError, "modelstreamerrorexception": http.StatusBadGateway,
	"modeltimeoutexception": http.StatusGatewayTimeout, "serviceunavailableexception": statusOverloaded,
	"throttlingexception": http.StatusTooManyRequests, "validationexception": http.StatusBadRequest,
}

// exceptionStatus returns the status that an exception of a stream stands for.
func exceptionStatus(kind string) int {
	if status := exceptions[strings.ToLower(kind)]; status != 0 {
		return status
	}
	return http.StatusBadGateway
}

// FrameNeeded returns how many bytes of the begin of AWS' binary event stream FrameException needs, of which there are those in begin.
func FrameNeeded(begin []byte) int {
	if len(begin) < 4 {
		return 4
	}
	return int(binary.BigEndian.Uint32(begin))
}

// FrameException returns the HTTP status that the first frame of AWS' binary event stream stands for; 0 where it is no exception, or
// not whole.
func FrameException(begin []byte) int {
	need := FrameNeeded(begin)
	if need < leastFrame || need > len(begin) {
		return 0
	}
	m, err := eventstream.NewDecoder().Decode(bytes.NewReader(begin[:need]), nil)
	if err != nil {
		return 0
	}
	switch textHeader(m, ":message-type") {
	case "exception":
		return exceptionStatus(textHeader(m, ":exception-type"))
	case "error":
		return exceptionStatus(textHeader(m, ":error-code"))
	}
	return 0
}

// exception hands an error on as Messages has it.
func (f *frames) exception(dst []byte, kind, message string) ([]byte, error) {
	status := exceptionStatus(kind)
	if message == "" {
		message = kind
	}
	return f.to.event(dst, nil, appendFailure(nil, Messages, failure{status: status, message: message}))
}

// textHeader returns the value of a frame's header; empty where it is no text.
func textHeader(m eventstream.Message, name string) string {
	if v, ok := m.Headers.Get(name).(eventstream.StringValue); ok {
		return string(v)
	}
	return ""
}
