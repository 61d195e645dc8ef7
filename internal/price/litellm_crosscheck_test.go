//go:build crosscheck

package price

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// liteKinds are the kinds that are passed to LiteLLM's cost_per_token.
var liteKinds = []usage.Kind{usage.Input, usage.CacheRead, usage.CacheWrite, usage.InputAudio, usage.Output, usage.Reasoning, usage.OutputAudio}

// bothPriced is a call that both have priced, or refused to.
type bothPriced struct {
	model  *LiteLLMModel
	fields map[string]json.RawMessage
	counts usage.Counts
	cost   Cost
	err    error
}

// liteDifferences are the classes of calls that LiteLLM prices in another way, by why ours is right.
var liteDifferences = []struct {
	why string
	is  func(b *bothPriced) bool
}{
	{"a kind of token without a price makes the call unpriced; LiteLLM gives it away", func(b *bothPriced) bool { return b.err != nil }},
	{"a cache without a price of its own is billed as input, with a note; LiteLLM gives it away", func(b *bothPriced) bool {
		return slices.ContainsFunc(b.cost.Notes, func(n string) bool { return strings.HasSuffix(n, "input price used") })
	}},
	{"a price list by ranges of input has a first range; LiteLLM gives away output without input", func(b *bothPriced) bool {
		return b.fields["tiered_pricing"] != nil && b.counts.InputTokens() == 0
	}},
	{"Perplexity passes its makers' thresholds on; LiteLLM's calculator for it knows none", func(b *bothPriced) bool {
		return b.model.Provider == "perplexity" && slices.ContainsFunc(b.model.Prices, func(p Listed) bool { return strings.Contains(p.Name, ">") })
	}},
	{"a price of the call itself is charged; cost_per_token leaves it out", func(b *bothPriced) bool {
		return slices.ContainsFunc(b.model.Prices, func(p Listed) bool { return p.Name == "request" })
	}},
	{"a model whose name begins as its provider's is itself; LiteLLM cuts off both and prices another model", func(b *bothPriced) bool {
		return strings.HasPrefix(b.model.ID, "perplexity/perplexity/")
	}},
	{"an experimental Gemini has the price that the file says; LiteLLM's calculator gives it away", func(b *bothPriced) bool {
		return strings.Contains(b.model.ID, "gemini-exp")
	}},
}

// TestLiteLLMCrossCheck prices every model of LiteLLM's file with random usage, by the file as a price file, and compares with
// LiteLLM's own cost_per_token.
func TestLiteLLMCrossCheck(t *testing.T) {
	file := bytes.SplitN(python(t, "litellm_oracle.py", strings.NewReader("")), []byte("\n"), 2)[0]
	models, err := ReadLiteLLM(file)
	require.NoError(t, err)
	var fields map[string]map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(file, &fields))
	table, err := Default().Overlay(bytes.NewReader(file), "litellm.json")
	require.NoError(t, err)
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	type question struct {
		m *LiteLLMModel
		c usage.Counts
	}
	var asked []question
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for i := range models {
		m := &models[i]
		if !slices.Contains([]string{"chat", "completion", "responses", "embedding"}, m.Mode) {
			continue
		}
		totals, priced := []int64{0}, make(map[string]bool)
		for _, p := range m.Prices {
			priced[p.Name] = true
			if n, err := parseName(p.Name); err == nil && n.above > 0 {
				totals = append(totals, n.above, n.above+1)
			}
		}
		for _, total := range totals {
			var c usage.Counts
			for _, k := range liteKinds {
				c.Set(k, 0)
				// Kinds without a price are free in LiteLLM, and make the call unpriced here; a cache and reasoning have fallbacks.
				if standsIn := k == usage.CacheRead || k == usage.CacheWrite || k == usage.Reasoning; (standsIn || priced[k.String()]) && r.IntN(2) == 0 {
					c.Set(k, r.Int64N(1<<r.IntN(14)))
				}
			}
			if left := total - c.InputTokens(); left > 0 {
				c.Add(usage.Input, left)
			}
			var provider string
			require.NoError(t, json.Unmarshal(fields[m.ID]["litellm_provider"], &provider))
			n := make(map[string]int64)
			for _, k := range liteKinds {
				n[k.String()] = c.N(k)
			}
			require.NoError(t, enc.Encode(map[string]any{"provider": provider, "model": m.ID, "usage": n}))
			asked = append(asked, question{m, c})
		}
	}
	answers := bufio.NewScanner(bytes.NewReader(python(t, "litellm_oracle.py", &in)))
	answers.Buffer(nil, 64<<20)
	require.True(t, answers.Scan())
	agree, differ := 0, make(map[string]int)
next:
	for _, q := range asked {
		require.True(t, answers.Scan())
		var a struct{ Input, Output, Error string }
		require.NoError(t, json.Unmarshal(answers.Bytes(), &a))
		require.Empty(t, a.Error, q.m.ID)
		b := bothPriced{model: q.m, fields: fields[q.m.ID], counts: q.c}
		b.cost, b.err = table.Cost(Query{Provider: q.m.Provider, Model: q.m.ID}, &q.c)
		want := new(big.Rat)
		for _, s := range []string{a.Input, a.Output} {
			x, ok := new(big.Rat).SetString(s)
			require.True(t, ok, s)
			want.Add(want, x)
		}
		if b.err == nil {
			// LiteLLM computes with floats, from prices with more than nine decimals.
			diff := new(big.Rat).Sub(b.cost.Total.rat(), want)
			slack := new(big.Rat).Mul(want, big.NewRat(1, 1_000_000_000))
			if diff.Abs(diff).Cmp(slack.Add(slack, big.NewRat(1+q.c.InputTokens()+q.c.OutputTokens(), 1_000_000_000_000_000))) <= 0 {
				agree++
				continue
			}
		}
		for _, d := range liteDifferences {
			if d.is(&b) {
				differ[d.why]++
				continue next
			}
		}
		assert.Fail(t, "a difference without a reason", "%s: %+v: we %s (%v), they %s", q.m.ID, q.c, b.cost.Total, b.err, want.FloatString(15))
	}
	t.Logf("%d of %d calls agree", agree, len(asked))
	for why, n := range differ {
		t.Logf("%d: %s", n, why)
	}
	require.Greater(t, agree, len(asked)*9/10)
	// What the generator is for: each model that LiteLLM has a price for has one here.
	for i := range models {
		m := &models[i]
		if slices.ContainsFunc(m.Prices, func(p Listed) bool { return p.Price > 0 }) {
			require.NoError(t, Default().Priced(Query{Provider: m.Provider, Model: m.Names[len(m.Names)-1]}), m.ID)
		}
	}
}
