package lagobilling

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
	_ "github.com/caddyserver/caddy/v2/modules/metrics"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/settle"
	"github.com/tollgate-llm/tollgate/internal/usage"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// testRoute is a directive that stands in for llmroute before a real reverse_proxy: it opens the call for the model `m` of
// backend `b`, which sends gpt-4o.
type testRoute struct {
	Usage bool `json:"usage,omitempty"`
}

func init() {
	caddy.RegisterModule(testRoute{})
	httpcaddyfile.RegisterHandlerDirective("test_route", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return testRoute{Usage: h.NextArg()}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("test_route", httpcaddyfile.Before, "reverse_proxy")
}

func (testRoute) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_route", New: func() caddy.Module { return new(testRoute) }}
}

func (tr testRoute) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	call := llm.FromContext(r.Context())
	call.Endpoint = &chat
	call.Request = llm.Request{Asked: "gpt-4", User: r.Header.Get("X-User"), TextUnits: 5000}
	target := &llm.Target{Model: "m", Backend: "b", Provider: "openai", Upstream: "gpt-4o"}
	call.Plan(target)
	if e := call.Open(r.Context(), call); e != nil {
		return llm.WriteError(w, llm.OpenAI, "", e)
	}
	a := call.Begin(target)
	a.SetUsageInjected(tr.Usage)
	sent := &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { a.Write().Done() },
		GotFirstResponseByte: a.SetAnswered,
	}
	return next.ServeHTTP(w, r.WithContext(httptrace.WithClientTrace(r.Context(), sent)))
}

func (*testRoute) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// gateway is a running Caddy on unix sockets, with a model provider behind it.
type gateway struct {
	t        *testing.T
	dir      string
	provider *httptest.Server
	client   *http.Client
}

func unixClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

func startGateway(t *testing.T, provider http.Handler, billing string) *gateway {
	t.Helper()
	dir, err := os.MkdirTemp("", "lb") // a unix socket's path must be short
	require.NoError(t, err)
	g := &gateway{t: t, dir: dir, provider: httptest.NewServer(provider), client: unixClient(filepath.Join(dir, "s"))}
	t.Cleanup(func() {
		g.client.CloseIdleConnections()
		require.NoError(t, caddy.Stop())
		g.provider.Close()
		require.NoError(t, os.RemoveAll(dir))
	})
	g.load(billing)
	return g
}

// load puts a configuration in force. billing is the block of the lagobilling directive.
func (g *gateway) load(billing string) {
	g.t.Helper()
	if !strings.Contains(billing, "spool ") {
		billing = "spool " + g.dir + "/spool\n" + billing
	}
	source := fmt.Sprintf(`{
	admin unix/%[1]s/a
	persist_config off
	storage file_system %[1]s/data
	metrics
}
http:// {
	bind unix/%[1]s/s
	log {
		output file %[1]s/access.log
	}
	log_append tokens {http.tollgate.total_tokens}
	log_append cost {http.tollgate.cost}
	log_append cached {http.tollgate.kinds.cache_read}
	log_append outcome {http.tollgate.outcome}
	lagobilling {
		%[2]s
	}
	test_route
	reverse_proxy %[3]s
}`, g.dir, billing, strings.TrimPrefix(g.provider.URL, "http://"))
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(source), nil)
	require.NoError(g.t, err)
	require.NoError(g.t, caddy.Load(adapted, true))
	g.client.CloseIdleConnections() // those of the configuration before end
}

func (g *gateway) post(user string) (*http.Response, string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, "http://gateway/v1/chat/completions", http.NoBody)
	require.NoError(g.t, err)
	req.Header.Set("X-User", user)
	res, err := g.client.Do(req)
	if errors.Is(err, io.EOF) {
		// The server of the configuration before may accept a connection in its last moment, and closes it unread. A call
		// that was read has a record, of which tests would find one too many.
		res, err = g.client.Do(req)
	}
	require.NoError(g.t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(g.t, err)
	require.NoError(g.t, res.Body.Close())
	return res, string(body)
}

// command runs `caddy tollgate billing ...` against the running instance.
func (g *gateway) command(args ...string) (string, error) {
	g.t.Helper()
	root := &cobra.Command{Use: "tollgate", SilenceUsage: true, SilenceErrors: true}
	root.PersistentFlags().String("address", "", "")
	root.AddCommand(operator.Command())
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(io.Discard)
	root.SetArgs(append([]string{"billing", "--address", "unix/" + g.dir + "/a"}, args...))
	err := root.Execute()
	return out.String(), err
}

func (g *gateway) status() operator.Status {
	g.t.Helper()
	out, err := g.command("status", "--json")
	require.NoError(g.t, err)
	var status struct{ Accounts []operator.Status }
	require.NoError(g.t, json.Unmarshal([]byte(out), &status))
	require.Len(g.t, status.Accounts, 1)
	return status.Accounts[0]
}

func TestThroughCaddy(t *testing.T) {
	g := startGateway(t, plain("application/json", jsonAnswer), "")
	res, body := g.post("sub-1")
	require.Equal(t, jsonAnswer, body)
	require.NotEmpty(t, res.Header.Get("x-litellm-response-cost"))
	res, body = g.post("")
	require.Equal(t, http.StatusForbidden, res.StatusCode)
	require.Contains(t, body, "missing_payer")

	st := g.status()
	require.Equal(t, "default", st.Account)
	require.EqualValues(t, 1, st.Finished)
	require.Zero(t, st.Pending+st.Open+st.Rejected+st.Interrupted)
	require.Positive(t, st.Bytes)
	require.Empty(t, st.Lago)

	text, err := g.command("status")
	require.NoError(t, err)
	require.Contains(t, text, "account default")
	require.Contains(t, text, "none: records stay in the ledger")

	text, err = g.command("events")
	require.NoError(t, err)
	require.Contains(t, text, "sub-1")
	require.Contains(t, text, "1000")
	lines, err := g.command("events", "--json", "--since", "1h")
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(lines, "\n"))
	var e operator.Entry
	require.NoError(t, json.Unmarshal([]byte(lines), &e))
	require.Equal(t, "done", e.State)
	require.Equal(t, "sub-1", e.Payer)
	require.EqualValues(t, 1050, e.Counts.InputTokens()+e.Counts.OutputTokens())
	lines, err = g.command("events", "--json", "--until", "1h")
	require.NoError(t, err)
	require.Empty(t, lines)
	_, err = g.command("events", "--since", "yesterday")
	require.ErrorContains(t, err, "neither a time")

	require.Eventually(t, func() bool {
		log, err := os.ReadFile(filepath.Join(g.dir, "access.log"))
		return err == nil && strings.Contains(string(log), `"tokens":1050`) && strings.Contains(string(log), `"cached":400`) &&
			strings.Contains(string(log), `"outcome":"completed"`) && strings.Contains(string(log), `"cost":"`+e.Cost+`"`)
	}, 10*time.Second, 5*time.Millisecond, "the access log has the call's tokens and cost")

	metrics := g.metrics()
	require.Contains(t, metrics, `caddy_tollgate_requests_total{backend="b",model="m",outcome="completed"}`)
	require.Contains(t, metrics, `caddy_tollgate_tokens_total{backend="b",kind="cache_read",model="m",outcome="completed"}`)
	require.Contains(t, metrics, `caddy_tollgate_requests_total{backend="",model="",outcome="refused"}`)
	require.Contains(t, metrics, `caddy_tollgate_spool_records{account="default",state="finished"} 1`)
	require.NotContains(t, metrics, "sub-1", "a payer is no label")
}

func (g *gateway) metrics() string {
	g.t.Helper()
	admin := unixClient(filepath.Join(g.dir, "a"))
	defer admin.CloseIdleConnections()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, "http://127.0.0.1/metrics", http.NoBody)
	require.NoError(g.t, err)
	res, err := admin.Do(req)
	require.NoError(g.t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(g.t, err)
	require.NoError(g.t, res.Body.Close())
	return string(b)
}

// TestReloadsLoseNothing holds streams open across reloads that change every setting that may change.
func TestReloadsLoseNothing(t *testing.T) {
	const streams = 40
	finish := make(chan struct{})
	g := startGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunked(stream, sseStart)(w, r)
		<-finish
		chunked(stream, sseUsage, sseDone)(w, r)
	}), "")
	var wg sync.WaitGroup
	open := make(chan struct{}, streams)
	for range streams {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://gateway/v1/chat/completions", http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("X-User", "sub-1")
			res, err := g.client.Do(req)
			if err != nil {
				t.Error(err)
				open <- struct{}{}
				return
			}
			open <- struct{}{}
			body, err := io.ReadAll(res.Body)
			if err != nil || string(body) != sseStart+sseUsage+sseDone {
				t.Errorf("a stream was cut by a reload after %d bytes: %v", len(body), err)
			}
			if err := res.Body.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	for range streams {
		<-open
	}
	for i := range 10 {
		g.load(fmt.Sprintf("max_drains %d", i))
		require.EqualValues(t, streams, g.status().Open)
	}
	require.Contains(t, g.metrics(), "caddy_tollgate_spool_bytes", "metrics survive reloads")
	close(finish)
	wg.Wait()
	require.EqualValues(t, streams, g.status().Finished)
	lines, err := g.command("events", "--json")
	require.NoError(t, err)
	ids := make(map[string]bool)
	for line := range strings.Lines(lines) {
		var e operator.Entry
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		require.Equal(t, record.OutcomeCompleted, e.Outcome)
		require.Equal(t, usage.Reported, e.Source)
		ids[e.ID] = true
	}
	require.Len(t, ids, streams)
}

// TestUpstreamThatBreaksOff goes through a real reverse_proxy, which panics where its upstream breaks off.
func TestUpstreamThatBreaksOff(t *testing.T) {
	g := startGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunked(stream, sseStart)(w, r)
		panic(http.ErrAbortHandler)
	}), "")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://gateway/v1/chat/completions", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("X-User", "sub-1")
	res, err := g.client.Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.Error(t, err)
	require.Equal(t, sseStart, string(body), "what came before the break goes to the client")
	require.NoError(t, res.Body.Close())
	require.Eventually(t, func() bool { return g.status().Finished == 1 }, 10*time.Second, time.Millisecond)
	lines, err := g.command("events", "--json")
	require.NoError(t, err)
	require.Contains(t, lines, `"outcome":"cut"`)
	require.Contains(t, lines, `"source":"estimated"`)
}

// TestClientThatHangsUp goes through a real reverse_proxy, which would cancel its upstream by itself.
func TestClientThatHangsUp(t *testing.T) {
	more := make(chan struct{})
	g := startGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunked(stream, sseStart)(w, r)
		<-more
		chunked(stream, sseUsage, sseDone)(w, r)
	}), "on_disconnect drain 30s")
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gateway/v1/chat/completions", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("X-User", "sub-1")
	res, err := g.client.Do(req)
	require.NoError(t, err)
	hangUp()
	require.NoError(t, res.Body.Close())
	require.Eventually(t, func() bool { return g.status().Drains == 1 }, 10*time.Second, time.Millisecond)
	close(more)
	require.Eventually(t, func() bool { return g.status().Finished == 1 }, 10*time.Second, time.Millisecond)
	lines, err := g.command("events", "--json")
	require.NoError(t, err)
	var e operator.Entry
	require.NoError(t, json.Unmarshal([]byte(lines), &e))
	require.Equal(t, record.OutcomeClientGone, e.Outcome)
	require.Equal(t, settle.Drained, e.Hangup)
	require.Equal(t, usage.Reported, e.Source)
	require.EqualValues(t, 1050, e.Counts.InputTokens()+e.Counts.OutputTokens())
}

// TestHangUpBeforeAnyAnswer bills a call that the provider has, though nobody heard of it again.
func TestHangUpBeforeAnyAnswer(t *testing.T) {
	has := make(chan struct{})
	g := startGateway(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(has)
		<-r.Context().Done()
	}), "on_disconnect cancel")
	ctx, hangUp := context.WithCancel(t.Context())
	go func() {
		<-has
		hangUp()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gateway/v1/chat/completions", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("X-User", "sub-1")
	res, err := g.client.Do(req)
	if err == nil {
		require.NoError(t, res.Body.Close())
	}
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool { return g.status().Finished == 1 }, 10*time.Second, time.Millisecond)
	lines, err := g.command("events", "--json")
	require.NoError(t, err)
	var e operator.Entry
	require.NoError(t, json.Unmarshal([]byte(lines), &e))
	require.Equal(t, record.OutcomeClientGone, e.Outcome)
	require.Equal(t, settle.Cancelled, e.Hangup)
	require.Zero(t, e.Status)
	require.Empty(t, e.NotBilled)
	require.Equal(t, usage.Estimated, e.Source)
	require.EqualValues(t, 5, e.Counts.N(usage.Input))
	require.Len(t, e.Events, 1)
}
