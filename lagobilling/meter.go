package lagobilling

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

const (
	costHeader = "X-Litellm-Response-Cost"

	// maxHeld bounds the part of an event that is kept back while it may turn out to be the usage chunk that the client
	// did not ask for.
	maxHeld = 16 << 10
	// maxWhole is the longest unstreamed JSON answer that is kept back until it is whole, so that its cost can stand in its
	// header.
	maxWhole = 32 << 10
	// maxUnframed is the longest answer of unstated length that is kept back for a client of HTTP/1.0.
	maxUnframed = 8 << 20
)

var errUnsettled = errors.New("the usage record could not be written: the answer is cut short")

var wholeBodies = sync.Pool{New: func() any { b := make([]byte, 0, maxWhole); return &b }}

// meter is the response writer between the client and the handlers that answer it. Bytes pass at once; a reader of usage
// sees them beside. Only the bytes that complete the answer wait until the call is settled, so that no client has a
// whole answer whose record is not in the spool.
//
// Its methods are called by the request's goroutine, but for hangUp and cutOff.
type meter struct {
	*caddyhttp.ResponseWriterWrapper
	h       *Handler
	account *account.Account
	call    *llm.Call
	repl    *caddy.Replacer
	settlement
	hangup

	reader  *usage.Reader
	encoded string // the Content-Encoding that keeps usage from being read
	events  bool   // the answer is an event stream
	left    int64  // what Content-Length still promises; -1 when it says nothing
	head    bool   // the answer has no body, whatever its header says
	http10  bool   // the client takes the end of its connection for the end of an answer of unstated length

	wroteHeader bool
	unflushed   bool    // something was written since the last flush
	flushed     bool    // the header has gone to the client
	strip       bool    // an include_usage chunk that the client did not ask for is kept from it
	held        []byte  // the beginning of an event that may be that chunk
	passed      bool    // the beginning of the event under way has gone to the client
	whole       *[]byte // the answer so far, while it is kept back until it is whole
	keep        bool    // header and body are kept back until the answer is whole
	aborted     bool    // the record could not be written: the client must not get the end of its answer
	lost        bool    // a part of the answer was not sent, as the client was taken to be gone
	rest        int64   // how much more of the answer is read once its client is gone and its end is in sight; 0 until then
}

func newMeter(h *Handler, account *account.Account, call *llm.Call, w http.ResponseWriter, r *http.Request) *meter {
	m := &meter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		h:                     h,
		account:               account,
		call:                  call,
		head:                  r.Method == http.MethodHead,
		http10:                !r.ProtoAtLeast(1, 1),
		left:                  -1,
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		m.repl = repl
		repl.Map(m.placeholder)
	} else {
		m.repl = caddy.NewEmptyReplacer()
	}
	call.Metered = true
	call.Open = m.open
	call.OnAdmit(m.resolve)
	call.Quote = h.quote
	call.OnSettle(h.metrics.observe)
	if h.rejectPrice {
		call.Priced = h.priced
	}
	if r.Method != http.MethodPost { // as models are listed
		call.ListPrices = h.tariff.List
	}
	return m
}

// WriteHeader takes the status. A 1xx is not the answer's own and passes.
func (m *meter) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		if !m.clientGone() {
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
	if m.opened {
		m.prepare(status, m.Header())
	}
	if !m.keep && !m.aborted {
		m.sendHeader()
	}
}

func (m *meter) sendHeader() {
	if m.clientGone() {
		m.lost = true
		return
	}
	m.unflushed = true
	m.ResponseWriter.WriteHeader(m.status)
}

// prepare decides, with the answer's header known, how its body is read.
func (m *meter) prepare(status int, header http.Header) {
	if text := header.Get("Content-Length"); text != "" {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
			m.left = n
		}
	}
	if m.head || status == http.StatusNoContent || status == http.StatusNotModified || m.left == 0 {
		m.settle(ended)
		return
	}
	if failure(status) || m.call.Endpoint == nil || m.call.Endpoint.Billing != llm.Billable || m.call.Endpoint.Reader == usage.NotBillable {
		return
	}
	m.keep = m.unframed()
	if e := header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		m.encoded = e
		return
	}
	contentType := header.Get("Content-Type")
	media := mediaType(contentType)
	m.events = media == "text/event-stream"
	m.framed = m.events || strings.HasSuffix(media, "json")
	t := m.target()
	m.reader = usage.NewReader(usage.Options{
		API: m.call.Endpoint.Reader, Provider: t.Provider, Status: status, ContentType: contentType,
		Header: header, Model: t.Upstream, BaseURL: t.BaseURL, Priced: len(t.Prices) > 0,
	})
	m.strip = m.call.Attempt().UsageInjected() && status == http.StatusOK && media == "text/event-stream"
	if m.strip && m.left >= 0 {
		header.Del("Content-Length")
		m.left = -1
	}
	m.keep = m.keep || status == http.StatusOK && m.left <= maxWhole && media == "application/json" && (m.left > 0 || !m.call.Request.Stream)
}

// mediaType returns the media type of a Content-Type, in lower case and without parameters; empty when it is none.
func mediaType(contentType string) string {
	if contentType == "application/json" { // what most answers say
		return contentType
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	return media
}

// Write reads usage out of p and passes it on. It says that all was written also when the client is gone: the upstream is
// then read for its usage alone, until that is complete or hangup cancels it.
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
	if m.strip {
		return m.writeStripped(p)
	}
	m.scan(p)
	if m.left >= 0 {
		if m.left -= int64(len(p)); m.left <= 0 {
			m.settle(ended)
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

// scan shows p to the reader and settles where the answer ends in it.
func (m *meter) scan(p []byte) {
	for m.reader != nil && !m.settled && len(p) > 0 {
		n, mark := m.reader.Next(p)
		if mark == usage.End {
			m.settle(ended)
			return
		}
		if n <= 0 || mark == usage.More {
			return
		}
		p = p[n:]
	}
}

// forward passes p to the client. A client that takes no more bytes has hung up.
func (m *meter) forward(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	m.look()
	m.writing.Store(true) // before the look at clientGone: a hang-up ends a write that is under way
	defer m.writing.Store(false)
	if m.clientGone() {
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

// writeWhole keeps p back until the answer is whole, and then sends header and body. An answer that comes in one piece,
// as most do, is not copied.
func (m *meter) writeWhole(p []byte) (int, error) {
	if m.waits(p) {
		if m.lost {
			return len(p), nil
		}
		if m.whole == nil {
			m.whole = wholeBodies.Get().(*[]byte)
		}
		*m.whole = append(*m.whole, p...)
		return len(p), nil
	}
	if _, err := m.release(); err != nil {
		return 0, err
	}
	return m.forward(p)
}

// unframed reports whether the client could not tell the answer's end from a broken connection. Such an answer is kept back
// until it can be sent with its length.
func (m *meter) unframed() bool { return m.http10 && m.left < 0 && !m.head }

// waits reports whether the answer is not whole with p. One of unstated length is given up when it grows too long, or when
// it begins with anything but an object: white space keeps a connection alive, and a list is a stream.
func (m *meter) waits(p []byte) bool {
	if m.unframed() {
		if m.whole != nil && len(*m.whole)+len(p) > maxUnframed || len(p) > maxUnframed {
			m.lost, m.whole = true, nil // it is read on for its usage
		}
		return true
	}
	if m.left >= 0 || m.settled {
		return m.left > 0
	}
	if m.whole == nil || len(*m.whole) == 0 {
		return len(p) == 0 || p[0] == '{' && len(p) <= maxWhole
	}
	return len(*m.whole)+len(p) <= maxWhole
}

// release sends what was kept back, with the call's cost if that is known.
func (m *meter) release() (int, error) {
	if !m.keep {
		return 0, nil
	}
	m.keep = false
	if m.unframed() {
		if m.how != answered || m.lost {
			m.lost = true // what came of it would pass for the whole
			return 0, nil
		}
		n := 0
		if m.whole != nil {
			n = len(*m.whole)
		}
		m.Header()["Content-Length"] = []string{strconv.Itoa(n)}
	}
	if cost := m.record.Cost; cost != "" && m.settled {
		m.Header()[costHeader] = []string{cost}
	}
	m.sendHeader()
	if m.whole == nil {
		return 0, nil
	}
	n, err := m.forward(*m.whole)
	if *m.whole = (*m.whole)[:0]; cap(*m.whole) <= 2*maxWhole {
		wholeBodies.Put(m.whole)
	}
	m.whole = nil
	return n, err
}

// writeStripped passes a stream on without the usage chunk that the gateway asked for and the client did not.
func (m *meter) writeStripped(p []byte) (int, error) {
	from, at := 0, 0 // p[from:at] may pass
	for at < len(p) && !m.settled {
		n, mark := m.reader.Next(p[at:])
		if n <= 0 {
			n, mark = len(p)-at, usage.More
		}
		event := p[at : at+n]
		at += n
		switch {
		case mark == usage.UsageOnly && !m.passed:
			if _, err := m.forward(p[from : at-n]); err != nil {
				return 0, err
			}
			m.held, from = m.held[:0], at
			continue
		case mark == usage.More && !m.passed && m.reader.Holding() && len(m.held)+n <= maxHeld:
			if _, err := m.forward(p[from : at-n]); err != nil {
				return 0, err
			}
			m.held, from = append(m.held, event...), at
			continue
		case mark == usage.End:
			if m.settle(ended); m.aborted {
				return 0, errUnsettled
			}
		}
		m.passed = mark == usage.More
		if len(m.held) > 0 {
			if _, err := m.forward(m.held); err != nil {
				return 0, err
			}
			m.held = m.held[:0]
		}
	}
	if _, err := m.forward(p[from:]); err != nil {
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
	if m.aborted || m.clientGone() || m.keep && m.left < 0 {
		return nil // an answer of unstated length is flushed at every write, whether that matters or not
	}
	if _, err := m.release(); err != nil {
		return err
	}
	if !m.unflushed || m.flushed && m.settled && m.call.Attempt().AnswerRead() {
		return nil // nothing was written since; or the handlers return now, and the server sends the rest with its own end
	}
	m.unflushed, m.flushed = false, true
	m.writing.Store(true)
	defer m.writing.Store(false)
	if m.clientGone() {
		return nil
	}
	err := http.NewResponseController(m.ResponseWriter).Flush()
	if err == nil || errors.Is(err, http.ErrNotSupported) || errors.Is(err, caddyhttp.ErrNotImplemented) {
		return err
	}
	// The connection is broken: the upstream is read on, or cancelled, as after a failed write.
	m.hangUp()
	return nil
}

// Flush is FlushError for callers that know http.Flusher alone.
func (m *meter) Flush() {
	// http.Flusher has no way to tell an error; the next write meets it again.
	_ = m.FlushError()
}

// returned says that the handlers answered to the end, with or without an error.
func (m *meter) returned(err error) {
	m.handlerErr = err
	m.how = answered
}

// finish settles on every way out, before the server sends what ends an answer of unstated length. A panic of the handlers
// passes on by itself, as nothing is recovered here.
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
	// A client that closed only its sending half is taken for gone, but still reads: without the abort, the server would
	// end what it got as if that were whole.
	if (m.aborted || m.lost) && m.how == answered {
		panic(http.ErrAbortHandler)
	}
}

// finishHeld sends what a handler left behind by returning early. Errors need no handling: the call is settled, and nothing
// more is written to a connection that fails here.
func (m *meter) finishHeld() {
	if len(m.held) > 0 && m.how == answered {
		held := m.held
		m.held = nil
		_, _ = m.forward(held)
	}
	_, _ = m.release()
}

// Interface guards.
var (
	_ http.ResponseWriter                       = (*meter)(nil)
	_ http.Flusher                              = (*meter)(nil)
	_ io.ReaderFrom                             = (*meter)(nil)
	_ interface{ Unwrap() http.ResponseWriter } = (*meter)(nil)
)
