package tollgate_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// openSite returns directives that serve anyone, bill to one subscription and keep the ledger alone.
func openSite(spool, billing, models string) string {
	return fmt.Sprintf("lagobilling {\nmissing_payer default sub-1\nspool %s\n%s\n}\nllmroute {\nanonymous\n%s\n}\n", spool, billing, models)
}

type ledgerLine struct {
	Outcome   string           `json:"outcome"`
	Status    int              `json:"status"`
	Hangup    string           `json:"hangup"`
	Source    string           `json:"source"`
	How       string           `json:"how"`
	NotBilled string           `json:"not_billed"`
	Backend   string           `json:"backend"`
	Upstream  string           `json:"upstream"`
	Model     string           `json:"model"`
	Cost      string           `json:"cost"`
	Attempts  int              `json:"attempts"`
	Counts    map[string]int64 `json:"counts"`
	Events    []any            `json:"events"`
	State     string           `json:"state"`
}

// billing returns what the admin API says of the accounts.
func (g *gateway) billing() string {
	a, err := (&gateway{t: g.t, addr: g.admin}).do(http.MethodGet, "/tollgate/billing", "", "")
	require.NoError(g.t, err)
	return a.Body
}

func (g *gateway) ledger() []ledgerLine {
	g.t.Helper()
	a, err := (&gateway{t: g.t, addr: g.admin}).do(http.MethodGet, "/tollgate/billing/events", "", "")
	require.NoError(g.t, err)
	var out []ledgerLine
	for line := range strings.Lines(a.Body) {
		var l ledgerLine
		require.NoError(g.t, json.Unmarshal([]byte(line), &l))
		out = append(out, l)
	}
	return out
}

// record waits for the one settled record.
func (g *gateway) record() ledgerLine {
	g.t.Helper()
	var all []ledgerLine
	require.Eventually(g.t, func() bool {
		all = g.ledger()
		return len(all) == 1 && all[0].Outcome != ""
	}, 10*time.Second, 5*time.Millisecond)
	return all[0]
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
			g := start(t, "", openSite(t.TempDir(), "on_disconnect drain 1m", "model m {\nbackend openai "+up.URL+"/v1\n}"))
			conn, err := net.Dial("tcp", g.addr)
			require.NoError(t, err)
			defer func() { require.NoError(t, conn.Close()) }()
			body := chat("m", "hi", true)
			_, err = fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", g.addr, len(body), body)
			require.NoError(t, err)
			<-begun
			r := bufio.NewReader(conn)
			if !early {
				_, err := r.ReadString('\n')
				require.NoError(t, err)
			}
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			require.Eventually(t, func() bool { return strings.Contains(g.billing(), `"drains":1`) }, 10*time.Second, time.Millisecond)
			close(more)
			got, err := io.ReadAll(r)
			if err == nil {
				require.NotContains(t, string(got), "Content-Length: 0", "nothing came: that is no empty answer")
				require.False(t, strings.HasSuffix(string(got), "0\r\n\r\n"), "a part of the stream is missing: its end must be too")
			}
			e := g.record()
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
	g := start(t, "", openSite(t.TempDir(), "", "model m {\nbackend openai "+up.URL+"/v1\nretries 3\n}"))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url("/v1/chat/completions"), strings.NewReader(chat("m", "hi", false)))
	require.NoError(t, err)
	_, err = http.DefaultTransport.RoundTrip(req) //nolint:bodyclose // there is none
	require.ErrorIs(t, err, context.Canceled)
	e := g.record()
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
	bin, err := buildOnce()
	require.NoError(t, err)
	dir := t.TempDir()
	g := &gateway{t: t, addr: freeAddr(t), admin: freeAddr(t)}
	g.caddyfile = site(g.addr, g.admin, "\tgrace_period 300ms",
		openSite(filepath.Join(dir, "spool"), "on_disconnect drain 1h", "model m {\nbackend openai "+up.URL+"/v1\n}"))
	file := filepath.Join(dir, "Caddyfile")
	require.NoError(t, os.WriteFile(file, []byte(g.caddyfile), 0o600))
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
			a, err := (&gateway{t: t, addr: g.admin}).do(http.MethodGet, "/tollgate/billing", "", "")
			return err == nil && strings.Contains(a.Body, `"account"`)
		}, 20*time.Second, 5*time.Millisecond)
		return cmd
	}
	begin := func(ctx context.Context) *http.Response {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url("/v1/chat/completions"), strings.NewReader(chat("m", "hi", true)))
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
	require.Eventually(t, func() bool { return strings.Contains(g.billing(), `"drains":1`) }, 10*time.Second, time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_, err = io.ReadAll(stays.Body)
	require.Error(t, err, "what was cut must not look whole")
	require.NoError(t, stays.Body.Close())
	require.NoError(t, cmd.Wait())
	boot()
	outcomes := make(map[string]string)
	for _, l := range g.ledger() {
		require.Equal(t, "estimated", l.Source)
		require.Len(t, l.Events, 1)
		outcomes[l.Outcome] = l.Hangup
	}
	require.Equal(t, map[string]string{"cut": "", "client_gone": "cancelled"}, outcomes)
}
