package llmroute

import (
	"fmt"
	"io"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// TestSent tells whether a provider has the call, which is billed then though its client hears no more of it.
func TestSent(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	for name, tt := range map[string]struct {
		backends []string
		sent     bool
	}{
		"answered": {[]string{u.URL}, true}, "the first could not be dialled": {[]string{broken(t, "dial"), u.URL}, true},
		"none could be dialled": {[]string{broken(t, "dial"), broken(t, "dial")}, false}, "the last could not be dialled": {[]string{broken(t, "reset"), broken(t, "dial")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			text := "llmroute {\nmodel m {\n"
			for i, url := range tt.backends {
				text += fmt.Sprintf("backend openai %s {\norder %d\n}\n", url, i)
			}
			g := start(t, text+"}\n}")
			g.post(t, "/v1/chat/completions", chat)
			call := g.last()
			if tt.sent {
				require.Eventually(t, call.Attempt().Sent, 10*time.Second, time.Millisecond)
			}
			require.Equal(t, tt.sent, call.Attempt().Sent())
		})
	}
}

// TestSentBesideAnotherTrace keeps the traces that are there.
func TestSentBesideAnotherTrace(t *testing.T) {
	written, connected := 0, 0
	for _, before := range []*httptrace.ClientTrace{nil, {}, {
		GetConn:      func(string) { connected++ },
		WroteRequest: func(httptrace.WroteRequestInfo) { written++ },
	}} {
		ctx, sent := t.Context(), new(llm.Attempt)
		if before != nil {
			ctx = httptrace.WithClientTrace(ctx, before)
		}
		trace := httptrace.ContextClientTrace((&attempt{Attempt: sent, payload: new(body.Payload)}).watch(ctx))
		wrote := trace.WroteRequest
		trace.GetConn("first:443")
		wrote(httptrace.WroteRequestInfo{Err: io.ErrClosedPipe})
		require.False(t, sent.Sent())
		wrote(httptrace.WroteRequestInfo{})
		require.True(t, sent.Sent())
		trace.GetConn("again:443")
		require.False(t, sent.Sent(), "the connection had been closed, so it is made again")
		wrote(httptrace.WroteRequestInfo{})
		require.True(t, sent.Sent())
	}
	require.Equal(t, []int{3, 2}, []int{written, connected})
}

// TestSentAnew holds that a request whose writer ends late says nothing of the one that follows it within the same attempt.
func TestSentAnew(t *testing.T) {
	ctx, sent := t.Context(), new(llm.Attempt)
	a := &attempt{Attempt: sent, payload: new(body.Payload)}
	first := httptrace.ContextClientTrace(a.watch(ctx))
	first.GetConn("one:80")
	first.GotConn(httptrace.GotConnInfo{Conn: new(wire)})
	second := httptrace.ContextClientTrace(a.watch(ctx))
	second.GetConn("two:80")
	late := make(chan struct{})
	go func() {
		defer close(late)
		first.WroteRequest(httptrace.WroteRequestInfo{})
	}()
	to := &wire{Conn: new(meteredConn)}
	second.GotConn(httptrace.GotConnInfo{Conn: to})
	<-late
	require.False(t, sent.Sent())
	require.Nil(t, to.awaiting.Load())
	to.written.Add(1)
	second.WroteRequest(httptrace.WroteRequestInfo{})
	require.True(t, sent.Sent())
}
