package price

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Listed is a price as it holds for a model.
type Listed struct {
	Name   string // input, output@flex, input>200000 ...
	Price  Price  // USD per Unit
	Unit   Unit
	Source string // the name and version of the data; "configuration" for prices written there
	Date   string // on which that data was the newest; empty when that is not known
	From   string // the date from which the price holds; empty for always
	Model  string // the entry that matched; empty for prices written in the configuration
}

// List returns every price that holds for the query, of all tiers, in the order of their names: of what several layers price,
// the topmost. There are none when the model has no price.
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
	w := t.identify(q.Provider, q.BaseURL)
	times, known := t.uplift(w, &q)
	for _, l := range t.layers {
		e := l.entry(w, &q)
		if e == nil || l.listed && !known {
			continue
		}
		v := e.variantAt(at.UnixMilli())
		if v == nil {
			continue
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
	list := slices.Concat(slices.Collect(maps.Values(found))...)
	slices.SortFunc(list, func(a, b Listed) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// LiteLLMModel is a model of LiteLLM's price file.
type LiteLLMModel struct {
	Provider string   // as Query.Provider
	ID       string   // its name in the file
	Mode     string   // chat, embedding, ...
	Names    []string // names in lower case under which it is looked up
	Prices   []Listed // Name, Price and Unit alone
	Regional Price    // what a regional endpoint costs, as a multiple of the price; zero when the file does not say
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
