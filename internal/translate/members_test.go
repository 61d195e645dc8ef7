package translate

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

func TestRows(t *testing.T) {
	list, err := readRows(`
# a comment
== chat/completions -> messages
n | void | 1 or null | one answer is what there is | 1
n | refused | - | asks for several answers | 2
stop | mapped | - | to stop_sequences
tools[web_*] | refused | - | is a hosted tool
tools[] | carried | - | each
tools[].kind | void | "a" or {"b": 1} | -
`)
	require.NoError(t, err)
	table := make(table)
	for _, r := range list[Pair{Chat, Messages}] {
		table[r.Member] = append(table[r.Member], r)
	}
	for _, c := range []struct {
		member, value string
		want          Action
	}{
		{"n", "1", Void},
		{"n", "1.0", Void},
		{"n", "null", Void},
		{"n", "2", Refused},
		{"n", `"1"`, Refused},
		{"stop", "[]", Mapped},
		{"tools[web_search_2]", "{}", Refused},
		{"tools[]", "{}", Carried},
		{"tools[x]", "{}", Refused},
		{"tools[].kind", `"\u0061"`, Void},
		{"tools[].kind", `{ "b":1 }`, Void},
		{"tools[].kind", `"b"`, Refused},
		{"other", "1", Refused},
	} {
		require.Equal(t, c.want, table.find(c.member, gjson.Parse(c.value)).Action, c.member+" "+c.value)
	}
	for _, bad := range []string{"n | void | - | text", "== x\n", "== a -> b\nn | gone | - | x", "== a -> b\nn | void | [ | x", "== a -> b\nn"} {
		_, err := readRows(bad)
		require.Error(t, err, bad)
	}
}

func TestWalk(t *testing.T) {
	list, err := readRows("== a -> b\nx | carried | - | -\nv | void | - | -\nr | refused | - | cannot be\no.x | carried | - | -\nl[k] | carried | - | -")
	require.NoError(t, err)
	rows := make(table)
	for _, r := range list[Pair{"a", "b"}] {
		rows[r.Member] = append(rows[r.Member], r)
	}
	walk := func(lossy bool, body string) (*Translation, string, error) {
		tr := &Translation{Options: Options{Lossy: lossy}, table: rows}
		carried := ""
		err := tr.walk(place{}, gjson.Parse(body), func(name string, at place, v gjson.Result) error {
			carried += name + "=" + v.Raw + ";"
			return nil
		})
		return tr, carried, err
	}
	tr, carried, err := walk(false, `{"x":1,"v":2}`)
	require.NoError(t, err)
	require.Equal(t, "x=1;", carried)
	require.Equal(t, []string{"v"}, tr.Dropped())
	_, _, err = walk(false, `{"x":1,"r":2}`)
	require.Equal(t, &Refusal{"r", "cannot be"}, err)
	_, _, err = walk(false, `{"u":2}`)
	require.Equal(t, &Refusal{"u", unknown.Text}, err)
	tr, carried, err = walk(true, `{"u":2,"r":1,"x":3}`)
	require.NoError(t, err)
	require.Equal(t, "x=3;", carried)
	require.Equal(t, []string{"u", "r"}, tr.Lost())
	_, _, err = walk(true, `{"x":1,"\u0078":2}`)
	require.Equal(t, &Refusal{"x", "is there twice"}, err)
	_, _, err = walk(true, `[]`)
	require.Error(t, err)
	at := place{}.member("l").element(3, "k")
	require.Equal(t, place{"l[k]", "l[3]"}, at)
}
