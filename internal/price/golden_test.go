package price

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// goldenFile holds probes with the answers of genai-prices' own implementation; TestCrossCheck with -update writes it.
const goldenFile = "testdata/crosscheck.tsv.gz"

// probe is one question to both implementations.
type probe struct {
	provider, name string
	ms             int64
	tier           string
	counts         usage.Counts
}

// oracle is what genai-prices answers.
type oracle struct {
	model string
	total string // a decimal
	keys  string // the price keys of the model, with a comma after each
}

// TestGolden compares the cost of random usage of every model with what genai-prices' own implementation gave.
func TestGolden(t *testing.T) {
	f, err := os.Open(goldenFile)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // read only
	gz, err := gzip.NewReader(f)
	require.NoError(t, err)
	lines := bufio.NewScanner(gz)
	models := make(map[string]bool)
	for lines.Scan() {
		p, o, err := parseGolden(lines.Text())
		require.NoError(t, err)
		compare(t, p, o)
		models[p.provider+"/"+o.model] = true
	}
	require.NoError(t, lines.Err())
	for _, p := range Default().list.providers {
		for i := range p.models() {
			if name := p.id + "/" + p.models()[i].entry.id; shadowed[name] == "" {
				require.True(t, models[name], "%s is not in %s", name, goldenFile)
			}
		}
	}
}

func formatGolden(p probe, o oracle) string {
	var counts []string
	for k := range usage.Kind(usage.NumKinds) {
		if n, ok := p.counts.Get(k); ok {
			counts = append(counts, fmt.Sprintf("%s=%d", k, n))
		}
	}
	return strings.Join([]string{p.provider, p.name, strconv.FormatInt(p.ms, 10), p.tier, strings.Join(counts, " "), o.model, o.total, o.keys}, "\t")
}

func parseGolden(line string) (p probe, o oracle, err error) {
	f := strings.Split(line, "\t")
	if len(f) != 8 {
		return p, o, errors.New("not eight fields")
	}
	p.provider, p.name, p.tier, o.model, o.total, o.keys = f[0], f[1], f[3], f[5], f[6], f[7]
	if p.ms, err = strconv.ParseInt(f[2], 10, 64); err != nil {
		return p, o, err
	}
	for field := range strings.FieldsSeq(f[4]) {
		name, text, _ := strings.Cut(field, "=")
		k, ok := usage.KindByName(name)
		n, err := strconv.ParseInt(text, 10, 64)
		if !ok || err != nil {
			return p, o, fmt.Errorf("bad count %q", field)
		}
		p.counts.Set(k, n)
	}
	return p, o, nil
}

// genaiPrices is a table of the first source alone.
var genaiPrices = sync.OnceValue(FirstSource)

// withoutOwnPrice reports whether something was used that no other price stands in for, and that genai-prices has no price
// for: it charges audio and made images as text, and searches not at all.
func withoutOwnPrice(c *usage.Counts, keys string) bool {
	for k, key := range map[usage.Kind]string{
		usage.InputAudio: "input_audio_mtok,", usage.CacheReadAudio: "input_audio_mtok,", usage.OutputAudio: "output_audio_mtok,",
		usage.OutputImage: "output_image_mtok,", usage.OutputVideo: "output_video_mtok,", usage.WebSearches: "web_searches_kcount,", usage.FileSearches: "storage_searches_kcount,",
		usage.AnnotatedPages: "input_document_kpages,",
	} {
		if c.N(k) > 0 && !strings.Contains(","+keys, ","+key) {
			return true
		}
	}
	return false
}

// compare prices the probe and compares the result with the oracle's.
func compare(t *testing.T, p probe, o oracle) {
	t.Helper()
	what := formatGolden(p, o)
	c := p.counts
	cost, err := genaiPrices().Cost(Query{Provider: p.provider, Model: p.name, Tier: p.tier, At: time.UnixMilli(p.ms)}, &c)
	if errors.Is(err, ErrUnpriced) {
		// Where genai-prices has no price it counts nothing. We refuse, but only then: without any price, without one for tokens,
		// or where what was used is all without one.
		total, ok := new(big.Rat).SetString(o.total)
		require.True(t, ok, what)
		// A tier before its first price is not the standard tier.
		missing := o.keys == "" || strings.Contains(err.Error(), "no price for tier") || total.Sign() == 0 && c.InputTokens() == 0 && c.OutputTokens() == 0 ||
			c.InputTokens() > 0 && !strings.Contains(o.keys, "input_mtok,") ||
			c.OutputTokens() > 0 && !strings.Contains(o.keys, "output_mtok,") || withoutOwnPrice(&c, o.keys)
		require.True(t, missing, "%v: %s", err, what)
		return
	}
	require.NoError(t, err, what)
	require.Equal(t, o.model, cost.Model, what)
	want, ok := new(big.Rat).SetString(o.total)
	require.True(t, ok, what)
	for _, l := range cost.Lines {
		if l.Kind == usage.WebSearches && !l.Request && !strings.Contains(o.keys, "web_searches_kcount,") ||
			l.Kind == usage.FileSearches && !strings.Contains(o.keys, "storage_searches_kcount,") {
			want.Add(want, l.Amount.rat()) // the provider's list fee, which genai-prices does not have
		}
	}
	diff := new(big.Rat).Sub(cost.Total.rat(), want)
	slack := new(big.Rat)
	for _, l := range cost.Lines {
		switch {
		case l.Unit == PerHour:
			slack.Add(slack, big.NewRat(1, 2_000_000_000_000_000)) // our one rounding, to 10^-15 USD
		case p.provider == "openrouter" || strings.HasPrefix(p.provider, "huggingface_"):
			// Prices with more decimals, all float noise or thirds, are rounded to nine in our data.
			slack.Add(slack, big.NewRat(l.Count, 2_000_000_000_000_000))
		}
	}
	require.LessOrEqual(t, diff.Abs(diff).Cmp(slack), 0, "we: %s, they: %s", cost.Total, what)
	sum := Amount{}
	for _, l := range cost.Lines {
		sum, err = sum.Add(l.Amount)
		require.NoError(t, err)
	}
	require.Equal(t, cost.Total, sum)
}
