package e2e

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// spend runs `caddy tollgate spend` against the instance.
func (i *instance) spend(args ...string) string {
	i.T.Helper()
	cmd := exec.Command(i.bin, append([]string{"tollgate", "spend", "--address", i.Admin}, args...)...)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		require.NoError(i.T, err, string(exit.Stderr))
	}
	require.NoError(i.T, err)
	return string(out)
}

// spendRow is a line of `spend --json`.
type spendRow struct {
	Day, Team, Model, Payer   string
	Calls                     int
	Cost                      decimal.Decimal
	BaseCost                  decimal.Decimal `json:"base_cost"`
	InputTokens, OutputTokens int64
}

func (i *instance) spendRows(args ...string) (rows []spendRow) {
	i.T.Helper()
	for line := range strings.Lines(i.spend(append(args, "--json")...)) {
		var r spendRow
		require.NoError(i.T, json.Unmarshal([]byte(line), &r))
		rows = append(rows, r)
	}
	return rows
}

// TestBooksLedgerAndLagoAgree sends mixed traffic through an instance that is killed in between: the books, whatever they are
// split by, the ledger and Lago have the same sums, to the last digit. In Redis every instance answers for all.
func TestBooksLedgerAndLagoAgree(t *testing.T) {
	for _, store := range []string{"redis", "file"} {
		t.Run(store, func(t *testing.T) { booksAgree(t, store) })
	}
}

func booksAgree(t *testing.T, store string) {
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Lago.AddSubscription(fakelago.Subscription{ExternalID: "sub-2"})
	spool, keyDir := t.TempDir(), t.TempDir()
	start := func(spool string) *instance {
		i := prepare(t, w, spool)
		file := filepath.Join(t.TempDir(), "Caddyfile")
		directives := w.Routed(spool, "markup 7.3\ninterrupted estimate", fmt.Sprintf(`
		model gpt-4o {
			backend openai %[1]s/v1 {
				api_key %[2]s
				price input 2.50
				price cache_read 1.25
				price output 10
			}
		}
		model claude {
			backend anthropic %[1]s {
				api_key %[2]s
				price input 3
				price cache_write_5m 3.75
				price output 15
			}
		}`, w.Provider.URL, gateway.ProviderKey))
		if store == "file" {
			directives = strings.Replace(directives, "store redis "+w.Redis.Addr, "store file "+keyDir, 1)
		}
		i.Caddyfile = gateway.Site(i.Addr, i.Admin, "", directives)
		require.NoError(t, os.WriteFile(file, []byte(i.Caddyfile), 0o600))
		i.cmd.Args[3] = file
		i.start()
		i.AwaitAnswer()
		return i
	}
	i := start(spool)
	keys := []string{i.NewKey(`{"team_id":"` + gateway.Payer + `"}`), i.NewKey(`{"team_id":"sub-2"}`)}
	n := 0
	traffic := func(calls int) {
		for range calls {
			n++
			plan := fmt.Sprintf("in=%d cached=%d out=%d reasoning=%d", 100+n, n%3*50, 10+n, n%2)
			i.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", keys[n%2], gateway.Chat("gpt-4o", plan, n%3 == 0))
			i.Must(http.StatusOK, http.MethodPost, "/v1/messages", keys[n%2], fmt.Sprintf(`{"model":"claude","max_tokens":500,"messages":[{"role":"user","content":"in=%d write=7 out=5"}]}`, n))
		}
	}
	traffic(20)
	i.kill()
	i = start(spool)
	traffic(10)
	w.Gateway = i.Gateway
	events := 2 * n
	w.Settled(events)

	var ledger decimal.Decimal
	for _, l := range i.Ledger() {
		cost, err := decimal.NewFromString(l.Cost)
		require.NoError(t, err, "%+v", l)
		ledger = ledger.Add(cost)
	}
	require.Equal(t, ledger.String(), w.Lago.Billed("", "llm", "response_cost"))
	for _, by := range []string{"", "day,team,model", "payer", "key,endpoint", "month,provider,outcome", "hour,source", "account,backend,upstream"} {
		var cost decimal.Decimal
		calls := 0
		for _, r := range i.spendRows("--by", by, "--since", "24h") {
			cost, calls = cost.Add(r.Cost), calls+r.Calls
			require.True(t, r.Cost.GreaterThan(r.BaseCost))
		}
		require.Equal(t, events, calls, by)
		require.Equal(t, ledger.String(), cost.String(), by)
	}
	for _, r := range i.spendRows("--by", "payer") {
		require.Equal(t, w.Lago.Billed(r.Payer, "llm", "response_cost"), r.Cost.String())
		require.Equal(t, r.Cost.String(), sumOf(t, i.spend("statement", "--payer", r.Payer, "--month", time.Now().UTC().Format("2006-01"), "--csv"), "cost"))
	}
	require.Equal(t, ledger.String(), i.spendRows()[0].Cost.String())
	var paged decimal.Decimal
	for page, whole := 1, i.spendRows("--by", "day,key,endpoint"); len(whole) > 0; page++ {
		rows := i.spendRows("--by", "day,key,endpoint", "--limit", "3", "--page", strconv.Itoa(page))
		require.Equal(t, whole[:min(3, len(whole))], rows)
		whole = whole[len(rows):]
		for _, r := range rows {
			paged = paged.Add(r.Cost)
		}
	}
	require.Equal(t, ledger.String(), paged.String())
	require.Equal(t, ledger.String(), sumOf(t, i.spend("--csv", "--by", "team"), "cost"))
	require.Equal(t, ledger.String(), sumOf(t, i.spend("--focus"), "BilledCost"))
	require.Contains(t, i.spend("--by", "team"), ledger.String(), "the total of the table")
	checkReports(t, i, w, keys, ledger.String(), events)
	if store == "redis" {
		require.Equal(t, ledger.String(), start(t.TempDir()).spendRows()[0].Cost.String(), "another instance")
	}
	require.Contains(t, i.spend("--margin", "--by", "team"), "7.30")
}

// checkReports compares LiteLLM's reports with the ledger: the master key sees all, another key its own.
func checkReports(t *testing.T, i *instance, w *gateway.World, keys []string, all string, calls int) {
	t.Helper()
	today := time.Now().UTC()
	dates := "?start_date=" + today.AddDate(0, 0, -1).Format(time.DateOnly) + "&end_date=" + today.Format(time.DateOnly)
	get := func(path, key string) gjson.Result {
		return gjson.Parse(i.Must(http.StatusOK, http.MethodGet, path, key, "").Body)
	}
	sum := func(list gjson.Result, member string) string {
		var sum decimal.Decimal
		for _, v := range list.Array() {
			d, err := decimal.NewFromString(v.Get(member).Raw)
			require.NoError(t, err, list.Raw)
			sum = sum.Add(d)
		}
		return sum.String()
	}
	for path, member := range map[string]string{
		"/spend/logs" + dates: "spend", "/spend/keys": "spend", "/global/spend/logs": "spend", "/global/spend/keys": "total_spend",
		"/global/spend/models": "total_spend", "/global/spend/provider": "spend", "/global/spend/report" + dates + "&group_by=api_key": "total_cost",
	} {
		require.Equal(t, all, sum(get(path, gateway.MasterKey), member), path)
	}
	require.Equal(t, all, get("/global/spend", gateway.MasterKey).Get("spend").Raw)
	require.Equal(t, all, sum(get("/global/spend/report"+dates, gateway.MasterKey).Get("@this.#.teams|@flatten"), "total_spend"))
	for n, payer := range []string{gateway.Payer, "sub-2"} {
		a := get("/customer/daily/activity"+dates+"&end_user_ids="+payer, gateway.MasterKey)
		own := w.Lago.Billed(payer, "llm", "response_cost")
		require.Equal(t, own, a.Get("metadata.total_spend").Raw, n)
		require.Equal(t, own, a.Get("results.0.breakdown.entities."+payer+".metrics.spend").Raw, a.Raw)
	}
	for _, path := range []string{"/user/daily/activity", "/team/daily/activity/aggregated"} {
		a := get(path+dates, gateway.MasterKey)
		require.Equal(t, all, a.Get("metadata.total_spend").Raw)
		require.Equal(t, int64(calls), a.Get("metadata.total_api_requests").Int())
		require.Equal(t, all, sum(a.Get("results.#.metrics"), "spend"))
	}
	for n, key := range keys {
		own := w.Lago.Billed([]string{gateway.Payer, "sub-2"}[n], "llm", "response_cost")
		require.Equal(t, own, get("/user/daily/activity"+dates, key).Get("metadata.total_spend").Raw)
		require.Equal(t, own, get("/global/spend", key).Get("spend").Raw)
		require.Equal(t, own, sum(get("/global/spend/report"+dates+"&group_by=api_key&api_key="+key, gateway.MasterKey), "total_cost"))
		require.Eventually(t, func() bool { return get("/key/info", key).Get("info.spend").Raw == own }, 20*time.Second, 20*time.Millisecond, "the key's own spend")
	}
	i.Must(http.StatusForbidden, http.MethodGet, "/global/spend/report"+dates+"&api_key="+keys[1], keys[0], "")
	i.Must(http.StatusBadRequest, http.MethodGet, "/user/daily/activity", keys[0], "")
	i.Must(http.StatusBadRequest, http.MethodGet, "/user/daily/activity"+dates+"&timezone=60", keys[0], "")
	i.Must(http.StatusBadRequest, http.MethodGet, "/global/spend?colour=red", keys[0], "")
	i.Must(http.StatusNotImplemented, http.MethodGet, "/spend/tags", gateway.MasterKey, "")
	i.Must(http.StatusMethodNotAllowed, http.MethodPost, "/global/spend", gateway.MasterKey, "{}")
}

// sumOf adds up a column of a CSV.
func sumOf(t *testing.T, text, column string) string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	require.NoError(t, err)
	require.Greater(t, len(rows), 1)
	at := -1
	for i, name := range rows[0] {
		if name == column {
			at = i
		}
	}
	require.GreaterOrEqual(t, at, 0)
	var sum decimal.Decimal
	for _, r := range rows[1:] {
		d, err := decimal.NewFromString(r[at])
		require.NoError(t, err)
		sum = sum.Add(d)
	}
	return sum.String()
}
