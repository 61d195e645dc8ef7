package app

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// healthTime is the time limit for all checks of one response together.
const healthTime = 3 * time.Second

// States of a check.
const (
	HealthOK       = "ok"
	HealthDegraded = "degraded" // calls are still served
	HealthDown     = "down"     // calls are refused
)

// Check is the state of one dependency of calls. Callers without a key can see it, so its texts contain
// no address or path.
type Check struct {
	Name    string `json:"name"`
	Account string `json:"account,omitempty"` // the billing account
	Status  string `json:"status"`            // ok, degraded or down
	Reason  string `json:"reason,omitempty"`
	// Pending is the number of records not yet delivered to Lago. OldestSeconds is the age of the oldest.
	Pending       *int64 `json:"pending,omitempty"`
	OldestSeconds *int64 `json:"oldest_seconds,omitempty"`
}

// health holds the checks by key.
type health struct {
	sync.Mutex
	checks map[string]func(context.Context) []Check
}

// OnHealth registers checks for the health endpoints. Only one check per key is run. Only Provision may
// call it.
func (a *App) OnHealth(key string, check func(context.Context) []Check) {
	a.health.Lock()
	defer a.health.Unlock()
	if a.health.checks == nil {
		a.health.checks = make(map[string]func(context.Context) []Check)
	}
	a.health.checks[key] = check
}

// ServeHealth answers requests to the health endpoints, which need no key, and reports whether the
// request was for one. The paths are LiteLLM's. liveliness and liveness succeed as long as the process
// serves. readiness and /health return 503 if calls would be refused.
func (a *App) ServeHealth(w http.ResponseWriter, r *http.Request) (bool, error) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/health")
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false, nil
	}
	var answer any
	status := http.StatusOK
	switch rest {
	case "/liveliness", "/liveness":
		answer = "I'm alive!"
	case "", "/readiness":
		ready := a.readiness(r)
		if ready.Status != healthy {
			status = http.StatusServiceUnavailable
		}
		answer = ready
	default:
		return false, nil
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return true, err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err = w.Write(body)
	return true, err
}

const healthy = "healthy"

// readiness is the response to /health/readiness.
type readiness struct {
	Status string  `json:"status"` // healthy, unhealthy or shutting_down
	Checks []Check `json:"checks"`
}

func (a *App) readiness(r *http.Request) readiness {
	out := readiness{Status: healthy, Checks: []Check{}}
	ctx, cancel := context.WithTimeout(r.Context(), healthTime)
	defer cancel()
	a.health.Lock()
	keys := make([]string, 0, len(a.health.checks))
	for key := range a.health.checks {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	checks := make([]func(context.Context) []Check, 0, len(keys))
	for _, key := range keys {
		checks = append(checks, a.health.checks[key])
	}
	a.health.Unlock()
	for _, check := range checks {
		out.Checks = append(out.Checks, check(ctx)...)
	}
	if slices.ContainsFunc(out.Checks, func(c Check) bool { return c.Status == HealthDown }) {
		out.Status = "unhealthy"
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if ending, _ := repl.Get("http.shutting_down"); ending == true { // the server is within its shutdown_delay
			out.Status = "shutting_down"
		}
	}
	return out
}
