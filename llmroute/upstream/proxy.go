package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/tidwall/gjson"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// RefusedSubdirectives are the subdirectives of reverse_proxy that would send a call elsewhere, repeat it, or
// hide its answer.
var RefusedSubdirectives = []string{
	"to", "dynamic", "health_upstream", "handle_response", "replace_status", "copy_response", "copy_response_headers", "method",
	"rewrite", "response_buffers", "request_buffers", "lb_retries", "lb_try_duration", "lb_try_interval", "lb_retry_match", "trusted_proxies",
}

// refusedSettings are their JSON names.
var refusedSettings = []string{
	"upstreams", "dynamic_upstreams", "handle_response", "rewrite", "request_buffers", "response_buffers", "trusted_proxies", "load_balancing.retries",
	"load_balancing.try_duration", "load_balancing.try_interval", "load_balancing.retry_match", "health_checks.active.upstream",
}

// WhyRefused is why all of them are refused.
const WhyRefused = "it would send calls elsewhere, repeat them, or hide their answers"

// Config adds the address of the base URL and its health to the settings of a reverse proxy.
func Config(raw json.RawMessage, base *url.URL) (json.RawMessage, error) {
	settings := struct {
		Name string `json:"handler"`
		reverseproxy.Handler
	}{Name: "reverse_proxy"}
	rp := &settings.Handler
	if len(raw) > 0 {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&settings); err != nil {
			return nil, fmt.Errorf("reverse_proxy: %w", err)
		}
	}
	if settings.Name != "reverse_proxy" {
		return nil, errors.New("reverse_proxy: the handler must be reverse_proxy")
	}
	for _, name := range refusedSettings {
		if gjson.GetBytes(raw, name).Exists() {
			return nil, fmt.Errorf("reverse_proxy's %s cannot be set for a backend: %s", name, WhyRefused)
		}
	}
	port := base.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[base.Scheme]
	}
	health := &Health{Address: net.JoinHostPort(base.Hostname(), port), Inner: rp.CBRaw}
	if rp.HealthChecks != nil {
		health.Passive = rp.HealthChecks.Passive
	}
	rp.Upstreams = reverseproxy.UpstreamPool{{Dial: health.Address}}
	rp.CBRaw = caddyconfig.JSONModuleObject(health, "type", healthName, nil)
	var err error
	if rp.TransportRaw, err = transportConfig(rp.TransportRaw, base); err != nil {
		return nil, err
	}
	return json.Marshal(&settings)
}

// transportConfig enables TLS if the base URL uses it. Transports other than http follow their own settings.
func transportConfig(raw json.RawMessage, base *url.URL) (json.RawMessage, error) {
	settings := map[string]any{"protocol": "http"}
	if len(raw) > 0 {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if err := d.Decode(&settings); err != nil {
			return nil, fmt.Errorf("transport: %w", err)
		}
	}
	switch tls := settings["tls"] != nil; {
	case settings["protocol"] == "fastcgi": // it connects to programs, not to HTTP servers
		return nil, errors.New("transport fastcgi cannot carry calls to a model: use http")
	case settings["protocol"] != "http":
	case base.Scheme == "https" && !tls:
		settings["tls"] = map[string]any{}
	case base.Scheme == "http" && tls:
		return nil, errors.New("the base URL begins with http://, but the transport has TLS: write https://")
	}
	return json.Marshal(settings)
}

// SetsHeader reports whether the configuration sets or adds that request header.
func (b *Backend) SetsHeader(name string) bool {
	if b.proxy.Headers == nil || b.proxy.Headers.Request == nil {
		return false
	}
	for _, fields := range []http.Header{b.proxy.Headers.Request.Set, b.proxy.Headers.Request.Add} {
		for field := range fields {
			if http.CanonicalHeaderKey(field) == name {
				return true
			}
		}
	}
	return false
}
