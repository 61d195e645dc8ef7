package body

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// manyBounds is a body with n members max_a, max_b, ...
func manyBounds(n int) string {
	b := `{`
	for i := range n {
		b += `"max_` + string(rune('a'+i)) + `":1,`
	}
	return b + `"model":"m"}`
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ in, message, param string }{
		{``, "the body is empty: a JSON object is expected at line 1, column 1", ""},
		{`[]`, "a JSON object is expected at line 1, column 1", ""},
		{"\xef\xbb\xbf{}", "a JSON object is expected at line 1, column 1", ""},
		{`{"model":"m",}`, "trailing comma before } at line 1, column 13", ""},
		{`{"model":"gpt-4o","messages":[{"role":"user","content":"hi"},]}`, "trailing comma before ] at line 1, column 61", ""},
		{"{\"model\":\"m\",\n\"user\":\"ä\",}", "trailing comma before } at line 2, column 11", ""},
		{`{"model":"m"} x`, "the JSON object has ended, but more follows at line 1, column 15", ""},
		{`{"model":"m"`, "the body ends where a comma or } is expected at line 1, column 13", ""},
		{`{"model":"m`, "a string has no closing quote: it begins at line 1, column 10", ""},
		{`{"model" "m"}`, "a colon after the member's name is expected, not '\"' at line 1, column 10", ""},
		{`{model:"m"}`, "a member's name in double quotes is expected, not 'm' at line 1, column 2", ""},
		{`{"a":'m'}`, "a value is expected, not '\\'' at line 1, column 6", ""},
		{`{"a":tru}`, "a value is expected, and text needs double quotes at line 1, column 6", ""},
		{`{"a":NaN}`, "a value is expected, not 'N' at line 1, column 6", ""},
		{`{"a":1,,"b":2}`, "a member's name in double quotes is expected, not ',' at line 1, column 8", ""},
		{`{"a":01}`, "a number is malformed at line 1, column 6", ""},
		{`{"a":1.}`, "a number is malformed at line 1, column 6", ""},
		{`{"a":-}`, "a number is malformed at line 1, column 6", ""},
		{`{"a":1e+}`, "a number is malformed at line 1, column 6", ""},
		{`{"a":.5}`, "a value is expected, not '.' at line 1, column 6", ""},
		{`{"a":"\x"}`, "an escape in a string is malformed at line 1, column 7", ""},
		{`{"a":"\u12g4"}`, "an escape in a string is malformed at line 1, column 7", ""},
		{"{\"a\":\"a\x01\"}", "a control character in a string must be escaped at line 1, column 8", ""},
		{"{\"a\":\"a\nb\"}", "a control character in a string must be escaped at line 1, column 8", ""},
		{"{\"a\":\"a\xff\"}", "a string is not valid UTF-8: it begins at line 1, column 7", ""},
		{"{\"a\":\xff}", "text is not valid UTF-8 at line 1, column 6", ""},
		{`{"model":"m","a":` + strings.Repeat("[", 512) + strings.Repeat("]", 512) + `}`, "nesting is deeper than 512 levels at line 1, column 529", ""},
		{`{"model":"m","a":` + strings.Repeat(`{"b":`, 512) + "1" + strings.Repeat("}", 512) + `}`, "nesting is deeper than 512 levels at line 1, column 2573", ""},

		{`{"model":"m","model":"n"}`, `the member "model" stands twice: the second one is at line 1, column 14`, "model"},
		{`{"model":"m","m\u006fdel":"n"}`, `the member "model" stands twice: the second one is at line 1, column 14`, "model"},
		{`{"Model":"m"}`, `the member "model" must be written in lower case at line 1, column 2`, "model"},
		{`{"model":"m","STREAM":true}`, `the member "stream" must be written in lower case at line 1, column 14`, "stream"},
		{`{"model":"m","ſtream":true}`, `the member "stream" must be written in lower case at line 1, column 14`, "stream"},
		{`{"model":"m","\u017ftream":true}`, `the member "stream" must be written in lower case at line 1, column 14`, "stream"},
		{`{"model":"m","max_toKens":1}`, `the member "max_tokens" must be written in lower case at line 1, column 14`, "max_tokens"},
		{`{"max_tool_calls":1,"max_tool\u005fcalls":2}`, `the member "max_tool_calls" stands twice: the second one is at line 1, column 21`, "max_tool_calls"},
		{`{"Max_tool_calls":1}`, `the member "Max_tool_calls" must be written in lower case at line 1, column 2`, "Max_tool_calls"},
		{manyBounds(17), "too many members begin with max_: one more is at line 1, column 162", "max_q"},
		{`{"model":"m","user":"a","user":"b"}`, `the member "user" stands twice: the second one is at line 1, column 25`, "user"},
		{`{"model":"m","n":1,"n":2}`, `the member "n" stands twice: the second one is at line 1, column 20`, "n"},
		{`{"background":false,"background":true}`, `the member "background" stands twice: the second one is at line 1, column 21`, "background"},
		{`{"model":"m","stream_options":{"include_usage":true,"include_usage":false}}`, "include_usage must stand once, in lower case at line 1, column 53", "stream_options"},
		{`{"model":"m","stream_options":{"Include_Usage":true}}`, "include_usage must stand once, in lower case at line 1, column 32", "stream_options"},
		{`{"model":"m","stream_options":{"include_usage":1}}`, "stream_options.include_usage must be true or false at line 1, column 48", "stream_options.include_usage"},
		{`{"model":"m","stream_options":[]}`, "stream_options must be an object at line 1, column 31", "stream_options"},
		{`{"metadata":{"user_id":"a","user_id":"b"}}`, `the member "user_id" stands twice: the second one is at line 1, column 28`, "user_id"},
		{`{"model":"m","stream":"yes"}`, "stream must be true or false at line 1, column 23", "stream"},
		{`{"model":"m","stream":1}`, "stream must be true or false at line 1, column 23", "stream"},
		{`{"model":7}`, "model must be a string at line 1, column 10", "model"},
		{`{"model":null}`, "model must be a string at line 1, column 10", "model"},
		{`{"model":""}`, "model is empty at line 1, column 10", "model"},
		{`{"model":"a\u0000b"}`, "model holds a control character at line 1, column 10", "model"},
		{"{\"model\":\"a\x7fb\"}", "model holds a control character at line 1, column 10", "model"},
		{`{"model":"a\u0085b"}`, "model holds a control character at line 1, column 10", "model"},
		{`{"model":"\u3000m"}`, "model begins or ends with white space at line 1, column 10", "model"},
		{`{"model":"a\ud800b"}`, "model holds half of a surrogate pair at line 1, column 10", "model"},
		{`{"model":"` + strings.Repeat("m", 256) + `"}`, "model is longer than 255 bytes at line 1, column 10", "model"},
		{`{"user":7}`, "user must be a string at line 1, column 9", "user"},
		{`{"n":-1}`, "n must be a whole number at line 1, column 6", "n"},
		{`{"n":"3"}`, "n must be a whole number at line 1, column 6", "n"},
		{`{"max_tokens":1.5}`, "max_tokens must be a whole number at line 1, column 15", "max_tokens"},
		{`{"max_output_tokens":99999999999999999999}`, "max_output_tokens must be a whole number at line 1, column 22", "max_output_tokens"},
	} {
		_, err := Parse([]byte(tt.in))
		require.EqualError(t, err, tt.message, tt.in)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, tt.param, e.Param, tt.in)
	}
}

func TestAccepted(t *testing.T) {
	for _, in := range []string{
		`{}`, " {\t}\r\n", `{"a":[]}`, `{"a":-0.5e-7,"b":[1,2.0E+3,{}],"c":true,"d":null,"e":"\u00e4\ud83d\ude00\/"}`,
		`{"messages":[{"model":1,"model":2,"Stream":3}]}`, // nested members are not read
		`{"model":"` + strings.Repeat("m", 255) + `"}`, `{"model":"\u006d"}`, `{"user":null,"stream":null,"n":null,"stream_options":null}`,
		`{"metadata":{"user_id":7,"User_ID":"x"}}`, `{"metadata":"x"}`, `{"models":[],"streams":1,"users":2}`, `{"a":"\ud800"}`,
		`{"a":` + strings.Repeat("[", 511) + strings.Repeat("]", 511) + `}`,
	} {
		_, err := Parse([]byte(in))
		require.NoError(t, err, in)
	}
}

func TestMembers(t *testing.T) {
	b, err := Parse([]byte(` {"messages":[{"role":"user","content":"hi \"you\""}],"model":"gpt\/4","stream":true,"user":"u1","n":2,
		"max_tokens":10,"max_completion_tokens":20,"service_tier":"flex","metadata":{"user_id":"m1"},"litellm_metadata":{"user":"l1"},
		"safety_identifier":"s1","background":false,"stream_options":{"x":1}}`))
	require.NoError(t, err)
	require.Equal(t, "gpt/4", b.ModelName)
	require.Equal(t, []any{true, "u1", "m1", "l1", "s1", "flex", int64(2), int64(20), false},
		[]any{b.Stream, b.User, b.MetadataUser, b.LiteLLMUser, b.SafetyUser, b.Tier, b.N, b.MaxOutput(allBounds), b.UsageAsked})
	require.Positive(t, b.Units)
	for in, want := range map[string][2]string{
		`{"serviceTier":"flex"}`:                        {"flex", ""},     // Gemini
		`{"serviceTier":{"type":"priority","x":1}}`:     {"priority", ""}, // Bedrock
		`{"performanceConfig":{"latency":"optimized"}}`: {"", "optimized"},
		`{"serviceTier":null,"performanceConfig":[1]}`:  {},
	} {
		b, err := Parse([]byte(in))
		require.NoError(t, err, in)
		require.Equal(t, want, [2]string{b.Tier, b.Latency}, in)
	}
	for _, in := range []string{`{"serviceTier":"flex","serviceTier":"priority"}`, `{"ServiceTier":"flex"}`, `{"performanceConfig":{"latency":"standard","latency":"optimized"}}`} {
		_, err := Parse([]byte(in))
		require.Error(t, err, in)
	}
}

func TestEdits(t *testing.T) {
	for _, tt := range []struct {
		in, model string
		include   bool
		want      string
	}{
		{`{"model":"a"}`, "a", false, `{"model":"a"}`},
		{` { "x" : 1 , "model" : "a" } `, "b\"c", false, ` { "x" : 1 , "model" : "b\"c" } `},
		{`{"model":"a","stream":true}`, "a", true, `{"stream_options":{"include_usage":true},"model":"a","stream":true}`},
		{`{"model":"a","stream_options":null}`, "b", true, `{"model":"b","stream_options":{"include_usage":true}}`},
		{`{"stream_options":{ },"model":"a"}`, "b", true, `{"stream_options":{"include_usage":true },"model":"b"}`},
		{`{"stream_options":{"k":1},"model":"a"}`, "a", true, `{"stream_options":{"include_usage":true,"k":1},"model":"a"}`},
		{`{"stream_options":{"include_usage":false},"model":"a"}`, "a", true, `{"stream_options":{"include_usage":true},"model":"a"}`},
		{`{"stream_options":{"include_usage":true},"model":"a"}`, "a", true, `{"stream_options":{"include_usage":true},"model":"a"}`},
	} {
		b, err := Parse([]byte(tt.in))
		require.NoError(t, err)
		got := b.Edited(tt.model, tt.include)
		require.Equal(t, tt.want, string(got.Bytes()))
		require.Equal(t, int64(len(tt.want)), got.Len())
		require.NoError(t, iotest.TestReader(got.Reader(), []byte(tt.want)))
		if tt.want == tt.in {
			require.Same(t, &b.Data[0], &got.Bytes()[0], "what needs no change is not copied")
		}
	}
}

// TestInputCharacters checks that characters are counted as the provider counts them, however they are written.
func TestInputCharacters(t *testing.T) {
	for text, want := range map[string]int64{
		`{"model":"tts-1","input":"Hello","voice":"alloy"}`:          5,
		`{"model":"tts-1","input":"größe 你好 😀"}`:                     10,
		`{"model":"tts-1","input":"gr\u00f6\u00dfe \ud83d\ude00\n"}`: 8,
		`{"model":"tts-1","in\u0070ut":"Hello"}`:                     5,
		`{"model":"tts-1","input":""}`:                               0,
		`{"model":"tts-1","input":["Hello"]}`:                        0,
		`{"model":"tts-1","x":{"input":"Hello"}}`:                    0,
		`{"model":"tts-1","input":"a","input":"Hello"}`:              5,
		`{"model":"tts-1"}`:                                          0,
	} {
		b, err := Parse([]byte(text))
		require.NoError(t, err, text)
		require.Equal(t, want, b.InputCharacters(), text)
	}
}

func TestUnits(t *testing.T) {
	units := func(value string) int64 {
		b, err := Parse([]byte(`{"a":` + value + `}`))
		require.NoError(t, err)
		return b.Units
	}
	require.Equal(t, int64(1000), units(`"four"`))
	require.Equal(t, int64(1000), units(`["fo",{"key":"ur"}]`), "values count, names do not")
	require.Equal(t, units(`"漢ä😀"`), units(`"\u6f22\u00e4\ud83d\ude00"`), "escapes count as what they stand for")
	require.Equal(t, int64(750), units(`"a\nb"`))
	require.Zero(t, units(`{"url":"data:image/png;base64,`+strings.Repeat("iVBORw0KGgo", 200)+`"}`), "an image is not text")
	require.Positive(t, units(`"`+strings.Repeat("lorem ipsum ", 200)+`"`))
	require.Positive(t, units(`"`+strings.Repeat("漢字", 2000)+`"`))
}

// FuzzParse compares the scanner with encoding/json: it accepts every valid object except those it refuses by name.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"model":"a","stream":true,"stream_options":{"include_usage":false,"k":[1.5e3,null,"\u00e4"]}}`, `{"a":[{}],}`, `{"":-0.1E+2}`,
		"{\"a\":\"\xc3\xa4\\\\\"}", `{"metadata":{"user_id":"x"},"n":3}`, ` [1]`, `{"a":"0123456789abcdef\t"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		trimmed := bytes.TrimLeft(data, " \t\r\n")
		valid := json.Valid(data) && utf8.Valid(data) && trimmed[0] == '{'
		_, err := Parse(data)
		var e *Error
		switch {
		case err == nil:
			require.True(t, valid, "accepted")
		case !errors.As(err, &e):
			t.Fatalf("not an *Error: %v", err)
		case e.Param == "" && !strings.HasPrefix(e.Problem, "nesting"):
			require.False(t, valid, "refused: %v", err)
		}
	})
}

// FuzzEdit checks that an edit changes what it should and nothing else.
func FuzzEdit(f *testing.F) {
	f.Add([]byte(`{"model":"a","stream":true,"stream_options":{"include_usage":false,"k":[1.5e3,null,"\u00e4"]}}`), "b", true)
	f.Add([]byte(`{"a":{"b":[{}]},"model":"a","stream_options":null}`), "ü\"\\\x01", true)
	f.Add([]byte(` { "stream_options" : { } , "model" : "a" } `), "c", false)
	f.Fuzz(func(t *testing.T, data []byte, model string, usage bool) {
		b, err := Parse(data)
		if err != nil || !b.Model.Present() || !utf8.ValidString(model) || model == "" {
			return
		}
		require.True(t, bytes.Equal(data, b.Edited(b.ModelName, false).Bytes()), "nothing to change")
		edited := b.Edited(model, usage)
		require.Equal(t, int64(len(edited.Bytes())), edited.Len())
		again, err := Parse(edited.Bytes())
		if llm.CheckName(model) != nil || strings.ContainsRune(model, utf8.RuneError) {
			require.True(t, json.Valid(edited.Bytes()), "%s", edited.Bytes())
			return
		}
		require.NoError(t, err, "%s", edited.Bytes())
		require.Equal(t, model, again.ModelName)
		want, got := decode(t, data), decode(t, edited.Bytes())
		want["model"] = model
		if usage {
			require.True(t, again.UsageAsked)
			options, _ := want["stream_options"].(map[string]any)
			if options == nil {
				options = map[string]any{}
			}
			options["include_usage"] = true
			want["stream_options"] = options
		}
		require.True(t, reflect.DeepEqual(want, got), "%s", edited.Bytes())
	})
}

func decode(t *testing.T, data []byte) map[string]any {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v map[string]any
	require.NoError(t, d.Decode(&v))
	return v
}

func BenchmarkParse(b *testing.B) {
	ascii := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 400)
	for name, content := range map[string]string{
		"2KB": ascii[:1800], "ascii": strings.Repeat(ascii, 50), "han": strings.Repeat("敏捷的棕色狐狸跳过懒狗", 10000),
		"escapes": strings.Repeat(`if (x < 1) {\n\treturn \"y\";\n}\n`, 10000), "image": "data:image/png;base64," + strings.Repeat("iVBORw0KGgo", 90000),
	} {
		data := []byte(`{"model":"gpt-4o","stream":true,"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"` + content + `"}]}`)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestChanges covers calls whose path names the model.
func TestChanges(t *testing.T) {
	for _, tt := range []struct {
		in     string
		change Change
		want   string
	}{
		{`{}`, Change{Model: "m"}, `{"model":"m"}`},
		{` { "a":1}`, Change{Model: "m"}, ` {"model":"m", "a":1}`},
		{`{"stream":true}`, Change{Model: "m", Usage: true}, `{"model":"m","stream_options":{"include_usage":true},"stream":true}`},
		{`{"model":"a","b":1}`, Change{NoModel: true}, `{"b":1}`},
		{`{"b":1 , "model":"a"}`, Change{NoModel: true}, `{"b":1 }`},
		{`{ "model" : "a" }`, Change{NoModel: true}, `{  }`},
		{`{"b":[1,{"c":","}],"model":"a" , "d":2}`, Change{NoModel: true}, `{"b":[1,{"c":","}],"d":2}`},
		{`{"b":1}`, Change{NoModel: true}, `{"b":1}`},
		{`{"b":1,"m\u006fdel":"a"}`, Change{NoModel: true, Version: "v"}, `{"b":1,"anthropic_version":"v"}`},
		{`{"model":"a","anthropic_version":"w"}`, Change{NoModel: true, Version: "v"}, `{"anthropic_version":"w"}`},
		{`{"model":"a"}`, Change{Model: "b", Version: "v"}, `{"anthropic_version":"v","model":"b"}`},
		{`{}`, Change{Version: "v"}, `{"anthropic_version":"v"}`},
		{`{"model":"a"}`, Change{}, `{"model":"a"}`},
	} {
		b, err := Parse([]byte(tt.in))
		require.NoError(t, err)
		got := b.Changed(tt.change)
		require.Equal(t, tt.want, string(got.Bytes()), tt.in)
		require.Equal(t, int64(len(tt.want)), got.Len())
	}
}

var allBounds = boundMembers[:]

// TestSettings checks the members by which Gemini and Bedrock bound the cost of a call.
func TestSettings(t *testing.T) {
	for in, want := range map[string][2]int64{
		`{"generationConfig":{"maxOutputTokens":50,"candidateCount":3}}`:                    {50, 3},
		`{"generation_config":{"max_output_tokens":50},"generationConfig":{"topP":0.5}}`:    {50, 0},
		`{"inferenceConfig":{"maxTokens":7,"stopSequences":[]}}`:                            {7, 0},
		`{"generationConfig":{"maxTokens":7,"num_predict":8},"n":5}`:                        {},
		`{"generationConfig":null,"inferenceConfig":"x"}`:                                   {},
		`{"contents":[{"generationConfig":{"maxOutputTokens":50}}],"max_output_tokens":51}`: {51, 0},
	} {
		b, err := Parse([]byte(in))
		require.NoError(t, err)
		require.Equal(t, want, [2]int64{b.MaxOutput(allBounds), b.Candidates}, in)
	}
	for in, message := range map[string]string{
		`{"generationConfig":{"maxOutputTokens":5,"maxOutputTokens":6}}`: `the member "maxOutputTokens" must stand once`,
		`{"generationConfig":{"MaxOutputTokens":5}}`:                     `the member "maxOutputTokens" must stand once`,
		`{"generationconfig":{}}`:                                        `the member "generationConfig" must be written so`,
		`{"inferenceConfig":{"maxTokens":-1.5}}`:                         "maxTokens must be a whole number",
		`{"inferenceConfig":{},"inferenceConfig":{}}`:                    `the member "inferenceConfig" stands twice`,
	} {
		_, err := Parse([]byte(in))
		require.ErrorContains(t, err, message, in)
	}
}
