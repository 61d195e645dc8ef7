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

// Handler routes model calls to backends by the name of the model. Only this handler reads the body of a call.
// It edits the body by splicing bytes and sends it through the backend's own reverse proxy. Paths that are not
// endpoints of a model API get 404: no request goes on to later handlers.
//
// All values are text and may contain placeholders such as {env.X} or {file./path}, which are replaced at start.
// A value that is written but resolves to nothing is an error.
//
// The handler sets the placeholders {http.tollgate.model}, {http.tollgate.backend} and {http.tollgate.provider}
// for access logs.
type Handler struct {
	// MaxBody is the maximum size of a call's body, from 1KB to 1GB. Larger bodies are refused with 413.
	// Default: 32MB.
	MaxBody string `json:"max_body,omitempty"`

	// MaxBodies is the maximum memory for the bodies of all calls in progress in the process, from 1MB to 1TB
	// and at least twice MaxBody. Bodies that do not fit are refused with 503. Incomplete bodies larger than
	// 64KB may use an eighth of it, or twice MaxBody if that is more. Default: a quarter of the process's
	// memory.
	MaxBodies string `json:"max_bodies,omitempty"`

	// BodyTimeout is the time limit for receiving a body, from 1s to 24h. A call that exceeds it is refused with
	// 408. Default: 5m.
	BodyTimeout string `json:"body_timeout,omitempty"`

	// Anonymous allows calls that did not pass keyauth. Default: they are refused.
	Anonymous bool `json:"anonymous,omitempty"`

	// Unmetered allows calls that did not pass lagobilling. Default: they are refused.
	Unmetered bool `json:"unmetered,omitempty"`

	// EndUserHeaders are request headers that name the end user. They are read in this order, after
	// x-litellm-customer-id and x-litellm-end-user-id and before the body. Default: none.
	EndUserHeaders []string `json:"end_user_headers,omitempty"`

	// HideRoute omits the response headers that report the backend and the number of attempts:
	// x-tollgate-backend and x-litellm-model-id, -model-group, -attempted-retries and -attempted-fallbacks.
	// Default: they are sent.
	HideRoute bool `json:"hide_route,omitempty"`

	// ForwardTrace sends the trace context upstream: the headers traceparent, tracestate and baggage, as sent by
	// the client or set by Caddy's tracing. Default: they are removed.
	ForwardTrace bool `json:"forward_trace,omitempty"`

	// Models are the models that may be called.
	Models []*Model `json:"models,omitempty"`

	// ProviderLimits are the limits on all calls to a provider, by the name of its preset. A call that would
	// exceed them goes to another backend or is refused. Default: none.
	ProviderLimits map[string]*setting.Limits `json:"provider_limits,omitempty"`

	// Aliases are additional names of models, mapped to the model. Default: none.
	Aliases map[string]string `json:"aliases,omitempty"`

	// Files is the state of the files that placeholders name, taken when the Caddyfile was adapted. A changed
	// file thus changes the configuration, so a reload is not skipped. It has no other effect.
	Files map[string]string `json:"files,omitempty"`

	app         *app.App
	logger      *zap.Logger
	maxBody     int64
	maxBodies   int64 // maximum bytes of all bodies
	maxArriving int64 // maximum bytes of incomplete bodies
	bodyTimeout time.Duration
	pause       time.Duration // wait before a backend is retried
	catalog     catalog
	translates  bool     // whether any backend translates calls
	users       []string // canonical names of the headers that name the end user
}

// Model is one model with its backends.
type Model struct {
	// Names are the names that clients request. A `*` matches any text. If several patterns match, the one with
	// the longest prefix before its `*` wins.
	Names []string `json:"names"`

	// Backends are the backends that serve the model.
	Backends []*Backend `json:"backends"`

	// Retries is the maximum number of attempts after the first, from 0 to 100. They go to the backends in turn.
	// Default: each further backend once.
	Retries string `json:"retries,omitempty"`

	// Fallback lists the models to try, in this order, if no backend of this model answers. Models that the
	// caller's key may not use are skipped. Their own fallbacks do not apply. Default: none.
	Fallback []string `json:"fallback,omitempty"`

	// ContextFallback lists the models to try, in this order, if the prompt exceeds the context window. The
	// rules of Fallback apply. Default: none; the refusal is passed on.
	ContextFallback []string `json:"context_fallback,omitempty"`

	// ContentFallback lists the models to try, in this order, if the prompt violates the provider's content
	// policy. The rules of Fallback apply. Default: none; the refusal is passed on.
	ContentFallback []string `json:"content_fallback,omitempty"`

	// OutputCap is the maximum number of output tokens to set in requests that set none, from 1 to 10000000.
	// Default: none.
	OutputCap string `json:"output_cap,omitempty"`

	retries   int                           // -1: each further backend once
	fallbacks [upstream.Refusals][]fallback // by the reason of the refusal; upstream.NotRefused is for failures
}

const (
	maxRetries   = 100
	maxOutputCap = 10_000_000
)

// defaultPause is the wait before the first retry of a backend. It doubles with each further round.
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

// Provision resolves the settings and provisions the backends. It opens no connections.
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
