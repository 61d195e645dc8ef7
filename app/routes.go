package app

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// checkRoutes refuses a configuration in which a call would pass keyauth or lagobilling twice. It warns
// if llmroute would refuse all calls because neither runs before it. It reads the handlers' JSON, which
// is available until they are loaded, so it runs when the first of this gateway's handlers is
// provisioned.
func (a *App) checkRoutes(ctx caddy.Context) error {
	if a.routesChecked {
		return nil
	}
	for _, m := range ctx.Modules() {
		web, ok := m.(*caddyhttp.App)
		if !ok {
			continue
		}
		a.routesChecked = true
		for name, server := range web.Servers {
			w := routeWalk{log: a.log, named: server.NamedRoutes, server: name + " (" + strings.Join(server.Listen, ", ") + ")"}
			for _, route := range server.Routes {
				keyed := w.keyed
				if err := w.route(&route, nil); err != nil {
					return err
				}
				if w.keyed > keyed {
					w.sites = append(w.sites, keyedSite{hostsOf(&route)})
				}
			}
			warnOfLogs(ctx, a.log, w.server, server.Logs, w.sites)
		}
	}
	return nil
}

// routeWalk visits the handlers of a server in the order in which requests pass them.
type routeWalk struct {
	log    *zap.Logger
	server string
	named  map[string]*caddyhttp.Route
	inside []string // the enclosing named routes
	count  int      // number of conditions
	passed []passedHandler
	keyed  int // handlers that require keys
	sites  []keyedSite
}

// condition is a route that only some requests take.
type condition struct {
	id       int
	group    string
	terminal bool // no later route is taken
}

type passedHandler struct {
	name string
	when []condition
}

// hostsOf returns the hosts that a route matches. Empty means all.
func hostsOf(route *caddyhttp.Route) (hosts []string) {
	for _, set := range route.MatcherSets {
		n := len(hosts)
		for _, m := range set {
			switch m := m.(type) {
			case caddyhttp.MatchHost:
				hosts = append(hosts, m...)
			case *caddyhttp.MatchHost:
				hosts = append(hosts, *m...)
			}
		}
		if len(hosts) == n {
			return nil
		}
	}
	return hosts
}

// always reports whether every request that satisfies `when` has passed the handler.
func (p passedHandler) always(when []condition) bool {
	for _, c := range p.when {
		if !slices.Contains(when, c) {
			return false
		}
	}
	return true
}

// never reports whether no request that satisfies `when` has passed the handler: a request takes only one
// route of a group, and none after a terminal route.
func (p passedHandler) never(when []condition) bool {
	for _, c := range p.when {
		if c.terminal && !slices.Contains(when, c) {
			return true
		}
		if c.group != "" && slices.ContainsFunc(when, func(o condition) bool { return o.group == c.group && o.id != c.id }) {
			return true
		}
	}
	return false
}

func (w *routeWalk) routes(list caddyhttp.RouteList, when []condition) error {
	for _, route := range list {
		if err := w.route(&route, when); err != nil {
			return err
		}
	}
	return nil
}

func (w *routeWalk) route(route *caddyhttp.Route, when []condition) error {
	if len(route.MatcherSetsRaw)+len(route.MatcherSets) > 0 || route.Group != "" {
		w.count++
		when = append(slices.Clone(when), condition{w.count, route.Group, route.Terminal})
	}
	for _, h := range route.Handlers { // of a route that is loaded already, so that none of ours is in it but by a name
		var err error
		switch h := h.(type) {
		case *caddyhttp.Subroute:
			err = w.routes(h.Routes, when)
		case *caddyhttp.Invoke:
			err = w.invoke(h.Name, when)
		}
		if err != nil {
			return err
		}
	}
	for _, raw := range route.HandlersRaw {
		if err := w.handler(raw, when); err != nil {
			return err
		}
	}
	return nil
}

func (w *routeWalk) handler(raw json.RawMessage, when []condition) error {
	var h struct {
		Handler string `json:"handler"`
	}
	if json.Unmarshal(raw, &h) != nil {
		return nil // reported when it is loaded
	}
	switch h.Handler {
	case "subroute":
		var sub struct {
			Routes caddyhttp.RouteList `json:"routes"`
		}
		if json.Unmarshal(raw, &sub) != nil {
			return nil
		}
		return w.routes(sub.Routes, when)
	case "invoke":
		var invoke struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(raw, &invoke) != nil {
			return nil
		}
		return w.invoke(invoke.Name, when)
	case "keyauth", "lagobilling":
		for _, p := range w.passed {
			if p.name == h.Handler && p.always(when) {
				return fmt.Errorf("server %s: a call would pass %s twice on one route, which it may only once: remove one, "+
					"or give them matchers or `handle` blocks that no call shares", w.server, h.Handler)
			}
		}
		w.passed = append(w.passed, passedHandler{h.Handler, when})
		if h.Handler == "keyauth" {
			w.keyed++
		}
	case "llmroute":
		w.llmroute(raw, when)
	}
	return nil
}

func (w *routeWalk) invoke(name string, when []condition) error {
	if w.named[name] == nil || slices.Contains(w.inside, name) {
		return nil
	}
	w.inside = append(w.inside, name)
	defer func() { w.inside = w.inside[:len(w.inside)-1] }()
	return w.route(w.named[name], when)
}

// llmroute warns of an llmroute that would refuse every call.
func (w *routeWalk) llmroute(raw json.RawMessage, when []condition) {
	var h struct {
		Anonymous bool `json:"anonymous"`
		Unmetered bool `json:"unmetered"`
	}
	if json.Unmarshal(raw, &h) != nil {
		return
	}
	for _, need := range []struct {
		name, word string
		waived     bool
	}{{"keyauth", "anonymous", h.Anonymous}, {"lagobilling", "unmetered", h.Unmetered}} {
		passed := func(p passedHandler) bool { return p.name == need.name && !p.never(when) }
		if !need.waived && !slices.ContainsFunc(w.passed, passed) {
			w.log.Warn("llmroute has no "+need.name+" before it, so it refuses every call: put "+need.name+" before it, or `"+
				need.word+"` in it", zap.String("server", w.server))
		}
	}
}
