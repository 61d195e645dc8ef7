package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	caddy.RegisterModule(new(Health))
}

// Health is the passive health of a backend's address. llmroute installs it as the circuit breaker of each
// backend's reverse proxy, so that Caddy's selection policies and metrics take it into account. It has no other
// use.
type Health struct {
	// Address is the backend's address. Backends with the same address share its health, also across reloads.
	Address string `json:"address,omitempty"`

	// Passive defines when the address counts as down. Default: never.
	Passive *reverseproxy.PassiveHealthChecks `json:"passive,omitempty"`

	// Inner is an additional circuit breaker. Default: none.
	Inner json.RawMessage `json:"inner,omitempty" caddy:"namespace=http.reverse_proxy.circuit_breakers inline_key=type"`

	inner reverseproxy.CircuitBreaker
	state *state
	ctx   caddy.Context
}

// state is the health of an address.
type state struct{ requests, fails atomic.Int64 }

// states are the health of all addresses in use by a configuration.
var states = caddy.NewUsagePool()

const healthName = "llmroute"

// CaddyModule returns the Caddy module information.
func (*Health) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.circuit_breakers." + healthName,
		New: func() caddy.Module { return new(Health) },
	}
}

// Provision finds or creates the state of the address.
func (h *Health) Provision(ctx caddy.Context) error {
	h.ctx = ctx
	if h.Passive != nil && h.Passive.MaxFails == 0 {
		h.Passive.MaxFails = 1
	}
	if len(h.Inner) > 0 {
		mod, err := ctx.LoadModule(h, "Inner")
		if err != nil {
			return fmt.Errorf("loading circuit breaker: %w", err)
		}
		h.inner = mod.(reverseproxy.CircuitBreaker)
	}
	found, _ := states.LoadOrStore(h.Address, new(state))
	h.state = found.(*state)
	return nil
}

// Cleanup drops the state unless another backend uses the address.
func (h *Health) Cleanup() error {
	if h.state == nil {
		return nil
	}
	_, err := states.Delete(h.Address)
	return err
}

// OK reports whether the address is up.
func (h *Health) OK() bool {
	return (h.Passive == nil || h.state.fails.Load() < int64(h.Passive.MaxFails)) && (h.inner == nil || h.inner.OK())
}

// full reports whether the address has reached its maximum number of requests.
func (h *Health) full() bool {
	return h.Passive != nil && h.Passive.UnhealthyRequestCount > 0 && h.state.requests.Load() >= int64(h.Passive.UnhealthyRequestCount)
}

// RecordMetric records an answer that was passed on. Its status or its latency may count as a failure.
func (h *Health) RecordMetric(status int, latency time.Duration) {
	if h.inner != nil {
		h.inner.RecordMetric(status, latency)
	}
	if h.Passive == nil {
		return
	}
	for _, bad := range h.Passive.UnhealthyStatus {
		if caddyhttp.StatusCodeMatches(status, bad) {
			h.failed()
		}
	}
	if most := time.Duration(h.Passive.UnhealthyLatency); most > 0 && latency >= most {
		h.failed()
	}
}

// failed counts a failure until it expires or the configuration is unloaded.
func (h *Health) failed() {
	if h.Passive == nil || h.Passive.FailDuration == 0 {
		return
	}
	h.state.fails.Add(1)
	until, cancel := context.WithTimeout(h.ctx, time.Duration(h.Passive.FailDuration))
	context.AfterFunc(until, func() {
		cancel()
		h.state.fails.Add(-1)
	})
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Health)(nil)
	_ caddy.CleanerUpper          = (*Health)(nil)
	_ reverseproxy.CircuitBreaker = (*Health)(nil)
)
