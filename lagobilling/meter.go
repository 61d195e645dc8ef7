package lagobilling

import (
	"cmp"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/delivery/lawbreak"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/settle"
	"github.com/tollgate-llm/tollgate/internal/translate"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// maxHeld bounds the part of an event that is held back while it may be a usage chunk that the client did not request.
const maxHeld = 16 << 10

var errUnsettled = errors.New("the usage record could not be written: the answer is cut short")

// meter is the response writer between the client and the handlers. Bytes pass at once while a usage reader scans them.
// At the answer's end it settles the call. Only the bytes that complete the answer wait for that, so that no client has a
// complete answer whose record is not in the spool.
//
// Only hangUp and cutOff may be called by other goroutines than the request's.
type meter struct {
	caddyhttp.ResponseWriterWrapper
	bill
	hangup

	how        settle.End // how the handlers ended: Broken until they return
	handlerErr error
	status     int
	shown      int // the client's status if it differs
	bytes      int64
	first      time.Time // when the first byte of the body came
	reader     *usage.Reader
	encoded    string // an encoding in which usage cannot be read
	events     bool   // the answer is an event stream
	framed     bool   // the answer's format marks its end
	left       int64  // bytes of Content-Length still to come; -1 without one
	head       bool   // the answer has no body, whatever its header
	http10     bool   // to the client, the end of the connection ends an answer of unstated length

	wroteHeader bool
	unflushed   bool // something was written since the last flush
	flushed     bool // the header has gone to the client
	unasked     unasked
	strip       bool                 // the client did not ask for the include_usage chunk, so it is dropped
	held        []byte               // the start of an event that may be that chunk
	passed      bool                 // the start of the current event has gone to the client
	whole       *[]byte              // the answer so far, held back until complete
	keep        bool                 // header and body are held back until the answer is complete
	answering   *translate.Answering // nil where the answer is not translated
	translated  []byte               // its buffer, if the answer is translated as a whole
	aborted     bool                 // the record could not be written: the client must not get the end of its answer
	lost        bool                 // part of the answer was not sent because the client seemed gone
	rest        int64                // bytes still read of an answer that is about to end after its client hung up; 0 otherwise
}

func newMeter(h *Handler, account *account.Account, call *llm.Call, w http.ResponseWriter, r *http.Request) *meter {
	m := &meter{
		ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		head:                  r.Method == http.MethodHead,
		http10:                !r.ProtoAtLeast(1, 1),
		left:                  -1,
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		repl = caddy.NewEmptyReplacer()
	}
	m.begin(session{h: h, account: account, repl: repl}, call)
	if ok {
		repl.Map(m.placeholder)
	}
	call.Open = m.open
	if r.Method != http.MethodPost { // as models are listed
		call.ListPrices = h.tariff.List
	}
	return m
}

// open is the call's Open step. It refuses a stream whose end would look like a broken connection to the client.
func (m *meter) open(ctx context.Context, c *llm.Call) *llm.Error {
	if m.http10 && c.Request.Stream && c.Endpoint != nil && c.Endpoint.Billing == llm.Billable {
		return &llm.Error{
			Status: http.StatusHTTPVersionNotSupported, Type: "invalid_request_error",
			Message: "a stream cannot be sent by HTTP/1.0, which does not show whether it is whole: use HTTP/1.1 (in nginx, `proxy_http_version 1.1`)",
		}
	}
	return m.bill.open(ctx, c)
}

// WriteHeader records the status. A 1xx is not final and passes.
func (m *meter) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		if !m.unheard() {
			m.ResponseWriter.WriteHeader(status)
		}
		return
	}
	if m.wroteHeader {
		return
	}
	m.wroteHeader = true
	m.status = status
	m.Header()[llm.CallIDHeader] = []string{m.call.ID}
	if m.Opened() {
		m.prepare(status, m.Header())
	}
	if m.answering != nil {
		m.answering.Describe(m.Header())
	}
	if !m.keep && !m.aborted {
		m.sendHeader()
	}
}

// unheard reports whether writes to the client are dropped because it is gone and the answer is drained for its usage. The
// gateway's own answers to calls that no provider has are sent even so, as the server also reports a client as gone whose
// body is late.
func (m *meter) unheard() bool {
	a := m.call.Attempt()
	return m.clientGone() && (a.Answered() || a.Sent() && !a.Failed())
}

func (m *meter) sendHeader() {
	if m.unheard() {
		m.lost = true
		return
	}
	m.unflushed = true
	m.ResponseWriter.WriteHeader(cmp.Or(m.shown, m.status))
}

// prepare decides by the answer's header how its body is read.
func (m *meter) prepare(status int, header http.Header) {
	m.translates(status, header)
	if text := header.Get("Content-Length"); text != "" {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
			m.left = n
		}
	}
	if m.head || status == http.StatusNoContent || status == http.StatusNotModified || m.left == 0 {
		m.settle(settle.Ended)
		return
	}
	if settle.Failure(status) || m.call.Endpoint == nil || m.call.Endpoint.Billing != llm.Billable || m.call.Endpoint.Reader == usage.NotBillable {
		return
	}
	m.keep = m.keep || m.unframed()
	if e := header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		m.encoded = e
		return
	}
	contentType := header.Get("Content-Type")
	media := mediaType(contentType)
	m.events = media == "text/event-stream"
	m.framed = m.events || strings.HasSuffix(media, "json")
	t := m.Target()
	m.reader = usage.NewReader(usage.Options{
		API: m.call.At(t).Reader, Provider: t.Provider, Status: status, ContentType: contentType,
		Header: header, Model: t.Upstream, BaseURL: t.BaseURL, Priced: len(t.Prices) > 0,
		CacheTTL: m.call.Request.CacheTTL,
	})
	m.strip = m.call.Attempt().UsageInjected() && m.answering == nil && status == http.StatusOK && media == "text/event-stream"
	if m.strip && m.left >= 0 {
		header.Del("Content-Length")
		m.left = -1
	}
	m.keep = m.keep || status == http.StatusOK && m.left <= maxWhole && media == "application/json" && (m.left > 0 || !m.call.Request.Stream)
}

// mediaType returns the media type of a Content-Type, in lower case and without parameters; empty when it is none.
func mediaType(contentType string) string {
	if contentType == "application/json" { // the common case
		return contentType
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	return media
}

// Write reads usage from p and passes p on. After a hang-up it still reports everything as written: the upstream is then
// read for its usage alone, until that is complete or hangup cancels it.
func (m *meter) Write(p []byte) (int, error) {
	if !m.wroteHeader {
		m.WriteHeader(http.StatusOK)
	}
	if m.aborted {
		return 0, errUnsettled
	}
	if m.bytes == 0 && len(p) > 0 {
		m.first = time.Now()
	}
	m.bytes += int64(len(p))
	if m.bounded.Load() {
		m.spendRest(len(p))
	}
	if m.answering != nil {
		return m.writeTranslated(p)
	}
	if m.strip {
		return m.writeStripped(p)
	}
	m.scan(p)
	if m.left >= 0 {
		if m.left -= int64(len(p)); m.left <= 0 {
			m.settle(settle.Ended)
		}
	}
	if m.aborted {
		return 0, errUnsettled
	}
	if m.keep {
		return m.writeWhole(p)
	}
	return m.forward(p)
}

// scan passes p to the usage reader and settles if the answer ends in p.
func (m *meter) scan(p []byte) {
	for m.reader != nil && !m.Settled() && len(p) > 0 {
		n, mark := m.reader.Next(p)
		if mark == usage.End {
			m.settle(settle.Ended)
			return
		}
		if n <= 0 || mark == usage.More {
			return
		}
		p = p[n:]
	}
}

// forward passes p to the client. A failed write is a hang-up.
func (m *meter) forward(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	m.look()
	m.writing.Store(true) // before the look at unheard: a hang-up ends a write that is under way
	defer m.writing.Store(false)
	if m.unheard() {
		m.lost = true
		return len(p), nil
	}
	m.allowTime()
	m.unflushed = true
	n, err := m.ResponseWriter.Write(p) //nolint:gosec // a proxy passes on what its upstream answers
	if err == nil || errors.Is(err, http.ErrBodyNotAllowed) || errors.Is(err, http.ErrContentLength) {
		return n, err
	}
	m.hangUp()
	m.lost = true
	return len(p), nil
}

// writeStripped passes a stream on without the usage that only the gateway requested: the final chunk, and the null
// members of the others.
func (m *meter) writeStripped(p []byte) (int, error) {
	from, at := 0, 0 // p[from:at] may pass
	for at < len(p) && !m.Settled() {
		n, mark := m.reader.Next(p[at:])
		if n <= 0 {
			n, mark = len(p)-at, usage.More
		}
		event := p[at : at+n]
		at += n
		switch {
		case mark == usage.UsageOnly && !m.passed:
			if _, err := m.forwardUnasked(p[from : at-n]); err != nil {
				return 0, err
			}
			m.held, from = m.held[:0], at
			continue
		case mark == usage.More && !m.passed && m.reader.Holding() && len(m.held)+n <= maxHeld:
			if _, err := m.forwardUnasked(p[from : at-n]); err != nil {
				return 0, err
			}
			m.held, from = append(m.held, event...), at
			continue
		case mark == usage.End:
			if m.settle(settle.Ended); m.aborted {
				return 0, errUnsettled
			}
		}
		m.passed = mark == usage.More
		if len(m.held) > 0 {
			if _, err := m.forwardUnasked(m.held); err != nil {
				return 0, err
			}
			m.held = m.held[:0]
		}
	}
	if _, err := m.forwardUnasked(p[from:]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ReadFrom copies through Write: a copy that went around the meter would not be metered.
func (m *meter) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{m}, r)
}

// FlushError sends what was written so far to the client.
func (m *meter) FlushError() error {
	if !m.wroteHeader {
		m.WriteHeader(http.StatusOK)
	}
	if m.aborted || m.unheard() || m.keep && m.left < 0 {
		return nil // a reverse proxy flushes an answer of unstated length at every write
	}
	if _, err := m.release(); err != nil {
		return err
	}
	if !m.unflushed || m.flushed && m.Settled() && m.call.Attempt().AnswerRead() {
		return nil // nothing was written since, or the handlers are about to return and the server sends the rest with its end
	}
	m.unflushed, m.flushed = false, true
	m.writing.Store(true)
	defer m.writing.Store(false)
	if m.unheard() {
		return nil
	}
	err := http.NewResponseController(m.ResponseWriter).Flush()
	if err == nil || errors.Is(err, http.ErrNotSupported) || errors.Is(err, caddyhttp.ErrNotImplemented) {
		return err
	}
	// The connection is broken: handled like a failed write.
	m.hangUp()
	return nil
}

// Flush is FlushError for callers that use http.Flusher.
func (m *meter) Flush() {
	// http.Flusher cannot report an error; the next write meets it again.
	_ = m.FlushError()
}

// settle settles the call with the answer so far. If that fails, the answer is cut short.
func (m *meter) settle(how settle.End) {
	if !m.Opened() || m.Settled() || !lawbreak.SettleFirst && how == settle.Ended {
		return
	}
	if m.answering != nil {
		m.endWhole(how)
	}
	a := m.answer(how)
	if !m.bill.settle(&a) {
		m.aborted = true
	}
}

// answer summarizes the answer so far for the settlement.
func (m *meter) answer(how settle.End) settle.Answer {
	a := settle.Answer{
		Framed: m.framed, Bodiless: m.head, Lost: m.lost, Bytes: m.bytes, First: m.first, Reader: m.reader, Encoding: m.encoded,
	}
	if m.status != http.StatusRequestTimeout || m.call.Attempt().Answered() { // a late request body is no hang-up
		a.Hangup = m.label()
	}
	a.Status = m.answerStatus(a.Hangup != "")
	if a.End = how; how == settle.Returned && (m.handlerErr != nil || m.left > 0) {
		a.End = settle.Broken
	}
	return a
}

// answerStatus is the status that was written, or that of the error a handler returned; 0 if the client hung up before any
// backend answered.
func (m *meter) answerStatus(gone bool) int {
	if gone && !m.call.Attempt().Answered() {
		return 0
	}
	status := m.status
	if status == 0 && m.handlerErr != nil {
		status = http.StatusInternalServerError
		if e, ok := errors.AsType[caddyhttp.HandlerError](m.handlerErr); ok && e.StatusCode != 0 {
			status = e.StatusCode
		}
	}
	return status
}

// countUnopened counts a call without a record, as nothing was forwarded.
func (m *meter) countUnopened() {
	if m.Opened() || m.call.Endpoint == nil {
		return
	}
	outcome := record.OutcomeRefused
	if m.call.Endpoint.Billing == llm.Local && m.status < 400 {
		outcome = record.OutcomeLocal
	}
	m.h.metrics.requests.WithLabelValues("", "", outcome).Inc()
}

// returned notes that the handlers returned, with or without an error.
func (m *meter) returned(err error) {
	m.handlerErr = err
	m.how = settle.Returned
}

// finish settles on every way out, before the server ends an answer of unstated length. Panics are not recovered.
func (m *meter) finish() {
	m.detach()
	m.settle(m.how)
	m.countUnopened()
	if m.reader != nil {
		m.reader.Close()
		m.reader = nil
	}
	if !m.aborted {
		m.finishHeld()
	}
	m.endTime()
	if m.answering != nil {
		m.answering.Close()
	}
	// A half-closed client counts as gone but still reads: without the abort, the server would end the part it got as if
	// that were complete.
	if (m.aborted || m.lost) && m.how == settle.Returned {
		panic(http.ErrAbortHandler)
	}
}

// finishHeld sends what is still held back when the handlers return. Errors need no handling: the call is settled, and
// nothing more is written.
func (m *meter) finishHeld() {
	if len(m.held) > 0 && m.how == settle.Returned {
		held := m.held
		m.held = nil
		_, _ = m.forward(held)
	}
	_, _ = m.release()
	m.endTranslated()
}

// Interface guards.
var (
	_ http.ResponseWriter                       = (*meter)(nil)
	_ http.Flusher                              = (*meter)(nil)
	_ io.ReaderFrom                             = (*meter)(nil)
	_ interface{ Unwrap() http.ResponseWriter } = (*meter)(nil)
)
