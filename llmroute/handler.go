package llmroute

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/llmroute/upstream"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler routes model calls to backends by the name of the model. It is the only reader of a call's body, which it edits by
// splicing bytes and sends through the backend's own reverse proxy. Paths that are not endpoints of a model API are not found:
// no request passes to later handlers.
//
// Every value is text, in which placeholders such as {env.X} or {file./path} are replaced at start; a value that was
// written and resolves to nothing is an error.
//
// It sets the placeholders {http.tollgate.model}, {http.tollgate.backend} and {http.tollgate.provider}, for access logs.
type Handler struct {
	// MaxBody is the largest body of a call, from 1KB to 1GB. Larger ones are refused with 413. Default: 32MB.
	MaxBody string `json:"max_body,omitempty"`

	// MaxBodies bounds the memory of the bodies of all calls in progress, in the whole process, from 1MB to 1TB and at least
	// twice MaxBody. Bodies that do not fit are refused with 503. Incomplete ones larger than 64KB may take an eighth of it, or
	// twice MaxBody if that is more. Default: a quarter of the process's memory.
	MaxBodies string `json:"max_bodies,omitempty"`

	// BodyTimeout is how long a body may take to arrive, from 1s to 24h; then the call is refused with 408. Default: 5m.
	BodyTimeout string `json:"body_timeout,omitempty"`

	// Anonymous serves calls that did not pass keyauth. Default: they are refused.
	Anonymous bool `json:"anonymous,omitempty"`

	// Unmetered serves calls that did not pass lagobilling. Default: they are refused.
	Unmetered bool `json:"unmetered,omitempty"`

	// EndUserHeaders are request headers that name the end user, in this order, after x-litellm-customer-id and
	// x-litellm-end-user-id and before the body. Default: none.
	EndUserHeaders []string `json:"end_user_headers,omitempty"`

	// HideRoute omits from answers the headers that report the backend and the number of attempts: x-tollgate-backend and
	// x-litellm-model-id, -model-group, -attempted-retries and -attempted-fallbacks. Default: they are sent.
	HideRoute bool `json:"hide_route,omitempty"`

	// ForwardTrace sends the trace context upstream: the headers traceparent, tracestate and baggage, as sent by the client or
	// set by Caddy's tracing. Default: they are removed.
	ForwardTrace bool `json:"forward_trace,omitempty"`

	// Models are the models that may be called.
	Models []*Model `json:"models,omitempty"`

	// ProviderLimits are limits of all calls to a provider, by the preset's name. A call that exceeds them goes to another
	// backend, or is refused. Default: none.
	ProviderLimits map[string]*setting.Limits `json:"provider_limits,omitempty"`

	// Aliases are further names of models.
	Aliases map[string]string `json:"aliases,omitempty"`

	// The state of the files named in placeholders when the Caddyfile was adapted, so that a changed file changes the
	// configuration and a reload is not skipped. It has no other effect.
	Files map[string]string `json:"files,omitempty"`

	app         *app.App
	logger      *zap.Logger
	maxBody     int64
	maxBodies   int64 // bytes of all bodies
	maxArriving int64 // bytes of incomplete ones
	bodyTimeout time.Duration
	pause       time.Duration // before a backend is retried
	catalog     catalog
	translates  bool     // calls to some backends are translated
	users       []string // canonical names of headers that name the end user
}

// Model is one model with its backends.
type Model struct {
	// Names are the names that clients request. `*` matches any text; of several matching patterns, the one with the longest
	// prefix before its `*` wins.
	Names []string `json:"names"`

	// Backends serve the model.
	Backends []*Backend `json:"backends"`

	// Retries is how many attempts may follow the first, from 0 to 100, with the backends in turn. Default: each further
	// backend once.
	Retries string `json:"retries,omitempty"`

	// Fallback are the models to try, in this order, when no backend of this one answered. Those that the caller's key may not
	// use are skipped; their own fallbacks do not apply.
	Fallback []string `json:"fallback,omitempty"`

	// ContextFallback are the models to try, in this order, when the prompt exceeds the context window. Without any, the refusal
	// is passed on. The rules of Fallback apply.
	ContextFallback []string `json:"context_fallback,omitempty"`

	// ContentFallback are the models to try when the prompt violates the provider's content policy.
	ContentFallback []string `json:"content_fallback,omitempty"`

	// OutputCap is the maximum of output tokens written into requests that set none, from 1 to 10000000. Default: none.
	OutputCap string `json:"output_cap,omitempty"`

	retries   int                           // -1: each further backend once
	fallbacks [upstream.Refusals][]fallback // by the reason of the refusal; those of upstream.NotRefused are for failures
}

const (
	maxRetries   = 100
	maxOutputCap = 10_000_000
)

// defaultPause is the first wait before a backend is retried; each further round doubles it.
const (
	defaultMaxBody = 32_000_000
	minMaxBody     = 1_000
	maxMaxBody     = 1_000_000_000

	minMaxBodies       = 1_000_000
	maxMaxBodies       = 1_000_000_000_000
	defaultBodyTimeout = 5 * time.Minute
	minBodyTimeout     = time.Second
)

const defaultPause = 200 * time.Millisecond

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.llmroute", New: func() caddy.Module { return new(Handler) }}
}

// Provision resolves the settings and sets up the backends. It opens nothing.
func (h *Handler) Provision(ctx caddy.Context) (err error) {
	h.logger = ctx.Logger()
	h.pause = defaultPause
	if h.app, err = app.Load(ctx); err != nil {
		return err
	}
	if h.maxBody, err = setting.Size("max_body", h.MaxBody, defaultMaxBody, minMaxBody, maxMaxBody); err != nil {
		return err
	}
	if err = h.boundBodies(); err != nil {
		return err
	}
	if h.bodyTimeout, err = setting.Duration("body_timeout", h.BodyTimeout, defaultBodyTimeout, minBodyTimeout, maxTimeout); err != nil {
		return err
	}
	h.users = []string{"X-Litellm-Customer-Id", "X-Litellm-End-User-Id"}
	for _, name := range h.EndUserHeaders {
		if name, err = setting.Resolve("end_user_header", name); err != nil {
			return err
		}
		h.users = append(h.users, http.CanonicalHeaderKey(name))
	}
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	for _, m := range h.Models {
		for _, b := range m.Backends {
			b.sender.Traced = h.ForwardTrace
			h.translates = h.translates || b.Translate != nil
		}
		if err := m.provision(ctx); err != nil {
			return err
		}
		h.warnPathless(m)
	}
	if err := h.ownLimits(); err != nil {
		return err
	}
	return h.catalog.build(h.Models, h.Aliases)
}

func (m *Model) provision(ctx caddy.Context) (err error) {
	if len(m.Names) == 0 {
		return errors.New("a model has no name")
	}
	label := m.Names[0]
	if len(m.Backends) == 0 {
		return fmt.Errorf("model %s has no backend", label)
	}
	if m.retries, err = setting.Int("retries", m.Retries, -1, 0, maxRetries); err != nil {
		return fmt.Errorf("model %s: %w", label, err)
	}
	outputCap, err := setting.Int("output_cap", m.OutputCap, 0, 1, maxOutputCap)
	if err != nil {
		return fmt.Errorf("model %s: %w", label, err)
	}
	taken := make(map[string]int)
	for _, b := range m.Backends {
		taken[b.Provider]++
		b.name = b.Provider
		if n := taken[b.Provider]; n > 1 {
			b.name = fmt.Sprintf("%s-%d", b.Provider, n)
		}
		b.outputCap = int64(outputCap)
		if err := b.provision(ctx); err != nil {
			return fmt.Errorf("model %s, backend %s: %w", label, b.name, err)
		}
	}
	return nil
}

func (h *Handler) warnPathless(m *Model) {
	for _, b := range m.Backends {
		if b.pathless {
			h.logger.Warn("the base URL of a backend has no path, so calls go to "+b.server.Base.String()+"/chat/completions and the like; "+
				"most servers want a base URL that ends in /v1", zap.String("model", m.Names[0]), zap.String("backend", b.name))
		}
	}
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
