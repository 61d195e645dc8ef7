package llmroute

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// dial sends the head of a request to a gateway and a part of its body. A negative length is left out: the body is chunked.
func dial(t *testing.T, g *gateway, path, kind, part string, length int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", g.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	size := fmt.Sprintf("Content-Length: %d\r\n", length)
	if length < 0 {
		size, part = "Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
	}
	_, err = io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: h\r\nContent-Type: "+kind+"\r\n"+size+"\r\n")
	require.NoError(t, err)
	_, _ = io.WriteString(conn, part) // a refusal may come before its end
	return conn
}

// answerOn reads an answer; its status is 0 when the connection ends instead.
func answerOn(conn net.Conn) (status int, body string, closed bool) {
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err.Error(), true
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), resp.Close
}

const stalledForm = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\n" +
	"Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"

// TestStalledBodies has 40 clients announce 30 MB, send the first of it and stall. Two buffers of 32 MB may be arriving; each
// client's has grown to 2 MB when it stalls, so 30 have room at most.
func TestStalledBodies(t *testing.T) {
	const clients, room, announced = 40, 64_000_000, 30_000_000
	part := strings.Repeat(" ", body.FirstRead+1)
	u := newUpstream(t, respond(200, answered))
	g := start(t, "llmroute {\nmax_bodies 64MB\nbody_timeout 10m\nmodel m {\nbackend openai "+u.URL+"\n}\n}")
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)

	type answer struct {
		status int
		body   string
	}
	answers := make(chan answer, clients)
	conns := make([]net.Conn, clients)
	for i := range conns {
		conns[i] = dial(t, g, "/v1/chat/completions", "application/json", part, announced)
		go func() {
			status, body, _ := answerOn(conns[i])
			answers <- answer{status, body}
		}()
	}
	said := 0
	for range clients - room/(2*body.FirstRead) {
		if a := <-answers; a.status != 0 { // a client that still sends may see the connection's end alone
			said++
			require.Equal(t, http.StatusServiceUnavailable, a.status, a.body)
			require.Contains(t, a.body, `"type":"service_unavailable"`)
		}
	}
	require.Positive(t, said)
	require.LessOrEqual(t, bodiesHeld.Load(), int64(room))
	require.LessOrEqual(t, bodiesArriving.Load(), int64(room))
	require.Greater(t, bodiesArriving.Load(), int64(room/2), "the others wait for the rest of their bodies")
	runtime.GC()
	runtime.ReadMemStats(&during)
	require.Less(t, int64(during.HeapAlloc)-int64(before.HeapAlloc), int64(room+16_000_000), "what counts is what is held")

	resp, body := g.post(t, "/v1/chat/completions", chat)
	require.Equal(t, 200, resp.StatusCode, "a normal call passes: %s", body)

	for _, conn := range conns {
		require.NoError(t, conn.Close())
	}
	require.Eventually(t, func() bool { return bodiesHeld.Load() == 0 && bodiesArriving.Load() == 0 }, time.Minute, time.Millisecond)
	large := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("y", announced) + `"}]}`
	resp, body = g.post(t, "/v1/chat/completions", large)
	require.Equal(t, 200, resp.StatusCode, "their room is free again: %s", body)
}

// TestOneKeyLeavesRoomForOthers has a key stall with a large body: its next ones are refused, those of another key have room, and so have
// its own small ones.
func TestOneKeyLeavesRoomForOthers(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	g := start(t, "llmroute {\nmax_body 1MB\nmax_bodies 2MB\nbody_timeout 10m\nmodel m {\nbackend openai "+u.URL+"\n}\n}")
	var who atomic.Pointer[llm.Identity]
	g.prepare = func(c *llm.Call) { c.Keyed, c.Metered, c.Identity = true, true, who.Load() }
	a, b := &llm.Identity{KeyHash: "a"}, &llm.Identity{KeyHash: "b"}
	large := func(n int) string {
		return `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("y", n) + `"}]}`
	}
	who.Store(a)
	stalled := dial(t, g, "/v1/chat/completions", "application/json", large(70_000)[:70_000], 900_000)
	require.Eventually(t, func() bool { return bodiesArriving.Load() > 0 }, time.Minute, time.Millisecond)
	for _, n := range []int{200_000, 900_000} {
		resp, body := g.post(t, "/v1/chat/completions", large(n))
		require.Equal(t, http.StatusTooManyRequests, resp.StatusCode, body)
		require.Equal(t, "1", resp.Header.Get("Retry-After"))
		require.Contains(t, body, `"type":"rate_limit_error"`)
	}
	resp, body := g.post(t, "/v1/chat/completions", chat)
	require.Equal(t, 200, resp.StatusCode, body)
	who.Store(b)
	resp, body = g.post(t, "/v1/chat/completions", large(990_000))
	require.Equal(t, 200, resp.StatusCode, body)
	require.NoError(t, stalled.Close())
	require.Eventually(t, func() bool { return bodiesArriving.Load() == 0 && bodiesHeld.Load() == 0 }, time.Minute, time.Millisecond)
	bodiesOf.mu.Lock()
	require.Empty(t, bodiesOf.of, "nothing is kept of keys without bodies")
	bodiesOf.mu.Unlock()
	who.Store(a)
	resp, body = g.post(t, "/v1/chat/completions", large(990_000))
	require.Equal(t, 200, resp.StatusCode, body)
}

// TestArrivedBodiesAreHeld holds that a body counts until its call is over, and that none is taken beyond max_bodies.
func TestArrivedBodiesAreHeld(t *testing.T) {
	asked, release := make(chan struct{}, 8), make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		<-release
		respond(200, answered)(w, r)
	})
	g := start(t, "llmroute {\nmax_body 1MB\nmax_bodies 2MB\nmodel m {\nbackend openai "+u.URL+"\n}\n}")
	large := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("y", 900_000) + `"}]}`
	statuses := make(chan int, 2)
	for range cap(statuses) {
		go func() {
			resp, err := http.Post(g.URL+"/v1/chat/completions", "application/json", strings.NewReader(large))
			if err != nil {
				statuses <- 0
				return
			}
			_ = resp.Body.Close()
			statuses <- resp.StatusCode
		}()
		<-asked
	}
	resp, body := g.post(t, "/v1/messages", strings.Replace(large, "{", `{"max_tokens":9,`, 1))
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, body)
	require.Equal(t, "1", resp.Header.Get("Retry-After"))
	require.Contains(t, body, `"type":"error"`, "in Anthropic's shape")
	close(release)
	for range cap(statuses) {
		require.Equal(t, 200, <-statuses)
	}
	require.Eventually(t, func() bool { return bodiesHeld.Load() == 0 }, time.Minute, time.Millisecond)
}

// TestLateBodies has clients stall at every point of every kind of body: each gets 408 in its own shape, and its connection ends.
func TestLateBodies(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		respond(200, answered)(w, r)
	})
	g := start(t, "llmroute {\nbody_timeout 1s\nmodel m {\nbackend openai "+u.URL+"\n}\n}")
	const form = "multipart/form-data; boundary=b"
	type stalled struct {
		path, kind, part string
		length           int
	}
	conns := make(map[string]net.Conn)
	tests := map[string]stalled{
		"nothing sent":            {"/v1/chat/completions", "application/json", "", 30_000_000},
		"a little left":           {"/v1/chat/completions", "application/json", `{"model":"m"`, 100},
		"chunked":                 {"/v1/chat/completions", "application/json", `{"model":"m"`, -1},
		"Anthropic's":             {"/v1/messages", "application/json", `{"model":"m"`, 100},
		"a form":                  {"/v1/audio/transcriptions", form, stalledForm + "x", 100_000},
		"a form on its way":       {"/v1/audio/transcriptions", form, stalledForm + strings.Repeat("x", 3_000_000), 9_000_000},
		"a form, chunked, on way": {"/v1/audio/transcriptions", form, stalledForm + strings.Repeat("x", 3_000_000), -1},
	}
	for name, tt := range tests {
		conns[name] = dial(t, g, tt.path, tt.kind, tt.part, tt.length)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status, body, closed := answerOn(conns[name])
			require.Equal(t, http.StatusRequestTimeout, status, body)
			require.Contains(t, body, "body_timeout")
			require.Equal(t, strings.HasSuffix(tt.path, "messages"), strings.Contains(body, `"type":"error"`), body)
			require.True(t, closed)
		})
	}
	require.Eventually(t, func() bool { return bodiesHeld.Load() == 0 && bodiesArriving.Load() == 0 }, time.Minute, time.Millisecond)
}

// TestTimeLimitIsOfTheBody holds that neither an answer that takes longer than body_timeout is cut off nor a slow body, by
// default. That a stalled body has timed out tells that the time is over.
func TestTimeLimitIsOfTheBody(t *testing.T) {
	asked, release := make(chan struct{}, 8), make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		<-release
		respond(200, answered)(w, r)
	})
	config := "model m {\nbackend openai " + u.URL + "\n}\n}"
	g, usual := start(t, "llmroute {\nbody_timeout 1s\n"+config), start(t, "llmroute {\n"+config)
	long := dial(t, g, "/v1/chat/completions", "application/json", chat, len(chat))
	<-asked
	slow := dial(t, usual, "/v1/chat/completions", "application/json", chat[:9], len(chat))
	status, body, _ := answerOn(dial(t, g, "/v1/chat/completions", "application/json", chat[:9], len(chat)))
	require.Equal(t, http.StatusRequestTimeout, status, body)
	close(release)
	_, err := io.WriteString(slow, chat[9:])
	require.NoError(t, err)
	for _, conn := range []net.Conn{long, slow} {
		status, body, closed := answerOn(conn)
		require.Equal(t, 200, status, body)
		require.False(t, closed)
		_, err := io.WriteString(conn, fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(chat), chat))
		require.NoError(t, err)
		status, body, _ = answerOn(conn)
		require.Equal(t, 200, status, "the connection takes another call: %s", body)
	}
}

// deadlines is a connection that notes what read deadlines are set.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// TestTimeLimitFromTheSecondRead shows when body_timeout bounds the reads of a body: from the first one, unless the server bounds each
// read as closely. A body that comes in one read needs no more than that.
func TestTimeLimitFromTheSecondRead(t *testing.T) {
	for _, tt := range []struct {
		name  string
		idle  *caddyhttp.IdleTimeoutReader
		parts int
		want  []bool // of each deadline that is set after as many reads: whether it is one
	}{
		{"no idle timeout", nil, 1, []bool{true, false}},
		{"a long one", idleAfter(time.Hour, 0), 1, []bool{true, false}},
		{"one that grows", idleAfter(time.Minute, 100), 1, []bool{true, false}},
		{"a short one", idleAfter(time.Minute, 0), 1, nil},
		{"a short one, two reads", idleAfter(time.Minute, 0), 2, []bool{true, false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &Handler{bodyTimeout: time.Minute, maxBodies: 1 << 20, maxArriving: 1 << 20}
			conn := &deadlines{ResponseWriter: httptest.NewRecorder()}
			var body []io.Reader
			for range tt.parts {
				body = append(body, iotest.DataErrReader(strings.NewReader("part")))
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", io.MultiReader(body...))
			r = r.WithContext(caddyhttp.ContextWithIdleTimeouts(r.Context(), tt.idle, nil))
			a := h.arrive(conn, r, nil)
			begun := time.Now()
			got, err := io.ReadAll(a)
			require.NoError(t, err)
			require.Equal(t, strings.Repeat("part", tt.parts), string(got))
			a.over()
			require.Len(t, conn.set, len(tt.want))
			for i, limit := range tt.want {
				require.Equal(t, limit, !conn.set[i].IsZero())
				require.False(t, limit && conn.set[i].After(begun.Add(time.Minute)), "the time counts from the start")
			}
		})
	}
}

func idleAfter(d time.Duration, rate int64) *caddyhttp.IdleTimeoutReader {
	return &caddyhttp.IdleTimeoutReader{Deadline: caddyhttp.IdleDeadline{Timeout: d, MinRate: rate}}
}

func TestMaxBodiesHasRoomForTwo(t *testing.T) {
	_, err := provision(t, "llmroute {\nmax_bodies 40MB\nmodel m {\nbackend openai http://127.0.0.1:1/v1\n}\n}")
	require.ErrorContains(t, err, "max_bodies must be at least twice max_body")
}
