package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
	"github.com/tollgate-llm/tollgate/internal/translate"
)

// recorded are providers' answers of each kind, with what is billed for them.
type recorded struct {
	Name, API, Provider string
	Status              int
	ContentType         string `json:"content_type"`
	BaseURL             string `json:"base_url"`
	Want                struct {
		Kinds    map[string]int64
		Source   string
		Complete bool
	}
}

// TestRecordedAnswersTranslated translates each recorded answer for each API of callers, split at hundreds of places. The caller is told what
// is billed, or, where the answer is none that its API has, an error and no end.
func TestRecordedAnswersTranslated(t *testing.T) {
	upstreams := map[string]translate.API{"openai_chat": translate.Chat, "anthropic_messages": translate.Messages, "bedrock_invoke": translate.Messages}
	asks := map[translate.API]string{
		translate.Chat:      `{"model":"m","max_tokens":9000,"stream":%t,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}`,
		translate.Messages:  `{"model":"m","max_tokens":9000,"stream":%t,"messages":[{"role":"user","content":"x"}]}`,
		translate.Responses: `{"model":"m","max_output_tokens":9000,"stream":%t,"store":false,"include":["reasoning.encrypted_content"],"input":"x"}`,
	}
	told := 0
	for _, name := range []string{"openai_chat", "anthropic_messages", "bedrock_invoke", "providers"} {
		file := "../internal/usage/testdata/" + name + ".json"
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var list []recorded
		require.NoError(t, json.Unmarshal(text, &list))
		for _, c := range list {
			upstream, ok := upstreams[c.API]
			if !ok || c.Status != 200 {
				continue
			}
			answer := scripted.Golden(t, file, c.Name)
			for caller, ask := range asks {
				pair := translate.Pair{Caller: caller, Upstream: upstream}
				if !translate.Known(pair) {
					continue
				}
				t.Run(c.Name+", for "+string(caller), func(t *testing.T) {
					through := func(pieces ...[]byte) (string, error) {
						tr, ok := translate.New(pair, translate.Options{Model: "m", Upstream: "up", Provider: c.Provider, Google: strings.Contains(c.BaseURL, "googleapis.com") || c.Provider == "gemini" || c.Provider == "vertex", ID: "x", Created: 1})
						require.True(t, ok)
						_, err := tr.Request(fmt.Appendf(nil, ask, !answer.Length))
						require.NoError(t, err)
						a := tr.Begin(200, answer.ContentType)
						defer a.Close()
						var out strings.Builder
						for _, p := range pieces {
							var more []byte
							if more, err = a.Write(p); err != nil {
								return out.String() + string(more), err
							}
							out.Write(more)
						}
						_, more, err := a.End(nil)
						return out.String() + string(more), err
					}
					body := answer.Body
					whole, err := through(body)
					for at := 0; at < len(body); at += 1 + len(body)/300 {
						split, again := through(body[:at], body[at:])
						require.Equal(t, whole, split, "split at %d", at)
						require.Equal(t, err == nil, again == nil)
					}
					if err != nil || strings.Contains(whole, `"error":{`) || strings.Contains(whole, "event: response.failed") {
						for _, end := range []string{"[DONE]", "message_stop", "response.completed", "response.incomplete"} {
							require.NotContains(t, whole, end)
						}
						return
					}
					if c.Want.Source != "reported" || strings.Contains(string(body), `"iterations"`) { // of other models, which no translated call asks for
						return
					}
					told++
					require.Equal(t, billedTokens(c.Want.Kinds), toldTokens(whole), whole)
				})
			}
		}
	}
	require.Greater(t, told, 150, "answers that are translated")
}

// billedTokens are the input, of it read from and written to a cache, the output, and of it reasoning.
func billedTokens(kinds map[string]int64) (n [5]int64) {
	for kind, count := range kinds {
		switch {
		case strings.HasPrefix(kind, "input"):
			n[0] += count
		case strings.HasPrefix(kind, "cache_read"):
			n[0], n[1] = n[0]+count, n[1]+count
		case strings.HasPrefix(kind, "cache_write"):
			n[0], n[2] = n[0]+count, n[2]+count
		case strings.HasPrefix(kind, "output"):
			n[3] += count
		case kind == "reasoning":
			n[3], n[4] = n[3]+count, n[4]+count
		}
	}
	return n
}

// toldTokens are the same, as an answer in any API has them.
func toldTokens(answer string) (n [5]int64) {
	at := strings.LastIndex(answer, `"usage":{`)
	if at < 0 {
		return n
	}
	u := gjson.Parse(answer[at+len(`"usage":`):])
	first := func(paths ...string) int64 {
		for _, p := range paths {
			if v := u.Get(p); v.Exists() {
				return v.Int()
			}
		}
		return 0
	}
	n = [5]int64{
		first("prompt_tokens", "input_tokens"),
		first("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens", "cache_read_input_tokens"),
		first("prompt_tokens_details.cache_write_tokens", "input_tokens_details.cache_write_tokens", "cache_creation_input_tokens"),
		first("completion_tokens", "output_tokens"),
		first("completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens", "output_tokens_details.thinking_tokens"),
	}
	if u.Get("cache_read_input_tokens").Exists() { // Messages has them beside the input
		n[0] += n[1] + n[2]
	}
	return n
}
