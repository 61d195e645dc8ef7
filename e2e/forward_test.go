package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// forwardCase is a block that both reverse_proxy and a backend of llmroute take, a provider, and what a client does.
type forwardCase struct {
	block    string
	provider func(w http.ResponseWriter, r *http.Request, got <-chan struct{}) // got has a value once the client has read
	edit     func(*http.Request)
	up       string // how the provider is served: empty for HTTP/1.1, h2c or tls
	calls    int    // how many, one after the other; 1 by default
	own      bool   // the answer is the gateway's own: only its status is the same
	broken   bool   // the answer breaks off
	about    bool   // headers about the client go upstream
}

// forwardCases are what a proxy may do differently. A provider gets each of them from both.
var forwardCases = map[string]forwardCase{
	"an answer":  {provider: answering(200, "{}")},
	"long":       {provider: answering(200, `{"x":"`+strings.Repeat("y", 300<<10)+`"}`)},
	"an error":   {provider: answering(429, `{"error":{}}`, "Retry-After", "7", "X-Two", "a", "X-Two", "b")},
	"its fault":  {provider: answering(500, "oops", "Content-Type", "text/plain")},
	"redirected": {provider: answering(307, "", "Location", "/v1/elsewhere")},
	"no content": {provider: answering(204, "")},
	"hop by hop": {
		provider: answering(200, "{}", "Connection", "X-Nominated", "X-Nominated", "1", "Keep-Alive", "timeout=5", "Proxy-Authenticate", "Basic",
			"Te", "trailers", "Alt-Svc", "h3=\":1\"", "X-Stays", "1", "Server", "provider", "Via", "1.0 else"),
		edit: func(r *http.Request) {
			if r.ProtoMajor == 1 {
				r.Header.Set("Connection", "X-Request-Id")
			}
			r.Header.Set("Te", "trailers")
			r.Header.Set("X-Request-Id", "1")
			r.Header.Set("Proxy-Connection", "keep-alive")
		},
	},
	"no agent": {provider: answering(200, "{}"), edit: func(r *http.Request) { r.Header["User-Agent"] = nil }},
	"trailers": {provider: func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "{}")
		w.Header().Set("X-Sum", "1")
	}},
	"trailers unannounced": {provider: func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
	}},
	"early hints": {provider: func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		w.Header().Set("Link", "</a>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.WriteHeader(http.StatusProcessing)
		_, _ = io.WriteString(w, "{}")
	}},
	"expects to continue": {provider: answering(200, "{}"), edit: func(r *http.Request) { r.Header.Set("Expect", "100-continue") }},
	"a stream":            {provider: piecemeal("text/event-stream; charset=utf-8", 0)},
	"of unstated length":  {provider: piecemeal("application/x-ndjson", 0)},
	"of stated length":    {block: "flush_interval -1", provider: piecemeal("application/json", 8)},
	"flushed now and then": {
		block: "flush_interval 5ms", provider: piecemeal("application/json", 8),
	},
	"a late stream of errors": {provider: func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		w.Header().Set("Content-Type", "text/plain") // else it is guessed, or not, by when the header is flushed
		w.WriteHeader(http.StatusTeapot)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "short and stout")
	}},
	"broken off": {broken: true, provider: func(w http.ResponseWriter, _ *http.Request, got <-chan struct{}) {
		_, _ = io.WriteString(w, "data: {}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-got
		panic(http.ErrAbortHandler)
	}},
	"shorter than stated": {broken: true, provider: func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{}")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}},
	"over h2c": {block: "transport http {\nversions h2c\n}", up: "h2c", provider: piecemeal("text/event-stream", 0)},
	"over HTTP/2": {
		block: "transport http {\ntls_insecure_skip_verify\n}", up: "tls", provider: piecemeal("text/event-stream", 0),
	},
	"headers up": {
		block: `header_up X-Request-Id {http.request.method}-{upstream_hostport}
			header_up +X-Stainless-Lang {http.reverse_proxy.upstream.port}
			header_up User-Agent client agent
			header_up -Accept
			header_up X-Forwarded-For 192.0.2.7`,
		provider: answering(200, "{}"), about: true,
		edit: func(r *http.Request) { r.Header.Set("X-Stainless-Lang", "go") },
	},
	"headers down": {
		block: `header_down X-Up {http.reverse_proxy.upstream.host} 
			header_down +X-Status {http.reverse_proxy.status_code}
			header_down X-Re ([a-z])-b $1
			header_down -X-Gone`,
		provider: answering(200, "{}", "X-Re", "a-b", "X-Gone", "1"),
	},
	"not dialled":         {block: "transport http {\ndial_timeout 1s\nnetwork_proxy none\n}", up: "none", provider: answering(200, ""), own: true},
	"no header in time":   {block: "transport http {\nresponse_header_timeout 20ms\n}", provider: silent, own: true},
	"fails":               {block: "fail_duration 1h", up: "none", provider: answering(200, ""), calls: 3, own: true},
	"fails thrice":        {block: "fail_duration 1h\nmax_fails 3", up: "none", provider: answering(200, ""), calls: 5, own: true},
	"unhealthy status":    {block: "fail_duration 1h\nunhealthy_status 4xx", provider: answering(404, "{}"), calls: 3, own: true},
	"unhealthy latency":   {block: "fail_duration 1h\nunhealthy_latency 1ns", provider: answering(200, "{}"), calls: 3, own: true},
	"healthy":             {block: "fail_duration 1h\nunhealthy_status 5xx\nhealth_uri /health\nhealth_interval 1h", provider: answering(200, "{}"), calls: 2},
	"what is for streams": {block: "stream_timeout 1s\nstream_close_delay 1s\nlb_policy first\nverbose_logs", provider: answering(200, "{}")},
	"a PROXY line":        {block: "transport http {\nproxy_protocol v1\n}", up: "raw", own: true},
}

// answering answers at once, with headers that are given as name, value, ...
func answering(status int, text string, headers ...string) func(http.ResponseWriter, *http.Request, <-chan struct{}) {
	return func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			if headers[i] == "Content-Type" {
				w.Header().Del(headers[i])
			}
			w.Header().Add(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// piecemeal answers in four pieces, each when its client has the one before.
func piecemeal(contentType string, length int) func(http.ResponseWriter, *http.Request, <-chan struct{}) {
	return func(w http.ResponseWriter, r *http.Request, got <-chan struct{}) {
		w.Header().Set("Content-Type", contentType)
		if length > 0 {
			w.Header().Set("Content-Length", fmt.Sprint(length))
		}
		for range 4 {
			_, _ = io.WriteString(w, "x\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-got:
			case <-r.Context().Done():
			}
		}
	}
}

// silent answers nothing until its client gives up.
func silent(_ http.ResponseWriter, r *http.Request, _ <-chan struct{}) { <-r.Context().Done() }

const (
	forwardPath = "/v1/chat/completions"
	forwardChat = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
)

var forwardProxies = []string{"reverse_proxy", "llmroute"}

// forwardSeen is what a provider got of a call and what its client got.
type forwardSeen struct {
	Line, Host   string
	Header       http.Header
	Body         string
	ReplyStatus  int
	Reply        http.Header
	ReplyBody    string
	ReplyTrailer http.Header
	Hints        []string
	Broken       bool
}

// forwardStage is a provider of one case, with both proxies before it.
type forwardStage struct {
	forwardCase
	sites map[string]string // address, by proxy
	mu    sync.Mutex
	last  forwardSeen
	got   chan struct{}
}

func (s *forwardStage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/health" {
		return
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	s.last = forwardSeen{Line: r.Method + " " + r.URL.RequestURI(), Host: r.Host, Header: r.Header.Clone(), Body: string(text)}
	got := s.got
	s.mu.Unlock()
	s.provider(w, r, got)
}

// call makes a call and returns what was seen of it.
func (s *forwardStage) call(t *testing.T, proxy string, client http.RoundTripper, major int) forwardSeen {
	ctx := gateway.Timeout(t, 30*time.Second)
	s.mu.Lock()
	s.last, s.got = forwardSeen{}, make(chan struct{}, 16)
	got := s.got
	s.mu.Unlock()
	var hints []string
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		if code != http.StatusContinue {
			hints = append(hints, fmt.Sprint(code, " ", h["Link"]))
		}
		return nil
	}})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.sites[proxy]+forwardPath, strings.NewReader(forwardChat))
	require.NoError(t, err)
	r.ProtoMajor = major
	r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"*/*"}, "User-Agent": {"test"}}
	if s.edit != nil {
		s.edit(r)
	}
	resp, err := client.RoundTrip(r)
	if s.broken && err != nil { // HTTP/2 may lose the beginning with the rest
		return forwardSeen{Broken: true}
	}
	require.NoError(t, err)
	require.Equal(t, major, resp.ProtoMajor)
	var text bytes.Buffer
	buf := make([]byte, 4<<10)
	for err == nil {
		var n int
		n, err = resp.Body.Read(buf)
		text.Write(buf[:n])
		if n > 0 {
			select {
			case got <- struct{}{}:
			default:
			}
		}
	}
	require.NoError(t, resp.Body.Close())
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.last
	_, at, _ := net.SplitHostPort(seen.Host)
	seen.Host = strings.ReplaceAll(seen.Host, at, "PROVIDER")
	for _, values := range seen.Header {
		for i := range values {
			values[i] = strings.ReplaceAll(values[i], at, "PROVIDER")
		}
	}
	seen.ReplyStatus, seen.Reply, seen.ReplyBody, seen.ReplyTrailer = resp.StatusCode, resp.Header, text.String(), resp.Trailer
	seen.Hints, seen.Broken = hints, !errors.Is(err, io.EOF)
	if n := len(seen.ReplyBody); n > 1<<10 {
		seen.ReplyBody = fmt.Sprintf("%d bytes, %x", n, sha256.Sum256(text.Bytes()))
	}
	_, port, _ := net.SplitHostPort(s.sites[proxy])
	for i, v := range seen.Reply["Alt-Svc"] { // the gateway's own
		seen.Reply["Alt-Svc"][i] = strings.ReplaceAll(v, port, "PORT")
	}
	return seen
}

// known takes the differences out that docs/llmroute.md names.
func (s *forwardStage) known(seen forwardSeen) forwardSeen {
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "Via", "Te", "Expect"} {
		delete(seen.Header, name)
	}
	if !s.about {
		delete(seen.Header, "X-Forwarded-For")
	}
	delete(seen.Reply, "Date")
	if s.own {
		return forwardSeen{ReplyStatus: seen.ReplyStatus, Line: seen.Line}
	}
	if s.broken { // how much of it came before is a matter of time
		return forwardSeen{Broken: seen.Broken}
	}
	return seen
}

// serve starts the provider.
func (s *forwardStage) serve(t *testing.T) string {
	server := httptest.NewUnstartedServer(s)
	server.EnableHTTP2 = true
	switch s.up {
	case "none":
		addr := gateway.FreeAddr(t)
		return "http://" + addr
	case "raw":
		return "http://" + s.rawLines(t)
	case "tls":
		server.StartTLS()
	case "h2c":
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		server.Start()
	default:
		server.Start()
	}
	t.Cleanup(server.Close)
	return server.URL
}

// rawLines is a provider that keeps the first two lines of each connection.
func (s *forwardStage) rawLines(t *testing.T) string {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 64<<10)
			n, _ := c.Read(buf)
			if !bytes.Contains(buf[:n], []byte("\n\r\n")) {
				m, _ := c.Read(buf[n:])
				n += m
			}
			family, rest, _ := bytes.Cut(buf[:n], []byte(" 127.0.0.1 "))
			_, request, _ := bytes.Cut(rest, []byte("\r\n"))
			line, _, _ := bytes.Cut(request, []byte("\r\n"))
			s.mu.Lock()
			s.last.Line = string(family) + "|" + string(line)
			s.mu.Unlock()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

func insecure(protos ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: protos} //nolint:gosec // a test's own server
}

// forwardClients are those of each version of HTTP.
func forwardClients(t *testing.T) map[int]http.RoundTripper {
	one := &http.Transport{TLSClientConfig: insecure("http/1.1"), ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}
	two := &http.Transport{TLSClientConfig: insecure("h2"), ForceAttemptHTTP2: true, ExpectContinueTimeout: time.Minute}
	three := &http3.Transport{TLSClientConfig: insecure()}
	t.Cleanup(func() { two.CloseIdleConnections(); _ = three.Close() })
	return map[int]http.RoundTripper{1: one, 2: two, 3: three}
}

// forwardStart starts the providers of cases, and a gateway with both proxies before each.
func forwardStart(t *testing.T, cases map[string]forwardCase) map[string]*forwardStage {
	stages := make(map[string]*forwardStage)
	taken := make(map[string]bool)
	var config strings.Builder
	for name, c := range cases {
		s := &forwardStage{forwardCase: c, sites: map[string]string{}}
		for _, proxy := range forwardProxies {
			url := s.serve(t) // each its own: Caddy knows of the health of an address
			var port string
			for port == "" || taken[port] {
				_, port, _ = net.SplitHostPort(gateway.FreeAddr(t))
			}
			taken[port] = true
			s.sites[proxy] = "localhost:" + port
			fmt.Fprintf(&config, "https://localhost:%s {\nbind 127.0.0.1\ntls internal\n", port)
			if proxy == "reverse_proxy" {
				// What a backend always does comes first, so that the block has the last word.
				fmt.Fprintf(&config, "reverse_proxy %s {\nheader_up Host {upstream_hostport}\nheader_up Accept-Encoding identity\n%s\n}\n}\n", url, c.block)
			} else {
				fmt.Fprintf(&config, "llmroute {\nanonymous\nunmetered\nhide_route\nmodel m {\nretries 0\nbackend openai %s/v1 {\n%s\n}\n}\n}\n}\n", url, c.block)
			}
		}
		stages[name] = s
	}
	g := &gateway.Gateway{T: t, Admin: gateway.FreeAddr(t)}
	g.Caddyfile = fmt.Sprintf("{\nadmin %s\npersist_config off\nauto_https disable_redirects\nskip_install_trust\nstorage file_system %s\n}\n%s",
		g.Admin, t.TempDir(), config.String())
	g.Load()
	t.Cleanup(func() { gateway.Stop(t) })
	for _, s := range stages {
		for _, addr := range s.sites {
			require.Eventually(t, func() bool { // until there is a certificate
				c, err := tls.Dial("tcp", addr, insecure())
				return err == nil && c.Close() == nil
			}, 30*time.Second, time.Millisecond)
		}
	}
	return stages
}

// TestForwardsAsReverseProxy makes the same calls by reverse_proxy and by a backend of llmroute that has the same block, and compares what
// the provider gets and what the client gets, over each version of HTTP.
func TestForwardsAsReverseProxy(t *testing.T) {
	stages, clients := forwardStart(t, forwardCases), forwardClients(t)
	for name, s := range stages {
		t.Run(name, func(t *testing.T) {
			for major, client := range clients {
				for range max(1, s.calls) {
					plain := s.known(s.call(t, "reverse_proxy", client, major))
					routed := s.known(s.call(t, "llmroute", client, major))
					require.Equal(t, plain, routed, "HTTP/%d", major)
					require.Equal(t, s.broken, routed.Broken)
				}
			}
		})
	}
}

// TestForwardsToHealthyOnes holds the same for what is known of a provider otherwise than by its answers: by its checks, and by how
// many requests it has. A provider hears of a client that hangs up.
func TestForwardsToHealthyOnes(t *testing.T) {
	begun, gone := make(chan struct{}), make(chan struct{})
	hanging := func(_ http.ResponseWriter, r *http.Request, _ <-chan struct{}) {
		begun <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}
	stages := forwardStart(t, map[string]forwardCase{
		"checked": {block: "health_uri /ill\nhealth_interval 5ms", provider: func(w http.ResponseWriter, r *http.Request, _ <-chan struct{}) {
			if r.URL.Path == "/ill" {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}},
		"full": {block: "unhealthy_request_count 1", provider: hanging},
	})
	client := forwardClients(t)[1]
	status := func(url string) int {
		r, err := http.NewRequestWithContext(gateway.Timeout(t, 30*time.Second), http.MethodPost, url, strings.NewReader(forwardChat))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		resp, err := client.RoundTrip(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	for _, proxy := range forwardProxies {
		require.Eventually(t, func() bool {
			return status("https://"+stages["checked"].sites[proxy]+forwardPath) == http.StatusServiceUnavailable
		}, 30*time.Second, time.Millisecond, proxy)
		ctx, hangUp := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+stages["full"].sites[proxy]+forwardPath, strings.NewReader(forwardChat))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		cut := make(chan error)
		go func() {
			_, err := client.RoundTrip(r) //nolint:bodyclose // there is none
			cut <- err
		}()
		<-begun
		require.Equal(t, http.StatusServiceUnavailable, status("https://"+stages["full"].sites[proxy]+forwardPath), proxy)
		hangUp()
		require.Error(t, <-cut)
		<-gone
	}
}
