package console

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// showModels lists the site's models with their backends and prices.
func showModels(v *visit) (*content, error) {
	if v.site.routes == nil {
		return nil, refuse(http.StatusNotFound, "This site has no llmroute: it serves no model.")
	}
	t := &table{
		Caption: "Prices are before markup, in USD", Empty: "There is no model.",
		Head: []string{"Model", "Backend", "Model upstream", "Health", "Calls", "Failed", "Prices", "Source"},
	}
	page := &content{Sections: []section{{Tables: []*table{t}}}}
	var last *rates
	if v.site.bills != nil {
		page.Sections[0].Facts = []fact{{"Price data", text(v.site.bills.Tariff().Version())}}
		a, release, err := v.site.bills.HoldAccount(v.r.Context())
		if err != nil {
			return nil, err
		}
		defer release()
		if last, err = ratesOf(v.r.Context(), a, time.Now()); err != nil {
			return nil, err
		}
		t.Caption += "; calls are those of the last " + number(ratesMinutes).Text + " minutes"
	}
	for _, to := range v.site.routes.Targets() {
		at := text(to.Backend)
		if at.Note = to.BaseURL; to.Provider != to.Backend {
			at.Note = strings.TrimSpace(to.Provider + " " + to.BaseURL)
		}
		health := state("available", goodTone)
		if !v.site.routes.Available(to) {
			health = state("down", badTone)
		}
		row := []cell{text(to.Model), at, text(to.Upstream), health}
		m := new(minute)
		if last != nil && last.targets[target{to.Model, to.Backend}] != nil {
			m = last.targets[target{to.Model, to.Backend}]
		}
		row = append(row, number(m.calls), number(m.failed))
		prices, source, err := v.pricesOf(to)
		if err != nil {
			return nil, err
		}
		t.Rows = append(t.Rows, append(row, prices, orDash(source)))
	}
	return page, nil
}

// pricesOf shows the prices of a backend's model and their source, or why it has none.
func (v *visit) pricesOf(to *llm.Target) (prices cell, source string, err error) {
	why := func(s string) cell { return cell{Text: "unpriced", Tone: waitTone, Note: s} }
	switch {
	case v.site.bills == nil:
		return why("the site has no lagobilling"), "", nil
	case strings.Contains(to.Upstream, "*"):
		return why("it depends on the requested model name"), "", nil
	}
	list, err := v.site.bills.Tariff().Listed(to)
	if err != nil {
		return cell{}, "", err
	}
	shown, source := priceText(list)
	if err := v.site.bills.Tariff().Priced(to, "", time.Now()); err != nil {
		return why(strings.TrimPrefix(err.Error(), price.ErrUnpriced.Error()+": ")), source, nil
	}
	return shown, source, nil
}

// shownPrices is how many prices of a model fit in a row.
const shownPrices = 4

// priceText shows prices, those of the standard tier first, with their source.
func priceText(list []price.Listed) (prices cell, source string) {
	slices.SortStableFunc(list, func(a, b price.Listed) int { return cmp.Compare(len(a.Name), len(b.Name)) })
	var parts, from []string
	for i := range list {
		l := &list[i]
		if i < shownPrices {
			parts = append(parts, l.Name+" "+l.Price.String()+" per "+l.Unit.String())
		}
		s := l.Source
		if l.Date != "" {
			s += " of " + l.Date
		}
		if !slices.Contains(from, s) {
			from = append(from, s)
		}
	}
	prices = orDash(strings.Join(parts, ", "))
	if more := len(list) - shownPrices; more > 0 {
		prices.Note = "and " + number(more).Text + " more: caddy tollgate prices show"
	}
	return prices, strings.Join(from, ", ")
}
