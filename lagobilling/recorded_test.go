package lagobilling

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// recordedSpool copies a spool that was written by an early version: finished, pending, rejected, discarded and interrupted
// records.
func recordedSpool(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "spool")
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/recorded/spool")))
	return dir
}

// answers collects what the command line and the admin API answer, as the golden has it.
type answers struct {
	*gateway
	spool string
	out   bytes.Buffer
}

var changing = regexp.MustCompile(`"(spool_bytes|oldest_pending_seconds)":\d+|\(\d+ kB\)|oldest       \S+`)

var version = regexp.MustCompile(`"version":"[^"]+",`)

func (a *answers) add(title, text string) {
	text = version.ReplaceAllString(text, "") // which answers had not at first
	text = changing.ReplaceAllString(strings.ReplaceAll(text, a.spool, "SPOOL"), "CHANGING")
	fmt.Fprintf(&a.out, "> %s\n%s\n", strings.ReplaceAll(title, a.spool, "SPOOL"), text)
}

func (a *answers) run(args ...string) {
	a.t.Helper()
	text, err := a.command(args...)
	if err != nil {
		text += "error: " + err.Error() + "\n"
	}
	a.add("caddy tollgate billing "+strings.Join(args, " "), text)
}

func (a *answers) ask(method, path, body string) {
	a.t.Helper()
	admin := unixClient(filepath.Join(a.dir, "a"))
	defer admin.CloseIdleConnections()
	req, err := http.NewRequestWithContext(a.t.Context(), method, "http://127.0.0.1/tollgate/billing"+path, strings.NewReader(body))
	require.NoError(a.t, err)
	res, err := admin.Do(req)
	require.NoError(a.t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(a.t, err)
	require.NoError(a.t, res.Body.Close())
	head := fmt.Sprintf("%d %s", res.StatusCode, res.Header.Get("Content-Type"))
	if allow := res.Header.Get("Allow"); allow != "" {
		head += ", allow " + allow
	}
	a.add(method+" "+path+" "+body, head+"\n"+string(b))
}

// TestMain has tables show times in UTC wherever the tests run. It is set before any goroutine reads it.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

// TestRecordedSpoolIsShownAsEver compares what operators and their scripts read with what they always read, byte for byte.
func TestRecordedSpoolIsShownAsEver(t *testing.T) {
	a := &answers{gateway: &gateway{t: t, dir: "/nowhere"}, spool: recordedSpool(t)}
	for _, args := range [][]string{
		{"status"},
		{"status", "--json"},
		{"events"},
		{"events", "--json"},
		{"events", "--limit", "2"},
		{"events", "--account", "other"},
		{"events", "--since", "2026-11-30T09:32:08.5Z"},
		{"rejected"},
		{"rejected", "--json"},
		{"interrupted"},
		{"interrupted", "--json"},
		{"export"},
		{"export", "--limit", "3"},
		{"events", "--until", "x"},
	} {
		a.run(append(args, "--spool", a.spool)...)
	}
	a.gateway = startGateway(t, plain("application/json", jsonAnswer), "retain 87600h\nspool "+a.spool)
	const rejected, discarded = "01a22bcc-257a-7baf-896a-94762ed3b4ed", "01a22bcc-257a-7774-8bf1-48963b5e34ba"
	for _, args := range [][]string{
		{"status"},
		{"status", "--json"},
		{"events"},
		{"events", "--json"},
		{"rejected"},
		{"interrupted"},
		{"export"},
		{"events", "--account", "other"},
		{"replay", "--since", "2026-11-01", "--until", "2026-12-31", "--dry-run"},
		{"replay", "--since", "2026-11-01", "--until", "2026-12-31", "--json"},
		{"retry"},
		{"retry", discarded},
		{"retry", "x"},
		{"estimate"},
		{"discard", "--all"},
		{"adopt", a.spool + "-none"},
		{"check"},
		{"setup"},
		{"setup", "--dry-run"},
		{"reconcile"},
		{"reconcile", "--account", "default"},
		{"reconcile", "--lag", "x"},
	} {
		a.run(args...)
	}
	for _, r := range [][3]string{
		{"GET", "", ""},
		{"POST", "", ""},
		{"GET", "?x=1", ""},
		{"GET", "/events", ""},
		{"GET", "/events?limit=0", ""},
		{"DELETE", "/events", ""},
		{"GET", "/events?account=other", ""},
		{"GET", "/rejected?limit=1", ""},
		{"GET", "/interrupted", ""},
		{"GET", "/export?until=2026-11-30T09:32:08.5Z", ""},
		{"GET", "/retry", ""},
		{"POST", "/retry", ""},
		{"POST", "/retry", `{"id":["x"]}`},
		{"POST", "/retry", `{"reason":"x"}`},
		{"PUT", "/replay", ""},
		{"GET", "/replay?since=2026-11-01&until=2026-12-31", ""},
		{"POST", "/replay", ""},
		{"POST", "/replay", `{"account":"default","since":"2026-11-01","until":"2026-12-31"}`},
		{"POST", "/discard", `{"ids":["` + rejected + `"],"reason":"it is a test"}`},
		{"POST", "/discard", `{"all":true,"reason":"a\u0001b"}`},
		{"POST", "/discard", `{"reason":"x"}`},
		{"POST", "/estimate", `{"all":true,"reason":"x"}`},
		{"POST", "/estimate", `{}`},
		{"POST", "/adopt", `{}`},
		{"POST", "/adopt", `{"dir":"/nowhere/at/all"}`},
		{"GET", "/check", ""},
		{"GET", "/setup", ""},
		{"POST", "/setup", ""},
		{"GET", "/reconcile", ""},
		{"GET", "/reconcile?lag=x", ""},
		{"GET", "/check?account=other", ""},
		{"GET", "/events?limit=8", ""},
	} {
		a.ask(r[0], r[1], r[2])
	}
	const golden = "testdata/recorded/answers.txt"
	if os.Getenv("UPDATE_RECORDED") != "" {
		require.NoError(t, os.WriteFile(golden, a.out.Bytes(), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	expected, got := strings.Split(string(want), "\n"), strings.Split(a.out.String(), "\n")
	require.Len(t, got, len(expected))
	for i, line := range expected {
		require.Equal(t, line, got[i], "line %d of %s", i+1, golden)
	}
}

// TestRecordedSpoolIsDelivered sends what an early version left pending, as it was written.
func TestRecordedSpoolIsDelivered(t *testing.T) {
	dir := recordedSpool(t)
	pending := make(map[string]bool)
	for line := range strings.Lines(offline(t, "export", "--spool", dir, "--since", "2026-11-30T09:32:09Z")) {
		pending[strings.TrimSpace(line)] = true
	}
	require.Len(t, pending, 3)
	o := openOffice(t, fakelago.Options{}, "")
	o.load(o.billing("") + "\nretain 87600h\nspool " + dir)
	o.until(func(st operator.Status) bool { return st.Pending == 0 && st.Finished == 8 })
	require.Equal(t, pending, bodiesAtLago(o.lago))
	require.Empty(t, o.lago.Violations())
}
