package tariff

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFactors(t *testing.T) {
	f, err := factors(
		[]Percent{{Percent: "10"}, {Provider: "anthropic", Percent: "12.5%"}},
		[]Percent{{Provider: "openai", Percent: "50"}, {Provider: "free", Percent: "100"}})
	require.NoError(t, err)
	require.Equal(t, map[string]factor{
		"":          newFactor(11, 10),
		"anthropic": newFactor(9, 8),
		"openai":    newFactor(11, 20), // the general markup and the provider's own discount
		"free":      newFactor(0, 1),
	}, f)
	none, err := factors(nil, nil)
	require.NoError(t, err)
	require.Equal(t, map[string]factor{"": newFactor(1, 1)}, none)
	smallest, err := factors([]Percent{{Percent: "0.000001"}}, nil)
	require.NoError(t, err)
	require.Equal(t, newFactor(100_000_001, 100_000_000), smallest[""])
}
