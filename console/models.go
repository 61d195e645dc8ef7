package console

import (
	"net/http"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// showModels lists the site's models with their backends and prices.
func showModels(v *visit) (*content, error) {
	if v.site.routes == nil {
		return nil, refuse(http.StatusNotFound, "This site has no llmroute: it serves no model.")
	}
	t := &table{
		Caption: "Prices before markup, in USD", Empty: "There is no model.",
		Head: []string{"Model", "Backend", "Provider", "Base URL", "Model upstream", "Prices", "Source", "Unpriced, because"},
	}
	page := &content{Sections: []section{{Table: t}}}
	if v.site.bills != nil {
		page.Sections[0].Facts = []fact{{"Price data", text(v.site.bills.Tariff().Version())}}
	}
	for _, target := range v.site.routes.Targets() {
		var prices, source, why string
		switch {
		case v.site.bills == nil:
			why = "the site has no lagobilling"
		case strings.Contains(target.Upstream, "*"):
			why = "it depends on the name that is asked for"
		default:
			list, err := v.site.bills.Tariff().Listed(target)
			if err != nil {
				return nil, err
			}
			prices, source = priceText(list)
			if err := v.site.bills.Tariff().Priced(target, "", time.Now()); err != nil {
				why = strings.TrimPrefix(err.Error(), price.ErrUnpriced.Error()+": ")
			}
		}
		t.Rows = append(t.Rows, []cell{
			text(target.Model), text(target.Backend), text(target.Provider), orDash(target.BaseURL), text(target.Upstream),
			orDash(prices), orDash(source), orDash(why),
		})
	}
	return page, nil
}

// shownPrices are the prices of a model that a row has room for.
const shownPrices = 6

// priceText shows prices, and where they come from.
func priceText(list []price.Listed) (prices, source string) {
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
		if len(from) == 0 || from[len(from)-1] != s {
			from = append(from, s)
		}
	}
	if more := len(list) - shownPrices; more > 0 {
		parts = append(parts, number(more).Text+" more: caddy tollgate prices show")
	}
	return strings.Join(parts, ", "), strings.Join(from, ", ")
}
