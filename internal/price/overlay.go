package price

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// MaxFile bounds a price file; LiteLLM's, the largest there is, has under 2 MB.
const MaxFile = 32 << 20

// Overlay returns a table with a price file laid over this one. The file is in our own format (a JSON object with a list
// named "models", docs/prices.md) or LiteLLM's model_prices_and_context_window.json, recognized by its content.
// The last element of the name, with a hash of the content, is added to the table's version.
func (t *Table) Overlay(r io.Reader, name string) (*Table, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, MaxFile)
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	sum := sha256.Sum256(data)
	source := filepath.Base(name) + "@" + hex.EncodeToString(sum[:4])
	l := new(layer)
	var ignored []string
	if models, own := top["models"]; own && bytes.HasPrefix(bytes.TrimSpace(models), []byte("[")) {
		l.find, err = readOwn(data, source, "")
	} else {
		l.listed = true
		l.find, ignored, err = readLiteLLM(top, source)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(t.layers) >= maxSheets-1 {
		return nil, fmt.Errorf("%s: more than %d price files", name, maxSheets-4)
	}
	version := t.version + " + " + source
	// Layers are shared with the table below, but the resolution of names depends on the table's own providers.
	layers := make([]*layer, 0, len(t.layers)+1)
	layers = append(layers, l)
	for _, below := range t.layers {
		layers = append(layers, &layer{find: below.find, listed: below.listed})
	}
	over := newTable(version, t.list, layers)
	over.ignored = slices.Compact(slices.Sorted(slices.Values(slices.Concat(ignored, t.ignored))))
	return over, nil
}

// ownFile is our own format.
type ownFile struct {
	Models []ownModel `json:"models"`
}

type ownModel struct {
	Provider string                     `json:"provider"` // preset or id of genai-prices; empty: any
	Model    string                     `json:"model"`    // name; * matches any text
	Replace  bool                       `json:"replace"`  // layers below do not apply to this model
	Prices   map[string]json.RawMessage `json:"prices"`
	Later    []ownVariant               `json:"later"`
	Source   string                     `json:"source"` // where the prices are from
}

// ownVariant is a full list of prices in place of the entry's, under one condition.
type ownVariant struct {
	From   string                     `json:"from"`  // date, UTC
	Daily  string                     `json:"daily"` // window of the day, UTC: 16:30-00:30, or mon-fri 16:30-18:00
	Prices map[string]json.RawMessage `json:"prices"`
}

// readOwn reads our own format and returns a function that finds an entry: the first match, in the order of the file.
func readOwn(data []byte, source, date string) (func(*who, string) *entry, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var file ownFile
	if err := dec.Decode(&file); err != nil {
		return nil, err
	}
	type rule struct {
		provider, pattern string
		entry             *entry
	}
	rules := make([]rule, 0, len(file.Models))
	for i, m := range file.Models {
		e, err := m.entry()
		if err != nil {
			return nil, fmt.Errorf("models[%d] (%.60q %.60q): %w", i, m.Provider, m.Model, err)
		}
		e.source, e.date = source, date
		if m.Source != "" {
			e.source += ": " + m.Source
		}
		rules = append(rules, rule{lower(m.Provider), lower(m.Model), e})
	}
	return func(w *who, name string) *entry {
		for _, r := range rules {
			if r.provider != "" && r.provider != w.preset && !slices.Contains(w.names, r.provider) {
				continue
			}
			if glob(r.pattern, name) {
				return r.entry
			}
		}
		return nil
	}, nil
}

func (m *ownModel) entry() (*entry, error) {
	if lower(m.Model) == "" {
		return nil, errors.New("no model")
	}
	if len(m.Prices) == 0 {
		return nil, errors.New("no prices")
	}
	e := &entry{provider: lower(m.Provider), id: m.Model, replace: m.Replace}
	base, err := rawPricing(m.Prices)
	if err != nil {
		return nil, err
	}
	e.variants = append(e.variants, variant{pricing: base})
	for i, later := range m.Later {
		v := variant{}
		switch {
		case (later.From == "") == (later.Daily == ""):
			err = errors.New(`needs either "from" or "daily"`)
		case later.From != "":
			err = v.parseFrom(later.From)
		default:
			err = v.parseDaily(later.Daily)
		}
		if err == nil {
			v.pricing, err = rawPricing(later.Prices)
		}
		if err != nil {
			return nil, fmt.Errorf("later[%d]: %w", i, err)
		}
		e.variants = append(e.variants, v)
	}
	return e, nil
}

// rawPricing parses prices by name from JSON numbers or strings, never through a float.
func rawPricing(prices map[string]json.RawMessage) (*pricing, error) {
	texts := make(map[string]string, len(prices))
	for _, name := range slices.Sorted(maps.Keys(prices)) {
		text, err := numberText(prices[name])
		if err != nil {
			return nil, fmt.Errorf("price %s: %w", name, err)
		}
		texts[name] = text
	}
	return parsePrices(texts)
}

// numberText returns the text of a JSON number, or of a JSON string that holds one.
func numberText(raw json.RawMessage) (string, error) {
	if len(raw) > 0 && raw[0] == '"' {
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	}
	var n json.Number
	if err := json.Unmarshal(raw, &n); err != nil || n == "" {
		return "", fmt.Errorf("%.60s is not a number", raw)
	}
	return n.String(), nil
}

// glob reports whether the name matches a pattern in which * matches any text.
func glob(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(name, part)
		if !found {
			return false
		}
		name = after
	}
	return strings.HasSuffix(name, last)
}
