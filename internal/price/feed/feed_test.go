package feed

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// looks collects what a feed reports.
type looks chan string

func (l looks) report(result, _ string, err error) {
	if err != nil {
		result += ": " + err.Error()
	}
	l <- result
}

func own(models ...string) string { return `{"models": [` + strings.Join(models, ",") + `]}` }

// input returns what a million input tokens of m cost.
func input(t *testing.T, f *Feed) string {
	t.Helper()
	var c usage.Counts
	c.Set(usage.Input, 1_000_000)
	cost, err := f.Table().Cost(price.Query{Provider: "vllm", Model: "m"}, &c)
	require.NoError(t, err)
	return cost.Total.String()
}

func priced(name, prices string) string {
	return `{"model": "` + name + `", "prices": {` + prices + `}}`
}

// TestFileIsHeldToTheBound changes a price file between starts. What is refused leaves the copy that was last accepted in force, however
// often the gateway starts.
func TestFileIsHeldToTheBound(t *testing.T) {
	dir := t.TempDir()
	o := Options{File: filepath.Join(dir, "prices.json"), CacheDir: filepath.Join(dir, "cache"), MaxChange: 10}
	seen := make(looks, 10)
	o.Report = seen.report
	start := func(text string) *Feed {
		require.NoError(t, os.WriteFile(o.File, []byte(text), 0o600))
		f, err := ReadFile(o)
		require.NoError(t, err)
		require.NoError(t, f.Keep())
		require.NoError(t, f.Close())
		return f
	}
	both := func(in, out string) string { return own(priced("m", `"input": `+in+`, "output": `+out)) }
	require.Equal(t, "1000", input(t, start(both("1000", "1"))), "there is nothing to compare the first one with")
	require.Equal(t, "updated", <-seen)
	f := start(both("100", "1"))
	require.Equal(t, "100", input(t, f), "tenfold is within the bound")
	<-seen
	require.Nil(t, f.Status().Problem)
	for refused, why := range map[string]string{
		both("1001", "1"):               "input of m would go from 100 to 1001",
		both("9", "1"):                  "input of m would go from 100 to 9",
		both("0", "1"):                  "input of m would go from 100 to 0",
		own(priced("m", `"output": 1`)): "it drops input of m, which was 100",
		own(priced("n", `"input": 100, "output": 1`)): "it drops input of m",
		own(`{"model": "m", "prices": {"input": 100, "output": 1}, "later": [{"from": "2999-01-01", "prices": {"input": 5000, "output": 1}}]}`): "input of m would go from 100 to 5000",
	} {
		for range 2 {
			f = start(refused)
			require.Equal(t, "100", input(t, f), refused)
			require.Contains(t, <-seen, "refused: a change beyond the bound: "+why)
			s := f.Status()
			require.Equal(t, Refused, s.Problem.Result)
			require.Contains(t, s.Problem.Why, why)
			require.Contains(t, s.Version, "prices.json@"+s.Checksum[:8], "the copy's")
		}
	}
	require.Equal(t, "100", input(t, start(both("100", "1")+" ")))
	require.Equal(t, "updated", <-seen)
	o.MaxChange = 0
	f = start(both("5000", "1"))
	require.Equal(t, "5000", input(t, f), "any change is taken")
	require.Contains(t, <-seen, "updated: the prices differ much", "and a large one is told")
	f = start(own(priced("m", `"input": 5000`)))
	require.Contains(t, <-seen, "updated: the prices differ much from those before: a change beyond the bound: it drops output of m")
	require.ErrorIs(t, f.Table().Priced(price.Query{Provider: "vllm", Model: "n"}), price.ErrUnpriced)
	for _, broken := range []string{"", "<html>", `{"models": [{"model": "m", "prices": {"inputt": 1}}]}`} {
		require.NoError(t, os.WriteFile(o.File, []byte(broken), 0o600))
		_, err := ReadFile(o)
		require.Error(t, err, broken)
	}
	require.NoError(t, os.Remove(o.File))
	_, err := ReadFile(o)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestPricesOfOtherTimesAreHeldToTheBound has documents with unchanged current prices and changed prices for other hours and dates.
func TestPricesOfOtherTimesAreHeldToTheBound(t *testing.T) {
	hour := time.Now().UTC().Add(6 * time.Hour)
	hours := hour.Format("15:04") + "-" + hour.Add(time.Hour).Format("15:04")
	dates := make([]string, 0, 30)
	for day := range 30 {
		input := "3"
		if day == 29 {
			input = "3000"
		}
		dates = append(dates, `{"from": "`+time.Now().AddDate(0, 0, 2+day).Format(time.DateOnly)+`", "prices": {"input": `+input+`}}`)
	}
	const litellm = `{"m": {"litellm_provider": "hosted_vllm", "mode": "chat", "input_cost_per_token": 3e-6%s}}`
	for name, c := range map[string]struct{ before, after string }{
		"an hour of the day": {
			own(priced("m", `"input": 3`)), own(`{"model": "m", "prices": {"input": 3}, "later": [{"daily": "` + hours + `", "prices": {"input": 3000}}]}`),
		},
		"an hour of working days": {
			own(priced("m", `"input": 3`)), own(`{"model": "m", "prices": {"input": 3}, "later": [{"daily": "mon-fri ` + hours + `", "prices": {"input": 0.003}}]}`),
		},
		"the last of many dates": {own(priced("m", `"input": 3`)), own(`{"model": "m", "prices": {"input": 3}, "later": [` + strings.Join(dates, ",") + `]}`)},
		"LiteLLM's hours": {
			fmt.Sprintf(litellm, ""), fmt.Sprintf(litellm, `, "off_peak_pricing": {"hours_utc": "`+hours+`", "input_cost_per_token": 3e-3}`),
		},
	} {
		dir := t.TempDir()
		seen := make(looks, 10)
		o := Options{File: filepath.Join(dir, "p.json"), CacheDir: dir, MaxChange: 10, Report: seen.report}
		for _, text := range []string{c.before, c.after} {
			require.NoError(t, os.WriteFile(o.File, []byte(text), 0o600))
			f, err := ReadFile(o)
			require.NoError(t, err)
			require.NoError(t, f.Keep())
		}
		require.Equal(t, "updated", <-seen, name)
		for got := range seen {
			if got != "unchanged" && got != "updated" {
				require.Contains(t, got, "refused: a change beyond the bound: input of m would go from 3 to", name)
				break
			}
			require.NotEmpty(t, seen, "%s: it was taken", name)
		}
	}
}

// TestNewPricesAreHeldToTheBound has documents with a price that the one before did not have, of something that was billed by another one.
func TestNewPricesAreHeldToTheBound(t *testing.T) {
	const before = `"input": 3, "output": 15, "input@flex": 1.5, "output@flex": 7.5, "web_searches": 0.01`
	for more, why := range map[string]string{
		`"reasoning": 1500`:           "reasoning of m, which was billed at 15, would be 1500",
		`"cache_read": 0.03`:          "cache_read of m, which was billed at 3, would be 0.03",
		`"cache_write_1h": 31`:        "cache_write_1h of m, which was billed at 3, would be 31",
		`"input>200000": 300`:         "input>200000 of m, which was billed at 3, would be 300",
		`"reasoning@flex": 750`:       "reasoning@flex of m, which was billed at 7.5, would be 750",
		`"web_searches@flex": 1`:      "web_searches@flex of m, which was billed at 0.01, would be 1",
		`"reasoning": 0`:              "reasoning of m, which was billed at 15, would be 0",
		`"reasoning": 150`:            "", // tenfold
		`"input_audio": 300`:          "", // it had no price, and no other stood in for it
		`"input@batch": 0.000000001`:  "", // the tier had none
		`"file_searches": 1`:          "",
		`"cache_read": 0.3`:           "",
		`"cache_write_5m": 3.75`:      "",
		`"output>200000": 22.5`:       "",
		`"cache_read_image@flex": 20`: "cache_read_image@flex of m, which was billed at 1.5, would be 20",
	} {
		dir := t.TempDir()
		seen := make(looks, 10)
		o := Options{File: filepath.Join(dir, "p.json"), CacheDir: dir, MaxChange: 10, Report: seen.report}
		for _, text := range []string{own(priced("m", before)), own(priced("m", before+", "+more))} {
			require.NoError(t, os.WriteFile(o.File, []byte(text), 0o600))
			f, err := ReadFile(o)
			require.NoError(t, err)
			require.NoError(t, f.Keep())
		}
		require.Equal(t, "updated", <-seen)
		if got := <-seen; why == "" {
			require.Equal(t, "updated", got, more)
		} else {
			require.Contains(t, got, "refused: a change beyond the bound: "+why, more)
		}
	}
}

// TestBrokenCopy has a kept copy that cannot be read: the file's prices apply, and the fault is reported.
func TestBrokenCopy(t *testing.T) {
	dir := t.TempDir()
	seen := make(looks, 10)
	o := Options{File: filepath.Join(dir, "p.json"), CacheDir: dir, MaxChange: 2, Report: seen.report}
	require.NoError(t, os.WriteFile(o.File, []byte(own(priced("m", `"input": 3`))), 0o600))
	require.NoError(t, os.WriteFile(Cache(o.CacheDir, o.File), []byte("{"), 0o600))
	f, err := ReadFile(o)
	require.NoError(t, err)
	require.Contains(t, <-seen, "failed: the cached prices:")
	require.Equal(t, "updated", <-seen)
	require.Equal(t, "3", input(t, f))
}

// TestURLDropsNoPrice follows a document that no longer names a model: its price is not replaced by the built-in one or by none.
func TestURLDropsNoPrice(t *testing.T) {
	var served atomic.Value
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, served.Load().(string))
	}))
	t.Cleanup(source.Close)
	gpt := `{"provider": "openai", "model": "gpt-4o", "prices": {"input": 2.4}}`
	served.Store(own(gpt, priced("m", `"input": 1`)))
	seen := make(looks, 100)
	f, err := Open(Options{URL: source.URL + "/p.json?token=secret", CacheDir: t.TempDir(), Every: time.Millisecond, MaxChange: 10, Report: seen.report})
	require.NoError(t, err)
	await := func(want string) {
		for got := range seen {
			if strings.HasPrefix(got, want) {
				return
			}
		}
	}
	await("updated")
	for document, why := range map[string]string{
		own(gpt):                             "it drops input of m, which was 1",
		own(priced("m", `"input": 1`)):       "it drops input of gpt-4o, which was 2.4",
		own(gpt, priced("m", `"output": 1`)): "it drops input of m",
	} {
		served.Store(document)
		await("refused: a change beyond the bound: " + why)
	}
	s := f.Status()
	require.Equal(t, source.URL+"/p.json", s.Source, "without its token")
	require.Equal(t, Refused, s.Problem.Result)
	served.Store(own(gpt, priced("m", `"input": 2`)))
	await("updated")
	require.NoError(t, f.Close())
	require.Equal(t, "2", input(t, f))
}
