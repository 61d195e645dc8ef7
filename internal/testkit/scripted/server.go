package scripted

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// Answer is an answer as sent over the wire. Without Length it is sent chunked, as streams are.
type Answer struct {
	Status      int // 200 when 0
	ContentType string
	Header      http.Header // further headers
	Body        []byte
	Length      bool
	// Filler is repeated after the body until the client is gone.
	Filler []byte
	// Hold delays everything after the first chunk until it is closed or the client is gone. Nil: no delay.
	Hold <-chan struct{}
}

// Call is a request that an upstream received.
type Call struct {
	Method, URI, Host string
	Header            http.Header
	Length            int64 // Content-Length, -1 if absent
	Body              []byte
	Whole             bool // the body was read to its end
}

// Server is a scripted upstream for any API that records each request byte by byte.
type Server struct {
	URL string

	mu     sync.Mutex
	answer func(n int, c Call) Answer
	calls  []Call
}

// New starts an upstream that stops with the test. answer receives the request and its number, counted from 1.
func New(t testing.TB, answer func(n int, c Call) Answer) *Server {
	s := &Server{answer: answer}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Calls returns the requests so far.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	c := Call{
		Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header.Clone(), Length: r.ContentLength, Body: body, Whole: err == nil,
	}
	s.mu.Lock()
	s.calls = append(s.calls, c)
	n := len(s.calls)
	s.mu.Unlock()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	a := s.answer(n, c)
	maps.Copy(w.Header(), a.Header)
	w.Header().Set("Content-Type", a.ContentType)
	if a.Length {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	w.WriteHeader(max(a.Status, http.StatusOK))
	for len(a.Body) > 0 {
		piece := a.Body
		if !a.Length {
			piece = a.Body[:min(len(a.Body), 100)]
		}
		if _, err := w.Write(piece); err != nil {
			panic(http.ErrAbortHandler)
		}
		if f, ok := w.(http.Flusher); ok && !a.Length {
			f.Flush()
		}
		a.Body = a.Body[len(piece):]
		if a.Hold == nil {
			continue
		}
		select {
		case <-a.Hold:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	for len(a.Filler) > 0 {
		if _, err := w.Write(a.Filler); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// Golden reads an answer from a golden file of package usage.
func Golden(t testing.TB, file, name string) Answer {
	t.Helper()
	text, err := os.ReadFile(file) //nolint:gosec // a file of this repository
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name        string
		ContentType string `json:"content_type"`
		Status      int
		JSON        json.RawMessage
		SSE         []json.RawMessage
		Frames      []struct {
			Type           string
			Payload, Chunk json.RawMessage
		}
		Text *string
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Name != name {
			continue
		}
		a := Answer{Status: c.Status, ContentType: c.ContentType}
		var b bytes.Buffer
		switch {
		case c.JSON != nil:
			b.Write(c.JSON)
			a.Length = true
		case c.Text != nil:
			b.WriteString(*c.Text)
		}
		for _, e := range c.SSE {
			if e[0] == '"' {
				var s string
				if err := json.Unmarshal(e, &s); err != nil {
					t.Fatal(err)
				}
				b.WriteString(s)
				continue
			}
			fmt.Fprintf(&b, "data: %s\n\n", compacted(t, e))
		}
		for _, f := range c.Frames {
			payload := []byte(f.Payload)
			if f.Chunk != nil {
				payload = fmt.Appendf(nil, `{"bytes":"%s","p":"abcd"}`, base64.StdEncoding.EncodeToString(compacted(t, f.Chunk)))
			}
			b.Write(EventFrame(t, f.Type, payload))
		}
		a.Body = b.Bytes()
		return a
	}
	t.Fatalf("%s has no case %q", file, name)
	return Answer{}
}

// EventFrame returns an event in AWS's binary event stream format.
func EventFrame(t testing.TB, kind string, payload []byte) []byte {
	t.Helper()
	return awsFrame(t, "event", kind, payload)
}

// ExceptionFrame returns a frame with an exception.
func ExceptionFrame(t testing.TB, kind string, payload []byte) []byte {
	t.Helper()
	return awsFrame(t, "exception", kind, payload)
}

func awsFrame(t testing.TB, message, kind string, payload []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var m eventstream.Message
	m.Payload = payload
	m.Headers.Set(":message-type", eventstream.StringValue(message))
	m.Headers.Set(":"+message+"-type", eventstream.StringValue(kind))
	m.Headers.Set(":content-type", eventstream.StringValue("application/json"))
	if err := eventstream.NewEncoder().Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compacted(t testing.TB, raw json.RawMessage) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
