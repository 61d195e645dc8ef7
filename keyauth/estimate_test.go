package keyauth

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// quoted prices calls in millionths of a dollar: tokens at one each, those of the model `dear` at ten, and fees at a thousand. The
// model `gratis` has no price, and media have none but for images.
func quoted(_ *llm.Call, t *llm.Target, counts *usage.Counts) (price.Amount, error) {
	if t.Upstream == "gratis" {
		return price.Amount{}, price.ErrUnpriced
	}
	var sum uint64
	for k := range usage.Kind(usage.NumKinds) {
		n := uint64(max(0, counts.N(k)))
		each := uint64(1)
		switch k {
		case usage.Input, usage.Output, usage.Reasoning:
			if t.Upstream == "dear" {
				each = 10
			}
		case usage.OutputImage:
			each = 2
		case usage.OutputAudio, usage.InputAudio, usage.InputImage, usage.CacheWrite, usage.CacheWrite1h, usage.Images:
			if n > 0 {
				return price.Amount{}, price.ErrUnpriced
			}
		default:
			each = 1000
		}
		sum += n * each
	}
	return price.FromLimbs(sum, 0), nil
}

// estimateOf returns what a chat call may use at most at targets that serve those models.
func estimateOf(t *testing.T, endpoint string, reader usage.API, request llm.Request, upstreams ...string) []claim {
	t.Helper()
	c := &llm.Call{Endpoint: &llm.Endpoint{Name: endpoint, Reader: reader, API: llm.OpenAI, Billing: llm.Billable}, Request: request, Quote: quoted}
	var targets []*llm.Target
	for _, u := range upstreams {
		targets = append(targets, &llm.Target{Provider: "openai", BaseURL: "https://api.openai.com/v1", Model: u, Upstream: u})
	}
	return estimate([]limit.Limit{{Metric: limit.Cost}}, c, targets, new(limit.Outputs), false)
}

func millionths(t *testing.T, c claim) uint64 {
	t.Helper()
	require.Nil(t, c.refused)
	n, rest, ok := c.Cost.Limbs()
	require.True(t, ok)
	require.Zero(t, rest)
	return n
}

// TestEstimates counts what a call may use at most, by what its body says.
func TestEstimates(t *testing.T) {
	const in = 64 // what is added to an empty input
	for _, c := range []struct {
		name    string
		request llm.Request
		want    uint64
	}{
		{"bounded", llm.Request{MaxOutput: 100}, in + 100},
		{"several answers", llm.Request{MaxOutput: 100, N: 3}, in + 300},
		{"nothing known of the model", llm.Request{}, in + firstOutput},
		{"a fallback that the body names", llm.Request{MaxOutput: 100, Others: []llm.OtherModel{{Member: "models", Name: "dear"}}}, 10 * (in + 100)},
		{"two of them", llm.Request{MaxOutput: 100, Others: []llm.OtherModel{{Member: "models", Name: "dear"}, {Member: "models", Name: "cheap"}}}, 10 * (in + 100)},
		{"the model of a tool", llm.Request{MaxOutput: 100, Others: []llm.OtherModel{{Member: "tools", Name: "dear"}}}, 11 * (in + 100)},
		{"one that the provider chooses", llm.Request{MaxOutput: 100, Others: []llm.OtherModel{{Member: "route"}}}, in + 100},
		{"a prediction", llm.Request{MaxOutput: 100, Data: []byte(`{"prediction":{"type":"content"}}`)}, in + 100 + in},
		{"a stored conversation", llm.Request{MaxOutput: 100, Data: []byte(`{"previous_response_id":"resp_1"}`)}, in + firstStored + 100},
		{"searches", llm.Request{MaxOutput: 100, Data: []byte(`{"tools":[{"type":"web_search"}]}`)}, in + 100 + searches*1000},
		{"files", llm.Request{MaxOutput: 100, Data: []byte(`{"tools":[{"type":"file_search"}]}`)}, in + 100 + searches*1000},
		{"code", llm.Request{MaxOutput: 100, Data: []byte(`{"tools":[{"type":"code_interpreter"}]}`)}, in + 100 + (sessions+searches)*1000},
		{"images made by a tool", llm.Request{MaxOutput: 100, Data: []byte(`{"tools":[{"type":"image_generation"}]}`)}, in + 200 + 2*madeTokens},
	} {
		got := millionths(t, estimateOf(t, "chat/completions", usage.OpenAIChat, c.request, "m")[0])
		require.Equal(t, c.want, got, c.name)
	}
	known := estimateOf(t, "chat/completions", usage.OpenAIChat, llm.Request{}, "gpt-4o")[0]
	require.EqualValues(t, 16_384, known.OutputTokens, "the model's own limit, by the price data")
	require.True(t, known.unbounded)
	images := estimateOf(t, "images/generations", usage.OpenAIImages, llm.Request{N: 3}, "m")[0]
	require.Equal(t, uint64(in+2*3*madeTokens), millionths(t, images))
}

// TestEachTargetHasItsOwnEstimate refuses a target without a price, and no other.
func TestEachTargetHasItsOwnEstimate(t *testing.T) {
	claims := estimateOf(t, "chat/completions", usage.OpenAIChat, llm.Request{MaxOutput: 100, Asked: "m"}, "m", "gratis", "dear")
	require.Equal(t, millionths(t, claims[2]), 10*millionths(t, claims[0]))
	require.Equal(t, "unpriced_model", claims[1].refused.Type)
	out := unpriced(claims)
	require.Len(t, out.targets, 1)
	other := estimateOf(t, "chat/completions", usage.OpenAIChat, llm.Request{MaxOutput: 100, Others: []llm.OtherModel{{Member: "fallbacks", Name: "gratis"}}}, "m")
	require.Equal(t, "fallbacks", other[0].refused.Param, "what the body names needs a price too")
	require.True(t, errors.Is(other[0].refused.Err, price.ErrUnpriced))

	res := &limit.Reservation{Limits: []limit.Limit{{Metric: limit.Cost}, {Metric: limit.Cost, Model: "dear"}, {Metric: limit.Cost, Model: "m"}}}
	c := &llm.Call{Request: llm.Request{Asked: "alias"}}
	(&reservation{}).claim(res, c, []claim{claims[0], claims[2]})
	costs := make([]string, 0, 3)
	for _, claim := range res.Claims {
		costs = append(costs, claim.Cost.String())
	}
	require.Equal(t, []string{"0.00164", "0.00164", "0.000164"}, costs, "a limit of one model needs what that model may cost")
	require.Equal(t, strings.Repeat("0.00164 ", 2), fmt.Sprint(res.Cost, " ", res.Claims[1].Cost, " "))
}

// TestMentions finds what a body holds that costs something beside its text, however its members are written.
func TestMentions(t *testing.T) {
	for body, want := range map[string]mentions{
		`{"messages":[{"role":"user","content":"use web_search, please"}]}`:                        {},
		`{"tools":[{"type":"web_search_preview"}]}`:                                                {of: webSearch},
		`{"tools":[{"type":"web\u005fse\u0061rch"}]}`:                                              {of: webSearch},
		`{"tools":[{"t\u0079pe":"\u0077eb_search"}],"a":"\u003c\u00e9\u00"}`:                       {of: webSearch},
		`{"tools":[{"google_search":{}},{"googleMaps":{}}]}`:                                       {of: webSearch | mapSearch},
		`{"tools":[{"type":"shell"},{"type":"shellfish"},{"type":"file_search"}]}`:                 {of: codeRun | fileSearch},
		`{"content":[{"type":"image_url","image_url" : {"url":"x"}},{"image_url":{}}]}`:            {of: imagePart | imageInput, images: 2},
		`{"modalities":["text","audio"],"x":[{"inlineData":{}},{"source"` + "\n" + `:1}],"source"`: {of: audioPart | imageInput, images: 2},
		`{"previous_response_id":null,"a":"conversation","prediction" : null}`:                     {},
		`{"previous_response_id" : "resp_1"}`:                                                      {of: stored},
	} {
		require.Equal(t, want, mentionsIn([]byte(body)), body)
	}
}

// TestStoredInput asks a budget for all that a model can take where the body names what the provider has stored, and for less of it where
// that is asked for; limits of tokens are not asked for it.
func TestStoredInput(t *testing.T) {
	c := &llm.Call{
		Endpoint: &llm.Endpoint{Name: "responses", Reader: usage.OpenAIResponses, API: llm.OpenAI, Billing: llm.Billable}, Quote: quoted,
		Request: llm.Request{MaxOutput: 100, Data: []byte(`{"input":[{"type":"input_file","file_id":"file-1"}]}`)},
	}
	targets := []*llm.Target{{Provider: "openai", BaseURL: "https://api.openai.com/v1", Model: "gpt-4o", Upstream: "gpt-4o"}}
	all := estimate([]limit.Limit{{Metric: limit.Cost}}, c, targets, new(limit.Outputs), false)[0]
	require.EqualValues(t, 128_000+100, millionths(t, all))
	require.True(t, all.guessed)
	require.EqualValues(t, inputBeside, all.InputTokens)
	less := estimate([]limit.Limit{{Metric: limit.Cost}}, c, targets, new(limit.Outputs), true)[0]
	require.EqualValues(t, inputBeside+firstStored+100, millionths(t, less))
	require.False(t, less.guessed)
}
