package litellm

import (
	"strings"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// listPrices carries over prices from LiteLLM's price map. In LiteLLM, openai/<model> has its list price at any
// address. Here list prices apply only at the provider's own address.
func (c *converter) listPrices(d *deployment, at field) {
	if providers[d.prefix].preset != "openai" || !d.base.set() || d.has("price") {
		return
	}
	name := c.plain(at)
	if _, sent, err := providerOf(name, "", d.base.text); err == nil {
		name = sent
	}
	q := price.Query{Provider: "openai", BaseURL: d.base.text, Model: name}
	if price.Default().Priced(q) == nil {
		return
	}
	if strings.Contains(name, "*") {
		c.warn(at, "LiteLLM bills the models of this pattern by its price map; here they have no price at this api_base: write a price file, and `prices` in lagobilling")
		return
	}
	q.BaseURL = ""
	list, err := price.Default().List(q)
	if err != nil {
		return // LiteLLM has no list price either
	}
	carried := false
	for _, l := range list {
		if l.Source != price.FeeSource && !strings.Contains(l.Name, "@batch") {
			d.add(at, "price", l.Name, l.Price.String())
			carried = true
		}
	}
	if carried {
		c.warn(at, "LiteLLM bills "+name+" by its price map at any api_base: the list price is written out. Write input_cost_per_token and output_cost_per_token where it is another")
	}
}
