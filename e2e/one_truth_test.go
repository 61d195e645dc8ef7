package e2e

import (
	"context"
	"fmt"
	"html"
	"io"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/genai"
	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// sums are what was spent by name: of teams, or of models.
type sums map[string]decimal.Decimal

func (s sums) add(name string, cost decimal.Decimal) { s[name] = s[name].Add(cost) }

// plain is the sums as they are compared: as texts, without what is zero.
func (s sums) plain() map[string]string {
	out := make(map[string]string, len(s))
	for name, cost := range s {
		if !cost.IsZero() {
			out[name] = cost.String()
		}
	}
	return out
}

func (s sums) total() (all decimal.Decimal) {
	for _, cost := range s {
		all = all.Add(cost)
	}
	return all
}

// truth is two instances with one Redis, one provider and one Lago, and what receives their traces.
type truth struct {
	*testing.T
	w      *gateway.World
	sql    *testkit.PostgresServer
	otlp   *collector
	search string // a provider that charges for searches
	keys   []string
}

var truthTeams = []string{gateway.Payer, "sub-2", "sub-3"}

// run starts an instance on a spool.
func (tr *truth) run(spool string) *instance {
	tr.Helper()
	i := prepare(tr.T, tr.w, spool)
	i.Caddyfile = gateway.Site(i.Addr, i.Admin, "\ttollgate {\n\t\tbooks postgres {env.BOOKS_DSN} {\n\t\t\trecords\n\t\t}\n\t}", "tracing\nconsole\n"+tr.w.Routed(spool, "markup 7.3\ninterrupted estimate", fmt.Sprintf(`
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
				price cache_read 0.3
				price output 15
			}
		}
		model searcher {
			backend openai %[3]s/v1 {
				api_key k
				price input 1
				price output 8
				price web_searches 0.01
			}
		}`, tr.w.Provider.URL, gateway.ProviderKey, tr.search)))
	file := filepath.Join(tr.TempDir(), "Caddyfile")
	require.NoError(tr, os.WriteFile(file, []byte(i.Caddyfile), 0o600))
	i.cmd.Args[3] = file
	i.start()
	i.AwaitAnswer()
	return i
}

// traffic makes calls of all sorts with each key: whole and streamed, with fees, refused by the provider, failing in the middle, and
// left by their client.
func (tr *truth) traffic(i *instance, round int) {
	tr.Helper()
	for n, key := range tr.keys {
		plan := fmt.Sprintf("tokens=in:%d,cached:%d,out:%d,reasoning:%d", 1000+37*n+round, 100*n, 11+n, n)
		i.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", plan, false))
		i.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", plan, true))
		for _, stream := range []bool{false, true} {
			i.Must(http.StatusOK, http.MethodPost, "/v1/messages", key,
				fmt.Sprintf(`{"model":"claude","max_tokens":500,"stream":%t,"messages":[{"role":"user","content":"tokens=in:%d,write:7,cached:3,out:5"}]}`, stream, 20+n))
		}
		i.Must(http.StatusOK, http.MethodPost, "/v1/responses", key, `{"model":"searcher","input":"what is new","tools":[{"type":"web_search"}]}`)
	}
	tr.w.Provider.Next(fakeprovider.FaultStatus(http.StatusBadRequest))
	i.Must(http.StatusBadRequest, http.MethodPost, "/v1/chat/completions", tr.keys[0], gateway.Chat("gpt-4o", "hi", false))
	tr.w.Provider.Next(fakeprovider.FaultErrorAfter(3))
	_, _ = i.Do(http.MethodPost, "/v1/chat/completions", tr.keys[1], gateway.Chat("gpt-4o", "tokens=in:333,out:40", true)) // however it ends
	tr.leave(i)
}

// held makes a call whose answer the provider holds in the middle, and returns what lets the provider go on and what has the client leave.
func (tr *truth) held(i *instance) (pass, leave func()) {
	tr.Helper()
	gate := tr.w.Provider.Gate(3, nil)
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.URL("/v1/chat/completions"),
		strings.NewReader(gateway.Chat("gpt-4o", "tokens=in:5000,out:700", true)))
	require.NoError(tr, err)
	req.Header.Set("Authorization", "Bearer "+tr.keys[2])
	req.Header.Set("Content-Type", "application/json")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body) // until the client leaves, or the gateway dies
			_ = resp.Body.Close()
		}
	}()
	require.NoError(tr, gate.Await(gateway.Timeout(tr.T, 30*time.Second), 1))
	return gate.Open, func() {
		cancel()
		<-ended
	}
}

// leave makes a call whose client leaves in the middle.
func (tr *truth) leave(i *instance) {
	tr.Helper()
	pass, leave := tr.held(i)
	leave()
	pass()
	require.Eventually(tr, func() bool { return i.books().Open == 0 }, 30*time.Second, 5*time.Millisecond)
}

// traced returns the costs of the calls that the receiver has spans of, by the call's id.
func (tr *truth) traced() sums {
	tr.otlp.mu.Lock()
	defer tr.otlp.mu.Unlock()
	calls := make(sums)
	for _, s := range tr.otlp.spans {
		of := attributes(s.Attributes)
		id, ok := of["tollgate.call.id"].(string)
		if !ok {
			continue
		}
		_, twice := calls[id]
		require.False(tr, twice, "two spans of one call")
		cost, _ := of[genai.Cost].(string)
		if cost == "" {
			cost = "0"
		}
		d, err := decimal.NewFromString(cost)
		require.NoError(tr, err)
		calls[id] = d
	}
	return calls
}

// awaitTraces waits until every settled call of an instance has its span at the receiver.
func (tr *truth) awaitTraces(i *instance) {
	tr.Helper()
	settled := i.Ledger()
	missing := func() (list []gateway.LedgerLine) {
		have := tr.traced()
		for _, l := range settled {
			if _, ok := have[l.ID]; l.Outcome != "" && l.Outcome != "interrupted" && !ok {
				list = append(list, l)
			}
		}
		return list
	}
	if !assert.Eventually(tr, func() bool { return len(missing()) == 0 }, 30*time.Second, 20*time.Millisecond) {
		tr.Fatalf("no span of %+v", missing())
	}
}

var (
	tableRows = regexp.MustCompile(`(?s)<tr>(.*?)</tr>`)
	tableCell = regexp.MustCompile(`(?s)<t[hd][^>]*>(.*?)</t[hd]>`)
	anyTag    = regexp.MustCompile(`<[^>]*>`)
)

// page reads the console's page of spend as a person does: the costs in the table of that caption, by the names in its first column.
func (tr *truth) page(i *instance, key, by string) sums {
	tr.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(tr, err)
	client := http.Client{Jar: jar}
	res, err := client.PostForm(i.URL("/console/"), url.Values{"do": {"sign-in"}, "key": {key}})
	require.NoError(tr, err)
	require.NoError(tr, res.Body.Close())
	res, err = client.Get(i.URL("/console/spend?each=day&by=" + by))
	require.NoError(tr, err)
	text, err := io.ReadAll(res.Body)
	require.NoError(tr, err)
	require.NoError(tr, res.Body.Close())
	_, table, ok := strings.Cut(string(text), "<caption>In all, by "+by)
	require.True(tr, ok, string(text))
	table, _, _ = strings.Cut(table, "</table>")
	out := make(sums)
	column := -1
	for n, row := range tableRows.FindAllStringSubmatch(table, -1) {
		var cells []string
		for _, c := range tableCell.FindAllStringSubmatch(row[1], -1) {
			cells = append(cells, html.UnescapeString(anyTag.ReplaceAllString(c[1], "")))
		}
		for at, c := range cells {
			if n == 0 && c == "cost in USD" {
				column = at
			}
		}
		require.GreaterOrEqual(tr, column, 0, table)
		if n > 0 {
			cost, err := decimal.NewFromString(cells[column])
			require.NoError(tr, err, row[1])
			out.add(cells[0], cost)
		}
	}
	return out
}

// TestOneTruth sends mixed traffic to two instances, each of which is killed, one with a call under way: whoever is asked what
// was spent, by team, by model and in all, has the sum of the settled records to the last digit. Prometheus has floats; of traces a killed
// process loses those of calls under way alone, as the others were waited for, and what is compared are the calls that were not interrupted.
func TestOneTruth(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	tr := &truth{T: t, otlp: newCollector(t), w: gateway.NewWorld(t, fakelago.Options{}), sql: testkit.Postgres(t)}
	t.Setenv("BOOKS_DSN", tr.sql.Database("spend"))
	for _, team := range truthTeams[1:] {
		tr.w.Lago.AddSubscription(fakelago.Subscription{ExternalID: team})
	}
	tr.search = upstreamServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"r","object":"response","status":"completed","model":"searcher","output":[{"type":"web_search_call","status":"completed",`+
			`"action":{"type":"search"}},{"type":"message"}],"usage":{"input_tokens":321,"output_tokens":23,"total_tokens":344}}`)
	}).URL
	spools := []string{t.TempDir(), t.TempDir()}
	one, two := tr.run(spools[0]), tr.run(spools[1])
	for _, team := range truthTeams {
		tr.keys = append(tr.keys, one.NewKey(`{"team_id":"`+team+`","key_alias":"of-`+team+`","user_id":"user-of-`+team+`"}`))
	}
	tr.traffic(one, 1)
	tr.traffic(two, 2)
	tr.awaitTraces(one)
	pass, leave := tr.held(one)
	one.kill()
	leave()
	pass()
	tr.traffic(two, 3)
	tr.awaitTraces(two)
	two.kill()
	one, two = tr.run(spools[0]), tr.run(spools[1])
	tr.traffic(one, 4)
	tr.traffic(two, 5)
	instances := []*instance{one, two}
	for _, i := range instances {
		tr.awaitTraces(i)
		require.Eventually(t, func() bool { b := i.books(); return b.Open+b.Pending+b.Rejected+b.Interrupted == 0 }, time.Minute, 10*time.Millisecond)
	}

	// What is true: the settled records.
	byTeam, byModel, byCall, interrupted := make(sums), make(sums), make(sums), make(map[string]bool)
	outcomes := make(map[string]int)
	for _, i := range instances {
		for _, l := range i.Ledger() {
			cost := decimal.Zero
			if l.Cost != "" {
				var err error
				cost, err = decimal.NewFromString(l.Cost)
				require.NoError(t, err)
			}
			byTeam.add(l.Team, cost)
			byModel.add(l.Model, cost)
			outcomes[l.Outcome]++
			if l.Outcome == "interrupted" {
				interrupted[l.ID] = true
				require.False(t, cost.IsZero(), "it is billed by estimate")
				continue
			}
			byCall.add(l.ID, cost)
		}
	}
	require.Len(t, interrupted, 1)
	require.Len(t, byTeam.plain(), len(truthTeams))
	require.Len(t, byModel.plain(), 3)
	require.Subset(t, []string{"completed", "error", "cut", "client_gone", "interrupted"}, outcomesOf(outcomes))
	require.Greater(t, len(outcomes), 3, "mixed traffic: %v", outcomes)
	all := byTeam.total().String()
	t.Logf("%d calls by outcome %v, %s USD", len(byCall)+len(interrupted), outcomes, all)

	// Lago.
	require.Empty(t, tr.w.Lago.BilledTwice())
	require.Equal(t, all, tr.w.Lago.Billed("", "llm", "response_cost"), "Lago")
	for _, team := range truthTeams {
		require.Equal(t, byTeam[team].String(), tr.w.Lago.Billed(team, "llm", "response_cost"), "Lago, %s", team)
	}

	// PostgreSQL: the totals, and every record.
	for _, i := range instances {
		require.Eventually(t, func() bool { return scrapeGauge(t, i.Gateway, "caddy_tollgate_spool_unread_records", "postgres") == 0 }, time.Minute, 10*time.Millisecond)
	}
	for column, want := range map[string]sums{"team": byTeam, "model": byModel} {
		for _, table := range []string{"tollgate_daily", "tollgate_hourly", "tollgate_records"} {
			stored := make(sums)
			for _, row := range tr.sql.Rows("spend", "SELECT "+column+", sum(cost) FROM "+table+" GROUP BY 1") {
				cost, err := decimal.NewFromString(row[1])
				require.NoError(t, err)
				stored.add(row[0], cost)
			}
			require.Equal(t, want.plain(), stored.plain(), "PostgreSQL, %s by %s", table, column)
		}
	}

	// Traces.
	require.Equal(t, byCall.plain(), tr.traced().plain(), "OTLP spans, by call")

	// Prometheus: each instance has what it has added since it began.
	prometheus := make(map[string]float64)
	for _, i := range instances {
		for model, cost := range scrape(t, i.Gateway, "caddy_tollgate_cost_usd_total", "model") {
			prometheus[model] += cost
		}
	}
	for model, cost := range byModel {
		want, _ := cost.Float64()
		require.InEpsilon(t, want, prometheus[model], 1e-12, "Prometheus, %s", model)
	}

	// LiteLLM's single calls, of which each instance has its own.
	today := time.Now().UTC()
	dates := "start_date=" + today.AddDate(0, 0, -1).Format(time.DateOnly) + "&end_date=" + today.Format(time.DateOnly)
	for path, member := range callTotals {
		var sum decimal.Decimal
		for _, i := range instances {
			answer := gjson.Parse(i.Must(http.StatusOK, http.MethodGet, strings.ReplaceAll(path, "DATES", dates), gateway.MasterKey, "").Body)
			d, err := decimal.NewFromString(total(t, answer.Get(member)))
			require.NoError(t, err)
			sum = sum.Add(d)
		}
		require.Equal(t, all, sum.String(), path)
	}
	for n, i := range instances {
		who := fmt.Sprintf("instance %d", n+1)
		admin := &gateway.Gateway{T: t, Addr: i.Admin}
		for by, want := range map[string]sums{"team": byTeam, "model": byModel} {
			// The console.
			require.Equal(t, want.plain(), tr.page(i, gateway.MasterKey, by).plain(), "%s: console, by %s", who, by)
			// The command line, and the admin API behind it.
			commands, api := make(sums), make(sums)
			for _, r := range i.spendRows("--by", by, "--since", "48h") {
				name := r.Team
				if by == "model" {
					name = r.Model
				}
				commands.add(name, r.Cost)
			}
			require.Equal(t, want.plain(), commands.plain(), "%s: caddy tollgate spend, by %s", who, by)
			for line := range strings.Lines(admin.Must(http.StatusOK, http.MethodGet, "/tollgate/books/spend?since=48h&format=json&by="+by, "", "").Body) {
				d, err := decimal.NewFromString(gjson.Get(line, "cost").String())
				require.NoError(t, err)
				api.add(gjson.Get(line, by).String(), d)
			}
			require.Equal(t, want.plain(), api.plain(), "%s: admin API, by %s", who, by)
		}
		require.Equal(t, all, consoleTotal(t, i.Gateway, gateway.MasterKey), "%s: console, in all", who)
		require.Equal(t, all, sumOf(t, i.spend("--focus", "--since", today.AddDate(0, 0, -1).Format(time.DateOnly)), "BilledCost"), "%s: FOCUS", who)
		// LiteLLM's reports.
		for path, member := range reportTotals {
			answer := gjson.Parse(i.Must(http.StatusOK, http.MethodGet, strings.ReplaceAll(path, "DATES", dates), gateway.MasterKey, "").Body)
			require.Equal(t, all, total(t, answer.Get(member)), "%s: %s", who, path)
		}
		activity := gjson.Parse(i.Must(http.StatusOK, http.MethodGet, "/user/daily/activity?"+dates, gateway.MasterKey, "").Body)
		models := make(sums)
		for _, day := range activity.Get("results").Array() {
			day.Get("breakdown.model_groups").ForEach(func(name, entry gjson.Result) bool {
				d, err := decimal.NewFromString(entry.Get("metrics.spend").Raw)
				require.NoError(t, err)
				models.add(name.String(), d)
				return true
			})
		}
		require.Equal(t, byModel.plain(), models.plain(), "%s: /user/daily/activity, by model", who)
		// What each key sees of itself: its team's, as each team has one.
		for n, team := range truthTeams {
			require.Equal(t, byTeam[team].String(), consoleTotal(t, i.Gateway, tr.keys[n]), "%s: the console of %s", who, team)
			spent := i.Must(http.StatusOK, http.MethodGet, "/spend/keys", tr.keys[n], "").Body
			require.Equal(t, byTeam[team].String(), total(t, gjson.Get(spent, "#.spend")), "%s: /spend/keys of %s", who, team)
			info := gjson.Get(i.Must(http.StatusOK, http.MethodGet, "/key/info", tr.keys[n], "").Body, "info.spend").Raw
			key, ok := new(big.Rat).SetString(info)
			require.True(t, ok, info)
			require.Zero(t, key.Cmp(byTeam[team].Rat()), "%s: /key/info of %s: %s", who, team, info)
		}
	}
}

func outcomesOf(m map[string]int) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	return names
}
