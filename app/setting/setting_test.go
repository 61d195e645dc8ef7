package setting

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestResolve(t *testing.T) {
	t.Setenv("SETTING_TEXT", "text")
	t.Setenv("SETTING_EMPTY", "")
	t.Setenv("SETTING_BLANK", " \n")
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("s3cret\r\n"), 0o600))
	for written, want := range map[string]string{
		"":                                     "", // not written
		"plain":                                "plain",
		" spaces ":                             " spaces ", // as it is written
		"{env.SETTING_TEXT}":                   "text",
		"{file." + secret + "}":                "s3cret", // a file ends in a line break
		"a {env.SETTING_TEXT} b":               "a text b",
		" {env.SETTING_TEXT} ":                 "text",
		`\{env.SETTING_TEXT\}`:                 "{env.SETTING_TEXT}",
		"{env.SETTING_TEXT}{env.SETTING_TEXT}": "texttext",
	} {
		got, err := Resolve("name", written)
		require.NoError(t, err, written)
		require.Equal(t, want, got, written)
	}
	for _, written := range []string{
		" ", "\t\n", "{env.SETTING_UNSET}", "{env.SETTING_EMPTY}", "{env.SETTING_BLANK}", "{file." + secret + ".none}", "{nonsense}", "{http.request.host}",
	} {
		_, err := Resolve("name", written)
		require.ErrorContains(t, err, "name: ", "%q is written, so it is never the default", written)
	}
}

func TestTemplate(t *testing.T) {
	t.Setenv("SETTING_TEXT", " text\n")
	t.Setenv("SETTING_EMPTY", "")
	got, err := Template("name", "{env.SETTING_TEXT}-{http.request.host}")
	require.NoError(t, err)
	require.Equal(t, "text-{http.request.host}", got)
	_, err = Template("name", "x{env.SETTING_EMPTY}")
	require.ErrorContains(t, err, "name: ")
}

func TestNumbers(t *testing.T) {
	d, err := Duration("d", "", time.Minute, time.Second, time.Hour)
	require.NoError(t, err)
	require.Equal(t, time.Minute, d)
	d, err = Duration("d", "1m30s", 0, time.Second, time.Hour)
	require.NoError(t, err)
	require.Equal(t, 90*time.Second, d)
	n, err := Size("s", "64KiB", 0, 1000, 1_000_000)
	require.NoError(t, err)
	require.EqualValues(t, 65536, n)
	i, err := Int("i", "7", 0, 0, 10)
	require.NoError(t, err)
	require.Equal(t, 7, i)
	c, err := Choice("c", "", "first", "second")
	require.NoError(t, err)
	require.Equal(t, "first", c)
	for want, err := range map[string]error{
		`d: "soon" is not a duration from 1s to 1h`:   second(Duration("d", "soon", 0, time.Second, time.Hour)),
		`d: "2h" is not a duration from 0s to 1h30m`:  second(Duration("d", "2h", 0, 0, 90*time.Minute)),
		`s: "lots" is not a size from 1kB to 1MB`:     second(Size("s", "lots", 0, 1000, 1_000_000)),
		`s: "999" is not a size from 1kB to 1MB`:      second(Size("s", "999", 0, 1000, 1_000_000)),
		`i: "1.5" is not a whole number from 0 to 10`: second(Int("i", "1.5", 0, 0, 10)),
		`i: "11" is not a whole number from 0 to 10`:  second(Int("i", "11", 0, 0, 10)),
		`c: "third" is not one of first, second`:      second(Choice("c", "third", "first", "second")),
	} {
		require.EqualError(t, err, want)
	}
}

func second[T any](_ T, err error) error { return err }

func TestDispenser(t *testing.T) {
	read := func(line string) error {
		d := caddyfile.NewTestDispenser(line)
		d.Next()
		seen := make(Seen)
		var value string
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			check := func(s string) error { return second(Int(d.Val(), s, 0, 0, 5)) }
			var err error
			switch d.Val() {
			case "value":
				err = seen.Value(d, &value, check)
			case "flag":
				err = seen.Flag(d, new(bool))
			case "list":
				err = List(d, new([]string))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	require.NoError(t, read("x {\nvalue 3\nflag\nlist a b\nlist c\n}"))
	require.NoError(t, read("x {\nvalue {env.LATER}\n}"), "placeholders are checked at start")
	for _, body := range []string{"value", "value 1 2", `value ""`, "value 9", "value 1\nvalue 1", "flag on", "flag\nflag", "list", `list a ""`} {
		require.ErrorContains(t, read("x {\n"+body+"\n}"), ":", body)
	}
}
