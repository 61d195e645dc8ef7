package jsonscan

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// FuzzCursor compares with gjson what is found in a valid text, and sees that an invalid one does no harm.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, `{"a":1}`, ` { "b" : [ 1 , "]" , { } ] , "a" : "\"\\" } `, `{"\u0061":"\u00e9","a":2}`, `{"b":{"a":1},"a":[[],{}]}`,
		`{"a":"12345678\\","b":"1234567\""}`, `{"b":"\\\\\"","a":null}`, `{"b":-1.5e9}`, `"a`, `{"a"`, `{"a":"`, `"\`, `[{]`, "", `{"a":"ab\`,
		`{"":"` + strings.Repeat("x", 40) + `\"` + strings.Repeat("y", 9) + `","a":"é\n"}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		whole := Cursor{JSON: []byte(text)}
		ended := whole.Skip()
		require.LessOrEqual(t, whole.At, len(text))
		for _, name := range []string{"a", "", "é"} {
			c := Cursor{JSON: []byte(text)}
			found := c.Enter('{') && c.Find(name)
			from := c.At
			c.Skip()
			require.LessOrEqual(t, c.At, len(text))
			if !gjson.Valid(text) || !gjson.Parse(text).IsObject() {
				continue
			}
			require.True(t, ended)
			require.Empty(t, strings.TrimSpace(text[whole.At:]))
			var want gjson.Result
			gjson.Parse(text).ForEach(func(k, v gjson.Result) bool {
				want = gjson.Result{}
				if k.Str == name {
					want = v
				}
				return !want.Exists()
			})
			require.Equal(t, want.Exists(), found, name)
			if !found {
				require.Equal(t, byte('}'), c.JSON[from])
				continue
			}
			require.Equal(t, want.Raw, text[from:c.At], name)
			if want.Type == gjson.String {
				require.Equal(t, want.Str, string(Text([]byte(want.Raw))))
			}
			require.True(t, c.Leave())
			require.Equal(t, whole.At, c.At)
		}
	})
}

// TestStringsEndAtEveryLength tries strings with an escape at every place of every length.
func TestStringsEndAtEveryLength(t *testing.T) {
	for n := range 40 {
		for at := range n + 1 {
			for _, special := range []string{"", `"`, `\`, `\\`, `\"`, "\n", "é"} {
				want := strings.Repeat("x", at) + special + strings.Repeat("y", n-at)
				quoted, err := json.Marshal(want)
				require.NoError(t, err)
				c := Cursor{JSON: append(quoted, `,"next"`...)}
				got := c.String()
				require.Equal(t, string(quoted), string(got))
				require.Equal(t, len(quoted), c.At)
				require.Equal(t, want, string(Text(got)))
				for cut := range quoted {
					c := Cursor{JSON: quoted[:cut:cut]}
					if cut > 0 {
						require.Nil(t, c.String())
					}
				}
			}
		}
	}
}
