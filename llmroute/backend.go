package llmroute

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
	"github.com/tollgate-llm/tollgate/llmroute/upstream"
)

// Backend is one place that serves a model: a provider's API at a base URL, with its own reverse proxy. All
// values are text and may contain placeholders such as {env.X} or {file./path}, which are replaced at start. A
// value that is written but resolves to nothing is an error.
type Backend struct {
	// Provider is the preset: openai (also for any OpenAI-compatible URL), anthropic, azure, bedrock, cohere, deepseek,
	// fireworks, gemini, groq, mistral, ollama, openrouter, perplexity, together, vertex, vllm, xai, or mock.
	Provider string `json:"provider"`

	// BaseURL is the base URL in the form that the provider's own SDK uses. For OpenAI and compatible APIs it
	// ends in /v1. For Anthropic, Gemini, Cohere and Bedrock it has no path. Default: the preset's.
	BaseURL string `json:"base_url,omitempty"`

	// APIKey is the provider's key. It is sent only to this backend and never logged. It is required at the
	// preset's own URL, except for ollama and mock, for bedrock, which signs with AWS credentials if there is no
	// key, and for vertex, which has no keys. Default: none.
	APIKey string `json:"api_key,omitempty"`

	// Model is the model name sent upstream. A `*` in it is replaced by the text that the first `*` of the
	// model's name matched. Default: the requested name, after aliases.
	Model string `json:"model,omitempty"`

	// Weight is this backend's share of the calls among the backends with the same order, from 1 to 1000000.
	// Default: 1.
	Weight string `json:"weight,omitempty"`

	// Order ranks the backends of a model, from 0 to 1000000. Backends with a lower order are tried first.
	// Default: 1.
	Order string `json:"order,omitempty"`

	// Timeout is the time limit for the first byte of the answer, from 1ms to 24h. Default: no limit.
	Timeout string `json:"timeout,omitempty"`

	// RetryOn lists those of the statuses 401, 402 and 403 after which the next backend is tried, because the
	// provider refuses this backend's key or its account has no credit. Each occurrence is logged as an error
	// and counted. Default: none; such answers are passed on.
	RetryOn []string `json:"retry_on,omitempty"`

	// Prices are in USD per million units, by the kinds listed in docs/prices.md. Default: the prices in the
	// price data.
	Prices map[string]string `json:"prices,omitempty"`

	// APIVersion is the api-version of an azure backend. Default: 2024-10-21, or none if the base URL ends in
	// /openai/v1.
	APIVersion string `json:"api_version,omitempty"`

	// Region is the AWS region of a bedrock backend. Default: the first that is set of the region in the base
	// URL, AWS_REGION, AWS_DEFAULT_REGION and, if there is a base URL, the region in the shared AWS
	// configuration.
	Region string `json:"region,omitempty"`

	// Project is the Google Cloud project of a vertex backend. Default: the one in the base URL's path,
	// otherwise GOOGLE_CLOUD_PROJECT.
	Project string `json:"project,omitempty"`

	// Location is the Google Cloud location of a vertex backend. Default: the one in the base URL, otherwise
	// GOOGLE_CLOUD_LOCATION, otherwise global.
	Location string `json:"location,omitempty"`

	// Limits are the limits on calls to this backend. A call that would exceed them goes to the next backend or
	// is refused. Default: none.
	Limits *setting.Limits `json:"limits,omitempty"`

	// Translate lets the backend serve calls in APIs that its provider does not speak. Default: such calls are
	// not served.
	Translate *Translate `json:"translate,omitempty"`

	// Response is the text that a mock backend answers with. Default: Hello from Tollgate.
	Response string `json:"response,omitempty"`

	// Delay is how long a mock backend waits before it answers, from 0s to 1h. Default: 0s.
	Delay string `json:"delay,omitempty"`

	// Fail is the percentage of calls that a mock backend answers with status 503, from 0 to 100. Default: 0.
	Fail string `json:"fail,omitempty"`

	// ReverseProxy contains further settings of the reverse_proxy handler that carries the calls. Settings that
	// would send a call elsewhere, repeat it or hide its answer are refused. Default: none.
	ReverseProxy json.RawMessage `json:"reverse_proxy,omitempty" caddy:"namespace=http.handlers inline_key=handler"`

	server    *provider.Server
	name      string // unique within the model
	upstream  string
	weight    int
	order     int
	prices    map[string]string
	outputCap int64 // the model's OutputCap
	limits    []limit.Limit
	pathless  bool // its base URL lacks the usual path
	sender    upstream.Backend
}

const (
	maxShare   = 1_000_000
	maxTimeout = 24 * time.Hour
	maxDelay   = time.Hour
)

// provision resolves the settings and provisions the reverse proxy. It opens no connections.
func (b *Backend) provision(ctx caddy.Context) error {
	preset, ok := provider.Presets[b.Provider]
	if !ok {
		return fmt.Errorf("provider %q is not known: use one of %s", b.Provider, provider.Names())
	}
	if err := b.resolve(preset); err != nil {
		return err
	}
	if preset.Mock {
		if err := b.provisionMock(); err != nil {
			return err
		}
	} else if b.Response != "" || b.Delay != "" || b.Fail != "" {
		return errors.New("response, delay and fail belong to mock backends")
	}
	config, err := upstream.Config(b.ReverseProxy, b.server.Base)
	if err != nil {
		return err
	}
	b.ReverseProxy = config
	mod, err := ctx.LoadModule(b, "ReverseProxy")
	if err != nil {
		return err
	}
	proxy, ok := mod.(*reverseproxy.Handler)
	if !ok {
		return fmt.Errorf("the handler %T is not reverse_proxy", mod)
	}
	if err := b.sender.Provision(ctx, proxy); err != nil {
		return err
	}
	if b.sender.Auth == nil && b.BaseURL == "" && !preset.Keyless && preset.KeyHeader != "" && !b.sender.SetsHeader(preset.KeyHeader) {
		return errors.New("api_key is missing")
	}
	return nil
}

// resolve resolves the settings common to all backends.
func (b *Backend) resolve(preset *provider.Preset) error {
	written, err := setting.Resolve("base URL", b.BaseURL)
	if err != nil {
		return err
	}
	var base *url.URL
	if written = cmp.Or(written, preset.Base); written != "" {
		if base, err = preset.CheckBase(written); err != nil {
			return err
		}
		b.pathless = preset.Pathless(base)
	}
	key, err := setting.Resolve("api_key", b.APIKey)
	if err != nil {
		return err
	}
	if key != "" && preset.KeyHeader == "" {
		return fmt.Errorf("provider %s takes no api_key: it uses the cloud's own credentials", b.Provider)
	}
	if key != "" {
		if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return errors.New("api_key holds a space or a control character")
		}
		b.sender.Auth = []string{preset.KeyPrefix + key}
	}
	for name, value := range b.options() {
		if value != "" && !slices.Contains(preset.Options, name) {
			return fmt.Errorf("%s belongs to %s backends", name, ownerOf(name))
		}
	}
	b.server, err = preset.Serve(base, &provider.Options{
		APIVersion: b.APIVersion, Region: b.Region, Project: b.Project, Location: b.Location, Keyed: b.sender.Auth != nil,
	})
	if err != nil {
		return fmt.Errorf("provider %s: %w", b.Provider, err)
	}
	b.sender.Server = b.server
	if b.Translate != nil {
		if err := b.Translate.provision(); err != nil {
			return fmt.Errorf("translate: %w", err)
		}
	}
	if b.upstream, err = setting.Resolve("model", b.Model); err != nil {
		return err
	}
	if b.weight, err = setting.Int("weight", b.Weight, 1, 1, maxShare); err != nil {
		return err
	}
	if b.order, err = setting.Int("order", b.Order, 1, 0, maxShare); err != nil {
		return err
	}
	if b.sender.Timeout, err = setting.Duration("timeout", b.Timeout, 0, time.Millisecond, maxTimeout); err != nil {
		return err
	}
	for _, written := range b.RetryOn {
		status, err := keyStatus(written)
		if err != nil {
			return err
		}
		b.sender.RetryOn = append(b.sender.RetryOn, status)
	}
	b.prices = make(map[string]string, len(b.Prices))
	for kind, amount := range b.Prices {
		if b.prices[kind], err = setting.Resolve("price "+kind, amount); err != nil {
			return err
		}
		if err := checkPrice(kind, b.prices[kind]); err != nil {
			return err
		}
	}
	return price.CheckWritten(b.prices)
}

// keyStatus resolves one status of retry_on.
func keyStatus(written string) (int, error) {
	text, err := setting.Resolve("retry_on", written)
	if err != nil {
		return 0, err
	}
	switch text {
	case "401":
		return http.StatusUnauthorized, nil
	case "402":
		return http.StatusPaymentRequired, nil
	case "403":
		return http.StatusForbidden, nil
	}
	return 0, fmt.Errorf("retry_on %s: use 401, 402 or 403", text)
}

// options returns the provider-specific settings.
func (b *Backend) options() map[string]string {
	return map[string]string{"api_version": b.APIVersion, "region": b.Region, "project": b.Project, "location": b.Location}
}

// ownerOf returns the provider that has an option, or an empty string.
func ownerOf(option string) string {
	for name, p := range provider.Presets {
		if slices.Contains(p.Options, option) {
			return name
		}
	}
	return ""
}

func (b *Backend) provisionMock() (err error) {
	mock := new(provider.Mock)
	if mock.Text, err = setting.Resolve("response", b.Response); err != nil {
		return err
	}
	if mock.Delay, err = setting.Duration("delay", b.Delay, 0, 0, maxDelay); err != nil {
		return err
	}
	mock.Fail, err = setting.Int("fail", b.Fail, 0, 0, 100)
	b.sender.Instead = mock
	return err
}

// checkPrice checks a price's kind and its amount, which must be a plain non-negative decimal.
func checkPrice(kind, amount string) error {
	n, ok := new(big.Rat).SetString(amount)
	if !ok || n.Sign() < 0 || strings.ContainsAny(amount, "/eExXpP_+-") {
		return fmt.Errorf("price %s %s: a decimal number of USD per million is expected", kind, amount)
	}
	alone := map[string]string{kind: amount}
	if base, _, cliff := strings.Cut(kind, ">"); cliff {
		alone[base] = amount // a price above a threshold needs one below it
	}
	return price.CheckWritten(alone)
}

// target returns the target of an attempt at this backend.
func (b *Backend) target(pattern, name string) *llm.Target {
	return &llm.Target{
		Model: pattern, Backend: b.name, Provider: b.Provider, BaseURL: b.server.Base.String(), Region: b.server.Region, Upstream: b.upstreamModel(pattern, name),
		API: b.server.API, Drain: b.server.Drain, Prices: b.prices, OutputCap: b.outputCap, Limits: b.limits,
	}
}

// upstreamModel returns the name sent upstream for a name that the pattern matched.
func (b *Backend) upstreamModel(pattern, name string) string {
	if b.upstream == "" {
		return name
	}
	head, tail, star := strings.Cut(b.upstream, "*")
	if !star {
		return b.upstream
	}
	before, after, wild := strings.Cut(pattern, "*")
	if !wild {
		return head + name + tail
	}
	name = strings.TrimPrefix(name, before)
	if !strings.Contains(after, "*") {
		name = strings.TrimSuffix(name, after)
	}
	return head + name + tail
}
