package llmroute

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
	"github.com/tollgate-llm/tollgate/llmroute/upstream"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("llmroute", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("llmroute", httpcaddyfile.Before, "reverse_proxy")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	handler.Files = setting.Files(h.Dispenser)
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	llmroute [<matcher>] {
//	    max_body <size>
//	    max_bodies <size>
//	    body_timeout <duration>
//	    anonymous
//	    unmetered
//	    end_user_header <names...>
//	    hide_route
//	    forward_trace
//	    model <names...> {
//	        backend <provider> [<base URL>] {
//	            api_key <key>
//	            model <name>
//	            weight <n>
//	            order <n>
//	            price <kind> <USD per million>
//	            timeout <duration>
//	            retry_on <statuses...>
//	            api_version <version>
//	            region <name>
//	            project <id>
//	            location <name>
//	            response <text>
//	            delay <duration>
//	            limits {
//	                <limits of the backend>
//	            }
//	            fail <percent>
//	            translate [lossy] {
//	                calls <endpoints...>
//	                token_counts estimate|refuse
//	            }
//	            <subdirectives of reverse_proxy>
//	        }
//	        retries <n>
//	        output_cap <tokens>
//	        fallback <models...>
//	        context_fallback <models...>
//	        content_fallback <models...>
//	    }
//	    provider_limits <provider> {
//	        <limits of the provider>
//	    }
//	    alias <name> <model>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.ArgErr()
	}
	names := make(map[string]bool) // names of models and aliases
	seen := make(setting.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch word := d.Val(); word {
		case "max_body":
			err = seen.Value(d, &h.MaxBody, func(s string) error { _, err := setting.Size(word, s, 0, minMaxBody, maxMaxBody); return err })
		case "max_bodies":
			err = seen.Value(d, &h.MaxBodies, func(s string) error {
				_, err := setting.Size(word, s, 0, minMaxBodies, maxMaxBodies)
				return err
			})
		case "body_timeout":
			err = seen.Value(d, &h.BodyTimeout, func(s string) error {
				_, err := setting.Duration(word, s, 0, minBodyTimeout, maxTimeout)
				return err
			})
		case "anonymous":
			err = seen.Flag(d, &h.Anonymous)
		case "unmetered":
			err = seen.Flag(d, &h.Unmetered)
		case "hide_route":
			err = seen.Flag(d, &h.HideRoute)
		case "forward_trace":
			err = seen.Flag(d, &h.ForwardTrace)
		case "end_user_header":
			err = setting.List(d, &h.EndUserHeaders)
		case "model":
			err = h.unmarshalModel(d, names)
		case "alias":
			err = h.unmarshalAlias(d, names)
		case "provider_limits":
			err = h.unmarshalProviderLimits(d)
		default:
			err = d.Errf("unrecognized subdirective: %s", word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) unmarshalProviderLimits(d *caddyfile.Dispenser) error {
	var name string
	if !d.AllArgs(&name) {
		return d.ArgErr()
	}
	if _, known := provider.Presets[name]; !known {
		return d.Errf("provider %s is not known: use one of %s", name, provider.Names())
	}
	if h.ProviderLimits[name] != nil {
		return d.Errf("provider_limits %s is given twice", name)
	}
	l, err := unmarshalLimits(d)
	if err != nil {
		return err
	}
	if h.ProviderLimits == nil {
		h.ProviderLimits = make(map[string]*setting.Limits)
	}
	h.ProviderLimits[name] = l
	return nil
}

func (h *Handler) unmarshalAlias(d *caddyfile.Dispenser, names map[string]bool) error {
	var name, target string
	if !d.AllArgs(&name, &target) || name == "" || target == "" {
		return d.ArgErr()
	}
	if names[name] {
		return d.Errf("alias %s: that name is taken already", name)
	}
	names[name] = true
	if h.Aliases == nil {
		h.Aliases = make(map[string]string)
	}
	h.Aliases[name] = target
	return nil
}

func (h *Handler) unmarshalModel(d *caddyfile.Dispenser, names map[string]bool) error {
	m := new(Model)
	if err := setting.List(d, &m.Names); err != nil {
		return err
	}
	for _, name := range m.Names {
		if names[name] {
			return d.Errf("model %s: that name is taken already", name)
		}
		names[name] = true
	}
	seen := make(setting.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch word := d.Val(); word {
		case "backend":
			var b *Backend
			if b, err = unmarshalBackend(d); b != nil {
				m.Backends = append(m.Backends, b)
			}
		case "retries":
			err = seen.Value(d, &m.Retries, func(s string) error { _, err := setting.Int(word, s, 0, 0, maxRetries); return err })
		case "output_cap":
			err = seen.Value(d, &m.OutputCap, func(s string) error { _, err := setting.Int(word, s, 0, 1, maxOutputCap); return err })
		case "fallback":
			err = setting.List(d, &m.Fallback)
		case "context_fallback":
			err = setting.List(d, &m.ContextFallback)
		case "content_fallback":
			err = setting.List(d, &m.ContentFallback)
		default:
			err = d.Errf("unrecognized subdirective of model: %s", word)
		}
		if err != nil {
			return err
		}
	}
	if len(m.Backends) == 0 {
		return d.Errf("model %s has no backend", m.Names[0])
	}
	h.Models = append(h.Models, m)
	return nil
}

func unmarshalBackend(d *caddyfile.Dispenser) (*Backend, error) {
	at := d.Token()
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return nil, d.ArgErr()
	}
	b := &Backend{Provider: args[0]}
	preset, known := provider.Presets[b.Provider]
	if !known {
		return nil, d.Errf("provider %s is not known: use one of %s", b.Provider, provider.Names())
	}
	switch {
	case len(args) == 2:
		b.BaseURL = args[1]
		if err := setting.Check(d, b.BaseURL, func(s string) error { _, err := preset.CheckBase(s); return err }); err != nil {
			return nil, err
		}
	case preset.Base == "" && !slices.Contains(preset.Options, "region") && !slices.Contains(preset.Options, "project"):
		return nil, d.Errf("provider %s needs a base URL", b.Provider)
	}
	var rest []caddyfile.Token
	seen := make(setting.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		ours, err := b.unmarshalOwn(d, seen)
		if err != nil {
			return nil, err
		}
		if ours {
			continue
		}
		if word := d.Val(); slices.Contains(upstream.RefusedSubdirectives, word) || strings.HasPrefix(word, "@") {
			return nil, d.Errf("%s cannot be used in a backend: %s", word, upstream.WhyRefused)
		}
		rest = append(rest, d.NextSegment()...)
	}
	if len(rest) == 0 {
		return b, nil
	}
	return b, b.unmarshalProxy(at, rest)
}

// unmarshalOwn parses one of the backend's own subdirectives. It returns false for others, which belong to
// reverse_proxy.
func (b *Backend) unmarshalOwn(d *caddyfile.Dispenser, seen setting.Seen) (bool, error) {
	word := d.Val()
	count := func(least int) func(string) error {
		return func(s string) error { _, err := setting.Int(word, s, 0, least, maxShare); return err }
	}
	lasting := func(least, most time.Duration) func(string) error {
		return func(s string) error { _, err := setting.Duration(word, s, 0, least, most); return err }
	}
	switch word {
	case "response", "delay", "fail":
		if !provider.Presets[b.Provider].Mock {
			return true, d.Errf("%s belongs to mock backends", word)
		}
	case "api_key":
		if provider.Presets[b.Provider].KeyHeader == "" {
			return true, d.Errf("provider %s takes no api_key: it uses the cloud's own credentials", b.Provider)
		}
	default:
		if owner := ownerOf(word); owner != "" && owner != b.Provider {
			return true, d.Errf("%s belongs to %s backends", word, owner)
		}
	}
	switch word {
	case "api_key":
		return true, seen.Value(d, &b.APIKey, nil)
	case "model":
		return true, seen.Value(d, &b.Model, nil)
	case "api_version":
		return true, seen.Value(d, &b.APIVersion, provider.CheckAzureVersion)
	case "region":
		return true, seen.Value(d, &b.Region, provider.CheckRegion)
	case "project":
		return true, seen.Value(d, &b.Project, func(s string) error { return provider.CheckGoogleName(word, s) })
	case "location":
		return true, seen.Value(d, &b.Location, func(s string) error { return provider.CheckGoogleName(word, s) })
	case "response":
		return true, seen.Value(d, &b.Response, nil)
	case "delay":
		return true, seen.Value(d, &b.Delay, lasting(0, maxDelay))
	case "fail":
		return true, seen.Value(d, &b.Fail, func(s string) error { _, err := setting.Int(word, s, 0, 0, 100); return err })
	case "timeout":
		return true, seen.Value(d, &b.Timeout, lasting(time.Millisecond, maxTimeout))
	case "retry_on":
		if err := setting.List(d, &b.RetryOn); err != nil {
			return true, err
		}
		for _, status := range b.RetryOn {
			if err := setting.Check(d, status, func(s string) error { _, err := keyStatus(s); return err }); err != nil {
				return true, err
			}
		}
		return true, nil
	case "limits":
		if err := seen.Once(d); err != nil {
			return true, err
		}
		if d.NextArg() {
			return true, d.ArgErr()
		}
		var err error
		b.Limits, err = unmarshalLimits(d)
		return true, err
	case "translate":
		if err := seen.Once(d); err != nil {
			return true, err
		}
		var err error
		b.Translate, err = unmarshalTranslate(d)
		return true, err
	case "weight":
		return true, seen.Value(d, &b.Weight, count(1))
	case "order":
		return true, seen.Value(d, &b.Order, count(0))
	case "price":
		var kind, amount string
		if !d.AllArgs(&kind, &amount) || kind == "" || amount == "" {
			return true, d.ArgErr()
		}
		if _, twice := b.Prices[kind]; twice {
			return true, d.Errf("price %s is given twice", kind)
		}
		known := amount
		if !setting.Literal(amount) {
			known = "0" // until placeholders are resolved, only the kind can be checked
		}
		if err := checkPrice(kind, known); err != nil {
			return true, d.WrapErr(err)
		}
		if b.Prices == nil {
			b.Prices = make(map[string]string)
		}
		b.Prices[kind] = amount
		return true, nil
	}
	return false, nil
}

// unmarshalProxy parses the remaining subdirectives as a reverse_proxy block.
func (b *Backend) unmarshalProxy(at caddyfile.Token, rest []caddyfile.Token) error {
	open, end := at, rest[len(rest)-1]
	at.Text, open.Text, end.Text = "reverse_proxy", "{", "}"
	end.Line++
	tokens := append([]caddyfile.Token{at, open}, rest...)
	rp := new(reverseproxy.Handler)
	if err := rp.UnmarshalCaddyfile(caddyfile.NewDispenser(append(tokens, end))); err != nil {
		return err
	}
	settings, err := json.Marshal(rp)
	if err != nil {
		return err
	}
	b.ReverseProxy = append([]byte(`{"handler":"reverse_proxy",`), settings[1:]...)
	return nil
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Handler)(nil)
