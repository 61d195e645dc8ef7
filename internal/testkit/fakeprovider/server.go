package fakeprovider

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Options configure a fake provider.
type Options struct {
	// Key is the API key accepted; calls with another key or none are answered with 401. Default: any call is accepted.
	Key string
	// TLS serves HTTPS, over HTTP/1.1 and HTTP/2. CAFile holds the certificate to trust.
	TLS bool
	// Base is a path prefix of every API, such as "/openai". Default: none.
	Base string
	// Snapshots maps a requested model to the name in its answer, such as gpt-4o to gpt-4o-2024-08-06.
	Snapshots map[string]string
	// Keep is how many of the latest calls Calls returns. Default: 100,000. Totals count all calls.
	Keep int
}

// Usage is the consumption of a call. Input and Output are totals; the other counts are parts of them.
type Usage struct {
	Input        int64 // all input tokens
	CacheRead    int64 // part of Input
	CacheWrite   int64 // part of Input, written to a five-minute cache
	CacheWrite1h int64 // part of Input, written to a one-hour cache
	Output       int64 // all output tokens
	Reasoning    int64 // part of Output
}

func (u *Usage) add(v Usage) {
	u.Input += v.Input
	u.CacheRead += v.CacheRead
	u.CacheWrite += v.CacheWrite
	u.CacheWrite1h += v.CacheWrite1h
	u.Output += v.Output
	u.Reasoning += v.Reasoning
}

// Call is a call that a fake provider received.
type Call struct {
	N            int    // 1 for the first call
	ID           string // the answer's id: in the body if the API has one there, and in the header X-Request-Id
	Method, Path string
	RawQuery     string
	Proto        string // HTTP/1.1 or HTTP/2.0
	Header       http.Header
	Body         []byte
	Model        string // as requested
	Stream       bool
	AskedUsage   bool  // stream_options.include_usage
	Planned      Usage // the usage that a complete answer reports, or would report if asked

	// The following fields are set when Done.

	Done     bool
	Status   int    // 0 if no header was sent
	Reported *Usage // nil if the answer ended before its final usage, or has none
	Frames   int    // parts of the answer sent: events of a stream, 1 for a body
	Whole    bool   // the whole answer was sent and the client was there until the end
}

// Totals are sums over calls, for reconciliation.
type Totals struct {
	Calls    int // answered in any way
	Whole    int // complete answers with status 200
	Reported Usage
}

// Server is a fake model provider with several APIs: OpenAI's completions (chat and legacy), embeddings and responses,
// and Anthropic's messages. It rejects what the real ones reject, and records every call. A call's usage follows from the
// length of its body unless text in the body sets it, such as "tokens=in:12,out:34,cached:5 chunks=10 delay=5ms
// bytes=4096" (see providerPlan). Next and Always add faults; Gate holds answers.
type Server struct {
	// URL is the base URL, without a path.
	URL string
	// CAFile is a PEM file with the server's certificate, if TLS is on.
	CAFile string

	o       Options
	server  *httptest.Server
	closed  chan struct{}
	boot    int64 // makes ids unique across providers
	answers answerCache
	n       atomic.Int64

	mu         sync.Mutex
	changed    chan struct{}
	calls      []*Call
	open       int
	totals     map[string]*Totals
	queue      []Fault
	always     func(Call) Fault
	gate       *Gate
	violations []string
}

// providerAPI is one API of a provider.
type providerAPI struct {
	// match reports whether a path belongs to this API; model is the model in the path, if the API has it there.
	match func(path string) (model string, ok bool)
	// key returns the API key of a call, "" if absent, and a message if another required header is missing.
	key func(h http.Header) (key, missing string)
	// check rejects what the real API rejects: it returns the message of a 400, or "".
	check func(b *providerBody) string
	// build creates the answer, the same for equal queries.
	build func(q providerQuery) answer
	// refusal returns an error in the API's format.
	refusal func(status int, message string) []byte
	// broken is the error event in the middle of a stream.
	broken string
}

// providerAPIs returns the APIs of a fake provider.
func providerAPIs() []*providerAPI {
	return []*providerAPI{
		&openAIChat, &openAICompletions, &openAIEmbeddings, &openAIResponses, &openAIResponseTools,
		&anthropicMessages, &anthropicCountTokens,
	}
}

var providersStarted atomic.Int64

// New starts a fake provider that stops with the test. If t is nil, the caller closes it.
func New(t testing.TB, o Options) *Server {
	o.Keep = cmp.Or(o.Keep, 100_000)
	p := &Server{
		o: o, boot: providersStarted.Add(1),
		closed:  make(chan struct{}),
		changed: make(chan struct{}),
		totals:  make(map[string]*Totals),
	}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	if o.TLS {
		p.server.EnableHTTP2 = true
		p.server.StartTLS()
	} else {
		p.server.Start()
	}
	p.URL = p.server.URL
	if t == nil {
		return p
	}
	t.Cleanup(p.Close)
	if o.TLS {
		p.CAFile = filepath.Join(t.TempDir(), "provider-ca.pem")
		block := &pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}
		if err := os.WriteFile(p.CAFile, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// Close ends open calls and stops the server.
func (p *Server) Close() {
	p.mu.Lock()
	select {
	case <-p.closed:
		p.mu.Unlock()
		return
	default:
		close(p.closed)
	}
	p.mu.Unlock()
	p.server.CloseClientConnections()
	p.server.Close()
}

// Client returns a client that trusts the provider's certificate.
func (p *Server) Client() *http.Client { return p.server.Client() }

// Calls returns the calls so far, in order of arrival.
func (p *Server) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := make([]Call, len(p.calls))
	for i, c := range p.calls {
		calls[i] = *c
	}
	return calls
}

// Call returns the call whose answer has that id.
func (p *Server) Call(id string) (Call, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range slices.Backward(p.calls) {
		if c.ID == id {
			return *c, true
		}
	}
	return Call{}, false
}

// Open returns the number of calls in progress.
func (p *Server) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// Totals returns the sums of all finished calls, by requested model.
func (p *Server) Totals() map[string]Totals {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := make(map[string]Totals, len(p.totals))
	for model, t := range p.totals {
		m[model] = *t
	}
	return m
}

// Violations returns what a correct gateway never sends but real providers silently accept: credentials other than the
// provider's, and headers that identify the client.
func (p *Server) Violations() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.violations)
}

// Await waits until cond holds, checked whenever a call begins or ends, or ctx ends.
func (p *Server) Await(ctx context.Context, cond func() bool) error {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the fake provider: %w", ctx.Err())
		}
	}
}

// signal wakes all waiters. p.mu is held.
func (p *Server) signal() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Server) serve(w http.ResponseWriter, r *http.Request) {
	n := int(p.n.Add(1))
	id := hexID(p.boot, n)
	x := &Exchange{Request: r, p: p, w: w, id: id, rec: &Call{
		N: n, ID: string(id[:]), Method: r.Method, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Proto: r.Proto,
		Header: r.Header,
	}}
	defer x.end()
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	x.rec.Body = body
	api, model := p.findAPI(r)
	x.api = api
	if err == nil && api != nil {
		x.ask(model)
	}
	fault := p.begin(x)
	switch {
	case err != nil: // the body is incomplete
		panic(http.ErrAbortHandler)
	case api == nil:
		x.api = &openAIChat
		x.refuse(http.StatusNotFound, fmt.Sprintf("Invalid URL (%s %s)", r.Method, r.URL.Path))
	case x.refusal.status != 0:
		x.refuse(x.refusal.status, x.refusal.message)
	case fault != nil:
		fault(x)
	default:
		x.SendAll()
	}
}

// findAPI returns the API that a call is for, or nil.
func (p *Server) findAPI(r *http.Request) (api *providerAPI, model string) {
	path, ok := strings.CutPrefix(r.URL.Path, p.o.Base)
	if !ok || r.Method != http.MethodPost {
		return nil, ""
	}
	for _, a := range providerAPIs() {
		if m, ok := a.match(path); ok {
			return a, m
		}
	}
	return nil, ""
}

// begin records a call and selects its fault and its gate.
func (p *Server) begin(x *Exchange) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.signal()
	c := x.rec
	p.calls = append(p.calls, c)
	if len(p.calls) > p.o.Keep {
		p.calls = slices.Delete(p.calls, 0, max(1, p.o.Keep/10))
	}
	p.open++
	x.begun = true
	p.look(c)
	if x.api == nil || x.refusal.status != 0 {
		return nil
	}
	if g := p.gate; g != nil && (g.match == nil || g.match(*c)) {
		x.gate = g
	}
	if len(p.queue) > 0 {
		fault := p.queue[0]
		p.queue = p.queue[1:]
		return fault
	}
	if p.always != nil {
		return p.always(*c)
	}
	return nil
}

// end records a call's outcome. It is deferred because faults panic.
func (p *Server) end(c *Call, how outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.signal()
	c.Done, c.Status, c.Frames, c.Whole, c.Reported = true, how.status, how.frames, how.whole, how.reported
	p.open--
	t := p.totals[c.Model]
	if t == nil {
		t = new(Totals)
		p.totals[c.Model] = t
	}
	t.Calls++
	if c.Whole && c.Status == http.StatusOK {
		t.Whole++
	}
	if c.Reported != nil {
		t.Reported.add(*c.Reported)
	}
}

// look records violations. p.mu is held.
func (p *Server) look(c *Call) {
	const most = 1000
	note := func(what string) {
		if len(p.violations) < most {
			p.violations = append(p.violations, fmt.Sprintf("call %d, %s: %s", c.N, c.Path, what))
		}
	}
	if p.o.Key != "" {
		for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
			for _, v := range c.Header[name] {
				if v != p.o.Key && v != "Bearer "+p.o.Key {
					note(name + " holds another credential than the provider's")
				}
			}
		}
		if q := "&" + c.RawQuery + "&"; strings.Contains(q, "&key=") && !strings.Contains(q, "&key="+p.o.Key+"&") {
			note("the client's ?key= came through")
		}
	}
	for _, name := range []string{"Cookie", "Openai-Organization", "Openai-Project", "Proxy-Authorization"} {
		if _, ok := c.Header[name]; ok {
			note("the client's " + name + " came through")
		}
	}
}

// mustJSON encodes a value that can always be encoded.
func mustJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
