package price

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// liteOffPeak is LiteLLM's off_peak_pricing without its prices. Source: litellm_core_utils/llm_cost_calc/utils.py.
type liteOffPeak struct {
	Hours   liteHours `json:"hours_utc"` // on all days
	Windows []struct {
		Hours    liteHours         `json:"hours_utc"`
		Weekdays []json.RawMessage `json:"weekdays"` // 1 to 7 from Monday on, or names; absent: all
	} `json:"windows"`
	Zone string `json:"weekday_timezone"` // of the weekdays; UTC when empty
}

// liteHours is one window, such as 16:30-00:30, or a list of them.
type liteHours []string

// UnmarshalJSON takes a string or a list of strings.
func (h *liteHours) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		*h = make(liteHours, 1)
		return json.Unmarshal(raw, &(*h)[0])
	}
	return json.Unmarshal(raw, (*[]string)(h))
}

// offPeak returns the entry's prices in each of its off-peak windows: an off-peak price replaces the standard one with all its
// thresholds, others stay as they are.
func (m *liteModel) offPeak(standard []named) ([]variant, error) {
	raw, ok := m.fields["off_peak_pricing"]
	if !ok || string(raw) == "null" || string(raw) == "{}" {
		return nil, nil
	}
	var block liteOffPeak
	if err := json.Unmarshal(raw, &block); err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	lower, err := m.prices(fields, 0)
	if err != nil {
		return nil, err
	}
	prices := slices.DeleteFunc(slices.Clone(standard), func(n named) bool {
		return slices.ContainsFunc(lower, func(l named) bool { return l.slot == n.slot && l.tier == n.tier })
	})
	p, err := newPricing(append(prices, lower...))
	if err != nil {
		return nil, err
	}
	zone, err := liteZone(block.Zone)
	if err != nil {
		return nil, err
	}
	var variants []variant
	add := func(hours liteHours, days uint8) error {
		for _, window := range hours {
			v := variant{pricing: p}
			if err := v.parseDaily(strings.ReplaceAll(window, " ", "")); err != nil {
				return err
			}
			if v.start == v.end {
				v.start, v.end = 0, dayMillis
			}
			v.days, v.zone = days, zone
			variants = append(variants, v)
		}
		return nil
	}
	if err := add(block.Hours, 0); err != nil {
		return nil, err
	}
	for _, w := range block.Windows {
		days, err := liteDays(w.Weekdays)
		if err == nil {
			err = add(w.Hours, days)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(variants) == 0 {
		return nil, errors.New("no hours_utc")
	}
	return variants, nil
}

// liteDays returns weekdays in the form of a variant.
func liteDays(list []json.RawMessage) (days uint8, err error) {
	if list == nil {
		return 0, nil
	}
	for _, raw := range list {
		text, err := numberText(raw)
		if err != nil {
			return 0, err
		}
		day := lower(text)
		n, err := strconv.Atoi(day)
		known := err == nil && n >= 1 && n <= 7
		for d := time.Sunday; d <= time.Saturday && !known; d++ {
			if len(day) >= 3 && strings.HasPrefix(lower(d.String()), day) {
				n, known = int(d), true
			}
		}
		if !known {
			return 0, fmt.Errorf("%.60s is no weekday from 1 to 7", raw)
		}
		days |= 1 << (n % 7)
	}
	if days == 0 {
		return 0, errors.New("an empty list of weekdays")
	}
	return days, nil
}

// liteZone returns the time zone of weekdays. China's, which the list uses, is also known on systems without a zone database.
func liteZone(name string) (*time.Location, error) {
	switch name {
	case "", "UTC":
		return nil, nil
	case "Asia/Shanghai":
		return time.FixedZone(name, 8*60*60), nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("weekday_timezone: %w", err)
	}
	return zone, nil
}
