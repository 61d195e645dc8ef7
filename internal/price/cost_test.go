package price

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// at is a time at which no price of the tests is about to change.
var at = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// counts returns counts from pairs of a kind's name and a number.
func counts(pairs ...any) *usage.Counts {
	c := new(usage.Counts)
	for pair := range slices.Chunk(pairs, 2) {
		k, ok := usage.KindByName(pair[0].(string))
		if !ok {
			panic(pair[0])
		}
		c.Set(k, int64(pair[1].(int)))
	}
	return c
}

func total(t *testing.T, table *Table, q Query, c *usage.Counts) string {
	t.Helper()
	if q.At.IsZero() {
		q.At = at
	}
	cost, err := table.Cost(q, c)
	require.NoError(t, err)
	return cost.Total.String()
}

// TestListPrices prices calls by hand from the providers' published prices.
func TestListPrices(t *testing.T) {
	for name, c := range map[string]struct {
		q    Query
		c    *usage.Counts
		want string
	}{
		"cached tokens once": {
			Query{Provider: "openai", BaseURL: "https://api.openai.com/v1", Model: "gpt-4o-2024-08-06"},
			counts("input", 1000, "cache_read", 2000, "output", 300, "reasoning", 0), "0.008", // 2.50, 1.25, 10.00
		},
		"no base URL":                 {Query{Provider: "openai", Model: "gpt-4o-mini"}, counts("input", 1_000_000, "output", 1_000_000), "0.75"},
		"name in capitals":            {Query{Provider: "OpenAI", Model: " GPT-4o-Mini"}, counts("input", 1_000_000), "0.15"},
		"reasoning is output":         {Query{Provider: "openai", Model: "gpt-4o-mini"}, counts("reasoning", 1_000_000), "0.6"},
		"anthropic cache":             {Query{Provider: "anthropic", Model: "claude-sonnet-4-5"}, counts("input", 10, "cache_read", 100, "cache_write_5m", 1000, "cache_write_1h", 10000, "output", 1), "0.063825"},
		"unknown TTL as 5m":           {Query{Provider: "anthropic", Model: "claude-sonnet-4-5"}, counts("cache_write", 1000), "0.00375"},
		"web searches":                {Query{Provider: "anthropic", Model: "claude-sonnet-4-5"}, counts("web_searches", 3), "0.03"},
		"audio by the hour":           {Query{Provider: "openai", Model: "whisper-1"}, counts("milliseconds", 3_600_000), "0.36"},
		"audio rounded once":          {Query{Provider: "openai", Model: "whisper-1"}, counts("milliseconds", 7), "0.0000007"},
		"audio with a minimum":        {Query{Provider: "groq", Model: "whisper-large-v3"}, counts("milliseconds", 360), "0.000308333333333"},
		"price per call":              {Query{Provider: "perplexity", Model: "sonar"}, counts("input", 1000, "output", 1000), "0.014"},
		"citations apart":             {Query{Provider: "perplexity", Model: "sonar-deep-research"}, counts("citations", 1000), "0.002"},
		"pages":                       {Query{Provider: "mistral", Model: "mistral-ocr-2503"}, counts("pages", 7), "0.007"},
		"vertex sells claude":         {Query{Provider: "vertex", BaseURL: "https://aiplatform.googleapis.com", Model: "claude-sonnet-4-5"}, counts("input", 1000), "0.003"},
		"azure sells openai":          {Query{Provider: "azure", BaseURL: "https://x.openai.azure.com", Model: "gpt-4o-mini-2024-07-18"}, counts("input", 1_000_000), "0.15"},
		"provider by its address":     {Query{Provider: "openai", BaseURL: "https://api.groq.com/openai/v1", Model: "llama-3.1-8b-instant"}, counts("input", 1_000_000), "0.05"},
		"bedrock, global":             {Query{Provider: "bedrock", Model: "global.anthropic.claude-sonnet-4-5-20250929-v1:0"}, counts("input", 1_000_000), "3"},
		"bedrock, regional":           {Query{Provider: "bedrock", Model: "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"}, counts("input", 1_000_000), "3.3"},
		"bedrock, ARN":                {Query{Provider: "bedrock", Model: "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5"}, counts("input", 1_000_000), "5.5"},
		"bedrock, region stripped":    {Query{Provider: "bedrock", Model: "apac.anthropic.claude-opus-5"}, counts("input", 1_000_000), "5.5"},
		"date without dashes":         {Query{Provider: "openai", Model: "gpt-4o-mini-20240718"}, counts("input", 1_000_000), "0.15"},
		"free model":                  {Query{Provider: "openai", Model: "omni-moderation-latest"}, counts("input", 100), "0"},
		"fallback name":               {Query{Provider: "openai", Model: "my-deployment", Fallback: []string{"", "gpt-4o-mini"}}, counts("input", 1_000_000), "0.15"},
		"nothing counted":             {Query{Provider: "openai", Model: "gpt-4o-mini"}, counts(), "0"},
		"vertex names the standard":   {Query{Provider: "openai", Model: "gpt-4o-mini", Tier: "ON_DEMAND"}, counts("input", 1_000_000), "0.15"},
		"no price in the tier's name": {Query{Provider: "openai", Model: "gpt-4o-mini", Tier: "Default"}, counts("input", 1_000_000), "0.15"},
	} {
		require.Equal(t, c.want, total(t, Default(), c.q, c.c), name)
	}
}

func TestUnpriced(t *testing.T) {
	c := counts("input", 10, "output", 10)
	for name, q := range map[string]Query{
		"unknown model":       {Provider: "openai", Model: "no-such-model"},
		"unknown provider":    {Provider: "no-such-provider", Model: "gpt-4o"},
		"own server":          {Provider: "vllm", BaseURL: "http://10.0.0.1:8000/v1", Model: "gpt-4o"},
		"unknown address":     {Provider: "openai", BaseURL: "http://10.0.0.1:8000/v1", Model: "gpt-4o"},
		"flex":                {Provider: "openai", Model: "gpt-4o", Tier: "flex"},
		"scale":               {Provider: "openai", Model: "gpt-4o", Tier: "scale"},
		"batch":               {Provider: "anthropic", Model: "claude-2", Tier: "batch"},
		"vertex, provisioned": {Provider: "vertex", Model: "gemini-2.5-pro", Tier: "PROVISIONED_THROUGHPUT"},
		"vertex, priority":    {Provider: "vertex", Model: "gemini-2.0-flash", Tier: "ON_DEMAND_PRIORITY"},
		"tier and region":     {Provider: "anthropic", Model: "claude-sonnet-4-5", Tier: "standard+geo-us"},
		"region":              {Provider: "anthropic", Model: "claude-sonnet-4-5", Tier: "us"},
		"free with a tier":    {Provider: "openrouter", Model: "deepcoder-14b-preview:free", Tier: "flex"},
		"tier of a fee only":  {Provider: "mock", Model: "x", Tier: "flex", Written: map[string]string{"request": "1"}},
		"no price in data":    {Provider: "cerebras", Model: "qwen-3-coder-480b"},
		"free elsewhere":      {Provider: "vertex", Model: "gemma-3"},
		"regional for global": {Provider: "bedrock", Model: "global.anthropic.claude-opus-4-1-20250805-v1:0"},
		"no model":            {Provider: "openai"},
		"long model":          {Provider: "openai", Model: "gpt-4o" + strings.Repeat("x", 1<<16)},
	} {
		_, err := Default().Cost(q, c)
		require.ErrorIs(t, err, ErrUnpriced, name)
		require.Less(t, len(err.Error()), 300)
		require.ErrorIs(t, Default().Priced(q), ErrUnpriced, name)
	}
	require.NoError(t, Default().Priced(Query{Provider: "openai", Model: "gpt-4o"}))
	require.NoError(t, Default().Priced(Query{Provider: "openai", Model: "gpt-4o", Tier: "auto"}))

	// A kind of token without a price is not free; other kinds are reported as uncharged.
	_, err := Default().Cost(Query{Provider: "openai", Model: "text-embedding-3-small"}, c)
	require.ErrorIs(t, err, ErrUnpriced)
	_, err = Default().Cost(Query{Provider: "openai", Model: "whisper-1"}, counts("input", 10))
	require.ErrorIs(t, err, ErrUnpriced)
	cost, err := Default().Cost(Query{Provider: "openai", Model: "whisper-1"}, counts("input", 10, "milliseconds", 1000))
	require.NoError(t, err)
	require.Equal(t, []string{"input has no price: not charged"}, cost.Notes)
	require.Equal(t, "0.0001", cost.Total.String())
}

func TestCostLines(t *testing.T) {
	cost, err := Default().Cost(Query{Provider: "openai", Model: "gpt-3.5-turbo-0125", Written: map[string]string{"request": "0.01"}},
		counts("input", 1000, "cache_read", 500, "output", 2000))
	require.NoError(t, err)
	require.Equal(t, "openai", cost.Provider)
	require.Contains(t, cost.Model, "gpt-3.5-turbo")
	require.Equal(t, Default().Version()+" + configuration", cost.Version)
	require.Equal(t, []string{"cache_read has no price: input price used"}, cost.Notes)
	got := make([]string, 0, len(cost.Lines))
	for _, l := range cost.Lines {
		got = append(got, l.Name()+" "+big.NewInt(l.Count).String()+" at "+l.Price.String()+" per "+l.Unit.String()+" is "+l.Amount.String())
	}
	require.Equal(t, []string{
		"input 1000 at 0.5 per million is 0.0005", "cache_read 500 at 0.5 per million is 0.00025",
		"output 2000 at 1.5 per million is 0.003", "request 1 at 0.01 per one is 0.01",
	}, got)
	require.Equal(t, "0.01375", cost.Total.String())
	require.Equal(t, "1.375", cost.Total.Cents())
}

// TestCliff checks that one token more than the threshold reprices the whole call, output included, and that the test is
// on all input.
func TestCliff(t *testing.T) {
	q := Query{Provider: "gemini", Model: "gemini-2.5-pro"}
	require.Equal(t, "0.26", total(t, Default(), q, counts("input", 200_000, "output", 1000)))
	require.Equal(t, "0.5150025", total(t, Default(), q, counts("input", 200_001, "output", 1000)))
	require.Equal(t, "0.2750025", total(t, Default(), q, counts("input", 100_001, "cache_read", 50_000, "input_image", 0, "cache_read_image", 50_000, "output", 0)))
}

// TestTime checks dated and time-of-day prices at the instants where they change.
func TestTime(t *testing.T) {
	c := counts("input", 1_000_000)
	o3 := func(at time.Time) string {
		return total(t, Default(), Query{Provider: "openai", Model: "o3", At: at}, c)
	}
	change := time.Date(2025, 6, 10, 0, 0, 0, 0, time.UTC)
	require.Equal(t, "10", o3(change.Add(-time.Millisecond)))
	require.Equal(t, "2", o3(change))
	require.Equal(t, "2", o3(change.In(time.FixedZone("", -8*3600))))

	table, err := Default().Overlay(strings.NewReader(`{"models": [{"model": "night", "prices": {"input": 2}, "later": [
		{"from": "2026-11-01", "prices": {"input": 4}}, {"daily": "22:30-06:00", "prices": {"input": 1}}]}]}`), "p")
	require.NoError(t, err)
	for clock, want := range map[string]string{"22:29:59": "4", "22:30:00": "1", "00:00:00": "1", "05:59:59": "1", "06:00:00": "4"} {
		when, err := time.Parse(time.DateTime, "2026-11-02 "+clock)
		require.NoError(t, err)
		require.Equal(t, want, total(t, table, Query{Provider: "vllm", Model: "night", At: when}, c), clock)
	}
	require.Equal(t, "2", total(t, table, Query{Provider: "vllm", Model: "night", At: time.Date(2026, 10, 31, 12, 0, 0, 0, time.UTC)}, c))
}

func TestWrittenPrices(t *testing.T) {
	written := map[string]string{"input": "2", "output": "8", "input@flex": "1", "output@flex": "4", "web_searches": "0.02"}
	q := Query{Provider: "vllm", Model: "mine", Written: written}
	c := counts("input", 1_000_000, "cache_read", 1_000_000, "output", 1_000_000, "web_searches", 1)
	require.Equal(t, "12.02", total(t, Default(), q, c))
	q.Tier = "FLEX"
	cost, err := Default().Cost(q, c)
	require.NoError(t, err)
	require.Equal(t, "6.02", cost.Total.String())
	require.Equal(t, "configuration", cost.Version)
	require.Equal(t, "mine", cost.Model)
	require.Equal(t, "vllm", cost.Provider)
	require.Equal(t, []string{"cache_read has no price: input price used", "web_searches has no price in this tier: standard price used"}, cost.Notes)
	q.Tier = "priority"
	require.ErrorIs(t, Default().Priced(q), ErrUnpriced)

	// Over the list: what is written replaces the list's price of that name, thresholds included; the rest stays.
	q = Query{Provider: "gemini", Model: "gemini-2.5-pro", Written: map[string]string{"input": "1"}}
	require.Equal(t, "1.015", total(t, Default(), q, counts("input", 1_000_000, "output", 1000)))
	q.Written = map[string]string{"input": "1", "input>500000": "3"}
	require.Equal(t, "0.5", total(t, Default(), q, counts("input", 500_000)))
	require.Equal(t, "1.500003", total(t, Default(), q, counts("input", 500_001)))
	// The price of a tier that the list does not have.
	q = Query{Provider: "openai", Model: "gpt-4o", Tier: "flex", Written: map[string]string{"input@flex": "1.25", "output@flex": "5"}}
	require.Equal(t, "6.25", total(t, Default(), q, counts("input", 1_000_000, "output", 1_000_000)))
	// A place of inference has its own price, whatever the standard tier is called beside it.
	q = Query{Provider: "anthropic", Model: "claude-sonnet-4-5", Tier: "standard+geo-us", Written: map[string]string{"input@geo-us": "3.3", "input@priority+geo-us": "4"}}
	require.Equal(t, "3.3", total(t, Default(), q, counts("input", 1_000_000)))
	q.Tier = "Priority+geo-us"
	require.Equal(t, "4", total(t, Default(), q, counts("input", 1_000_000)))
	q.Tier = "priority"
	require.ErrorIs(t, Default().Priced(q), ErrUnpriced)
	q = Query{Provider: "openai", Model: "gpt-4o", Tier: "flex", Written: map[string]string{"input@flex": "1.25", "output@flex": "5"}}
	// Part of a tier is not enough for all of the call.
	q.Written = map[string]string{"input@flex": "1.25"}
	_, err = Default().Cost(q, counts("input", 10, "output", 10))
	require.ErrorIs(t, err, ErrUnpriced)

	require.NoError(t, CheckWritten(written))
	require.NoError(t, CheckWritten(map[string]string{"audio_minutes": "0.006", "request@flex": "0", "citations": "1e-3"}))
	for _, bad := range []map[string]string{
		{"inputs": "1"},
		{"input": "x"},
		{"input": "-1"},
		{"input": ""},
		{"input": "0.0000000001"},
		{"input>200000": "1"},
		{"input>": "1", "input": "1"},
		{"input>0": "1", "input": "1"},
		{"input@": "1"},
		{"milliseconds": "1"},
		{"audio_hours": "1", "audio_minutes": "1"},
		{"input@default": "1", "input": "1"},
		{"input>5": "1", "input>05": "1", "input": "1"},
		{"input": "99999999999999999"},
	} {
		require.Error(t, CheckWritten(bad), "%v", bad)
		_, err := Default().Cost(Query{Provider: "vllm", Model: "x", Written: bad}, counts("input", 1))
		require.Error(t, err, "%v", bad)
	}
}

func TestCostOverflow(t *testing.T) {
	q := Query{Provider: "vllm", Model: "x", Written: map[string]string{"input": "9000000000", "images": "9000000000"}}
	var c usage.Counts
	c.Set(usage.Input, math.MaxInt64)
	_, err := Default().Cost(q, &c)
	require.NoError(t, err)
	c.Set(usage.Images, math.MaxInt64)
	_, err = Default().Cost(q, &c)
	require.ErrorIs(t, err, ErrOverflow)
	c = usage.Counts{}
	c.Set(usage.Input, math.MaxInt64)
	c.Set(usage.CacheRead, math.MaxInt64)
	_, err = Default().Cost(q, &c)
	require.ErrorIs(t, err, ErrOverflow)
}

// TestCostAgainstRat prices random usage at random prices and compares with rational arithmetic over the lines' own
// definition: each kind once, at its own price or its stand-in's.
func TestCostAgainstRat(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 5_000 {
		written := map[string]string{"input": "0", "output": "0"}
		for k := range usage.Kind(usage.NumKinds) {
			if isToken(k) && (r.IntN(2) == 0 || len(fallbacks[k]) == 1 || k == usage.CacheReadAudio || k == usage.CacheWrite12h) {
				written[k.String()] = Price(r.Int64N(1 << r.IntN(50))).String()
			}
		}
		var c usage.Counts
		want := new(big.Rat)
		for k := range usage.Kind(usage.NumKinds) {
			if !isToken(k) || r.IntN(3) == 0 {
				continue
			}
			n := r.Int64N(1 << (1 + r.IntN(40)))
			c.Set(k, n)
			for _, f := range fallbacks[k] {
				if text, ok := written[slotName(f.slot)]; ok {
					p, ok := new(big.Rat).SetString(text)
					require.True(t, ok)
					want.Add(want, p.Mul(p, big.NewRat(n, 1_000_000)))
					break
				}
			}
		}
		cost, err := Default().Cost(Query{Provider: "mock", Model: "x", Written: written}, &c)
		require.NoError(t, err)
		require.Zero(t, want.Cmp(cost.Total.rat()), "%v %v", written, c)
	}
}

// TestImagesOrTokens checks that an image is not charged twice.
func TestImagesOrTokens(t *testing.T) {
	q := Query{Provider: "vllm", Model: "x", Written: map[string]string{"images": "0.04", "output_image": "40", "input": "5"}}
	require.Equal(t, "0.08", total(t, Default(), q, counts("images", 2)))
	require.Equal(t, "0.04", total(t, Default(), q, counts("images", 2, "output_image", 1000)))
}

// TestCharactersOrTokens checks that a text to be spoken, which is counted in both, is charged once.
func TestCharactersOrTokens(t *testing.T) {
	c := counts("input", 1000, "input_characters", 4000)
	q := Query{Provider: "vllm", Model: "x", Written: map[string]string{"input_characters": "15"}}
	require.Equal(t, "0.06", total(t, Default(), q, c))
	q.Written = map[string]string{"input": "2"}
	require.Equal(t, "0.002", total(t, Default(), q, c))
	q.Written = map[string]string{"input": "2", "input_characters": "15"}
	cost, err := Default().Cost(q, c)
	require.NoError(t, err)
	require.Equal(t, "0.002", cost.Total.String())
	require.Equal(t, []string{"characters not charged: the model is priced by tokens"}, cost.Notes)
}

func TestLookupsAreBounded(t *testing.T) {
	table := newTable("test", Default().list, []*layer{{find: Default().list.findListed}})
	w := table.identify("openai", "", "")
	l := table.layers[0]
	for i := range 3 * maxLookups {
		l.named(w, "gpt-4o-"+big.NewInt(int64(i)).String())
	}
	require.LessOrEqual(t, len(l.cache.m), maxLookups)
}

// TestPricesAreThoseOfTheTime asks for each model around every time at which its prices change, in any order: what is kept of an earlier
// query must not hold beyond its time.
func TestPricesAreThoseOfTheTime(t *testing.T) {
	table := newTable("test", Default().list, Default().layers)
	type ask struct {
		Query
		sheets []*sheet
	}
	var asks []ask
	dated := 0
	for _, p := range Default().list.providers {
		for _, m := range p.models() {
			times := []int64{at.UnixMilli()}
			for i := range m.entry.variants {
				v := &m.entry.variants[i]
				times = append(times, v.from-1, v.from, v.from+1)
				for day := range int64(7) {
					midnight := at.UnixMilli() - at.UnixMilli()%dayMillis + day*dayMillis
					times = append(times, midnight+v.start-1, midnight+v.start, midnight+v.end-1, midnight+v.end)
				}
			}
			if len(m.entry.variants) > 1 {
				dated++
			} else {
				times = times[:1]
			}
			for _, ms := range times {
				q := Query{Provider: p.id, Model: m.entry.id, At: time.UnixMilli(ms)}
				var a applied
				if table.apply(&a, &q, ms) == nil {
					asks = append(asks, ask{q, slices.Clone(a.tier[:a.n])})
				}
			}
		}
	}
	require.Greater(t, dated, 20)
	rand.Shuffle(len(asks), func(i, j int) { asks[i], asks[j] = asks[j], asks[i] })
	for i := range asks {
		for range 2 {
			a, err := table.applied(&asks[i].Query)
			require.NoError(t, err)
			require.Equal(t, len(asks[i].sheets), a.n)
			for j, s := range a.tier[:a.n] {
				require.Same(t, s, asks[i].sheets[j], "%s at %s", asks[i].Model, asks[i].At)
			}
		}
	}
}

func BenchmarkCost(b *testing.B) {
	c := counts("input", 1000, "cache_read", 2000, "output", 300, "reasoning", 100)
	for name, q := range map[string]Query{
		"list":    {Provider: "openai", BaseURL: "https://api.openai.com/v1", Model: "gpt-4o-2024-08-06", At: at},
		"written": {Provider: "vllm", BaseURL: "http://10.0.0.1/v1", Model: "mine", At: at, Written: map[string]string{"input": "2.50", "output": "10", "cache_read": "1.25"}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Default().Cost(q, c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseList(b *testing.B) {
	for b.Loop() {
		if _, err := parseList(dataText); err != nil {
			b.Fatal(err)
		}
	}
}
