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

// Handler sends model calls to backends, by the name of the model. It is the only reader of a call's body; it edits the
// call by splicing bytes and hands it to the backend's own reverse proxy. A path that is not an endpoint of a model API is
// not found: nothing goes on to the handlers after it.
//
// Every value is text, in which placeholders such as {env.X} or {file./path} are replaced at start; a value that was
// written and resolves to nothing is an error.
//
// It sets the placeholders {http.tollgate.model}, {http.tollgate.backend} and {http.tollgate.provider}, for access logs.
type Handler struct {
	// MaxBody is the largest body of a call, from 1KB to 1GB. Larger ones are refused with 413. Default: 32MB.
	MaxBody string `json:"max_body,omitempty"`

	// MaxBodies bounds the memory that the bodies of all calls under way take, in the whole process, from 1MB to 1TB. A body for
	// which there is no room is refused with 503. Those that have not come whole, and are larger than 64KB, may take an eighth of
	// it, or twice MaxBody where that is more. At least twice MaxBody. Default: a quarter of the memory that the process may take.
	MaxBodies string `json:"max_bodies,omitempty"`

	// BodyTimeout is how long a body may take to arrive, from 1s to 24h; then the call is refused with 408. Default: 5m.
	BodyTimeout string `json:"body_timeout,omitempty"`

	// Anonymous serves calls that passed no keyauth. Default: they are refused.
	Anonymous bool `json:"anonymous,omitempty"`

	// Unmetered serves calls that passed no lagobilling. Default: they are refused.
	Unmetered bool `json:"unmetered,omitempty"`

	// EndUserHeaders are request headers that name the end user, in this order, after x-litellm-customer-id and
	// x-litellm-end-user-id and before the body. Default: none.
	EndUserHeaders []string `json:"end_user_headers,omitempty"`

	// HideRoute keeps from answers which backend gave them and after how many attempts: x-tollgate-backend and x-litellm-model-id,
	// -model-group, -attempted-retries and -attempted-fallbacks. Default: they are there.
	HideRoute bool `json:"hide_route,omitempty"`

	// ForwardTrace sends the trace of a request upstream: the headers traceparent, tracestate and baggage, as the client sent them or as
	// Caddy's tracing has set them. Default: they are taken off.
	ForwardTrace bool `json:"forward_trace,omitempty"`

	// Models are the models that may be called.
	Models []*Model `json:"models,omitempty"`

	// ProviderLimits are limits of all calls to a provider, by its preset's name. A call for which there is no room there goes to
	// another backend, or is refused. Default: none.
	ProviderLimits map[string]*setting.Limits `json:"provider_limits,omitempty"`

	// Aliases are further names of models.
	Aliases map[string]string `json:"aliases,omitempty"`

	// The state of the files that the Caddyfile names in placeholders, as its adapter saw them: with it a changed file is a
	// changed configuration, which a reload does not skip. It has no other effect.
	Files map[string]string `json:"files,omitempty"`

	app         *app.App
	logger      *zap.Logger
	maxBody     int64
	maxBodies   int64 // bytes of all bodies
	maxArriving int64 // bytes of those that have not come whole
	bodyTimeout time.Duration
	pause       time.Duration // before a backend is asked again
	catalog     catalog
	translates  bool     // calls to some backends are translated
	users       []string // canonical names of headers that name the end user
}

// Model is one model with its backends.
type Model struct {
	// Names are what clients ask for. `*` matches any text; of several patterns that match, the one with the longest text
	// before its `*` wins.
	Names []string `json:"names"`

	// Backends serve the model.
	Backends []*Backend `json:"backends"`

	// Retries is how many attempts may follow the first, from 0 to 100, with the backends in turn. Default: each further
	// backend once.
	Retries string `json:"retries,omitempty"`

	// Fallback are the models to go to, in this order, when no backend of this one answered. Those that the caller's key
	// may not use are left out; their own fallbacks do not count.
	Fallback []string `json:"fallback,omitempty"`

	// ContextFallback are the models to go to, in this order, when the prompt is longer than the context window of the one
	// that was asked. A refusal is passed on where there are none. What holds for Fallback holds for them.
	ContextFallback []string `json:"context_fallback,omitempty"`

	// ContentFallback are those to go to when the prompt is against the content policy of the provider that was asked.
	ContentFallback []string `json:"content_fallback,omitempty"`

	// OutputCap is the most tokens that an answer may have where the request does not say, from 1 to 10000000: it is written into
	// the request. Default: none.
	OutputCap string `json:"output_cap,omitempty"`

	retries   int                           // -1: each further backend once
	fallbacks [upstream.Refusals][]fallback // by why the prompt was refused; those of upstream.NotRefused are for failures
}

const (
	maxRetries   = 100
	maxOutputCap = 10_000_000
)

// defaultPause is the first wait before a backend is asked again; each further round doubles it.
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
			h.logger.Warn("the base URL of a backend has no path, so that calls go to "+b.server.Base.String()+"/chat/completions and the like; "+
				"most servers want a base URL that ends in /v1", zap.String("model", m.Names[0]), zap.String("backend", b.name))
		}
	}
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
