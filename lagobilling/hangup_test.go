package lagobilling

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/settle"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// hangUpAfter sends a call and hangs up once the answer's header has come, or at once when the answer has none yet. began
// is closed by the answering handler.
func hangUpAfter(b *bench, rt route, began <-chan struct{}, header bool) {
	b.t.Helper()
	b.use(rt)
	ctx, hangUp := context.WithCancel(b.t.Context())
	defer hangUp()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.server.URL+"/v1/chat/completions", http.NoBody)
	require.NoError(b.t, err)
	if header {
		res, err := b.server.Client().Do(req)
		require.NoError(b.t, err)
		hangUp()
		_, err = io.Copy(io.Discard, res.Body)
		require.Error(b.t, err)
		require.NoError(b.t, res.Body.Close())
		return
	}
	go func() {
		<-began
		hangUp()
	}()
	res, err := b.server.Client().Do(req)
	if err == nil {
		require.NoError(b.t, res.Body.Close())
	}
	require.Error(b.t, err)
}

// upstream is an answer that ends as a reverse proxy's does: whole when it was read to its end, broken off when its
// context ends before.
func upstream(gone <-chan struct{}, header bool, began chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := llm.FromContext(r.Context()).Attempt()
		if header {
			a.SetAnswered()
			chunked(stream, sseStart)(w, r)
		}
		a.Write().Done()
		close(began)
		select {
		case <-r.Context().Done():
			if !header { // as llmroute answers when no backend did
				w.WriteHeader(llm.StatusClientGone)
				return
			}
			panic(http.ErrAbortHandler)
		case <-gone:
			a.SetAnswered()
		}
		if header {
			chunked(stream, sseUsage, sseDone)(w, r)
			return
		}
		plain("application/json", jsonAnswer)(w, r)
	}
}

func TestHangUp(t *testing.T) {
	cases := []struct {
		name     string
		handler  Handler
		drain    bool // the provider bills on
		streamed bool
		http2    bool
		hangup   string
		source   usage.Source
	}{
		{name: "auto cancels where that stops the bill", streamed: true, hangup: settle.Cancelled, source: usage.Estimated},
		{name: "auto drains where it does not", drain: true, streamed: true, hangup: settle.Drained, source: usage.Reported},
		{name: "drain", handler: Handler{OnDisconnect: "drain", DrainTimeout: "1h"}, streamed: true, hangup: settle.Drained, source: usage.Reported},
		{name: "cancel", handler: Handler{OnDisconnect: "cancel"}, drain: true, streamed: true, hangup: settle.Cancelled, source: usage.Estimated},
		{name: "drain ends in time", handler: Handler{OnDisconnect: "drain", DrainTimeout: "1ms"}, streamed: true, hangup: settle.Cancelled, source: usage.Estimated},
		{name: "no slot to drain", handler: Handler{MaxDrains: "0"}, drain: true, streamed: true, hangup: settle.Cancelled, source: usage.Estimated},
		{name: "HTTP/2, drained", drain: true, streamed: true, http2: true, hangup: settle.Drained, source: usage.Reported},
		{name: "HTTP/2, cancelled", streamed: true, http2: true, hangup: settle.Cancelled, source: usage.Estimated},
		{name: "unstreamed, cancelled", hangup: settle.Cancelled, source: usage.Estimated},
		{name: "unstreamed, drained", drain: true, hangup: settle.Drained, source: usage.Reported},
	}
	for _, c := range cases {
		start := newBench
		if c.http2 {
			start = newBench2
		}
		t.Run(c.name, func(t *testing.T) {
			b := start(t, &c.handler)
			if c.hangup == settle.Cancelled {
				b.handler.bounds.restTime = time.Millisecond // the answer's end is in sight
			}
			gone, began := make(chan struct{}), make(chan struct{})
			rt := chatRoute(upstream(gone, c.streamed, began))
			target := *rt.target
			target.Drain = c.drain
			rt.target, rt.silent = &target, true
			done := make(chan struct{})
			go func() {
				defer close(done)
				if c.hangup == settle.Drained {
					// The provider goes on when the slot is claimed, that is, when the meter knows of the hang-up.
					require.Eventually(t, func() bool { return b.account.Drains() == 1 }, 10*time.Second, time.Millisecond)
					close(gone)
				}
			}()
			hangUpAfter(b, rt, began, c.streamed)
			e := b.only()
			<-done
			require.Equal(t, record.OutcomeClientGone, e.Outcome)
			require.Equal(t, c.hangup, e.Hangup)
			require.Equal(t, 1, e.Attempts)
			require.Equal(t, c.source, e.Source)
			require.Len(t, e.Events, 1, "who hangs up pays for what was used")
			if c.source == usage.Reported {
				require.EqualValues(t, 1050, e.Counts.InputTokens()+e.Counts.OutputTokens())
			}
			require.Zero(t, b.account.Drains(), "the slot is free again")
		})
	}
}

// brokenPipe is a client whose connection breaks before the server has noticed.
type brokenPipe struct{ http.ResponseWriter }

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }
func (brokenPipe) FlushError() error         { return errors.New("broken pipe") }

// TestHangUpSeenByAWrite reads the upstream to its end also where a write or a flush is the first to see that the client
// is gone.
func TestHangUpSeenByAWrite(t *testing.T) {
	for name, touch := range map[string]func(http.ResponseWriter) error{
		"flush": func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() },
		"write": func(w http.ResponseWriter) error { _, err := io.WriteString(w, sseStart); return err },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, &Handler{OnDisconnect: "drain", DrainTimeout: "1h"})
			b.wrap = func(w http.ResponseWriter) http.ResponseWriter { return brokenPipe{w} }
			_, _, err := b.post(chatRoute(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", stream)
				assert.NoError(t, touch(w), "the upstream must not be given up")
				chunked(stream, sseStart, sseUsage, sseDone)(w, r)
			}))
			require.Error(t, err, "a part is missing: what came must not look whole")
			e := b.only()
			require.Equal(t, record.OutcomeClientGone, e.Outcome)
			require.Equal(t, settle.Drained, e.Hangup)
			require.Equal(t, usage.Reported, e.Source)
		})
	}
}

func TestHangUpBeforeForwarding(t *testing.T) {
	b := newBench(t, &Handler{})
	rt := chatRoute(nil)
	m := newMeter(b.handler, b.account, newCall(rt), httptestWriter(), newRequest(t))
	m.attach(t.Context(), newRequest(t))
	m.hangUp()
	refusal := m.open(t.Context(), m.call)
	require.NotNil(t, refusal)
	require.Equal(t, 499, refusal.Status)
	m.finish()
	require.Empty(t, b.records())
}

// TestHangUpBeforeAnythingWasSent is a client that leaves while the backend is dialled: what was not called is not billed.
func TestHangUpBeforeAnythingWasSent(t *testing.T) {
	b := newBench(t, &Handler{})
	began := make(chan struct{})
	rt := chatRoute(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		w.WriteHeader(llm.StatusClientGone)
	})
	rt.silent = true
	hangUpAfter(b, rt, began, false)
	e := b.only()
	require.Equal(t, record.OutcomeClientGone, e.Outcome)
	require.Equal(t, record.NotBilledUnsent, e.NotBilled)
	require.Empty(t, e.Events)
}
