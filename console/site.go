package console

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// keyHolder is what the console uses of a site's keyauth.
type keyHolder interface {
	Identify(ctx context.Context, sum keys.Digest) (*keys.State, *llm.Error)
	Service(ctx context.Context) (s *keys.Service, release func(), err error)
	Spent(ctx context.Context, scope limit.Scope, l *keys.Limits, now time.Time) (totals map[string]price.Amount, states []limit.State, err error)
}

// biller is what the console uses of a site's lagobilling.
type biller interface {
	HoldAccount(ctx context.Context) (a *account.Account, release func(), err error)
	Tariff() *tariff.Tariff
}

// router is what the console uses of a site's llmroute.
type router interface {
	Targets() []*llm.Target
	Available(t *llm.Target) bool
}

// site holds the handlers of the console's site. A handler is nil if the site does not have it.
type site struct {
	keys   keyHolder
	bills  biller
	routes router
}

// askedPath is the path of the lookup request, one of the paths of model calls.
const askedPath = "/v1/models"

// inquire finds the handlers of the site by sending a request through the site's routes, so that matchers and nested routes apply
// as they do for calls. The request's context is already cancelled, so other handlers, such as a reverse proxy, send nothing.
func inquire(r *http.Request, next caddyhttp.Handler) *site {
	s := new(site)
	ctx, end := context.WithCancel(r.Context())
	end()
	ctx, call := llm.Ensure(ctx)
	call.Inquire = func(handler any) {
		switch h := handler.(type) {
		case keyHolder:
			s.keys = h
		case biller:
			s.bills = h
		case router:
			s.routes = h
		}
	}
	asked := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: askedPath}, RequestURI: askedPath, Host: r.Host, Header: make(http.Header), Body: http.NoBody,
		Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor, RemoteAddr: r.RemoteAddr, TLS: r.TLS,
	}
	_ = next.ServeHTTP(nowhere{make(http.Header)}, asked.WithContext(ctx)) // the result does not matter
	return s
}

// nowhere discards what is written.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}
