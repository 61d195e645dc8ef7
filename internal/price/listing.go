package price

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Listed is a price that applies to a model.
type Listed struct {
	Name   string // input, output@flex, input>200000 ...
	Price  Price  // USD per Unit
	Unit   Unit
	Source string // the name and version of the data; "configuration" for prices written there
	Date   string // on which that data was the newest; empty if unknown
	From   string // the date from which the price applies; empty for always
	Model  string // the entry that matched; empty for prices written in the configuration
}

// FeeSource is the source of fees that no price list has.
const FeeSource = "provider's page"

// List returns every price that applies to the query, of all tiers, ordered by name. If several layers have a price, it is that of the
// topmost. The list is empty if the model has no price.
func (t *Table) List(q Query) ([]Listed, error) {
	type thing struct {
		slot slot
		tier string
	}
	found := make(map[thing][]Listed)
	add := func(p *pricing, times Price, like Listed) {
		taken := make(map[thing]bool)
		for key := range found {
			taken[key] = true
		}
		for _, s := range append([]tierSheet{{sheet: p.standard}}, p.tiers...) {
			for k := range slot(numSlots) {
				r := s.get(k)
				key := thing{k, s.tier}
				if r == nil || taken[key] {
					continue
				}
				for _, c := range append([]cliff{{0, r.price}}, r.cliffs...) {
					n := like
					n.Name, n.Unit, n.Price = parsedName{k, r.unit, s.tier, c.above}.String(), r.unit, c.price
					if times != 0 && isTokenSlot(k) {
						n.Price = n.Price.times(times)
					}
					found[key] = append(found[key], n)
				}
			}
		}
	}
	if len(q.Written) > 0 {
		p, err := parsePrices(q.Written)
		if err != nil {
			return nil, err
		}
		add(p, 0, Listed{Source: "configuration"})
	}
	at := q.At
	if at.IsZero() {
		at = time.Now()
	}
	w := t.identify(q.Provider, q.BaseURL, q.Region)
	times, known := t.uplift(w, &q)
	var id string // of the topmost entry
	for _, l := range t.layers {
		e := l.entry(w, &q)
		if e == nil || l.listed && !known {
			continue
		}
		v := e.variantAt(at.UnixMilli())
		if v == nil {
			continue
		}
		if id == "" {
			id = e.id
		}
		like := Listed{Source: e.source, Date: e.date, Model: e.provider + "/" + e.id}
		if v.from != 0 {
			like.From = time.UnixMilli(v.from).UTC().Format(time.DateOnly)
		}
		if l.listed {
			add(v.pricing, times, like)
		} else {
			add(v.pricing, 0, like)
		}
		if e.replace {
			break
		}
	}
	// Fees that nothing else prices.
	if w.listed != nil && len(found) > 0 && known {
		for k := range usage.Kind(usage.NumKinds) {
			fee, ok := listFee(w.listed.id, id, k)
			if key := (thing{slot(k), ""}); ok && found[key] == nil {
				found[key] = []Listed{{Name: parsedName{slot: slot(k), unit: PerOne}.String(), Price: fee, Unit: PerOne, Source: FeeSource, Model: w.listed.id + "/" + id}}
			}
		}
	}
	list := slices.Concat(slices.Collect(maps.Values(found))...)
	slices.SortFunc(list, func(a, b Listed) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Billed returns the price that something of that name (input, output@flex, input>200000 ...) is billed at for the query: its own
// price, or its fallback. ok is false if it has neither.
func (t *Table) Billed(q Query, name string) (p Price, per Unit, ok bool, err error) {
	n, err := parseName(name)
	if err != nil {
		return 0, 0, false, err
	}
	q.Tier = n.tier
	a, err := t.applied(&q)
	if err != nil {
		if errors.Is(err, ErrUnpriced) {
			err = nil
		}
		return 0, 0, false, err
	}
	r, _, ok := a.rate(n.slot)
	return r.at(n.above + 1), r.unit, ok, nil
}

// Standard returns the prices that apply to the query in the standard tier below all thresholds, in USD per unit, by name. It is nil
// if the model has no price.
func (t *Table) Standard(q Query) map[string]string {
	list, err := t.List(q)
	if err != nil || len(list) == 0 {
		return nil
	}
	prices := make(map[string]string, len(list))
	for _, l := range list {
		if !strings.ContainsAny(l.Name, "@>") {
			prices[l.Name] = l.Price.String()
		}
	}
	return prices
}

// LiteLLMModel is a model of LiteLLM's price file.
type LiteLLMModel struct {
	Provider string   // as Query.Provider
	ID       string   // its name in the file
	Mode     string   // chat, embedding, ...
	Names    []string // names in lower case under which it is looked up
	Prices   []Listed // only Name, Price and Unit
	Regional Price    // price of a regional endpoint as a multiple of the price; zero if the file has none
}

// ReadLiteLLM returns the models of LiteLLM's price file that have a price.
func ReadLiteLLM(data []byte) ([]LiteLLMModel, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return nil, err
	}
	entries, _, err := liteEntries(top)
	if err != nil {
		return nil, err
	}
	models := make([]LiteLLMModel, 0, len(entries))
	for _, e := range entries {
		if _, err := newPricing(slices.Clone(e.prices)); err != nil {
			return nil, fmt.Errorf("%s: %w", e.id, err)
		}
		m := LiteLLMModel{Provider: e.provider, ID: e.id, Mode: e.mode, Names: e.names, Regional: e.regional}
		for _, n := range e.prices {
			m.Prices = append(m.Prices, Listed{Name: n.String(), Price: n.price, Unit: n.unit})
		}
		models = append(models, m)
	}
	return models, nil
}

// FileModel is a model that a price file names.
type FileModel struct {
	Provider string // as Query.Provider; empty: any
	Name     string // in lower case; with * in our own format
}

// Turns returns the next times after Query.At at which prices may change, by the dates and the windows of the day in an entry. They
// are in no particular order.
func (t *Table) Turns(q Query) (list []time.Time) {
	w := t.identify(q.Provider, q.BaseURL, q.Region)
	now := q.At.UnixMilli()
	for _, l := range t.layers {
		e := l.entry(w, &q)
		if e == nil {
			continue
		}
		for i := range e.variants {
			if ms, ok := e.variants[i].next(now); ok {
				list = append(list, time.UnixMilli(ms))
			}
		}
	}
	return list
}

// Models reads a price file and returns the models that it names, ordered by name.
func Models(data []byte, name string) ([]FileModel, error) {
	if _, err := Default().Overlay(bytes.NewReader(data), name); err != nil {
		return nil, err
	}
	var list []FileModel
	var file ownFile
	if err := json.Unmarshal(data, &file); err == nil && file.Models != nil {
		for _, m := range file.Models {
			list = append(list, FileModel{lower(m.Provider), lower(m.Model)})
		}
	} else {
		models, err := ReadLiteLLM(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, m := range models {
			list = append(list, FileModel{m.Provider, m.Names[len(m.Names)-1]})
		}
	}
	slices.SortFunc(list, func(a, b FileModel) int {
		return cmp.Or(strings.Compare(a.Provider, b.Provider), strings.Compare(a.Name, b.Name))
	})
	return slices.Compact(list), nil
}

// Providers returns the names of the providers that the embedded data has, as Query.Provider takes them, sorted.
func Providers() []string {
	var list []string
	covered := make(map[string]bool)
	for name, id := range presets {
		if id != "" {
			list = append(list, name)
			covered[id] = true
		}
	}
	for _, p := range Default().list.providers {
		if !covered[p.id] {
			list = append(list, p.id)
		}
	}
	for row := range strings.Lines(newRows(liteText).text) {
		if provider, _, _ := strings.Cut(row, "\t"); !strings.HasPrefix(provider, "!") && (len(list) == 0 || list[len(list)-1] != provider) {
			list = append(list, provider)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
