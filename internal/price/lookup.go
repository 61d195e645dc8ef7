package price

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// presets maps the names of backends in the configuration to the ids of genai-prices. An empty id means no list price: such a backend
// costs what its operator configures.
var presets = map[string]string{
	"openai":     "openai",
	"azure":      "azure",
	"anthropic":  "anthropic",
	"gemini":     "google",
	"vertex":     "google",
	"mistral":    "mistral",
	"groq":       "groq",
	"deepseek":   "deepseek",
	"xai":        "x-ai",
	"together":   "together",
	"fireworks":  "fireworks",
	"openrouter": "openrouter",
	"perplexity": "perplexity",
	"cohere":     "cohere",
	"bedrock":    "aws",
	"ollama":     "",
	"vllm":       "",
	"mock":       "",
}

// who identifies the provider of a query for the layers.
type who struct {
	preset string    // as the query names it, in lower case
	listed *provider // in the embedded data; nil if there is no list price
	names  []string  // names of the provider in published price lists
	// regional and region are as place returns them.
	regional bool
	region   string
}

// lookups caches what names resolve to, errors included. It is bounded, as names come from requests and answers.
type lookups[K comparable, V any] struct {
	mu sync.RWMutex
	m  map[K]V
}

const maxLookups = 4096

// peek returns what the key resolves to, if that is cached.
func (l *lookups[K, V]) peek(key K) (V, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	v, ok := l.m[key]
	return v, ok
}

// keep caches what the key resolves to and returns it, or the entry that another goroutine has already cached.
func (l *lookups[K, V]) keep(key K, v V) V {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, ok := l.m[key]; ok { // the first one stays: its pointer is part of other keys
		return other
	}
	l.set(key, v)
	return v
}

// put caches what the key resolves to now, in place of what it did before.
func (l *lookups[K, V]) put(key K, v V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(key, v)
}

func (l *lookups[K, V]) set(key K, v V) {
	if l.m == nil || len(l.m) >= maxLookups {
		l.m = make(map[K]V)
	}
	l.m[key] = v
}

type whoKey struct{ provider, baseURL, region string }

// identify returns the provider of a query. The base URL takes precedence over the preset, as the server of an API sets its prices; but
// an OpenAI-compatible API at an unknown address has no list price.
func (t *Table) identify(provider, baseURL, region string) *who {
	key := whoKey{provider, baseURL, region}
	if w, ok := t.whos.peek(key); ok {
		return w
	}
	w := &who{preset: lower(provider)}
	id, preset := presets[w.preset]
	url := strings.ToLower(baseURL)
	switch {
	case preset && id == "":
	case preset:
		if url != "" {
			w.listed = t.list.providerAt(url)
		}
		if w.listed == nil && (w.preset != "openai" || url == "") {
			w.listed = t.list.byID[id]
		}
	default:
		w.listed = t.list.providerFor(w.preset, url, "")
	}
	w.regional, w.region = place(w.preset, url, strings.ToLower(region))
	if w.preset == "openai" && w.regional {
		w.listed = t.list.byID[id]
	}
	if w.listed != nil {
		w.names = append(w.names, w.listed.id)
		for name, id := range presets {
			if id == w.listed.id && (!preset || presets[w.preset] != id) {
				w.names = append(w.names, name)
			}
		}
	}
	if !preset || w.listed == nil && w.preset != "openai" || w.listed != nil && w.listed.id == id {
		w.names = append(w.names, w.preset)
	}
	if by := servedBy(host(url)); by != "" {
		w.names = append(w.names, by)
	}
	slices.Sort(w.names)
	w.names = slices.Compact(w.names)
	return t.whos.keep(whoKey{strings.Clone(provider), strings.Clone(baseURL), strings.Clone(region)}, w)
}

// ProviderNames returns the sorted names of a backend's provider in the price data. There are none for a
// self-hosted backend, which has no list prices, and for an OpenAI-compatible API at an unknown address.
func ProviderNames(provider, baseURL string) []string {
	if id, preset := presets[lower(provider)]; preset && id == "" {
		return nil
	}
	return Default().identify(provider, baseURL, "").names
}

// layer is one source of prices.
type layer struct {
	// listed: it has providers' list prices, which a regional endpoint may raise.
	listed bool
	// find returns the entry for a provider and a model name in lower case, or nil.
	find  func(w *who, name string) *entry
	cache lookups[layerKey, *entry]
}

type layerKey struct {
	who  *who
	name string
}

// maxName bounds the names that are looked up: no model has a longer one.
const maxName = 512

// entry returns the entry of the first name with one, or nil.
func (l *layer) entry(w *who, q *Query) *entry {
	if e := l.named(w, q.Model); e != nil {
		return e
	}
	for _, name := range q.Fallback {
		if e := l.named(w, name); e != nil {
			return e
		}
	}
	return nil
}

func (l *layer) named(w *who, name string) *entry {
	if name == "" || len(name) > maxName {
		return nil
	}
	if e, ok := l.cache.peek(layerKey{w, name}); ok {
		return e
	}
	var e *entry
	if w.listed != nil && w.listed.id == "aws" {
		e = findBedrock(lower(name), func(name string) *entry { return l.find(w, name) })
	} else {
		e = l.find(w, lower(name))
	}
	return l.cache.keep(layerKey{w, strings.Clone(name)}, e)
}

// bedrockRegions are the prefixes of Bedrock's cross-region inference profiles.
var bedrockRegions = []string{"us-gov.", "us.", "eu.", "apac.", "global.", "jp.", "au.", "ca.", "in."}

// findBedrock looks up a Bedrock model id: as it is, without an ARN's prefix, without its region. The price of a regional endpoint is
// never used for a global one.
func findBedrock(name string, find func(string) *entry) *entry {
	if strings.HasPrefix(name, "arn:") {
		name = name[strings.LastIndexByte(name, '/')+1:]
	}
	if e := find(name); e != nil {
		return e
	}
	for _, region := range bedrockRegions {
		if bare, ok := strings.CutPrefix(name, region); ok {
			e := find(bare)
			if e != nil && region == "global." && (strings.HasPrefix(e.id, "regional.") || strings.HasPrefix(e.source, "litellm ")) {
				return nil // LiteLLM's list has all global ids
			}
			return e
		}
	}
	return nil
}

// findListed finds the entry in the embedded data.
func (l *list) findListed(w *who, name string) *entry {
	if w.listed != nil {
		return l.find(w.listed, name)
	}
	if w.preset == "" {
		if p := l.providerFor("", "", name); p != nil {
			return l.find(p, name)
		}
	}
	return nil
}

// claudeRegional is the price of Claude at a regional endpoint of Vertex AI as a multiple of its price, for models that are not in the
// list. Source: https://cloud.google.com/vertex-ai/generative-ai/pricing, from Claude Sonnet 4.5 on.
const claudeRegional Price = 1_100_000_000

var olderClaude = regexp.MustCompile(`^claude-(?:[123]|instant|(?:sonnet|opus)-4(?:-[01])?(?:@|-20|$))`)

// uplift returns the multiple of list prices that is billed in the region of the query's base URL; zero stands for one. ok is false if
// it is unknown.
func (t *Table) uplift(w *who, q *Query) (times Price, ok bool) {
	if !w.regional {
		return 0, true
	}
	for _, l := range t.layers {
		if e := l.entry(w, q); l.listed && e != nil && (e.regional != 0 || e.replace) {
			return e.regional, true
		}
	}
	if name := lower(firstName(q)); w.preset == "vertex" && strings.HasPrefix(name, "claude-") && !olderClaude.MatchString(name) {
		return claudeRegional, true
	}
	return 0, w.preset == "vertex"
}

var compactDate = regexp.MustCompile(`-20\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])`)

// dashDates writes each date such as -20260131, where it ends the name or is followed by a dash or a colon, as
// -2026-01-31, as genai-prices does.
func dashDates(name string) string {
	at := compactDate.FindAllStringIndex(name, -1)
	if at == nil {
		return name
	}
	var b strings.Builder
	last := 0
	for _, m := range at {
		date := name[m[0]+1 : m[1]]
		_, err := time.Parse("20060102", date)
		if err != nil || m[1] < len(name) && name[m[1]] != '-' && name[m[1]] != ':' {
			continue
		}
		b.WriteString(name[last : m[0]+1])
		b.WriteString(date[:4] + "-" + date[4:6] + "-" + date[6:])
		last = m[1]
	}
	b.WriteString(name[last:])
	return b.String()
}
