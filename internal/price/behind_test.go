package price

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEveryRow parses every line of the second source and finds it again by its key.
func TestEveryRow(t *testing.T) {
	r := newRows(liteText)
	require.Regexp(t, `^litellm \d+\.\d+\.\d+$`, r.version)
	lines := strings.Split(strings.TrimSuffix(r.text, "\n"), "\n")
	require.Greater(t, len(lines), 3000)
	require.True(t, slices.IsSorted(lines))
	for _, line := range lines {
		f := strings.Split(line, "\t")
		e := r.find(f[0], f[1])
		require.NotNil(t, e, line)
		require.Equal(t, f[1], e.id)
		require.Nil(t, r.find(f[0], f[1]+"/"))
		require.Nil(t, r.find(f[0]+"x", f[1]))
	}
	require.Nil(t, r.find("", ""))
	require.Nil(t, r.find("zzz", "zzz"))
}

// TestSecondSource prices what genai-prices lacks, by hand from the providers' pages, and checks the source.
func TestSecondSource(t *testing.T) {
	for name, c := range map[string]struct {
		q    Query
		in   []any
		want string
	}{
		"rerank":                {Query{Provider: "bedrock", Model: "amazon.rerank-v1:0"}, []any{"search_units", 3}, "0.003"},
		"a provider by host":    {Query{Provider: "openai", BaseURL: "https://api.deepinfra.com/v1/openai", Model: "deepseek-ai/DeepSeek-V3"}, []any{"input", 1_000_000, "output", 1_000_000}, "1.21"},
		"geo, cache read":       {Query{Provider: "anthropic", Model: "claude-opus-4-6", Tier: "geo-us"}, []any{"input", 1_000_000, "cache_read", 1_000_000}, "6.05"},
		"geo leaves the search": {Query{Provider: "anthropic", Model: "claude-opus-4-6", Tier: "geo-us"}, []any{"web_searches", 1}, "0.01"},
		"corrected alias":       {Query{Provider: "mistral", Model: "mistral-large-latest"}, []any{"input", 1_000_000, "output", 1_000_000}, "2"},
		"Azure's own search":    {Query{Provider: "azure", Model: "gpt-4.1"}, []any{"web_searches", 1}, "0.014"},
		"with the provider":     {Query{Provider: "bedrock", Model: "bedrock/amazon.rerank-v1:0"}, []any{"search_units", 1}, "0.001"},
	} {
		require.Equal(t, c.want, total(t, Default(), c.q, counts(c.in...)), name)
	}
}

// TestRegions prices what costs more, or less, for where it runs.
func TestRegions(t *testing.T) {
	in, out := counts("input", 1_000_000), counts("output", 1_000_000)
	for name, c := range map[string]struct {
		provider, url, model string
		in, out              string
	}{
		// Vertex AI: Claude from Sonnet 4.5 on and the newer Gemini cost 1.1 times the price of the global endpoint.
		"global":         {"vertex", "https://aiplatform.googleapis.com", "claude-haiku-4-5@20251001", "1", "5"},
		"region":         {"vertex", "https://us-east5-aiplatform.googleapis.com", "claude-haiku-4-5@20251001", "1.1", "5.5"},
		"multi-region":   {"vertex", "https://aiplatform.eu.rep.googleapis.com", "claude-opus-5", "5.5", "27.5"},
		"older Claude":   {"vertex", "https://us-east5-aiplatform.googleapis.com", "claude-opus-4-1@20250805", "15", "75"},
		"newer Gemini":   {"vertex", "https://europe-west4-aiplatform.googleapis.com", "gemini-3.5-flash", "1.65", "9.9"},
		"older Gemini":   {"vertex", "https://europe-west4-aiplatform.googleapis.com", "gemini-2.5-flash", "0.3", "2.5"},
		"no Vertex":      {"gemini", "https://generativelanguage.googleapis.com", "gemini-3.5-flash", "1.5", "9"},
		"OpenAI, EU":     {"openai", "https://eu.api.openai.com/v1", "gpt-5.4", "2.75", "16.5"},
		"OpenAI, US":     {"openai", "https://us.api.openai.com/v1", "gpt-5.4-mini", "0.825", "4.95"},
		"OpenAI, older":  {"openai", "https://eu.api.openai.com/v1", "gpt-4o", "2.5", "10"},
		"OpenAI, global": {"openai", "https://api.openai.com/v1", "gpt-5.4-mini", "0.75", "4.5"},
		// Bedrock: the regions' own lists.
		"Nova":            {"bedrock", "", "us.amazon.nova-lite-v1:0", "0.06", "0.24"},
		"Nova, EU":        {"bedrock", "", "eu.amazon.nova-lite-v1:0", "0.078", "0.312"},
		"Claude, EU":      {"bedrock", "", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3", "16.5"},
		"Claude, gov":     {"bedrock", "", "us-gov.anthropic.claude-opus-5", "6", "30"},
		"by the endpoint": {"bedrock", "https://bedrock-runtime.us-gov-west-1.amazonaws.com", "amazon.nova-lite-v1:0", "0.072", "0.288"},
		"Nova 2, EU":      {"bedrock", "", "eu.amazon.nova-2-lite-v1:0", "0.429", "3.597"},
	} {
		q := Query{Provider: c.provider, BaseURL: c.url, Model: c.model}
		if strings.Contains(c.model, "gpt-5.4") && c.model == "gpt-5.4" || strings.Contains(c.model, "sonnet") {
			// These have a threshold below a million.
			require.Equal(t, c.in, mega(t, q, "input"), name)
			require.Equal(t, c.out, mega(t, q, "output"), name)
			continue
		}
		require.Equal(t, c.in, total(t, Default(), q, in), name)
		require.Equal(t, c.out, total(t, Default(), q, out), name)
	}
	// It is unknown whether a model that LiteLLM does not have costs more there.
	require.ErrorIs(t, Default().Priced(Query{Provider: "openai", BaseURL: "https://eu.api.openai.com/v1", Model: "gpt-99"}), ErrUnpriced)
	// At an operator's own address, the configured region decides.
	for _, c := range [][]string{
		{"vertex", "us-east5", "claude-haiku-4-5@20251001", "1.1"},
		{"vertex", "global", "claude-haiku-4-5@20251001", "1"},
		{"vertex", "eu", "claude-haiku-4-5@20251001", "1.1"},
		{"bedrock", "us-gov-west-1", "amazon.nova-lite-v1:0", "0.072"},
		{"bedrock", "us-east-1", "amazon.nova-lite-v1:0", "0.06"},
	} {
		q := Query{Provider: c[0], BaseURL: "http://proxy.internal:8080", Region: c[1], Model: c[2]}
		require.Equal(t, c[3], total(t, Default(), q, in), c)
	}
	// A price that the operator wrote is what the operator pays.
	q := Query{Provider: "vertex", BaseURL: "https://us-east5-aiplatform.googleapis.com", Model: "claude-haiku-4-5", Written: map[string]string{"input": "7"}}
	require.Equal(t, "7", total(t, Default(), q, in))
	require.Equal(t, "5.5", total(t, Default(), q, out))
	own := overlay(t, Default(), "p", `{"models": [{"provider": "vertex", "model": "claude-haiku-4-5", "prices": {"output": 3}}]}`)
	require.Equal(t, "3", total(t, own, q, out))
}

// mega returns the price of a million tokens from that of a thousand.
func mega(t *testing.T, q Query, kind string) string {
	t.Helper()
	q.At = at
	cost, err := Default().Cost(q, counts(kind, 1000))
	require.NoError(t, err)
	return cost.Lines[0].Price.String()
}

// TestWorkdays prices DeepSeek's peak hours; Saturday and Sunday have none.
func TestWorkdays(t *testing.T) {
	q := Query{Provider: "deepseek", Model: "deepseek-v4-pro"}
	for day, want := range map[string]string{"2026-11-27": "1.32", "2026-11-28": "0.66", "2026-11-29": "0.66", "2026-11-30": "1.32"} {
		q.At = date(t, day).Add(2 * 3600e9)
		require.Equal(t, want, total(t, Default(), q, counts("input", 1_000_000)), day)
		q.At = q.At.Add(3 * 3600e9)
		require.Equal(t, "0.66", total(t, Default(), q, counts("input", 1_000_000)), day)
	}
}

// TestList lists the prices of a model, each with its source.
func TestList(t *testing.T) {
	list, err := Default().List(Query{Provider: "azure", Model: "gpt-4.1", At: at, Written: map[string]string{"input": "1.5", "input>1000": "2"}})
	require.NoError(t, err)
	byName := make(map[string]Listed)
	for _, l := range list {
		byName[l.Name] = l
	}
	require.Equal(t, Listed{Name: "input", Price: 1_500_000_000, Source: "configuration"}, byName["input"])
	require.Equal(t, "2", byName["input>1000"].Price.String())
	require.Regexp(t, `^litellm `, byName["web_searches"].Source)
	require.Equal(t, PerOne, byName["web_searches"].Unit)
	list, err = Default().List(Query{Provider: "openai", Model: "no-such-model"})
	require.NoError(t, err)
	require.Empty(t, list)
}

func date(t *testing.T, day string) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateOnly, day)
	require.NoError(t, err)
	return at
}
