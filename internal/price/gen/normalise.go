package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// priceNames maps the package's price keys to our price names. A divisor other than one turns a price per thousand into a
// price per one. An empty name is a price for something that no answer reports to the gateway.
var priceNames = map[string]struct {
	name    string
	divisor int64
}{
	"input_mtok":            {"input", 1},
	"output_mtok":           {"output", 1},
	"cache_read_mtok":       {"cache_read", 1},
	"cache_write_mtok":      {"cache_write", 1},
	"cache_write_5m_mtok":   {"cache_write_5m", 1},
	"cache_write_1h_mtok":   {"cache_write_1h", 1},
	"input_audio_mtok":      {"input_audio", 1},
	"input_image_mtok":      {"input_image", 1},
	"input_video_mtok":      {"input_video", 1},
	"cache_audio_read_mtok": {"cache_read_audio", 1},
	"cache_image_read_mtok": {"cache_read_image", 1},
	"cache_video_read_mtok": {"cache_read_video", 1},
	"output_reasoning_mtok": {"reasoning", 1},
	"output_audio_mtok":     {"output_audio", 1},
	"output_image_mtok":     {"output_image", 1},
	"output_video_mtok":     {"output_video", 1},
	"output_citation_mtok":  {"citations", 1},
	"input_mchars":          {"input_characters", 1},
	// A transcription's audio is input; audio_hours is the parent, which applies if there is no specific price.
	"input_audio_hours":       {"audio_hours", 1},
	"audio_hours":             {"audio_hours", 1},
	"requests_kcount":         {"request", 1000},
	"web_searches_kcount":     {"web_searches", 1000},
	"rerank_searches_kcount":  {"search_units", 1000},
	"input_document_kpages":   {"pages", 1000},
	"storage_searches_kcount": {"file_searches", 1000},

	"input_annotated_document_kpages": {"annotated_pages", 1000}, // replaces the price of the page
	"input_text_messages_kcount":      {},
}

// translations are equivalent rules for the regular expressions with a negative look-ahead, which Go does not support.
var translations = map[string][]string{
	`^(?!.*-[tT][tT][sS](?:$|-))`: {"!1", `/-[tT][tT][sS](?:$|-)`},
	`^(?![^/]+/)(?:labs-)?(?:(?:mi|code|dev|magi|mini)stral|mixtral|pixtral|voxtral|open-(?:mistral|mixtral))`: {
		"&2", "!1", `/^[^/]+/`, `/^(?:labs-)?(?:(?:mi|code|dev|magi|mini)stral|mixtral|pixtral|voxtral|open-(?:mistral|mixtral))`,
	},
}

// freeModels are the models without prices that are free according to the package. Others without prices, except names that end in
// :free, are unpriced: there is no indication that they are free.
var freeModels = map[string]bool{
	"openai/moderation":            true,
	"google/gemma-3":               true,
	"google/gemma-3n":              true,
	"google/gemma-4-26b-a4b-it":    true,
	"google/gemma-4-31b-it":        true,
	"github-copilot/gpt-3.5-turbo": true,
	"github-copilot/gpt-4.1":       true,
	"github-copilot/gpt-4o":        true,
	"github-copilot/gpt-4o-mini":   true,
}

// minAudio are the models for which the package's code has a minimum length of billed audio, in milliseconds.
var minAudio = map[string]int{"groq/whisper-large-v3": 10000, "groq/whisper-large-v3-turbo": 10000}

// normalise writes the providers in the line format that package price reads.
func normalise(b *bytes.Buffer, providers []provider) error {
	for _, p := range providers {
		if _, err := regexp.Compile(p.APIPattern); err != nil {
			return fmt.Errorf("%s: %w", p.ID, err)
		}
		line(b, "provider", p.ID, p.APIPattern, strings.Join(p.Fallback, ","))
		if err := errors.Join(rule(b, "named", nil, p.Match), rule(b, "serves", nil, p.ModelMatch)); err != nil {
			return fmt.Errorf("%s: %w", p.ID, err)
		}
		for _, m := range p.Models {
			if err := writeModel(b, p.ID, m); err != nil {
				return fmt.Errorf("%s/%s: %w", p.ID, m.ID, err)
			}
		}
	}
	return nil
}

func writeModel(b *bytes.Buffer, providerID string, m model) error {
	if err := rule(b, "model", []string{m.ID}, m.Match); err != nil {
		return err
	}
	name := providerID + "/" + m.ID
	if ms := minAudio[name]; ms != 0 {
		line(b, "least", strconv.Itoa(ms))
	}
	list := []priced{{}}
	target := any(&list[0].Prices)
	if m.Prices[0] == '[' {
		target = &list
	}
	if err := strict(m.Prices, target); err != nil {
		return err
	}
	if len(m.Variants) == 0 {
		for _, v := range list {
			if err := writePrices(b, name, v, nil); err != nil {
				return err
			}
		}
		return nil
	}
	// Prices of tiers begin on different days: one line for each day on which anything changes.
	dates := []string{""}
	for _, v := range slices.Concat(list, m.Variants) {
		if v.Constraint != nil && v.Constraint.Type != "start_date" {
			return fmt.Errorf("tiers beside the condition %+v", *v.Constraint)
		}
		if v.Constraint != nil {
			dates = append(dates, v.Constraint.StartDate)
		}
	}
	slices.Sort(dates)
	for _, date := range slices.Compact(dates) {
		on := list[0]
		for _, v := range list {
			if v.Constraint == nil || v.Constraint.StartDate <= date {
				on = v
			}
		}
		on.Constraint = nil
		if date != "" {
			on.Constraint = &constraint{Type: "start_date", StartDate: date}
		}
		tiers, err := tiersOn(date, on.Prices, m.Variants)
		if err == nil {
			err = writePrices(b, name, on, tiers)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tiersOn returns the prices of each tier on a day. What a tier does not price costs what the standard tier does.
func tiersOn(date string, standard map[string]json.RawMessage, variants []priced) (map[string]map[string]json.RawMessage, error) {
	tiers := make(map[string]map[string]json.RawMessage)
	for _, v := range variants {
		if len(v.When) != 1 {
			return nil, fmt.Errorf("a tier on %d conditions: %v", len(v.When), v.When)
		}
		for key, value := range v.When {
			switch {
			case key == "route" || key == "search_type":
				continue // no answer reports it
			case key == "service_tier" && value == "default":
				if len(v.Prices) > 0 {
					return nil, errors.New("a default tier with prices")
				}
				continue
			case key != "processing" && key != "service_tier" && key != "speed":
				return nil, fmt.Errorf("a tier on an unknown condition %v", v.When)
			}
			if v.Constraint != nil && v.Constraint.StartDate > date {
				continue
			}
			if tiers[value] == nil {
				tiers[value] = make(map[string]json.RawMessage)
			}
			for name, p := range v.Prices {
				if tiers[value][name] == nil { // the first holds
					tiers[value][name] = p
				}
			}
		}
	}
	for _, prices := range tiers {
		for name, p := range standard {
			// Fees hold in every tier anyway.
			if prices[name] == nil && name != "requests_kcount" && name != "web_searches_kcount" {
				prices[name] = p
			}
		}
	}
	return tiers, nil
}

// writePrices writes one line of prices.
func writePrices(b *bytes.Buffer, name string, v priced, tiers map[string]map[string]json.RawMessage) error {
	when, err := v.Constraint.when()
	if err != nil {
		return err
	}
	fields := []string{"price", when}
	if len(v.Prices) == 0 {
		if !strings.HasSuffix(name, ":free") && !freeModels[name] {
			log.Printf("%s has no prices and is unpriced", name)
			return nil
		}
		fields = append(fields, "free")
	}
	for _, tier := range slices.Sorted(maps.Keys(tiers)) {
		for _, key := range priceKeys(tiers[tier]) {
			if fields, err = addPrice(fields, name, key, "@"+tier, tiers[tier][key]); err != nil {
				return err
			}
		}
	}
	for _, key := range priceKeys(v.Prices) {
		if fields, err = addPrice(fields, name, key, "", v.Prices[key]); err != nil {
			return err
		}
	}
	line(b, fields...)
	return nil
}

// priceKeys returns the keys in order; the price of audio gives way to that of audio input.
func priceKeys(prices map[string]json.RawMessage) []string {
	keys := slices.Sorted(maps.Keys(prices))
	if prices["input_audio_hours"] == nil {
		return keys
	}
	return slices.DeleteFunc(keys, func(key string) bool { return key == "audio_hours" })
}

// when returns the condition in the form of the data: "-" for none, a date, or a daily window in UTC.
func (c *constraint) when() (string, error) {
	switch {
	case c == nil:
		return "-", nil
	case c.Type == "start_date":
		return c.StartDate, nil
	case c.Type == "time_of_date" && strings.HasSuffix(c.StartTime, "Z") && strings.HasSuffix(c.EndTime, "Z"):
		return strings.TrimSuffix(c.StartTime, "Z") + "-" + strings.TrimSuffix(c.EndTime, "Z"), nil
	default:
		return "", fmt.Errorf("unknown condition %+v", *c)
	}
}

// addPrice appends name=price, and one name>tokens=price per context threshold; tier follows each name.
func addPrice(fields []string, model, key, tier string, raw json.RawMessage) ([]string, error) {
	to, ok := priceNames[key]
	if !ok {
		return nil, fmt.Errorf("unknown price key %q", key)
	}
	if to.name == "" {
		return fields, nil
	}
	var value struct {
		Base  json.Number `json:"base"`
		Tiers []struct {
			Start json.Number `json:"start"`
			Price json.Number `json:"price"`
		} `json:"tiers"`
	}
	target := any(&value.Base)
	if raw[0] == '{' {
		target = &value
	}
	if err := strict(raw, target); err != nil {
		return nil, err
	}
	text, err := round(model, value.Base, to.divisor)
	if err != nil {
		return nil, err
	}
	fields = append(fields, to.name+tier+"="+text)
	for _, t := range value.Tiers {
		if text, err = round(model, t.Price, to.divisor); err != nil {
			return nil, err
		}
		fields = append(fields, to.name+tier+">"+t.Start.String()+"="+text)
	}
	return fields, nil
}

// round returns the price divided by divisor, rounded to nine decimals: beyond them there is only float noise.
func round(model string, n json.Number, divisor int64) (string, error) {
	v, ok := new(big.Rat).SetString(n.String())
	if !ok || v.Sign() < 0 {
		return "", fmt.Errorf("price %q is not a non-negative number", n)
	}
	v.Quo(v, new(big.Rat).SetInt64(divisor))
	text := v.FloatString(9)
	if back, _ := new(big.Rat).SetString(text); back.Cmp(v) != 0 {
		log.Printf("%s: price %s is rounded to %s", model, n, text)
	}
	text = strings.TrimRight(text, "0")
	return strings.TrimSuffix(text, "."), nil
}

// rule writes a line with a matching rule, if there is one.
func rule(b *bytes.Buffer, kind string, head []string, raw json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	fields, err := prefix(raw)
	if err != nil {
		return err
	}
	line(b, append(append([]string{kind}, head...), fields...)...)
	return nil
}

var operators = map[string]string{"equals": "=", "starts_with": "^", "ends_with": "$", "contains": "*", "regex": "/", "or": "|", "and": "&"}

// prefix returns a rule in prefix notation.
func prefix(raw json.RawMessage) ([]string, error) {
	var m map[string]json.RawMessage
	if err := strict(raw, &m); err != nil {
		return nil, err
	}
	if len(m) != 1 {
		return nil, fmt.Errorf("unknown rule %s", raw)
	}
	for kind, value := range m {
		op, ok := operators[kind]
		if !ok {
			return nil, fmt.Errorf("unknown rule %s", raw)
		}
		if kind == "or" || kind == "and" {
			var subs []json.RawMessage
			if err := strict(value, &subs); err != nil {
				return nil, err
			}
			fields := []string{op + strconv.Itoa(len(subs))}
			for _, sub := range subs {
				f, err := prefix(sub)
				if err != nil {
					return nil, err
				}
				fields = append(fields, f...)
			}
			return fields, nil
		}
		var text string
		if err := strict(value, &text); err != nil {
			return nil, err
		}
		if kind != "regex" {
			return []string{op + strings.ToLower(text)}, nil
		}
		if t, ok := translations[text]; ok {
			return t, nil
		}
		if _, err := regexp.Compile(text); err != nil {
			return nil, fmt.Errorf("%w: add it to translations", err)
		}
		return []string{op + text}, nil
	}
	return nil, nil
}

func line(b *bytes.Buffer, fields ...string) {
	b.WriteString(strings.Join(fields, "\t"))
	b.WriteByte('\n')
}
