package console

import (
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/console/session"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// root is the path prefix of the console.
const root = session.Path

// Handler serves the console below /console/ on its site, for the keys of that site's keyauth. A key is sent
// once, to sign in. After that a cookie identifies the session. Permissions are checked on every request, so
// blocking a key ends its sessions.
//
// Requests to other paths go on to the next handler.
type Handler struct {
	logger *zap.Logger
	origin *http.CrossOriginProtection

	failures session.Failures
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.tollgate_console", New: func() caddy.Module { return new(Handler) }}
}

// Provision sets up the handler. It opens nothing.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.origin = http.NewCrossOriginProtection()
	return nil
}

// ServeHTTP serves a page of the console.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	path, ours := strings.CutPrefix(r.URL.Path, root)
	switch {
	case r.URL.Path+"/" == root:
		http.Redirect(w, r, root, http.StatusPermanentRedirect)
		return nil
	case !ours:
		return next.ServeHTTP(w, r)
	}
	secure(w.Header())
	if serveAsset(w, r, path) {
		return nil
	}
	v := &visit{h: h, w: w, r: r}
	v.name, v.arg, _ = strings.Cut(path, "/")
	if err := v.serve(next); err != nil {
		v.fail(err)
	}
	return nil
}

// secure sets the security headers of all responses: scripts only from the console, nothing from other hosts, no
// framing, no caching.
func secure(header http.Header) {
	header.Set("Content-Security-Policy",
		"default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
