package provider

import (
	"cmp"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// defaultResponse is the text of a mock backend without a configured one.
const defaultResponse = "Hello from Tollgate"

// Mock answers calls without a provider, in place of a backend's transport. It counts tokens by the characters rule of
// package usage, rounded up: of the request's text for the input, of the answer's for the output.
type Mock struct {
	Text  string        // the answer's text; empty: defaultResponse
	Delay time.Duration // until the answer begins
	Fail  int           // percentage of calls answered with an error
}

// RoundTrip answers in the API of the request's path.
func (m *Mock) RoundTrip(r *http.Request) (*http.Response, error) {
	data, err := io.ReadAll(r.Body) // bounded, as it is the body that llmroute read
	if err != nil {
		return nil, err
	}
	b, err := body.Parse(data)
	if err != nil {
		return nil, err
	}
	if err := m.wait(r); err != nil {
		return nil, err
	}
	if rand.IntN(100) < m.Fail { //nolint:gosec // not secrecy
		return mockResponse(r, http.StatusServiceUnavailable, []byte(mockFailure)), nil
	}
	ep, _ := endpoint.Lookup(r.URL)
	text := cmp.Or(m.Text, defaultResponse)
	a := mockAnswer{
		id: llm.NewID(), model: b.ModelName, text: text, in: mockTokens(b.Units), out: mockTokens(usage.Units(text)),
		created: time.Now().Unix(), usage: b.UsageAsked,
	}
	if events := a.stream(ep.Name); b.Stream && events != nil {
		return &http.Response{
			StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, Body: &eventBody{events: events}, ContentLength: -1,
			Header: http.Header{"Content-Type": {"text/event-stream"}},
		}, nil
	}
	answer, err := json.Marshal(a.whole(ep.Name))
	if err != nil {
		return nil, err
	}
	return mockResponse(r, http.StatusOK, answer), nil
}

// mockFailure is the answer to a call that is to fail.
const mockFailure = `{"error":{"message":"The mock backend fails this call, as its configuration asks for.","type":"server_error","param":null,"code":"503"}}`

// mockResponse is an answer that comes at once.
func mockResponse(r *http.Request, status int, answer []byte) *http.Response {
	p := wholeBody(answer)
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, Body: &p, ContentLength: int64(len(answer)),
		Header: http.Header{"Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(len(answer))}},
	}
}

func (m *Mock) wait(r *http.Request) error {
	if m.Delay == 0 {
		return nil
	}
	timer := time.NewTimer(m.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

// mockTokens turns thousandths of a token into tokens.
func mockTokens(units int64) int64 { return (units + 999) / 1000 }

// wholeBody is an answer that comes at once.
type wholeBody []byte

func (b *wholeBody) Read(p []byte) (int, error) {
	n := copy(p, *b)
	if *b = (*b)[n:]; n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (*wholeBody) Close() error { return nil }

// eventBody is an answer that comes event by event.
type eventBody struct{ events [][]byte }

func (b *eventBody) Read(p []byte) (int, error) {
	if len(b.events) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.events[0])
	if b.events[0] = b.events[0][n:]; len(b.events[0]) == 0 {
		b.events = b.events[1:]
	}
	return n, nil
}

func (*eventBody) Close() error { return nil }
