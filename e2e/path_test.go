package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// openSite returns directives that serve anyone, bill to one subscription and keep the ledger alone.
func openSite(spool, billing, models string) string {
	return fmt.Sprintf("lagobilling {\nmissing_payer default sub-1\nspool %s\n%s\n}\nllmroute {\nanonymous\n%s\n}\n", spool, billing, models)
}

func upstreamServer(t *testing.T, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

const (
	sseContent = `data: {"id":"1","choices":[{"index":0,"delta":{"content":"Hello"}}]}` + "\n\n"
	sseUsage   = `data: {"id":"1","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}` + "\n\n"
	sseDone    = "data: [DONE]\n\n"
)

// TestHalfClosedClient is a client that closes its sending half and reads on: it is taken for gone, and must not take what
// it got so far for a whole answer.
func TestHalfClosedClient(t *testing.T) {
	for name, early := range map[string]bool{"before the answer": true, "within the answer": false} {
		t.Run(name, func(t *testing.T) {
			begun, more := make(chan struct{}), make(chan struct{})
			up := upstreamServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				if !early {
					_, _ = io.WriteString(w, sseContent)
					w.(http.Flusher).Flush()
				}
				close(begun)
				<-more
				_, _ = io.WriteString(w, sseContent+sseUsage+sseDone)
			})
			g := gateway.Start(t, "", openSite(t.TempDir(), "on_disconnect drain 1m", "model m {\nbackend openai "+up.URL+"/v1\n}"))
			conn, err := net.Dial("tcp", g.Addr)
			require.NoError(t, err)
			defer func() { require.NoError(t, conn.Close()) }()
			body := gateway.Chat("m", "hi", true)
			_, err = fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", g.Addr, len(body), body)
			require.NoError(t, err)
			<-begun
			r := bufio.NewReader(conn)
			if !early {
				_, err := r.ReadString('\n')
				require.NoError(t, err)
			}
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			require.Eventually(t, func() bool { return strings.Contains(g.Billing(), `"drains":1`) }, 10*time.Second, time.Millisecond)
			close(more)
			got, err := io.ReadAll(r)
			if err == nil {
				require.NotContains(t, string(got), "Content-Length: 0", "nothing came: that is no empty answer")
				require.False(t, strings.HasSuffix(string(got), "0\r\n\r\n"), "a part of the stream is missing: its end must be too")
			}
			e := g.Record()
			require.Equal(t, "client_gone", e.Outcome)
			require.Equal(t, "drained", e.Hangup)
			require.Len(t, e.Events, 1)
		})
	}
}

// TestHangUpBetweenAttempts leaves while the gateway waits for its next try: the backend refused the call, and nobody pays.
func TestHangUpBetweenAttempts(t *testing.T) {
	ctx, hangUp := context.WithCancel(context.Background())
	up := upstreamServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(http.StatusTooManyRequests)
		time.AfterFunc(100*time.Millisecond, hangUp)
	})
	g := gateway.Start(t, "", openSite(t.TempDir(), "", "model m {\nbackend openai "+up.URL+"/v1\nretries 3\n}"))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL("/v1/chat/completions"), strings.NewReader(gateway.Chat("m", "hi", false)))
	require.NoError(t, err)
	_, err = http.DefaultTransport.RoundTrip(req) //nolint:bodyclose // there is none
	require.ErrorIs(t, err, context.Canceled)
	e := g.Record()
	require.Equal(t, "client_gone", e.Outcome)
	require.Equal(t, "no backend took the call", e.NotBilled)
	require.Empty(t, e.Events)
}

// TestEndOfTheGracePeriod stops the process while one client reads a stream and another has left one that is drained. Both
// calls are settled for what they used, and neither is left for the operator to mend.
func TestEndOfTheGracePeriod(t *testing.T) {
	up := upstreamServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, sseContent)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	bin, err := gateway.Build()
	require.NoError(t, err)
	dir := t.TempDir()
	g := &gateway.Gateway{T: t, Addr: gateway.FreeAddr(t), Admin: gateway.FreeAddr(t)}
	g.Caddyfile = gateway.Site(g.Addr, g.Admin, "\tgrace_period 300ms",
		openSite(filepath.Join(dir, "spool"), "on_disconnect drain 1h", "model m {\nbackend openai "+up.URL+"/v1\n}"))
	file := filepath.Join(dir, "Caddyfile")
	require.NoError(t, os.WriteFile(file, []byte(g.Caddyfile), 0o600))
	boot := func() *exec.Cmd {
		cmd := exec.Command(bin, "run", "--config", file, "--adapter", "caddyfile")
		cmd.Env = append(os.Environ(), "HOME="+dir)
		var log bytes.Buffer
		cmd.Stderr = &log
		require.NoError(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
			if t.Failed() {
				t.Log(log.String())
			}
		})
		require.Eventually(t, func() bool {
			a, err := (&gateway.Gateway{T: t, Addr: g.Admin}).Do(http.MethodGet, "/tollgate/billing", "", "")
			if err != nil || !strings.Contains(a.Body, `"account"`) {
				return false
			}
			a, err = g.Do(http.MethodGet, "/v1/models", "", "")
			return err == nil && a.Status == http.StatusOK
		}, 20*time.Second, 5*time.Millisecond)
		return cmd
	}
	begin := func(ctx context.Context) *http.Response {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL("/v1/chat/completions"), strings.NewReader(gateway.Chat("m", "hi", true)))
		require.NoError(t, err)
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		_, err = bufio.NewReader(resp.Body).ReadString('\n')
		require.NoError(t, err)
		return resp
	}
	cmd := boot()
	stays := begin(t.Context())
	ctx, hangUp := context.WithCancel(t.Context())
	leaves := begin(ctx)
	hangUp()
	require.NoError(t, leaves.Body.Close())
	require.Eventually(t, func() bool { return strings.Contains(g.Billing(), `"drains":1`) }, 10*time.Second, time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_, err = io.ReadAll(stays.Body)
	require.Error(t, err, "what was cut must not look whole")
	require.NoError(t, stays.Body.Close())
	require.NoError(t, cmd.Wait())
	boot()
	outcomes := make(map[string]string)
	for _, l := range g.Ledger() {
		require.Equal(t, "estimated", l.Source)
		require.Len(t, l.Events, 1)
		outcomes[l.Outcome] = l.Hangup
	}
	require.Equal(t, map[string]string{"cut": "", "client_gone": "cancelled"}, outcomes)
}

// TestBytesPassUnchanged sends bodies and answers of every make through the gateway, cut at random: what needs no edit is the
// same on both sides.
func TestBytesPassUnchanged(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test that can be repeated
	var got, answer []byte
	var contentType string
	var stated bool
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if got, err = io.ReadAll(r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", contentType)
		if stated {
			w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
		}
		for rest := answer; len(rest) > 0; {
			n := 1 + rnd.IntN(len(rest))
			_, _ = w.Write(rest[:n])
			if rest = rest[n:]; !stated {
				w.(http.Flusher).Flush()
			}
		}
	}))
	t.Cleanup(up.Close)
	g := gateway.Start(t, "", openSite(t.TempDir(), "", "max_body 100KB\nmodel m {\nbackend openai "+up.URL+"/v1\n}"))
	const whole = `{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}`
	one := func(of ...string) string { return of[rnd.IntN(len(of))] }
	for range 200 {
		pad := strings.Repeat(" ", rnd.IntN(3))
		body := pad + "{" + pad + `"x" :` + one("1.50", "1E+2", `"\u00e9\/"`, "[ ]", "true") + pad + `,"model":"m","y":"` + strings.Repeat("é", rnd.IntN(10_000)) + `"}` + pad
		contentType = one("application/json", "text/event-stream", "audio/mpeg", "", "text/plain")
		stated = rnd.IntN(2) == 0
		switch rnd.IntN(3) {
		case 0:
			answer = make([]byte, rnd.IntN(50_000))
			for i := range answer {
				answer[i] = byte(rnd.Uint32())
			}
		case 1:
			answer = []byte(strings.ReplaceAll(strings.Repeat(sseContent, rnd.IntN(300))+sseUsage+strings.Repeat(sseDone, rnd.IntN(3)), "\n", one("\n", "\r\n", "\r")))
		default:
			answer = []byte(whole + one("", "\n", "x"))
		}
		a := g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", body)
		require.Equal(t, body, string(got))
		require.True(t, string(answer) == a.Body, "%d bytes of %q, stated %v: %d came", len(answer), contentType, stated, len(a.Body))
	}
	body := `{"model":"m","x":"` + strings.Repeat("x", 100_000-20) + `"}`
	require.Len(t, body, 100_000)
	g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", body)
	g.Must(http.StatusRequestEntityTooLarge, http.MethodPost, "/v1/chat/completions", "", body+" ")
}

// TestNoChunkWaitsForTheNext sends each chunk only when the client has the one before, in a stream from which the gateway
// keeps the usage that it asked for itself: the chunk, and the null of the others.
func TestNoChunkWaitsForTheNext(t *testing.T) {
	chunks := []string{
		`data: {"id":"1","choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}` + "\n\n",
		`data: {"id":"1","usage":null,"choices":[{"index":0,"delta":{"content":"b"}}]}` + "\r\n\r\n",
		": ping\n\n",
		"event: x\n" + `data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}` + "\n\n",
		`data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}` + "\n\n",
		`data: {"id":"1","choices":[{"index":0,"delta":{"content":"` + strings.Repeat("x", 40_000) + `"}}]}` + "\n\n",
		`data: {"x":"` + strings.Repeat("x", 40_000) + `","choices":[{"index":0,"delta":{"content":"c"}}]}` + "\n\n",
		`data: {"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2},"choices":[{"index":0,"delta":{"content":"c"}}]}` + "\n\n",
		`data: {"id":"1","choices":[{"index":0,"delta":{"content":"r"}}]}` + "\r\r",
		`data: {"id":"1","choices":[{"index":0,"delta":{"content":"n"}}]}` + "\n\n",
	}
	next := make(chan struct{})
	up := upstreamServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, c := range chunks {
			_, _ = io.WriteString(w, c)
			w.(http.Flusher).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
		_, _ = io.WriteString(w, sseUsage+sseDone)
	})
	g := gateway.Start(t, "", openSite(t.TempDir(), "on_disconnect cancel", "model m {\nbackend openai "+up.URL+"/v1\n}"))
	req, err := http.NewRequestWithContext(gateway.Timeout(t, 10*time.Second), http.MethodPost, g.URL("/v1/chat/completions"), strings.NewReader(gateway.Chat("m", "hi", true)))
	require.NoError(t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	for i, c := range chunks {
		c = strings.ReplaceAll(c, `,"usage":null`, "")
		b := make([]byte, len(c))
		_, err := io.ReadFull(resp.Body, b)
		require.NoError(t, err, "chunk %d is late", i)
		require.Equal(t, c, string(b))
		next <- struct{}{}
	}
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, sseDone, string(rest), "the usage chunk is not the client's")
	require.Equal(t, map[string]int64{"input": 10, "output": 5}, g.Record().Counts)
}

// TestMadeUpNamesMakeNoMetrics calls for models that the client made up: no label holds its text.
func TestMadeUpNamesMakeNoMetrics(t *testing.T) {
	up := upstreamServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	g := gateway.Start(t, "\tmetrics", openSite(t.TempDir(), "", "model any/* {\nbackend openai "+up.URL+"/v1\n}"))
	metrics := func() (ours []string) {
		a, err := (&gateway.Gateway{T: t, Addr: g.Admin}).Do(http.MethodGet, "/metrics", "", "")
		require.NoError(t, err)
		require.NotContains(t, a.Body, "made-up")
		for line := range strings.Lines(a.Body) {
			if strings.HasPrefix(line, "caddy_tollgate_") {
				ours = append(ours, line)
			}
		}
		return ours
	}
	call := func(i int) {
		g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", gateway.Chat(fmt.Sprint("any/made-up-", i), "hi", false))
		g.Must(http.StatusNotFound, http.MethodPost, "/v1/chat/completions", "", gateway.Chat(fmt.Sprint("made-up-", i), "hi", false))
		g.Must(http.StatusNotFound, http.MethodPost, fmt.Sprint("/made-up-", i), "", gateway.Chat("any/x", "hi", false))
		g.Must(http.StatusBadRequest, http.MethodPost, "/v1/chat/completions", "", fmt.Sprintf(`{"made-up-%d"`, i))
	}
	call(0)
	before := metrics()
	for i := range 100 {
		call(i)
	}
	after := metrics()
	require.Len(t, after, len(before), "a hundred names make no series")
	refused := 0
	for _, line := range after {
		var n int
		if _, err := fmt.Sscanf(line, `caddy_tollgate_requests_total{backend="",model="",outcome="refused"} %d`, &n); err == nil {
			refused = n
		}
	}
	require.GreaterOrEqual(t, refused, 202, "unknown models and bad bodies are counted")
}

// TestFailoverIsBilledByWhoServed fails twice, the second time with usage in the error's body, and is served by a fallback
// model at another price.
func TestFailoverIsBilledByWhoServed(t *testing.T) {
	const answer = `{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}`
	up := upstreamServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path != "/good/v1/chat/completions" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, answer)
	})
	priced := func(provider, path, usd string) string {
		return "backend " + provider + " " + up.URL + path + "/v1 {\nprice input " + usd + "\nprice output " + usd + "\n}\n"
	}
	g := gateway.Start(t, "", openSite(t.TempDir(), "", "model a {\n"+priced("openai", "/bad", "1")+priced("groq", "/bad", "2")+"fallback b\n}\nmodel b {\n"+priced("xai", "/good", "3")+"}"))
	a := g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("a", "hi", false))
	require.Equal(t, "0.000045", a.Header.Get("X-Litellm-Response-Cost"))
	e := g.Record()
	require.Equal(t, "b", e.Model)
	require.Equal(t, "xai", e.Backend)
	require.Equal(t, "0.000045", e.Cost)
	require.Equal(t, 3, e.Attempts)
	require.Len(t, e.Events, 1)
}

// TestHangUpsLeaveNothing hangs up many streams before their providers go on: as many as there are slots are drained, the
// others cancelled, each is billed once, and nothing of them stays in memory.
func TestHangUpsLeaveNothing(t *testing.T) {
	const calls, slots = 200, 20
	goOn := make(chan struct{})
	up := upstreamServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, sseContent)
		w.(http.Flusher).Flush()
		select {
		case <-goOn:
			_, _ = io.WriteString(w, sseUsage+sseDone)
		case <-r.Context().Done():
		}
	})
	g := gateway.Start(t, "", openSite(t.TempDir(), fmt.Sprintf("on_disconnect drain 1h\nmax_drains %d", slots),
		"model m {\nbackend openai "+up.URL+"/v1 {\ntransport http {\nkeepalive off\n}\n}\n}"))
	idle := func() { http.DefaultTransport.(*http.Transport).CloseIdleConnections() }
	g.Billing()
	idle()
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			ctx, hangUp := context.WithCancel(context.Background())
			defer hangUp()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL("/v1/chat/completions"), strings.NewReader(gateway.Chat("m", "hi", true)))
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			hangUp()
			if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		b := g.Billing()
		return strings.Contains(b, fmt.Sprintf(`"finished":%d,`, calls-slots)) && strings.Contains(b, fmt.Sprintf(`"drains":%d`, slots))
	}, 20*time.Second, 5*time.Millisecond, "those without a slot are cancelled at once")
	close(goOn)
	require.Eventually(t, func() bool { return strings.Contains(g.Billing(), fmt.Sprintf(`"finished":%d,`, calls)) }, 20*time.Second, 5*time.Millisecond)
	ends := make(map[string]int)
	for _, l := range g.Ledger() {
		require.Equal(t, "client_gone", l.Outcome)
		require.Len(t, l.Events, 1)
		ends[l.Hangup+" "+l.Source]++
	}
	require.Equal(t, map[string]int{"drained reported": slots, "cancelled estimated": calls - slots}, ends)
	require.Contains(t, g.Billing(), `"drains":0`)
	require.Eventually(t, func() bool {
		idle()
		return runtime.NumGoroutine() <= before+10 // a call that stayed would be a hundred and more
	}, 20*time.Second, 10*time.Millisecond, "goroutines")
}
