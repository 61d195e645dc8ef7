package upstream

import (
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Shown provides reverse_proxy's placeholders, {http.reverse_proxy.*}, for the latest attempt of a call.
type Shown struct{ last *exchange }

// Publish registers the placeholders.
func (s *Shown) Publish(repl *caddy.Replacer) {
	repl.Map(func(key string) (value any, known bool) {
		if name, ours := strings.CutPrefix(key, "http.reverse_proxy."); ours && s.last != nil {
			value = s.last.placeholder(name)
		}
		return value, value != nil
	})
}

func (x *exchange) placeholder(name string) any {
	b := x.backend
	known := map[string]any{
		"upstream.address": b.dial.String(), "upstream.hostport": b.dial.Address, "upstream.host": b.dial.Host, "upstream.port": b.dial.Port,
		"upstream.requests": int(b.health.state.requests.Load()), "upstream.max_requests": b.dial.Upstream.MaxRequests,
		"upstream.fails": int(b.health.state.fails.Load()), "retries": 0,
	}
	durations := map[string]time.Duration{"duration": x.took, "upstream.duration": x.took}
	if x.answer != nil {
		durations["upstream.latency"] = x.answered.Sub(x.begun)
		known["status_code"], known["status_text"] = x.answer.StatusCode, x.answer.Status
		if field, is := strings.CutPrefix(name, "header."); is && len(x.answer.Header[field]) > 0 {
			known[name] = strings.Join(x.answer.Header[field], ",")
		}
	}
	for name, d := range durations {
		if d > 0 {
			known[name], known[name+"_ms"] = d, d.Seconds()*1e3
		}
	}
	return known[name]
}

// log logs a request at DEBUG level, without the backend's key, and its outcome.
func (x *exchange) log(sent *http.Request, resp *http.Response, err error) {
	if sent == nil {
		return
	}
	server, _ := x.r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	secrets := server != nil && server.Logs != nil && server.Logs.ShouldLogCredentials
	fields := []zap.Field{
		zap.String("upstream", x.backend.dial.Address), zap.Duration("duration", time.Since(x.begun)),
		zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: sent, ShouldLogCredentials: secrets}), zap.Error(err),
	}
	if err == nil {
		fields = append(fields, zap.Object("headers", caddyhttp.LoggableHTTPHeader{Header: resp.Header, ShouldLogCredentials: secrets}),
			zap.Int("status", resp.StatusCode))
	}
	x.backend.logger.Debug("upstream roundtrip", fields...)
}
