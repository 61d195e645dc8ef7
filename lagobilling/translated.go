package lagobilling

import (
	"errors"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/settle"
	"github.com/tollgate-llm/tollgate/internal/translate"
)

var errNotWhole = errors.New("the backend's answer was incomplete")

// translates converts a translated attempt's answer to the caller's API after the meter has read it. Usage reader,
// settlement and bounds see the upstream's bytes.
func (m *meter) translates(status int, header http.Header) {
	a := m.call.Attempt()
	if a.Translation() == nil || !a.Answered() {
		return
	}
	m.answering = a.Translation().Begin(status, header.Get("Content-Type"))
	m.keep = m.answering.Whole()
}

// writeTranslated reads usage from p and passes on its translation.
func (m *meter) writeTranslated(p []byte) (int, error) {
	out, err := m.answering.Write(p)
	if err != nil && !m.answering.Whole() { // otherwise it shows again at the end
		m.untranslated(err)
	}
	if m.scan(p); m.answering.Ended() || err != nil && m.answering.Whole() {
		m.settle(settle.Ended) // whether or not the meter has seen an end
	}
	if err != nil && !m.aborted && (m.answering.Whole() || translate.TooLong(err)) {
		return 0, m.breakOff(out)
	}
	switch {
	case m.aborted:
		return 0, errUnsettled
	case m.keep && m.Settled():
		_, err = m.release()
		return len(p), err
	case m.keep || len(out) == 0:
		m.look()
		return len(p), nil
	}
	if _, err := m.forward(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// breakOff reports to the client that its answer is too long. The rest is not read, as it may have no end.
func (m *meter) breakOff(out []byte) error {
	if _, err := m.release(); err != nil {
		return err
	}
	if _, err := m.forward(out); err != nil {
		return err
	}
	return translate.ErrAnswered
}

// endWhole completes an answer that is translated as a whole, before settlement: a client that gets an error instead does not pay.
func (m *meter) endWhole(how settle.End) {
	if !m.answering.Whole() {
		if m.keep && !m.clientGone() {
			m.call.Attempt().SetFailed() // events that were not requested, and cannot be sent to a client of HTTP/1.0
		}
		return
	}
	if how == settle.Broken || how == settle.Returned && m.handlerErr != nil {
		if !m.clientGone() {
			m.call.Attempt().SetFailed() // nothing of it reaches the client
		}
		return
	}
	status, out, err := m.answering.End(nil)
	if err != nil {
		m.untranslated(err)
		m.call.Attempt().SetFailed()
	}
	m.shown, m.translated = status, out
}

// releaseTranslated sends an answer that was translated as a whole.
func (m *meter) releaseTranslated() (int, error) {
	if m.shown == 0 {
		m.lost = true // there is none
		return 0, nil
	}
	h := m.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(m.translated))}
	if cost := m.Record().Cost; cost != "" && m.Settled() {
		h[costHeader] = []string{cost}
	}
	m.sendHeader()
	return m.forward(m.translated)
}

// endTranslated ends a translated stream after settlement: one that broke off with an error event of the caller's API.
func (m *meter) endTranslated() {
	if m.answering == nil || m.answering.Whole() || !m.wroteHeader || m.lost {
		return
	}
	var cause error
	if m.how != settle.Returned || m.handlerErr != nil {
		cause = errNotWhole
	}
	_, out, err := m.answering.End(cause)
	if err != nil && cause == nil {
		m.untranslated(err)
	}
	_, _ = m.forward(out)
	if cause != nil && len(out) > 0 {
		_ = http.NewResponseController(m.ResponseWriter).Flush() // the connection is cut next
	}
}

// untranslated is the error for an answer that cannot be translated.
func (m *meter) untranslated(err error) {
	t := m.Target()
	m.h.logger.Warn("the backend's answer cannot be translated", zap.String("model", t.Model), zap.String("backend", t.Backend),
		zap.String("id", m.call.ID), zap.Error(err))
}
