package lagobilling

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/settle"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

const sseFinish = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"

// endless is a provider that has answered up to a point, and then sends filler until it is cancelled, or, without any, waits for that.
func endless(contentType, head, filler string, cancelled chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := llm.FromContext(r.Context()).Attempt()
		a.SetAnswered()
		a.Write().Done()
		chunked(contentType, head)(w, r)
		for filler != "" && r.Context().Err() == nil {
			_, _ = io.WriteString(w, filler)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
		close(cancelled)
		panic(http.ErrAbortHandler)
	}
}

// TestRestIsBounded leaves answers whose end is in sight and never comes: what is read of them is bounded in time and in bytes, also where
// answers are read on for an hour.
func TestRestIsBounded(t *testing.T) {
	const long = time.Hour
	for name, c := range map[string]struct {
		bounds       bounds
		policy       string
		contentType  string
		head, filler string
		until        string
	}{
		"time":                       {bounds{restTime: time.Millisecond, restBytes: 1 << 40, restBody: 1 << 40}, "drain", stream, sseStart + sseFinish, "", "stop"},
		"time, to cancel":            {bounds{restTime: time.Millisecond, restBytes: 1 << 40, restBody: 1 << 40}, "cancel", stream, sseStart + sseFinish, "", "stop"},
		"bytes of a stream":          {bounds{restTime: long, restBytes: 100, restBody: 1 << 40}, "drain", stream, sseStart + sseFinish, ": comment\n\n", "stop"},
		"bytes of one event":         {bounds{restTime: long, restBytes: 100_000, restBody: 1 << 40}, "drain", stream, sseStart + sseFinish + "data: ", strings.Repeat("x", 1000), "stop"},
		"bytes of a body":            {bounds{restTime: long, restBytes: 1 << 40, restBody: 100_000}, "drain", "application/json", `{"choices":[{"message":{"content":"Hi`, strings.Repeat("x", 1000), "Hi"},
		"time of a body, to cancel":  {bounds{restTime: time.Millisecond, restBytes: 1 << 40, restBody: 1 << 40}, "cancel", "application/json", `{"choices":[{"message":{"content":"Hi`, "", "Hi"},
		"time of a body, drained on": {bounds{restTime: time.Millisecond, restBytes: 1 << 40, restBody: 1 << 40}, "drain", "application/json", `{"choices":[{"message":{"content":"Hi`, "", "Hi"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, &Handler{OnDisconnect: c.policy, DrainTimeout: "1h"})
			b.handler.bounds = c.bounds
			b.handler.bounds.stallTime, b.handler.bounds.stallStep = long, long
			cancelled := make(chan struct{})
			rt := chatRoute(endless(c.contentType, c.head, c.filler, cancelled))
			rt.silent, rt.request.Stream = true, true // no piece of the answer is kept back
			b.use(rt)
			res, err := b.client.Post(b.url+"/v1/chat/completions", "application/json", http.NoBody)
			require.NoError(t, err)
			for got := make([]byte, 0, 1024); !bytes.Contains(got, []byte(c.until)); {
				n, err := res.Body.Read(got[len(got):min(len(got)+1, cap(got))])
				require.NoError(t, err)
				got = got[:len(got)+n]
			}
			require.NoError(t, res.Body.Close())
			<-cancelled
			e := b.only()
			require.Equal(t, record.OutcomeClientGone, e.Outcome)
			require.Equal(t, settle.Cancelled, e.Hangup)
			require.Equal(t, usage.Estimated, e.Source)
			require.Len(t, e.Events, 1)
			require.Zero(t, b.account.Drains())
		})
	}
}

// TestClientThatTakesNothing never reads its answer, and never closes: it is taken for gone once it has taken no byte for the time that it
// has, and the provider is cancelled.
func TestClientThatTakesNothing(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *Handler) *bench{"HTTP/1.1": newBench, "HTTP/2": newBench2} {
		for filler, piece := range map[string]string{"events": "data: " + strings.Repeat("x", 60_000) + "\n\n", "one event": strings.Repeat("x", 60_000)} {
			t.Run(name+", "+filler, func(t *testing.T) {
				b := start(t, &Handler{OnDisconnect: "cancel"})
				b.handler.bounds.stallTime, b.handler.bounds.stallStep = 20*time.Millisecond, 0
				cancelled := make(chan struct{})
				rt := chatRoute(endless(stream, sseStart+"data: ", piece, cancelled))
				rt.silent = true
				b.use(rt)
				res, err := b.client.Post(b.url+"/v1/chat/completions", "application/json", http.NoBody)
				require.NoError(t, err)
				<-cancelled
				e := b.only()
				require.NoError(t, res.Body.Close())
				require.Equal(t, record.OutcomeClientGone, e.Outcome)
				require.Equal(t, settle.Cancelled, e.Hangup)
				require.Equal(t, usage.Estimated, e.Source)
				require.Len(t, e.Events, 1)
			})
		}
	}
}

// TestBoundedByTheServer shows when writes need no time limit of the meter's: where the server's own is as short.
func TestBoundedByTheServer(t *testing.T) {
	for _, c := range []struct {
		idle *caddyhttp.IdleTimeoutWriter
		want bool
	}{
		{nil, false},
		{&caddyhttp.IdleTimeoutWriter{Deadline: caddyhttp.IdleDeadline{Timeout: time.Minute}}, true},
		{&caddyhttp.IdleTimeoutWriter{Deadline: caddyhttp.IdleDeadline{Timeout: time.Hour}}, false},
		{&caddyhttp.IdleTimeoutWriter{Deadline: caddyhttp.IdleDeadline{Timeout: time.Minute, MinRate: 1}}, false}, // grows with what was sent
	} {
		ctx := caddyhttp.ContextWithIdleTimeouts(t.Context(), nil, c.idle)
		require.Equal(t, c.want, bounded(ctx, 2*time.Minute))
	}
}
