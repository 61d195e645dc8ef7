package jsonscan

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// FuzzCursor compares validity with the standard library and found values with gjson.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, `{"a":1}`, ` { "b" : [ 1 , "]" , { } ] , "a" : "\"\\" } `, `{"\u0061":"\u00e9","a":2}`, `{"b":{"a":1},"a":[[],{}]}`,
		`{"a":"12345678\\","b":"1234567\""}`, `{"b":"\\\\\"","a":null}`, `{"b":-1.5e9}`, `"a`, `{"a"`, `{"a":"`, `"\`, `[{]`, "", `{"a":"ab\`,
		`{"":"` + strings.Repeat("x", 40) + `\"` + strings.Repeat("y", 9) + `","a":"é\n"}`, `[1,]`, `[,1]`, `{"a":1,}`, `{"a" 1}`, `{1:2}`, `{}{}`,
		`[true,false,null]`, `[tru]`, `nulls`, `-`, `-0`, `01`, `1.`, `.1`, `1e`, `1E+5`, `1e-`, "\"a\x1fbcdefgh\"", "\"\x7f\xff\x80\"", "\x00", "1\x00",
		`"\u12g4"`, `"\u12`, `"\x"`, `"12345678\u00"`, "\"\n\"", `{"a":"\/\b\f\n\r\t"}`, strings.Repeat("[", 511) + strings.Repeat("]", 511),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := Cursor{JSON: []byte(text)}
		valid := c.Skip() && c.Ended()
		require.LessOrEqual(t, c.At, len(text))
		if strings.Count(text, "[")+strings.Count(text, "{") <= maxDepth {
			require.Equal(t, json.Valid([]byte(text)), valid)
		}
		if !valid || !gjson.Parse(text).IsObject() {
			return
		}
		var want, got []string
		gjson.Parse(text).ForEach(func(k, v gjson.Result) bool {
			want = append(want, k.Raw, v.Raw, k.Str)
			return true
		})
		c = Cursor{JSON: []byte(text)}
		require.True(t, c.Members(func(name []byte) bool {
			c.Peek()
			from := c.At
			require.True(t, c.Skip())
			text := string(Text(name))
			require.True(t, Is(name, text))
			require.False(t, Is(name, text+"x"))
			got = append(got, string(name), string(c.JSON[from:c.At]), text)
			return true
		}))
		require.True(t, c.Ended())
		require.Equal(t, want, got)
	})
}

// TestStringsEndAtEveryLength tries strings of every length with an escape at every position.
func TestStringsEndAtEveryLength(t *testing.T) {
	for n := range 40 {
		for at := range n + 1 {
			for _, special := range []string{"", `"`, `\`, `\\`, `\"`, "\n", "\x01", "é"} {
				want := strings.Repeat("x", at) + special + strings.Repeat("y", n-at)
				quoted, err := json.Marshal(want)
				require.NoError(t, err)
				c := Cursor{JSON: append(quoted, `,"next"`...)}
				got := c.String()
				require.Equal(t, string(quoted), string(got))
				require.Equal(t, len(quoted), c.At)
				require.Equal(t, want, string(Text(got)))
				for cut := 1; cut < len(quoted); cut++ {
					c := Cursor{JSON: quoted[:cut:cut]}
					require.Nil(t, c.String())
				}
				bare := Cursor{JSON: []byte(`"` + want + `"`)}
				require.Equal(t, json.Valid(bare.JSON), bare.Skip() && bare.Ended(), "%q", bare.JSON)
			}
		}
	}
}

func TestDepthIsBounded(t *testing.T) {
	for _, open := range []string{"[", `{"a":`, `[{"a":`} {
		c := Cursor{JSON: []byte(strings.Repeat(open, 1<<20))}
		require.False(t, c.Skip())
	}
}

// TestAppendString puts every byte at every position of strings of every length. The result decodes to the input, and bytes
// that need no escape are written unchanged.
func TestAppendString(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				s := strings.Repeat("x", at) + string([]byte{byte(c)}) + strings.Repeat("y", length-at-1)
				got := AppendString([]byte(`["`), s)[2:]
				var back string
				require.NoError(t, json.Unmarshal(got, &back), "%q", s)
				require.Equal(t, strings.ToValidUTF8(s, "\ufffd"), back)
				if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
					require.Equal(t, `"`+s+`"`, string(got))
				}
			}
		}
	}
	require.Equal(t, `"żółć \"\\\n\t\r\u0001<>&"`, string(AppendString(nil, "żółć \"\\\n\t\r\x01<>&")))
}
