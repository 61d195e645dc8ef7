package fakelago

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// Call is a call that a fault applies to.
type Call struct {
	// Request is the HTTP request. Its body has been read.
	Request *http.Request

	lago *Server
	body []byte
}

// Has reports whether the call's body contains the text.
func (c *Call) Has(text string) bool { return bytes.Contains(c.body, []byte(text)) }

// Batch reports whether the call is a batch of events.
func (c *Call) Batch() bool {
	return c.Request.Method == http.MethodPost && c.Request.URL.Path == "/api/v1/events/batch"
}

// IDs returns the transaction ids of the batch.
func (c *Call) IDs() []string {
	all := gjson.GetBytes(c.body, "events.#.transaction_id").Array()
	ids := make([]string, 0, len(all))
	for _, v := range all {
		ids = append(ids, v.Str)
	}
	return ids
}

func (c *Call) count() int {
	if !c.Batch() {
		return 0
	}
	return int(gjson.GetBytes(c.body, "events.#").Int())
}

// process processes the call as Lago would and returns the answer.
func (c *Call) process() reply { return c.lago.answer(c.Request, c.body) }

// Fault answers a call differently from Lago. It may process the call first.
type Fault func(w http.ResponseWriter, c *Call)

// Next adds faults for the next batches, one per batch, in order. nil is no fault.
func (l *Server) Next(faults ...Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, faults...)
}

// Always calls fn for every call for which Next has no fault. fn may return nil for no fault. A nil fn ends the faults.
func (l *Server) Always(fn func(c *Call) Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.always = fn
}

// Random gives perMille of 1,000 batches a fault, chosen from the given ones with equal probability.
func (l *Server) Random(seed uint64, perMille int, faults ...Fault) {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // repeatable on purpose
	l.Always(func(c *Call) Fault {
		mu.Lock()
		defer mu.Unlock()
		if !c.Batch() || r.IntN(1000) >= perMille {
			return nil
		}
		return faults[r.IntN(len(faults))]
	})
}

// Poison makes every request with an event that matches fail with 500. nil ends this.
func (l *Server) Poison(match func(Event) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.poison = match
}

func (l *Server) nextFault(c *Call) Fault {
	l.mu.Lock()
	if c.Batch() && len(l.queue) > 0 {
		f := l.queue[0]
		l.queue = l.queue[1:]
		l.mu.Unlock()
		return f
	}
	fn := l.always
	l.mu.Unlock()
	if fn == nil {
		return nil
	}
	return fn(c)
}

const lagoPage = `<!DOCTYPE html><html><head><title>nginx</title></head><body><h1>An error occurred</h1></body></html>`

// FaultStatus answers with the given status, body and headers (name, value, ...), without processing the call.
func FaultStatus(status int, body string, header ...string) Fault {
	return func(w http.ResponseWriter, _ *Call) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// FaultHTML answers with an HTML page, as a proxy would; with status 200, as a captive portal would.
func FaultHTML(status int) Fault {
	return FaultStatus(status, lagoPage, "Content-Type", "text/html")
}

// FaultRateLimit answers 429 as Lago Cloud does.
func FaultRateLimit(reset time.Duration) Fault {
	return FaultStatus(http.StatusTooManyRequests, `{"status":429,"error":"Too Many Requests"}`,
		"X-RateLimit-Limit", "500", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", strconv.Itoa(int(reset/time.Second)))
}

// FaultStringDetails answers 422 with a plain string as the error of the event at that index.
func FaultStringDetails(index int, words string) Fault {
	return func(w http.ResponseWriter, _ *Call) {
		detailsReply(map[string]any{strconv.Itoa(index): words}).send(w)
	}
}

// FaultReset resets the connection before the call is processed.
func FaultReset(w http.ResponseWriter, _ *Call) { testkit.ResetConn(w) }

// FaultCommitThenReset stores the events and then resets the connection, so the answer is lost.
func FaultCommitThenReset(w http.ResponseWriter, c *Call) {
	c.process()
	testkit.ResetConn(w)
}

// FaultCommitThen500 stores the events and answers 500, as Lago does when Redis is down.
func FaultCommitThen500(w http.ResponseWriter, c *Call) {
	c.process()
	reply{http.StatusInternalServerError, []byte(`{"status":500,"error":"Internal Server Error"}`)}.send(w)
}

// FaultTwice delivers the call twice, as a retrying proxy does, and sends the second answer.
func FaultTwice(w http.ResponseWriter, c *Call) {
	c.process()
	c.process().send(w)
}

// FaultTruncated stores the events and truncates the answer.
func FaultTruncated(w http.ResponseWriter, c *Call) {
	p := c.process()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(p.body)))
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body[:len(p.body)/2])
	_ = http.NewResponseController(w).Flush()
	testkit.ResetConn(w)
}

// FaultLost answers 200 and stores nothing: a ClickHouse organisation whose message never reached the broker.
func FaultLost(w http.ResponseWriter, c *Call) {
	l := c.lago
	l.mu.Lock()
	kept := l.store
	l.store = lagoStore{byKey: make(map[string]int)}
	p := l.answerLocked(c.Request, c.body)
	l.store = kept
	l.mu.Unlock()
	p.send(w)
}

// FaultHang never answers, until the client goes away or the fake Lago closes.
func FaultHang(_ http.ResponseWriter, c *Call) {
	select {
	case <-c.Request.Context().Done():
	case <-c.lago.closed:
	}
	panic(http.ErrAbortHandler)
}

// FaultSlow stores the events and sends the answer in ten chunks over the given time.
func FaultSlow(over time.Duration) Fault {
	return func(w http.ResponseWriter, c *Call) {
		p := c.process()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(p.body)))
		w.WriteHeader(p.status)
		for i := range 10 {
			if _, err := w.Write(p.body[len(p.body)*i/10 : len(p.body)*(i+1)/10]); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(over / 10):
			case <-c.Request.Context().Done():
				return
			case <-c.lago.closed:
				return
			}
		}
	}
}
