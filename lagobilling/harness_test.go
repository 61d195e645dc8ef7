package lagobilling

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/translate"
	"github.com/tollgate-llm/tollgate/internal/usage"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// bench is a provisioned handler with its open account, served on a real socket.
type bench struct {
	t       *testing.T
	handler *Handler
	account *account.Account
	server  *httptest.Server
	client  *http.Client
	url     string

	mu     sync.Mutex
	route  route
	wrap   func(http.ResponseWriter) http.ResponseWriter
	served chan error // what each ServeHTTP came to; nil for a panic
}

// route stands in for llmroute: what it found in a request, and how it answers.
type route struct {
	endpoint llm.Endpoint
	request  llm.Request
	identity *llm.Identity
	target   *llm.Target
	injected bool
	caller   translate.API // where the call is translated: of the client
	answer   http.HandlerFunc
	refused  func(*llm.Error)
	silent   bool // the answer itself reports whether it is a backend's
}

var chat = llm.Endpoint{Name: "chat/completions", API: llm.OpenAI, Reader: usage.OpenAIChat}

func chatRoute(answer http.HandlerFunc) route {
	return route{
		endpoint: chat,
		request:  llm.Request{Asked: "gpt-4", User: "sub-1", TextUnits: 7_400},
		target:   &llm.Target{Model: "gpt-4", Backend: "main", Provider: "openai", Upstream: "gpt-4o", API: llm.OpenAI},
		answer:   answer,
	}
}

func newBench(t *testing.T, h *Handler) *bench {
	t.Helper()
	return serveBench(t, h, httptest.NewServer)
}

// newBench2 is a bench whose clients speak HTTP/2.
func newBench2(t *testing.T, h *Handler) *bench {
	t.Helper()
	return serveBench(t, h, func(handler http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(handler)
		s.EnableHTTP2 = true
		s.StartTLS()
		return s
	})
}

// newBench3 is a bench whose clients speak HTTP/3.
func newBench3(t *testing.T, h *Handler) *bench {
	t.Helper()
	b := newBench2(t, h)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http3.Server{Handler: b, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: b.server.TLS.Certificates})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(conn) }()
	roots := x509.NewCertPool()
	roots.AddCert(b.server.Certificate())
	transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	b.client, b.url = &http.Client{Transport: transport}, "https://"+conn.LocalAddr().String()
	t.Cleanup(func() {
		require.NoError(t, transport.Close())
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
		require.NoError(t, conn.Close())
	})
	return b
}

func serveBench(t *testing.T, h *Handler, serve func(http.Handler) *httptest.Server) *bench {
	t.Helper()
	if h.Spool == "" {
		h.Spool = t.TempDir()
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(t, err)
	require.NoError(t, h.Provision(ctx))
	a, err := app.Load(ctx)
	require.NoError(t, err)
	require.NoError(t, a.Start())
	account, release, err := h.account.Acquire(context.Background())
	require.NoError(t, err)
	b := &bench{t: t, handler: h, account: account, served: make(chan error, 64)}
	b.server = serve(b)
	b.client, b.url = b.server.Client(), b.server.URL
	t.Cleanup(func() {
		b.server.Close()
		release()
		require.NoError(t, a.Cleanup())
	})
	return b
}

func (b *bench) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	route, wrap := b.route, b.wrap
	b.mu.Unlock()
	if wrap != nil {
		w = wrap(w)
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
	ctx, call := llm.Ensure(r.Context())
	call.Identity = route.identity
	returned := false
	defer func() {
		if !returned {
			b.served <- nil
		}
	}()
	err := b.handler.ServeHTTP(w, r.WithContext(ctx), caddyhttp.HandlerFunc(route.serve))
	returned = true
	b.served <- err
}

// serve does what llmroute does, in its order.
func (rt route) serve(w http.ResponseWriter, r *http.Request) error {
	call := llm.FromContext(r.Context())
	call.Endpoint, call.Request = &rt.endpoint, rt.request
	if rt.endpoint.Billing != llm.Local {
		if rt.target != nil {
			call.Plan(rt.target)
		}
		if e := call.Open(r.Context(), call); e != nil {
			if rt.refused != nil {
				rt.refused(e)
			}
			return llm.WriteError(w, llm.OpenAI, "", e)
		}
	}
	if rt.target != nil {
		a := call.Begin(rt.target)
		a.SetUsageInjected(rt.injected)
		if rt.caller != "" {
			translation, ok := translate.New(translate.Pair{Caller: rt.caller, Upstream: translate.API(rt.target.Endpoint.Name)}, translate.Options{Model: "m"})
			if !ok {
				return errors.New("no such pair")
			}
			if _, err := translation.Request(askedFor[rt.caller]); err != nil {
				return err
			}
			a.Translate(translation)
		}
		if !rt.silent {
			a.SetAnswered()
		}
	}
	rt.answer(w, r)
	return nil
}

func (b *bench) use(rt route) {
	b.mu.Lock()
	b.route = rt
	b.mu.Unlock()
}

// post sends a call and returns the answer with its body, as far as it came.
func (b *bench) post(rt route) (*http.Response, string, error) {
	b.t.Helper()
	b.use(rt)
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+"/v1/chat/completions", http.NoBody)
	require.NoError(b.t, err)
	res, err := b.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(res.Body)
	require.NoError(b.t, res.Body.Close())
	return res, string(body), err
}

// records returns what the ledger holds.
func (b *bench) records() []operator.Entry {
	b.t.Helper()
	var out []operator.Entry
	require.NoError(b.t, b.account.Spool().Scan(time.Time{}, time.Time{}, func(rec spool.Record) error {
		r, err := record.Parse(rec.Payload)
		if err != nil {
			return err
		}
		out = append(out, operator.Entry{Record: *r, State: rec.State.String()})
		return nil
	}))
	return out
}

// only returns the one record that the ledger holds, once the call's handlers have returned.
func (b *bench) only() operator.Entry {
	b.t.Helper()
	b.wait()
	all := b.records()
	require.Len(b.t, all, 1, "a forwarded call has exactly one record")
	return all[0]
}

// wait waits until one call's handlers have returned.
func (b *bench) wait() {
	b.t.Helper()
	select {
	case <-b.served:
	case <-time.After(20 * time.Second):
		b.t.Fatal("the handlers did not return")
	}
}

// plain answers with a body of stated length.
func plain(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", itoa(len(body)))
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, body)
	}
}

// chunked answers with pieces, each flushed, and no stated length.
func chunked(contentType string, pieces ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(http.StatusOK)
		for _, p := range pieces {
			if _, err := io.WriteString(w, p); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
		}
	}
}

func newCall(rt route) *llm.Call {
	return &llm.Call{ID: llm.NewID(), Start: time.Now(), Endpoint: &rt.endpoint, Request: rt.request, Identity: rt.identity}
}

func httptestWriter() http.ResponseWriter { return httptest.NewRecorder() }

func newRequest(t *testing.T) *http.Request {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", http.NoBody)
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
}
