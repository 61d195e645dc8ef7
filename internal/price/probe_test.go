//go:build crosscheck

package price

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// probed are the kinds that genai-prices knows.
var probed = func() (all []usage.Kind) {
	for k := range usage.Kind(usage.NumKinds) {
		if k <= usage.Citations && k != usage.Images && k != usage.CacheWrite12h { // it has no price for others, but those of providers
			all = append(all, k)
		}
	}
	return all
}()

// probes asks about every model of the data set: at every time where its prices change, with usage of every kind, on both
// sides of every threshold.
func probes(l *list, seed uint64) []probe {
	r := rand.New(rand.NewPCG(seed, 0))
	names, _ := reach(l)
	var out []probe
	for _, p := range l.providers {
		for i := range p.models() {
			e := p.models()[i].entry
			if names[e] == "" {
				continue
			}
			times := []int64{time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).UnixMilli()}
			thresholds := []int64{0}
			tiers := make(map[string]bool)
			for _, v := range e.variants {
				if v.from != 0 {
					times = append(times, v.from-1, v.from)
				}
				if v.daily {
					day := times[0] - times[0]%dayMillis
					times = append(times, day+v.start-1, day+v.start, day+v.end-1, day+v.end)
				}
				for _, s := range v.tiers {
					tiers[s.tier] = true
				}
				for j := range v.standard.rates {
					for _, c := range v.standard.rates[j].cliffs {
						thresholds = append(thresholds, c.above, c.above+1)
					}
				}
			}
			slices.Sort(thresholds)
			for _, ms := range times {
				for _, total := range slices.Compact(thresholds) {
					out = append(out, probe{p.id, names[e], ms, "", randomCounts(r, total, true)})
					for _, tier := range slices.Sorted(maps.Keys(tiers)) {
						out = append(out, probe{p.id, names[e], ms, tier, randomCounts(r, total, true)})
					}
				}
				out = append(out, probe{p.id, names[e], ms, "", randomCounts(r, 0, false)})
			}
		}
	}
	for i := range out {
		if k, ok := map[string]usage.Kind{"openai": usage.FileSearches, "mistral": usage.AnnotatedPages}[out[i].provider]; ok && r.IntN(3) > 0 {
			out[i].counts.Set(k, r.Int64N(1000))
		}
	}
	return out
}

// randomCounts returns counts of random kinds; a total above zero is what the input tokens sum up to.
func randomCounts(r *rand.Rand, total int64, output bool) (c usage.Counts) {
	for _, k := range probed {
		if r.IntN(3) == 0 || k >= usage.Output && k <= usage.OutputVideo && !output || k == usage.Citations && !output {
			continue
		}
		c.Set(k, r.Int64N(1<<r.IntN(18)))
	}
	if c.N(usage.Milliseconds) > 0 {
		// Audio is billed by its length or by its tokens, where a model has a price for both; genai-prices bills it twice.
		c.Set(usage.InputAudio, 0)
		c.Set(usage.CacheReadAudio, 0)
	}
	if total > 0 {
		left := total
		for k := range usage.CacheReadVideo + 1 {
			if n, ok := c.Get(k); ok && k != usage.Input {
				n = min(n, left/4)
				c.Set(k, n)
				left -= n
			}
		}
		c.Set(usage.Input, left)
	}
	return c
}

// theirs returns the counts as genai-prices wants them: totals that include what is counted apart.
func theirs(c *usage.Counts) map[string]string {
	u := make(map[string]string)
	sum := func(key string, kinds ...usage.Kind) {
		var t int64
		for _, k := range kinds {
			t += c.N(k)
		}
		u[key] = fmt.Sprint(t)
	}
	sum("input_tokens", usage.Input, usage.CacheRead, usage.CacheWrite, usage.CacheWrite5m, usage.CacheWrite1h, usage.InputAudio,
		usage.InputImage, usage.InputVideo, usage.CacheReadAudio, usage.CacheReadImage, usage.CacheReadVideo)
	sum("cache_read_tokens", usage.CacheRead, usage.CacheReadAudio, usage.CacheReadImage, usage.CacheReadVideo)
	sum("cache_write_tokens", usage.CacheWrite, usage.CacheWrite5m, usage.CacheWrite1h)
	sum("cache_write_5m_tokens", usage.CacheWrite5m)
	sum("cache_write_1h_tokens", usage.CacheWrite1h)
	sum("input_audio_tokens", usage.InputAudio, usage.CacheReadAudio)
	sum("input_image_tokens", usage.InputImage, usage.CacheReadImage)
	sum("input_video_tokens", usage.InputVideo, usage.CacheReadVideo)
	sum("cache_audio_read_tokens", usage.CacheReadAudio)
	sum("cache_image_read_tokens", usage.CacheReadImage)
	sum("cache_video_read_tokens", usage.CacheReadVideo)
	sum("output_tokens", usage.Output, usage.Reasoning, usage.OutputAudio, usage.OutputImage, usage.OutputVideo, usage.Citations)
	sum("output_reasoning_tokens", usage.Reasoning)
	sum("output_audio_tokens", usage.OutputAudio)
	sum("output_image_tokens", usage.OutputImage)
	sum("output_video_tokens", usage.OutputVideo)
	sum("output_citation_tokens", usage.Citations)
	sum("web_searches", usage.WebSearches)
	sum("rerank_searches", usage.SearchUnits)
	sum("input_document_pages", usage.Pages, usage.AnnotatedPages)
	sum("input_annotated_document_pages", usage.AnnotatedPages)
	sum("storage_searches", usage.FileSearches)
	sum("input_characters", usage.InputCharacters)
	seconds := fmt.Sprintf("%d.%03d", c.N(usage.Milliseconds)/1000, c.N(usage.Milliseconds)%1000)
	u["audio_seconds"], u["input_audio_seconds"] = seconds, seconds
	return u
}
