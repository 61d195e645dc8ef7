package tariff

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// TestLinesAddUpToTheCost prices random usage by random markups: the lines of a record add up to its cost and its base cost, to
// the last digit, whatever the shape of the events.
func TestLinesAddUpToTheCost(t *testing.T) {
	usd := func(text string) price.Amount {
		a, err := price.ParseUSD(text)
		require.NoError(t, err)
		return a
	}
	for range 300 {
		markup := fmt.Sprintf("%d.%06d", rand.IntN(20), rand.IntN(1_000_000))
		for _, events := range []string{PerRequest, PerTokenType, Cost} {
			b, res := priceable("openai", llm.OpenAI, map[usage.Kind]int64{
				usage.Input: rand.Int64N(2000), usage.CacheRead: rand.Int64N(2000), usage.Output: rand.Int64N(90) + 1, usage.Milliseconds: rand.Int64N(90_000),
			})
			tf := newTariff(t, Config{Events: events, Markup: []Percent{{Percent: markup}}})
			tf.Settle(nil, b.Record, b.target, res, true)
			require.Empty(t, b.Unpriced)
			var base, cost price.Amount
			for _, l := range b.Lines {
				var err error
				base, err = base.Add(usd(l.Base))
				require.NoError(t, err)
				if l.Cost == "" {
					l.Cost = l.Base
				}
				cost, err = cost.Add(usd(l.Cost))
				require.NoError(t, err)
			}
			require.Equal(t, b.Cost, cost.String(), markup)
			if b.BaseCost == "" {
				b.BaseCost = b.Cost
			}
			require.Equal(t, b.BaseCost, base.String())
			require.Equal(t, tf.factor("openai").text, b.Factor)
		}
	}
}
