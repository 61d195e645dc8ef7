package litellmdb

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/keys"
)

// hashOf is the token column of a key.
func hashOf(key string) string { return keys.DigestOf(key).String() }

func readDump(t *testing.T, name, text string) []*DumpRow {
	t.Helper()
	var rows []*DumpRow
	require.NoError(t, (&Dump{Name: name}).Each(iotest.HalfReader(strings.NewReader(text)), func(r *DumpRow) error {
		rows = append(rows, r)
		return nil
	}))
	return rows
}

// TestDumpsOfEveryShape reads the same rows from every shape of dump: the records must not differ.
func TestDumpsOfEveryShape(t *testing.T) {
	a, b := hashOf("sk-a"), hashOf("sk-b")
	header := "token,key_name,key_alias,spend,expires,models,aliases,metadata,blocked,tpm_limit,max_budget,created_at,budget_reset_at,brand_new_column"
	asCSV := header + "\n" +
		a + `,sk-...aaaa,ann,0.000012345678901234567,2030-01-02 03:04:05.678,"{gpt-4o,""claude, \""4\"""",NULL}","{""best"": ""gpt-4o""}","{""note"":` + "\n" + `""two\nlines""}",f,9007199254740993,1e-05,2024-05-06 07:08:09.123,,new` + "\n" +
		b + ",,,0,,{},{},{},t,,,2024-05-06 07:08:09+00,2024-06-01 00:00:00,\n"
	rowA := `{"token":"` + a + `","key_name":"sk-...aaaa","key_alias":"ann","spend":0.000012345678901234567,"expires":"2030-01-02T03:04:05.678",
		"models":["gpt-4o","claude, \"4\""],"aliases":{"best": "gpt-4o"},"metadata":{"note": "two\nlines"},"blocked":false,"tpm_limit":"9007199254740993",
		"max_budget":1e-05,"created_at":"2024-05-06T07:08:09.123+00:00","budget_reset_at":null,"brand_new_column":"new"}`
	rowB := `{"token":"` + b + `","key_name":null,"spend":0,"models":[],"aliases":{},"metadata":"{}","blocked":true,"created_at":"2024-05-06T07:08:09Z","budget_reset_at":"2024-06-01T00:00:00"}`
	line := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	rowA = strings.ReplaceAll(line(rowA), `claude, "4\"`, `claude, \"4\"`)
	shapes := map[string]string{
		"csv": asCSV, "crlf": strings.ReplaceAll(asCSV[:strings.Index(asCSV, "\n")], "\n", "\r\n") + asCSV[strings.Index(asCSV, "\n"):],
		"bom":    "\xef\xbb\xbf" + asCSV,
		"array":  "[" + rowA + ",\n " + rowB + "]",
		"ndjson": rowA + "\n" + rowB + "\n",
		"tables": `{"LiteLLM_TeamTable":[{"team_id":"t"}],"LiteLLM_VerificationToken":[` + rowA + "," + rowB + `],"LiteLLM_BudgetTable":null}`,
	}
	var want []string
	for _, shape := range []string{"csv", "crlf", "bom", "array", "ndjson", "tables"} {
		var got []string
		for _, r := range readDump(t, "keys.dump", shapes[shape]) {
			require.Nil(t, r.Fault, shape)
			if r.Table != KeyTable {
				continue
			}
			rec, fault := Find(r.Table).fromRow(r.Columns)
			require.Nil(t, fault, shape)
			got = append(got, string(rec.data))
		}
		require.Len(t, got, 2, shape)
		if want == nil {
			want = got
		}
		require.Equal(t, want, got, shape)
	}
	k, err := keys.Decode[keys.Key](a, []byte(want[0]))
	require.NoError(t, err)
	require.Equal(t, json.RawMessage("0.000012345678901234567"), k.Extra["spend"], "to the digit")
	require.Equal(t, json.RawMessage("1e-05"), k.Extra["max_budget"])
	require.Equal(t, json.RawMessage("9007199254740993"), k.Extra["tpm_limit"])
	require.Equal(t, json.RawMessage(`"new"`), k.Extra["brand_new_column"])
	require.Equal(t, []string{"gpt-4o", `claude, "4"`}, k.Models)
	require.Equal(t, time.Date(2030, 1, 2, 3, 4, 5, 678e6, time.UTC), *k.Expires)
	require.Equal(t, `"two\nlines"`, string(k.Metadata["note"]))
	k, err = keys.Decode[keys.Key](b, []byte(want[1]))
	require.NoError(t, err)
	require.True(t, k.Blocked)
	require.Equal(t, json.RawMessage(`"2024-06-01T00:00:00Z"`), k.Extra["budget_reset_at"])
	require.Equal(t, map[string]json.RawMessage{"budget_reset_at": k.Extra["budget_reset_at"]}, k.Extra, "what says nothing is not kept")
}

func TestDumpErrorsNameThePlace(t *testing.T) {
	hash := hashOf("sk-a")
	for _, c := range []struct{ name, text, want string }{
		{"x.csv", "", "x.csv: is empty"},
		{"x.csv", "a,b\n1,2\n", "x.csv:1: neither the file's name nor its columns show"},
		{"LiteLLM_TeamTable.csv", "\n\ntoken,spend\n", "LiteLLM_TeamTable.csv:3: there is no column team_id, which rows of LiteLLM_TeamTable have"},
		{"x.csv", "token,spend\n" + hash + ",1\n" + hash + "\n", "x.csv:3: column 1: wrong number of fields"},
		{"x.csv", "token,spend\n" + hash + ",\"1\n", `x.csv:2: column 69: extraneous or missing " in quoted-field`},
		{"x.csv", "token,token\n", `x.csv:1: the header names column "token" twice`},
		{"x.csv", "token\tspend\n" + hash + "\t1\n", "separated by tabs"},
		{"x.json", `[{"token":"` + hash + `"},` + "\n\n" + `{"token":}]`, "x.json:3: invalid character '}'"},
		{"x.json", `[{"token":"` + hash + `"},` + "\n" + `5]`, "x.json:2: a row must be an object"},
		{"x.json", `[{"token":"` + hash + `"},` + "\n" + `{"tok`, "x.json:2: the JSON ends in the middle"},
		{"x.json", `[{"token":"` + hash + `"},` + "\n", "x.json:2: the JSON ends in the middle"},
		{"x.json", `[{"token":"` + hash + `"}` + "\n", "x.json:2: the JSON ends in the middle"},
		{"x.json", `[null]`, "x.json:1: a row must be an object"},
		{"x.json", `{"LiteLLM_TeamTable":[],` + "\n" + `"LiteLLM_SpendLogs":[]}`, `x.json:2: unknown table "LiteLLM_SpendLogs"`},
		{"x.json", `{"LiteLLM_TeamTable":5}`, "LiteLLM_TeamTable must be an array of rows"},
		{"x.json", `[{"a":1}]`, "neither the file's name nor its columns"},
		{"x.json", `[{"token":"` + strings.Repeat("x", maxRow+2*readAhead) + `"}]`, "a row is longer than 4 MB"},
		{"x.csv", "token,spend\n" + strings.Repeat("x", maxRow+2*readAhead) + ",1\n", "a row is longer than 4 MB"},
	} {
		err := (&Dump{Name: c.name}).Each(strings.NewReader(c.text), func(*DumpRow) error { return nil })
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), hash)
	}
}

func TestWrongValuesNameTheColumn(t *testing.T) {
	hash := hashOf("sk-a")
	for value, column := range map[string]string{
		`"token":"sk-in-clear-0123456789"`:                          "token",
		`"token":"` + hash[:63] + `"`:                               "token",
		`"token":""`:                                                "token",
		`"token":5`:                                                 "token",
		`"token":"` + hash + `","spend":"much"`:                     "spend",
		`"token":"` + hash + `","spend":"NaN"`:                      "spend",
		`"token":"` + hash + `","tpm_limit":1.5`:                    "tpm_limit",
		`"token":"` + hash + `","blocked":"yes"`:                    "blocked",
		`"token":"` + hash + `","expires":"tomorrow"`:               "expires",
		`"token":"` + hash + `","models":"gpt-4o"`:                  "models",
		`"token":"` + hash + `","aliases":{"a":1}`:                  "aliases",
		`"token":"` + hash + `","metadata":[]`:                      "metadata",
		`"token":"` + hash + `","metadata":{"fixed_payer":"yes"}`:   "metadata",
		`"token":"` + hash + `","user_id":"a\u0000b"`:               "user_id",
		`"token":"` + hash + `","team_id":5`:                        "team_id",
		`"token":"` + hash + `","key_alias":"` + long(256) + `"`:    "key_alias",
		`"token":"` + hash + `","organization_id":["a"]`:            "organization_id",
		`"token":"` + hash + `","created_at":"2024-13-01 00:00:00"`: "created_at",
	} {
		var row map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte("{"+value+"}"), &row))
		_, fault := Find(KeyTable).fromRow(row)
		require.NotNil(t, fault, value)
		require.Equal(t, column, fault.Column, value)
		require.NotContains(t, fault.Error(), "in-clear")
	}
	rows := readDump(t, "x.csv", "token,spend,models\n"+hash+",1,{a\n")
	require.Equal(t, &ColumnError{"models", `must be a list such as {gpt-4o,"claude 4"}`}, rows[0].Fault)
}

func long(n int) string { return strings.Repeat("x", n) }

func TestTheTableIsTold(t *testing.T) {
	for file, want := range map[string]string{
		"LiteLLM_VerificationToken.csv": KeyTable, "/a/litellm_endusertable-2026.json": "LiteLLM_EndUserTable",
		"LiteLLM_UserTable.csv": userTable, "teamtable.csv": TeamTable, "BudgetTable": "LiteLLM_BudgetTable",
	} {
		require.Equal(t, want, tableByFile(file).Name)
	}
	require.Nil(t, tableByFile("keys.csv"))
	for _, table := range Tables {
		got := tableByColumns(func(n string) bool { _, ok := table.typeOf(n); return ok })
		require.Equal(t, table.Name, got.Name, "a whole table tells itself by its columns")
	}
	require.Nil(t, tableByColumns(func(n string) bool { return n == "user_id" }))
}

func TestArraysOfPostgreSQL(t *testing.T) {
	for text, want := range map[string][]string{
		`{}`: {}, `{a}`: {"a"}, `{a,b c}`: {"a", "b c"}, `{"a,b","c\"d","e\\f"}`: {"a,b", `c"d`, `e\f`}, `{NULL,"NULL",""}`: {"NULL", ""},
	} {
		got, ok := parseArray(text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{``, `a`, `{a`, `{"a}`, `{a,,b}`, `{{a}}`, `{"a"b}`, `{a,}`, `{"a\`} {
		_, ok := parseArray(text)
		require.False(t, ok, text)
	}
}

// FuzzDump holds reading against any file: it ends, and what it takes for a row becomes a record or is refused.
func FuzzDump(f *testing.F) {
	for _, s := range []string{"token,spend\nx,1\n", `[{"token":"x"}]`, `{"LiteLLM_TeamTable":[{"team_id":"t"}]}`, "{}", "null", "[[", "token\n\"\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_ = (&Dump{Name: "x"}).Each(strings.NewReader(text), func(r *DumpRow) error {
			if r.Line < 1 || r.N < 1 {
				t.Fatal("a row without a place")
			}
			if rec, fault := Find(r.Table).fromRow(r.Columns); fault == nil {
				if _, err := rec.table.readStored(rec.id, rec.data); err != nil {
					t.Fatal(err)
				}
			}
			return nil
		})
	})
}

// BenchmarkDump reads a dump of a hundred thousand keys.
func BenchmarkDump(b *testing.B) {
	var text strings.Builder
	text.WriteString("token,key_alias,spend,models,metadata\n")
	for i := range 100_000 {
		fmt.Fprintf(&text, "%s,k%d,0.5,{gpt-4o},\"{\"\"n\"\": %d}\"\n", hashOf(fmt.Sprint(i)), i, i)
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if err := (&Dump{Name: "x"}).Each(strings.NewReader(text.String()), func(*DumpRow) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
