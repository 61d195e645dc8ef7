package operator

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTerminalsAreSafe prints what a user may have chosen as a name: nothing of it may move the cursor, colour, or turn the
// direction of what stands beside it.
func TestTerminalsAreSafe(t *testing.T) {
	for text, want := range map[string]string{
		"plain é 名 🙂":           "plain é 名 🙂",
		"\x1b[2Jgone":           `\x1b[2Jgone`,
		"a\nb\tc\r":             `a\nb\tc\r`,
		"user\u202egnp.exe":     `user\u202egnp.exe`,
		"\u2066iso\u2069":       `\u2066iso\u2069`,
		"\u200emark\u061c":      `\u200emark\u061c`,
		"c1 \u009b31m":          `c1 \u009b31m`,
		"zero\u200bwidth\ufeff": `zero\u200bwidth\ufeff`,
		"not \xff UTF-8 \ufffd": `not \xff UTF-8 ` + "\ufffd",
		"\U000e0041tag":         `\U000e0041tag`,
	} {
		require.Equal(t, want, Escape(text))
		var out bytes.Buffer
		table := NewTable(&out, "NAME", "N")
		table.Row(text, 1)
		require.NoError(t, table.End())
		require.Contains(t, out.String(), want+"  1\n")
		out.Reset()
		p := NewPrinter(&out)
		type name string
		p.Line("%s %s %s %s", text, json.RawMessage(text), errors.New(text), name(text))
		require.NoError(t, p.Err())
		require.Equal(t, want+" "+want+" "+want+" "+want+"\n", out.String())
	}
}

func TestLongTablesAreNotHeld(t *testing.T) {
	var out bytes.Buffer
	table := NewTable(&out, "N")
	for i := range flushEvery {
		table.Row(i)
	}
	require.Contains(t, out.String(), "999\n")
	require.NoError(t, table.End())
}
