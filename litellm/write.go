package litellm

import (
	"bytes"
	"net"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// LiteLLM's own defaults, of its constants.py: what holds where the file says nothing.
const (
	defaultPort     = "4000"
	defaultRetries  = "2"
	defaultCooldown = "5s"
)

var zeroNode = &yaml.Node{}

func orMap(m map[string]string) map[string]string {
	if m == nil {
		return make(map[string]string)
	}
	return m
}

// host returns the address to listen on: every address as LiteLLM does, but only the loopback where anyone may call.
func (c *converter) host() string {
	if h := c.env("HOST"); h != "" {
		return h
	}
	if c.masterKey == "" {
		return "127.0.0.1"
	}
	return ""
}

// caddyfile writes Caddyfile text.
type caddyfile struct {
	bytes.Buffer
	depth int
}

// line writes one directive with its arguments.
func (w *caddyfile) line(words ...string) {
	w.WriteString(strings.Repeat("\t", w.depth))
	for i, word := range words {
		if i > 0 {
			w.WriteByte(' ')
		}
		w.WriteString(quote(word))
	}
	w.WriteByte('\n')
}

// open writes a directive that begins a block.
func (w *caddyfile) open(words ...string) {
	w.line(words...)
	w.Truncate(w.Len() - 1)
	w.WriteString(" {\n")
	w.depth++
}

func (w *caddyfile) end() {
	w.depth--
	w.WriteString(strings.Repeat("\t", w.depth) + "}\n")
}

// quote quotes a word where the Caddyfile needs it. Backquotes, which the Caddyfile takes as they are, hold no escapes;
// values with a backquote were refused when they were read.
func quote(word string) string {
	if word == "" || strings.ContainsAny(word, " \t\"#\\") || strings.HasPrefix(word, "<<") {
		return "`" + word + "`"
	}
	return word
}

// write returns the Caddyfile.
func (c *converter) write() []byte {
	w := &caddyfile{}
	w.open()
	w.line("auto_https", "off")
	w.end()
	port := c.env("PORT")
	if port == "" {
		port = defaultPort
	}
	w.open("http://:" + port)
	if h := c.host(); h != "" && net.ParseIP(h) != nil && !net.ParseIP(h).IsUnspecified() || h == "localhost" {
		w.line("bind", h)
	}
	c.writeKeyauth(w)
	c.writeBilling(w)
	c.writeRoutes(w)
	w.end()
	return bytes.TrimPrefix(w.Bytes(), []byte(" "))
}

func (c *converter) writeKeyauth(w *caddyfile) {
	if c.masterKey == "" {
		return
	}
	w.open("keyauth")
	if host := c.redis["host"]; host != "" {
		port := c.redis["port"]
		if port == "" {
			port = "6379"
		}
		w.open("store", "redis", net.JoinHostPort(host, port))
		for _, f := range []string{"username", "password", "db"} {
			if v := c.redis[f]; v != "" {
				w.line(f, v)
			}
		}
		if c.redis["ssl"] != "" {
			w.line("tls")
		}
		w.end()
	}
	w.line("master_key", c.masterKey)
	if c.cacheTTL != "" {
		w.line("cache_ttl", c.cacheTTL)
	}
	w.end()
}

func (c *converter) writeBilling(w *caddyfile) {
	w.open("lagobilling")
	if c.lago {
		w.line("api_base", c.envRef("LAGO_API_BASE"))
		w.line("api_key", c.envRef("LAGO_API_KEY"))
		w.line("event_code", c.envRef("LAGO_API_EVENT_CODE"))
		by := c.env("LAGO_API_CHARGE_BY")
		if by == "" {
			by = chargeBy[0]
		}
		w.line("charge_by", by)
	} else if !c.enforceUserParam {
		w.line("missing_payer", "unbilled")
	}
	for _, d := range c.discounts {
		w.line(nonEmpty("discount", d.provider, d.percent)...)
	}
	for _, m := range c.markups {
		w.line(nonEmpty("markup", m.provider, m.percent)...)
	}
	w.end()
}

func nonEmpty(words ...string) []string {
	return slices.DeleteFunc(words, func(s string) bool { return s == "" })
}

func (c *converter) writeRoutes(w *caddyfile) {
	w.open("llmroute")
	if c.masterKey == "" {
		w.line("anonymous")
	}
	if c.maxBody != "" {
		w.line("max_body", c.maxBody)
	}
	for _, h := range c.endUserHeaders {
		w.line("end_user_header", h)
	}
	for _, m := range c.models {
		c.writeModel(w, m)
	}
	for _, name := range c.aliasKeys {
		w.line("alias", name, c.aliases[name])
	}
	w.end()
}

func (c *converter) writeModel(w *caddyfile, m *model) {
	w.open("model", m.name)
	for _, d := range m.deployments {
		words := nonEmpty("backend", d.provider, d.base)
		w.open(words...)
		var conns string
		timed := false
		for _, line := range d.lines {
			switch line[0] {
			case "max_conns_per_host":
				conns = line[1]
				continue
			case "timeout":
				timed = true
			}
			w.line(line...)
		}
		if t := first(c.routerTimeout, c.timeout); t != "" && !timed {
			w.line("timeout", t)
		}
		// LiteLLM cools a deployment down only where another one can take its place.
		if len(m.deployments) > 1 && !c.cooldownsOff && (c.cooldown != "" || c.allowedFails != "") {
			w.line("fail_duration", first(c.cooldown, defaultCooldown))
			if c.allowedFails != "" {
				w.line("max_fails", c.allowedFails)
			}
		}
		if conns != "" {
			w.open("transport", "http")
			w.line("max_conns_per_host", conns)
			w.end()
		}
		w.end()
	}
	w.line("retries", first(c.routerRetries, c.retries, defaultRetries))
	others := append(slices.Clone(c.fallbacks[m.name]), c.defaults...)
	others = slices.DeleteFunc(others, func(s string) bool { return s == m.name })
	if len(others) > 0 {
		w.line(append([]string{"fallback"}, slices.Compact(others)...)...)
	}
	w.end()
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
