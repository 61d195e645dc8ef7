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

// defaultResponse is the default text of a mock backend.
const defaultResponse = "Hello from Tollgate"

// Mock is a transport that answers calls without a provider. It counts tokens by the characters rule of package
// usage, rounded up: the request's text as input, the answer's text as output.
type Mock struct {
	Text  string        // the answer's text; empty means defaultResponse
	Delay time.Duration // time before the answer begins
	Fail  int           // percentage of calls answered with an error
}

// RoundTrip answers in the API that the request's path belongs to.
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

// mockFailure is the answer to a call that fails on purpose.
const mockFailure = `{"error":{"message":"The mock backend fails this call, as its configuration asks for.","type":"server_error","param":null,"code":"503"}}`

// mockResponse returns an unstreamed response.
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

// mockTokens converts thousandths of a token to tokens.
func mockTokens(units int64) int64 { return (units + 999) / 1000 }

// wholeBody is an unstreamed body.
type wholeBody []byte

func (b *wholeBody) Read(p []byte) (int, error) {
	n := copy(p, *b)
	if *b = (*b)[n:]; n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (*wholeBody) Close() error { return nil }

// eventBody is a body that is sent event by event.
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
