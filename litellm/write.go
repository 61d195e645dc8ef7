package litellm

import (
	"bytes"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// Defaults from LiteLLM's constants.py.
const (
	defaultRetries      = "2"
	defaultCooldown     = "5s"
	defaultAllowedFails = "3"
)

// caddyfile builds the text of a Caddyfile and records which field each line comes from.
type caddyfile struct {
	bytes.Buffer
	depth  int
	places []field
}

// line writes one directive with its arguments.
func (w *caddyfile) line(at field, words ...string) {
	w.begin(at, words)
	w.WriteByte('\n')
}

// open writes a directive that begins a block.
func (w *caddyfile) open(at field, words ...string) {
	w.begin(at, words)
	if len(words) > 0 {
		w.WriteByte(' ')
	}
	w.WriteString("{\n")
	w.depth++
}

func (w *caddyfile) end() {
	w.depth--
	w.begin(field{}, nil)
	w.WriteString("}\n")
}

func (w *caddyfile) begin(at field, words []string) {
	w.places = append(w.places, at)
	w.WriteString(strings.Repeat("\t", w.depth))
	for i, word := range words {
		if i > 0 {
			w.WriteByte(' ')
		}
		w.WriteString(quote(word))
	}
}

// place returns the field that a line of the Caddyfile comes from. Lines start at 1.
func (w *caddyfile) place(n int) field {
	if n < 1 || n > len(w.places) {
		return field{}
	}
	return w.places[n-1]
}

// quote quotes a word if the Caddyfile requires it. Everything between backquotes is literal. Values that
// contain a backquote were refused when they were read.
func quote(word string) string {
	if word == "" || strings.ContainsAny(word, " \t\"#\\") || strings.HasPrefix(word, "<<") {
		return "`" + word + "`"
	}
	return word
}

// write returns the Caddyfile.
func (c *converter) write() *caddyfile {
	w := &caddyfile{}
	none := field{}
	w.open(none)
	w.line(none, "auto_https", "off")
	w.line(none, "grace_period", "5m")
	if c.metrics {
		w.line(none, "metrics")
	}
	c.writeLog(w)
	w.end()
	w.line(none)
	w.open(field{path: "PORT"}, "http://:"+c.port())
	if h := c.host(); h != "" {
		w.line(field{path: "HOST"}, "bind", h)
	}
	w.open(none, "route")
	c.writeKeyauth(w)
	c.writeBilling(w)
	c.writeRoutes(w)
	w.end()
	w.end()
	return w
}

// keyHeaders are the headers in which keyauth accepts a key.
var keyHeaders = []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

// writeLog keeps keys out of the log. Caddy itself redacts only Authorization and Cookie.
func (c *converter) writeLog(w *caddyfile) {
	none := field{}
	w.open(none, "log", "default")
	w.open(none, "format", "filter")
	headers := append(slices.Clone(keyHeaders), "Cookie")
	if c.keyHeader.set() {
		headers = append(headers, c.keyHeader.text)
	}
	for _, h := range headers {
		w.line(none, "request>headers>"+h, "delete")
	}
	w.open(none, "request>uri", "query")
	w.line(none, "delete", "key")
	w.end()
	w.end()
	w.end()
}

func (c *converter) writeKeyauth(w *caddyfile) {
	if !c.masterKey.set() {
		return
	}
	if h := c.keyHeader; h.set() && !slices.ContainsFunc(keyHeaders, func(known string) bool { return strings.EqualFold(known, h.text) }) {
		// LiteLLM reads the key only from that header, with or without "Bearer ".
		for _, other := range keyHeaders[1:] {
			w.line(h.at, "request_header", "-"+other)
		}
		w.line(h.at, "request_header", h.text, "^(?i:bearer) +", "")
		w.line(h.at, "request_header", "Authorization", "Bearer {http.request.header."+h.text+"}")
		w.line(h.at, "request_header", "-"+h.text)
	}
	w.open(c.masterKey.at, "keyauth")
	if r := &c.redis; r.host.set() {
		w.open(r.host.at, "store", "redis", r.address())
		for _, l := range []struct {
			name string
			word word
		}{{"username", r.username}, {"password", r.password}, {"db", r.db}} {
			if l.word.set() {
				w.line(l.word.at, l.name, l.word.text)
			}
		}
		if r.tls {
			w.line(r.host.at, "tls")
		}
		w.end()
	}
	w.line(c.masterKey.at, "master_key", c.masterKey.text)
	if c.cacheTTL.set() {
		w.line(c.cacheTTL.at, "cache_ttl", c.cacheTTL.text)
	}
	c.writeNewRecords(w)
	w.end()
}

func (c *converter) writeBilling(w *caddyfile) {
	w.open(c.lago, "lagobilling")
	if c.lago.present() {
		for _, l := range [][2]string{{"api_base", "LAGO_API_BASE"}, {"api_key", "LAGO_API_KEY"}, {"event_code", "LAGO_API_EVENT_CODE"}} {
			v := c.envWord(l[1])
			w.line(v.at, l[0], v.text)
		}
		w.line(field{path: "LAGO_API_CHARGE_BY"}, "charge_by", c.chargeBy())
	} else if !c.enforceUser.isTrue() {
		w.line(field{}, "missing_payer", "unbilled")
	}
	if c.priced.isTrue() {
		w.line(c.priced, "unpriced", "reject")
	}
	for _, a := range c.adjustments {
		words := []string{a.directive}
		if a.prefix != "" {
			words = append(words, providers[a.prefix].preset)
		}
		w.line(a.percent.at, append(words, a.percent.text)...)
	}
	w.end()
}

func (c *converter) writeRoutes(w *caddyfile) {
	w.open(field{path: "model_list"}, "llmroute")
	if !c.masterKey.set() {
		w.line(field{path: "general_settings.master_key"}, "anonymous")
	}
	if c.maxBody.set() {
		w.line(c.maxBody.at, "max_body", c.maxBody.text)
	}
	for _, h := range append(slices.Clone(c.userHeaders), c.userHeader) {
		if h.set() {
			w.line(h.at, "end_user_header", h.text)
		}
	}
	c.checkFallbacks()
	groups := c.addresses()
	for _, m := range c.models {
		c.share(m)
		c.writeModel(w, m, groups)
	}
	for _, p := range c.limits.providers {
		w.block(p.lines, "provider_limits", providers[p.provider].preset)
	}
	for _, at := range c.aliasAt {
		to := c.aliases[at.key]
		w.line(at, "alias", at.key, to.text)
		if c.find(to.text) == nil {
			c.fail(to.at, "model_list has no model "+to.text)
		}
	}
	w.end()
}

func (c *converter) writeModel(w *caddyfile, m *model, groups map[string]int) {
	w.open(m.name.at, "model", m.name.text)
	cooldown := first(c.router.cooldown, c.lite.cooldown)
	fails := first(c.router.allowedFails, c.lite.allowedFails)
	cool := word{}
	// LiteLLM cools a deployment down only if another can replace it.
	if len(m.deployments) > 1 && !c.cooldownsOff && (cooldown.set() || fails.set()) {
		if cool = first(cooldown, word{defaultCooldown, fails.at}); !c.cools(m, groups) {
			c.warn(cool.at, "is left out for "+m.name.text+": failures are counted by address, which its deployments share. A failed call goes on to the next one at once")
			cool = word{}
		}
	}
	for _, d := range m.deployments {
		p := providers[d.prefix]
		c.writeBackend(w, d, p.preset, d.base, cool, fails)
		if p.compat == "" || d.base.set() {
			continue
		}
		if c.adjusted("openai") || c.adjusted(p.preset) {
			c.warn(d.at, "calls to chat/completions are refused: the provider's API in OpenAI's manner would count as openai in cost_discount_config and cost_margin_config")
			continue
		}
		if c.counted(d) || c.limited("openai") || c.limited(p.preset) {
			c.warn(d.at, "calls to chat/completions are refused after all: the provider's API in OpenAI's manner is another backend, whose budget and rates would be its own")
			continue
		}
		c.writeBackend(w, d, "openai", word{p.compat, d.at}, word{}, fails)
	}
	retries := first(c.router.retries, c.lite.retries, word{defaultRetries, m.name.at})
	for _, d := range m.deployments {
		if d.retries.set() {
			retries = d.retries
		}
	}
	for _, d := range m.deployments {
		if d.retries.set() && d.retries.text != retries.text {
			c.warn(d.retries.at, "is left out: retries are one number for a model, here "+retries.text)
		}
	}
	w.line(retries.at, "retries", retries.text)
	for _, kind := range fallbackKinds {
		if at, names := c.fallbacksOf(m, kind.field); len(names) > 0 {
			w.line(at, append([]string{kind.directive}, names...)...)
		}
	}
	w.end()
}

func (c *converter) writeBackend(w *caddyfile, d *deployment, preset string, base, cool, fails word) {
	words := []string{"backend", preset}
	if base.set() {
		words = append(words, base.text)
	}
	w.open(d.at, words...)
	for _, l := range []struct {
		name string
		word word
	}{
		{"api_key", d.key},
		{"model", d.model},
		{"weight", d.weight},
		{"order", d.order},
		{"timeout", first(d.timeout, c.router.timeout, c.lite.timeout)},
	} {
		if l.word.set() {
			w.line(l.word.at, l.name, l.word.text)
		}
	}
	for _, l := range d.lines {
		w.line(l.at, l.words...)
	}
	if words := c.translates(d, preset); words != nil {
		w.line(d.at, words...)
	}
	w.block(c.limitsOf(d), "limits")
	if cool.set() {
		w.line(cool.at, "fail_duration", cool.text)
		w.line(cool.at, "max_fails", oneMore(first(fails, word{text: defaultAllowedFails}).text))
	}
	w.end()
}

// translates returns the subdirective that makes a backend serve APIs that its provider does not speak, as
// LiteLLM does. It returns nil if no API is translated.
func (c *converter) translates(d *deployment, preset string) []string {
	switch {
	case preset == "cohere" || preset == "gemini":
		return nil
	case d.mode != "" && d.mode != "chat" && d.mode != "responses":
		return nil
	case c.lossy || d.lossy:
		return []string{"translate", "lossy"}
	}
	return []string{"translate"}
}

// oneMore returns n+1. LiteLLM's number is how many failures are allowed, Caddy's is how many are too many.
func oneMore(n string) string {
	r, ok := new(big.Int).SetString(n, 10)
	if !ok {
		return n
	}
	return strconv.FormatInt(r.Int64()+1, 10)
}
