package translate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// conversationOf makes a conversation of chat completions of what both APIs carry.
func conversationOf(r *rand.Rand) string {
	word := func() string {
		words := []string{"plain", "é😀", `\"quoted\"`, `\\`, `\n`, `\u00e9`, "<b>&"}
		return words[r.IntN(len(words))] + words[r.IntN(len(words))] + "."
	}
	image := func() string {
		if r.IntN(2) == 0 {
			return `{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}`
		}
		return `{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}`
	}
	var list []string
	say := func(role, content string) { list = append(list, `{"role":"`+role+`","content":`+content+`}`) }
	if r.IntN(2) == 0 {
		say("system", `"`+word()+`"`)
	}
	user := func() {
		switch r.IntN(3) {
		case 0:
			say("user", `"`+word()+`"`)
		case 1:
			say("user", `[{"type":"text","text":"`+word()+`"},`+image()+`]`)
		default:
			say("user", `[{"type":"file","file":{"file_data":"data:application/pdf;base64,AA==","filename":"`+word()+`"}},{"type":"text","text":"`+word()+`"}]`)
		}
	}
	user()
	for turn := range r.IntN(6) {
		calls := r.IntN(3)
		if calls == 0 {
			say("assistant", `"`+word()+`"`)
			user()
			continue
		}
		content := "null"
		if r.IntN(2) == 0 {
			content = `"` + word() + `"`
		}
		var made, results []string
		for i := range calls {
			id := fmt.Sprintf("call_%d_%d", turn, i)
			arguments := []string{`{}`, `{\"a\": 1.0}`, `{\"z\":[\"` + `\\\"` + `\"],\"b\":1e3}`}[r.IntN(3)]
			made = append(made, `{"id":"`+id+`","type":"function","function":{"name":"f","arguments":"`+arguments+`"}}`)
			result := `"` + word() + `"`
			if r.IntN(4) == 0 {
				result = `[{"type":"text","text":"` + word() + `"},{"type":"text","text":"` + word() + `"}]`
			}
			results = append(results, `{"role":"tool","content":`+result+`,"tool_call_id":"`+id+`"}`)
		}
		list = append(list, `{"role":"assistant","content":`+content+`,"tool_calls":[`+strings.Join(made, ",")+`]}`)
		list = append(list, results...)
		if r.IntN(2) == 0 {
			user()
		}
	}
	if gjson.Get(list[len(list)-1], "role").Str == "assistant" {
		user()
	}
	tools := `[{"type":"function","function":{"name":"f","description":"` + word() + `","parameters":{"type":"object","properties":{"a":{"type":"number","x-order":1.0}}}}}]`
	choice := []string{`"auto"`, `"none"`}[r.IntN(2)]
	return `{"messages":[` + strings.Join(list, ",") + `],"tools":` + tools + `,"tool_choice":` + choice + `,"max_tokens":` + fmt.Sprint(1+r.IntN(999)) + `,"stop":["` + word() + `"]}`
}

// What goes from chat completions to Messages and back is what it was.
func TestThereAndBack(t *testing.T) {
	for seed := range uint64(300) {
		body := conversationOf(rand.New(rand.NewPCG(seed, 1)))
		require.True(t, json.Valid([]byte(body)), body)
		there, ok := New(Pair{Chat, Messages}, Options{Model: "m", Upstream: "claude-opus-4-5", Provider: "anthropic", OutputLimit: 64000})
		require.True(t, ok)
		asMessages, err := there.Request([]byte(body))
		require.NoError(t, err, body)
		back := newTranslation(t, messagesOnChatPair, Options{Model: "m", Upstream: "m"})
		got, err := back.Request(asMessages)
		require.NoError(t, err, string(asMessages))
		requireChat(t, got, false)
		for _, member := range []string{"messages", "tools", "tool_choice", "max_tokens", "stop"} {
			require.JSONEq(t, gjson.Get(body, member).Raw, gjson.GetBytes(got, member).Raw, "seed %d %s:\n%s\n%s", seed, member, body, asMessages)
		}
		require.Equal(t, argumentsOf(body), argumentsOf(string(got)), "seed %d", seed)
		require.Empty(t, append(there.Lost(), back.Lost()...))
	}
}

// argumentsOf returns the arguments of all calls, byte for byte.
func argumentsOf(body string) (list []string) {
	for _, m := range gjson.Get(body, "messages").Array() {
		list = append(list, texts(m.Get("tool_calls.#.function.arguments"))...)
	}
	return list
}

// An answer of chat completions that becomes one of Messages, and from there one of chat completions, is what it was.
func TestAnswersThereAndBack(t *testing.T) {
	for _, c := range chatStreams {
		if strings.HasPrefix(c.end, "error") {
			continue
		}
		first, err := through(t, newTranslation(t, messagesOnChatPair, c.o), c.stream, 17, nil)
		require.NoError(t, err)
		asked, ok := New(Pair{Chat, Messages}, Options{Model: "m", Upstream: "claude-opus-4-5", Provider: "anthropic", OutputLimit: 64000, ID: "x"})
		require.True(t, ok)
		_, err = asked.Request([]byte(`{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}`))
		require.NoError(t, err)
		second, err := through(t, asked, first, 19, nil)
		require.NoError(t, err, c.name)
		third, err := through(t, newTranslation(t, messagesOnChatPair, Options{}), second, 23, nil)
		require.NoError(t, err, c.name)
		was, wasEnd := accumulated(t, first)
		is, isEnd := accumulated(t, third)
		require.Equal(t, spoken(was), spoken(is), c.name)
		if c.name != "the stop sequence of vLLM" && !strings.HasPrefix(wasEnd, "refusal") {
			require.Equal(t, wasEnd, isEnd, c.name)
		}
	}
}

// spoken is the blocks without reasoning.
func spoken(blocks []string) (list []string) {
	for _, b := range blocks {
		if strings.HasPrefix(b, "text:") || strings.HasPrefix(b, "tool_use:") {
			list = append(list, b)
		}
	}
	return list
}
