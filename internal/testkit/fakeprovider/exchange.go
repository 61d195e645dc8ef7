package fakeprovider

import (
	"cmp"
	"net/http"
	"strconv"
	"time"
)

// Exchange is a call in progress, as faults see it.
type Exchange struct {
	// Request is the HTTP request. Its body has been read.
	Request *http.Request

	p       *Server
	w       http.ResponseWriter
	rec     *Call // the provider writes its outcome, under its lock
	begun   bool
	id      [16]byte
	api     *providerAPI
	query   providerQuery
	delay   time.Duration
	refusal struct {
		status  int
		message string
	}
	gate *Gate

	answer answer
	sent   int // frames sent
	status int // 0 before the header is sent
	err    error
	buf    []byte
}

// outcome is the result of a call.
type outcome struct {
	status, frames int
	whole          bool
	reported       *Usage
}

// hexID returns the sixteen characters that make an answer's id unique.
func hexID(boot int64, n int) (id [16]byte) {
	const digits = "0123456789abcdef"
	v := uint64(boot)<<40 | uint64(n) //nolint:gosec // both are small and positive
	for i := 15; i >= 0; i-- {
		id[i] = digits[v&15]
		v >>= 4
	}
	return id
}

// ask reads the call and prepares its answer or its rejection.
func (x *Exchange) ask(model string) {
	key, missing := x.api.key(x.Request.Header)
	if want := x.p.o.Key; want != "" && key != want {
		x.refusal.status, x.refusal.message = http.StatusUnauthorized, "Incorrect API key provided."
		return
	}
	b, message := readBody(x.rec.Body)
	message = cmp.Or(missing, message)
	if message == "" {
		b.model = cmp.Or(model, b.model)
		x.rec.Model, x.rec.Stream, x.rec.AskedUsage = b.model, b.stream, b.includeUsage
		if b.model == "" {
			message = "you must provide a model parameter"
		} else {
			message = x.api.check(&b)
		}
	}
	var plan providerPlan
	if message == "" {
		plan, message = planOf(x.rec.Body)
	}
	if message != "" {
		x.refusal.status, x.refusal.message = http.StatusBadRequest, message
		return
	}
	x.rec.Planned = plan.usage
	x.delay, plan.delay = plan.delay, 0
	x.query = providerQuery{
		path: x.Request.URL.Path, model: cmp.Or(x.p.o.Snapshots[b.model], b.model), plan: plan, stream: b.stream,
		includeUsage: b.includeUsage, choices: b.choices, inputs: b.inputs, base64: b.base64,
	}
	x.answer = x.p.answers.get(x.api, x.query)
}

// rebuild builds the answer again for a changed query.
func (x *Exchange) rebuild(change func(q *providerQuery)) {
	change(&x.query)
	x.answer = x.p.answers.get(x.api, x.query)
}

// refuse answers with an error in the API's format.
func (x *Exchange) refuse(status int, message string) {
	x.instead(status, "application/json", x.api.refusal(status, message))
}

// instead replaces the API's answer with another body.
func (x *Exchange) instead(status int, contentType string, body []byte) {
	x.answer = answer{contentType: contentType, frames: []frame{{text: body}}, length: len(body)}
	x.header(status)
	x.write(body)
	x.sent = 1
}

func (x *Exchange) header(status int) {
	h := x.w.Header()
	h["Content-Type"] = []string{x.answer.contentType}
	h["X-Request-Id"] = []string{x.rec.ID}
	h["Request-Id"] = []string{x.rec.ID}
	if x.answer.length > 0 {
		h["Content-Length"] = []string{strconv.Itoa(x.answer.length)}
	}
	x.w.WriteHeader(status)
	x.status = status
}

func (x *Exchange) write(b []byte) {
	if x.err == nil {
		_, x.err = x.w.Write(b)
	}
}

// SendAll sends the rest of the answer.
func (x *Exchange) SendAll() { x.Send(len(x.answer.frames)) }

// Send sends up to n parts of the answer, stopping at the gate.
func (x *Exchange) Send(n int) {
	for range min(n, len(x.answer.frames)-x.sent) {
		if x.gate != nil && x.sent == min(x.gate.after, len(x.answer.frames)-1) {
			x.stand()
		}
		if x.delay > 0 {
			x.pause(x.delay)
		}
		if x.status == 0 {
			x.header(http.StatusOK)
		}
		x.write(x.next())
		if x.answer.length == 0 { // otherwise the server sends header and body in one packet
			x.flush()
		}
		if x.err != nil {
			panic(http.ErrAbortHandler) // the client is gone
		}
		x.sent++
	}
}

// next returns the next part, with the answer's id or the time inserted.
func (x *Exchange) next() []byte {
	f := x.answer.frames[x.sent]
	if x.query.plan.stamp {
		x.id = hexID(0, int(time.Now().UnixNano()))
	}
	x.buf = append(x.buf[:0], f.text...)
	for _, at := range f.ids {
		copy(x.buf[at:], x.id[:])
	}
	return x.buf
}

// flush flushes the answer to the connection.
func (x *Exchange) flush() {
	if f, ok := x.w.(http.Flusher); ok && x.status != 0 {
		f.Flush()
	}
}

// Wait waits until the client is gone or the provider closes, and then ends the call.
func (x *Exchange) Wait() {
	select {
	case <-x.Request.Context().Done():
	case <-x.p.closed:
	}
	panic(http.ErrAbortHandler)
}

func (x *Exchange) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.Request.Context().Done():
		panic(http.ErrAbortHandler)
	case <-x.p.closed:
		panic(http.ErrAbortHandler)
	}
}

// end reports the call's outcome to the provider.
func (x *Exchange) end() {
	if !x.begun {
		return
	}
	how := outcome{status: x.status, frames: x.sent}
	how.whole = x.status != 0 && x.sent == len(x.answer.frames) && x.err == nil && x.Request.Context().Err() == nil
	if x.sent > x.answer.usageAt && x.err == nil {
		how.reported = x.answer.usage
	}
	x.p.end(x.rec, how)
}
