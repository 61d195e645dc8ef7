package price

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// liteProviders maps LiteLLM's provider names, where they differ, to our presets or the ids of genai-prices. Names that begin with vertex_ai are
// vertex.
var liteProviders = map[string]string{
	"together_ai":                   "together",
	"fireworks_ai":                  "fireworks",
	"vertex_ai":                     "vertex",
	"bedrock_converse":              "bedrock",
	"cohere_chat":                   "cohere",
	"text-completion-openai":        "openai",
	"text-completion-codestral":     "mistral",
	"codestral":                     "mistral",
	"azure_text":                    "azure",
	"azure_ai":                      "azure",
	"hosted_vllm":                   "vllm",
	"fireworks_ai-embedding-models": "fireworks",
	"text-completion-inception":     "inception",
	"moonshot":                      "moonshotai",
	"voyage":                        "voyageai",
	"github_copilot":                "github-copilot",
	"bigmodel":                      "zhipuai",
}

// liteKey is the meaning of one of LiteLLM's price keys.
type liteKey struct {
	name  string // our price name
	shift int    // power of ten from LiteLLM's unit to ours
	modes string // modes of a model for which the key applies; empty: all
}

const (
	perToken   = 6 // LiteLLM prices one token, we a million
	imageModes = " image_generation image_edit "
)

// liteKeys are the keys without tier and threshold. The list is that of litellm/types/utils.py:CustomPricingLiteLLMParams
// and of the map itself. Keys that price the same thing are distinguished by the model's mode.
var liteKeys = map[string]liteKey{
	"input_cost_per_token":                        {"input", perToken, ""},
	"output_cost_per_token":                       {"output", perToken, ""},
	"cache_read_input_token_cost":                 {"cache_read", perToken, ""},
	"cache_creation_input_token_cost":             {"cache_write", perToken, ""},
	"cache_creation_input_token_cost_above_1hr":   {"cache_write_1h", perToken, ""},
	"cache_creation_input_token_cost_above_1_hr":  {"cache_write_1h", perToken, ""},
	"cache_creation_input_token_cost_above_12hr":  {"cache_write_12h", perToken, ""},
	"explicit_cache_read_input_token_cost":        {"cache_read@" + usage.ExplicitCache, perToken, ""},
	"input_cost_per_audio_token":                  {"input_audio", perToken, ""},
	"input_cost_per_image_token":                  {"input_image", perToken, ""},
	"input_cost_per_video_token":                  {"input_video", perToken, ""},
	"cache_read_input_audio_token_cost":           {"cache_read_audio", perToken, ""},
	"cache_read_input_token_cost_per_audio_token": {"cache_read_audio", perToken, ""},
	"cache_read_input_image_token_cost":           {"cache_read_image", perToken, ""},
	"output_cost_per_reasoning_token":             {"reasoning", perToken, ""},
	"output_cost_per_audio_token":                 {"output_audio", perToken, ""},
	"output_cost_per_image_token":                 {"output_image", perToken, ""},
	"output_cost_per_video_token":                 {"output_video", perToken, ""},
	"citation_cost_per_token":                     {"citations", perToken, ""},
	"input_cost_per_character":                    {"input_characters", perToken, " audio_speech "},
	"input_cost_per_second":                       {"audio_seconds", 0, " audio_transcription "},
	"output_cost_per_second":                      {"audio_seconds", 0, " audio_transcription "},
	"output_cost_per_image":                       {"images", 0, imageModes},
	"input_cost_per_image":                        {"images", 0, imageModes},
	"input_cost_per_query":                        {"search_units", 0, " rerank "},
	"input_cost_per_request":                      {"request", 0, ""},
	"ocr_cost_per_page":                           {"pages", 0, ""},
	"annotation_cost_per_page":                    {"annotated_pages", 0, ""},
}

// liteInstead names the key that takes precedence over another one for the same thing: LiteLLM has older spellings, and a price of
// zero on the side that is not billed.
var liteInstead = map[string]string{
	"output_cost_per_second":                      "input_cost_per_second",
	"input_cost_per_image":                        "output_cost_per_image",
	"cache_creation_input_token_cost_above_1_hr":  "cache_creation_input_token_cost_above_1hr",
	"cache_read_input_token_cost_per_audio_token": "cache_read_input_audio_token_cost",
}

// liteElsewhere are price keys that are read but are not the price of one kind.
var liteElsewhere = map[string]bool{
	"search_context_cost_per_query":            true,
	"regional_endpoint_uplift_multiplier":      true,
	"regional_processing_uplift_multiplier_eu": true,
	"regional_processing_uplift_multiplier_us": true, // the same as that of the EU
}

// liteTiers are the suffixes of service tiers.
var liteTiers = []string{"flex", "priority", "batches", "ultrafast", "fast", "batch"}

// liteEntry is an entry of LiteLLM's map.
type liteEntry struct {
	provider string   // as a query or the embedded data names it
	id       string   // the name in the map
	names    []string // in lower case: the name, and the same without the provider before it
	mode     string
	prices   []named
	regional Price // price of a regional endpoint as a multiple of the price; zero if the map has none
	offPeak  []variant
}

// liteEntries reads LiteLLM's map and returns the entries with a price, by name, and the price keys that it did not use.
func liteEntries(top map[string]json.RawMessage) ([]liteEntry, []string, error) {
	var entries []liteEntry
	ignored := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(top)) {
		if name == "sample_spec" {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(top[name], &fields); err != nil {
			return nil, nil, fmt.Errorf("%.100q: neither a list of models nor LiteLLM's model prices: %w", name, err)
		}
		m := liteModel{fields: fields, ignored: ignored}
		prices, err := m.list()
		if err != nil {
			return nil, nil, fmt.Errorf("%.100q: %w", name, err)
		}
		if len(prices) == 0 {
			continue
		}
		e := liteEntry{provider: liteProvider(lower(m.text("litellm_provider"))), id: name, names: []string{lower(name)}, mode: m.text("mode"), prices: prices}
		if e.regional, err = m.regional(); err != nil {
			return nil, nil, fmt.Errorf("%.100q: %w", name, err)
		}
		if e.offPeak, err = m.offPeak(prices); err != nil {
			return nil, nil, fmt.Errorf("%.100q: off_peak_pricing: %w", name, err)
		}
		if bare := withoutProvider(e.names[0], e.provider); bare != e.names[0] {
			e.names = append(e.names, bare)
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		return nil, nil, errors.New("neither a list of models nor LiteLLM's model prices: no price in it")
	}
	return entries, slices.Sorted(maps.Keys(ignored)), nil
}

// withoutProvider removes the provider from a model's name, if LiteLLM has it as a prefix.
func withoutProvider(name string, providers ...string) string {
	head, bare, ok := strings.Cut(name, "/")
	if !ok {
		return name
	}
	head = strings.ReplaceAll(head, "-", "_") // it has amazon_nova and amazon-nova/
	for _, p := range providers {
		if liteProvider(head) == p || head == strings.ReplaceAll(p, "-", "_") {
			return bare
		}
	}
	return name
}

// readLiteLLM reads LiteLLM's map and returns a function that finds an entry, and the price keys that it did not use.
func readLiteLLM(top map[string]json.RawMessage, source string) (func(*who, string) *entry, []string, error) {
	list, ignored, err := liteEntries(top)
	if err != nil {
		return nil, nil, err
	}
	type key struct{ provider, name string }
	entries := make(map[key]*entry)
	for _, l := range list {
		p, err := newPricing(l.prices)
		if err != nil {
			return nil, nil, fmt.Errorf("%.100q: %w", l.id, err)
		}
		e := &entry{provider: l.provider, id: l.id, source: source, replace: true, regional: l.regional, variants: append([]variant{{pricing: p}}, l.offPeak...)}
		entries[key{l.provider, l.names[0]}] = e
		// A name without the provider in the map takes precedence over one with it.
		if bare := l.names[len(l.names)-1]; len(l.names) > 1 {
			if other := entries[key{l.provider, bare}]; other == nil || strings.Contains(other.id, "/") {
				entries[key{l.provider, bare}] = e
			}
		}
	}
	find := func(w *who, name string) *entry {
		for _, provider := range w.names {
			if w.region != "" {
				if e := entries[key{provider, w.region + "/" + name}]; e != nil {
					return e
				}
			}
			if e := entries[key{provider, name}]; e != nil {
				return e
			}
		}
		return nil
	}
	return find, ignored, nil
}

func liteProvider(name string) string {
	if strings.HasPrefix(name, "vertex_ai") {
		return "vertex"
	}
	if ours, ok := liteProviders[name]; ok {
		return ours
	}
	return name
}

// liteModel is one entry of LiteLLM's map.
type liteModel struct {
	fields  map[string]json.RawMessage
	ignored map[string]bool
}

// text returns a member that is a string.
func (m *liteModel) text(key string) string {
	var s string
	if json.Unmarshal(m.fields[key], &s) != nil {
		return "" // another type counts as missing
	}
	return s
}

// isPriceKey reports whether a member is a price, by its name.
func isPriceKey(key string) bool {
	return strings.Contains(key, "cost") || strings.Contains(key, "uplift")
}

// regional returns the model's price at a regional endpoint as a multiple of its price; zero if the map has none.
func (m *liteModel) regional() (Price, error) {
	for _, key := range []string{"regional_endpoint_uplift_multiplier", "regional_processing_uplift_multiplier_eu"} {
		if raw := m.fields[key]; raw != nil && string(raw) != "null" {
			text, err := numberText(raw)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", key, err)
			}
			return ParsePrice(text)
		}
	}
	return 0, nil
}

// list returns the entry's usable prices.
func (m *liteModel) list() ([]named, error) {
	tiered, err := m.tieredPrices()
	if err != nil {
		return nil, err
	}
	flat, err := m.prices(m.fields, 0)
	if err != nil {
		return nil, err
	}
	search, ok, err := m.searchPrice()
	if err != nil {
		return nil, err
	}
	if ok {
		flat = append(flat, search)
	}
	// Prices by range replace the flat ones of the same thing; a key that LiteLLM spells in two ways counts once; a
	// threshold without a price below it prices nothing.
	type thing struct {
		slot slot
		tier string
	}
	ranged, based := make(map[thing]bool), make(map[thing]bool)
	for _, n := range tiered {
		ranged[thing{n.slot, n.tier}] = true
		based[thing{n.slot, n.tier}] = based[thing{n.slot, n.tier}] || n.above == 0
	}
	seen := make(map[parsedName]bool)
	prices := tiered
	for _, n := range flat {
		if ranged[thing{n.slot, n.tier}] || seen[n.parsedName] {
			continue
		}
		seen[n.parsedName] = true
		based[thing{n.slot, n.tier}] = based[thing{n.slot, n.tier}] || n.above == 0
		prices = append(prices, n)
	}
	prices = slices.DeleteFunc(prices, func(n named) bool {
		orphan := !based[thing{n.slot, n.tier}]
		if orphan {
			m.ignored[n.text] = true
		}
		return orphan
	})
	geo, err := m.geoPrices(prices)
	return append(prices, geo...), err
}

// geoPrices returns the prices of Anthropic's fast mode and of inference in one region, which the map has as multiples of those of all
// kinds of tokens.
func (m *liteModel) geoPrices(prices []named) ([]named, error) {
	raw := m.fields["provider_specific_entry"]
	if m.text("litellm_provider") != "anthropic" || raw == nil {
		return nil, nil
	}
	var multiples map[string]json.RawMessage
	if err := json.Unmarshal(raw, &multiples); err != nil {
		return nil, fmt.Errorf("provider_specific_entry: %w", err)
	}
	var more []named
	for _, x := range []struct{ key, tier string }{{"fast", "fast"}, {"us", "geo-us"}} {
		raw, ok := multiples[x.key]
		if !ok {
			continue
		}
		text, err := numberText(raw)
		if err != nil {
			return nil, fmt.Errorf("provider_specific_entry: %s: %w", x.key, err)
		}
		by, err := ParsePrice(text)
		if err != nil {
			return nil, fmt.Errorf("provider_specific_entry: %s: %w", x.key, err)
		}
		for _, n := range slices.Concat(prices, more) {
			if isTokenSlot(n.slot) {
				n.tier = strings.TrimPrefix(n.tier+"+"+x.tier, "+")
				n.price = n.price.times(by)
				more = append(more, n)
			}
		}
	}
	return more, nil
}

// prices returns the prices among the members; all apply above that many input tokens.
func (m *liteModel) prices(fields map[string]json.RawMessage, above int64) ([]named, error) {
	var prices []named
	mode := m.text("mode")
	for _, full := range slices.Sorted(maps.Keys(fields)) {
		n, key, ok := parseLiteKey(full)
		lk := liteKeys[key]
		if !ok || lk.modes != "" && !strings.Contains(lk.modes, " "+mode+" ") {
			if isPriceKey(full) && !liteElsewhere[full] {
				m.ignored[full] = true
			}
			continue
		}
		if raw := string(fields[full]); raw == "null" || m.superseded(fields, full, key) {
			continue
		}
		text, err := numberText(fields[full])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", full, err)
		}
		// LiteLLM's numbers were floats: noise beyond nine decimals per million is rounded away.
		if n.price, _, err = parsePrice(text, lk.shift); err != nil {
			return nil, fmt.Errorf("%s: %w", full, err)
		}
		n.text = full
		if above > 0 {
			n.above = above
		}
		// xAI bills the higher price from the threshold on, others above it.
		if n.above > 0 && m.text("litellm_provider") == "xai" {
			n.above--
		}
		prices = append(prices, n)
	}
	return prices, nil
}

// superseded reports whether another member has a better price for the same thing.
func (m *liteModel) superseded(fields map[string]json.RawMessage, full, key string) bool {
	// A generated image is charged by its tokens if these have a price.
	if liteKeys[key].name == "images" && fields["output_cost_per_image_token"] != nil {
		return true
	}
	instead, ok := liteInstead[key]
	if !ok {
		return isZero(fields[full]) && key == "input_cost_per_second" && fields["output_cost_per_second"] != nil ||
			isZero(fields[full]) && key == "output_cost_per_image" && fields["input_cost_per_image"] != nil
	}
	other := fields[strings.Replace(full, key, instead, 1)]
	return other != nil && string(other) != "null" && !isZero(other)
}

// isZero reports whether a member is the number zero.
func isZero(raw json.RawMessage) bool {
	text, err := numberText(raw)
	if err != nil {
		return false
	}
	digits, _, err := splitDecimal(nil, text)
	return err == nil && len(digits) == 0
}

var liteThreshold = regexp.MustCompile(`_above_(\d{1,6})k_tokens$`)

// parseLiteKey parses a key: price, then _above_<n>k_tokens, then the tier. ok is false for a key that is not a price we use.
func parseLiteKey(full string) (n named, key string, ok bool) {
	key = full
	for _, tier := range liteTiers {
		if head, cut := strings.CutSuffix(key, "_"+tier); cut {
			key, n.tier = head, canonicalTier(tier)
			break
		}
	}
	if m := liteThreshold.FindStringSubmatchIndex(key); m != nil {
		thousands, err := strconv.ParseInt(key[m[2]:m[3]], 10, 64)
		if err != nil || thousands == 0 {
			return n, key, false
		}
		n.above = thousands * 1000
		key = key[:m[0]]
	}
	lk, ok := liteKeys[key]
	if ok {
		name, tier, _ := strings.Cut(lk.name, "@")
		p := names[name]
		n.slot, n.unit = p.slot, p.unit
		n.tier = strings.Trim(n.tier+"+"+tier, "+")
	}
	return n, key, ok
}

// tieredPrices returns the prices of tiered_pricing: for each range of input tokens a list that applies to the whole call.
// The first range is the base price.
func (m *liteModel) tieredPrices() ([]named, error) {
	raw, ok := m.fields["tiered_pricing"]
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	var ranges []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &ranges); err != nil {
		return nil, fmt.Errorf("tiered_pricing: %w", err)
	}
	var prices []named
	for _, r := range ranges {
		var span []json.Number
		if err := json.Unmarshal(r["range"], &span); err != nil || len(span) == 0 {
			// Tiers by anything other than input tokens are not usable here.
			m.ignored["tiered_pricing"] = true
			return nil, nil //nolint:nilerr // it is listed as ignored
		}
		start, _, err := parseDecimal(span[0].String(), 0)
		if err != nil || start.hi != 0 || start.lo > 1<<40 {
			return nil, fmt.Errorf("tiered_pricing: range starts at %s", span[0])
		}
		more, err := m.prices(r, int64(start.lo)) //nolint:gosec // checked above
		if err != nil {
			return nil, fmt.Errorf("tiered_pricing: %w", err)
		}
		prices = append(prices, more...)
	}
	return prices, nil
}

// searchPrice returns the price of a web search: that of a medium context, which is the providers' default.
func (m *liteModel) searchPrice() (named, bool, error) {
	raw, ok := m.fields["search_context_cost_per_query"]
	if !ok || string(raw) == "null" {
		return named{}, false, nil
	}
	var sizes map[string]json.RawMessage
	if err := json.Unmarshal(raw, &sizes); err != nil {
		return named{}, false, fmt.Errorf("search_context_cost_per_query: %w", err)
	}
	medium, ok := sizes["search_context_size_medium"]
	if !ok {
		return named{}, false, nil
	}
	n := named{parsedName: names["web_searches"], text: "search_context_cost_per_query"}
	text, err := numberText(medium)
	if err == nil {
		n.price, _, err = parsePrice(text, 0)
	}
	if err != nil {
		return named{}, false, fmt.Errorf("search_context_cost_per_query: %w", err)
	}
	return n, true, nil
}
