package lagobilling

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// TestOldLedger opens a spool as an earlier version left it, whose opened records hold no tariff: it lists the same, to the
// byte, its pending records are delivered as they are, and its interrupted call is estimated.
func TestOldLedger(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "ledger", "spool"))))
	for _, name := range []string{"events", "rejected", "export"} {
		want, err := os.ReadFile(filepath.Join("testdata", "ledger", name+".ndjson")) // #nosec G304 -- a golden
		require.NoError(t, err)
		args := []string{name, "--spool", dir, "--json"}
		if name == "export" {
			args = args[:3]
		}
		require.Equal(t, string(want), offline(t, args...), name)
	}

	lago := fakelago.New(t, fakelago.Options{})
	b := newBench(t, &Handler{
		Spool: dir, Retain: "87600h", APIBase: lago.URL, APIKey: lago.Key(), EventCode: "tokens", Interrupted: "estimate",
		Markup: []Percent{{Percent: "50"}},
	})
	require.Eventually(t, func() bool { return operator.StatusOf(b.account, time.Now()).Pending == 0 }, 10*time.Second, time.Millisecond)
	export, err := os.ReadFile(filepath.Join("testdata", "ledger", "export.ndjson"))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(export)), "\n")
	var sent []string
	for _, e := range lago.Events() {
		sent = append(sent, e.Body)
	}
	for _, line := range lines[1 : len(lines)-1] { // the first was delivered before, the last is rejected
		require.True(t, slices.Contains(sent, line), "not delivered as it is: %s", line)
	}
	require.Len(t, sent, len(lines)-1, "the estimate is delivered too")
	for _, e := range b.records() {
		if e.Outcome == record.OutcomeInterrupted {
			require.Equal(t, "12", e.Cost, "an opened record without a tariff is billed by the one in force")
			return
		}
	}
	require.Fail(t, "the interrupted call has no record")
}
