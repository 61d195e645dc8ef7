package lagobilling

import (
	"context"
	"math/big"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/genai"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/spend"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// servedTime bounds how long a scrape waits for the books.
const servedTime = 2 * time.Second

// servedCollector reads the totals of tokens and money from the books when scraped: those of the settled records that this
// instance has added since its first start, so that a killed process loses none. While the books do not answer, the last
// values are reported.
type servedCollector struct {
	mu   sync.Mutex
	last map[string][]spend.Served // by key of the account
}

var servedTotals = &servedCollector{last: make(map[string][]spend.Served)}

var (
	tokensDesc = prometheus.NewDesc("caddy_tollgate_tokens_total", "Quantities used, by disjoint kind, from the books.",
		[]string{"model", "backend", "outcome", "kind"}, nil)
	costDesc = prometheus.NewDesc("caddy_tollgate_cost_usd_total", "Cost in USD as billed, from the books, which have the exact amounts.",
		[]string{"model", "backend", "outcome"}, nil)
	inferenceDescs = func() map[string]*prometheus.Desc {
		list := make(map[string]*prometheus.Desc)
		for name, help := range map[string]string{
			genai.InferenceInputTokens:  "Billed input tokens, cached ones included, by OpenTelemetry's conventions.",
			genai.InferenceOutputTokens: "Billed output tokens, reasoning included, by OpenTelemetry's conventions.",
			genai.InferenceCacheRead:    "Input tokens read from a cache.",
			genai.InferenceCacheWrite:   "Input tokens written to a cache.",
			genai.InferenceReasoning:    "Output tokens spent on reasoning.",
		} {
			list[name] = prometheus.NewDesc(name, help, []string{genai.OperationName, genai.ProviderName, genai.RequestModel, genai.TokenModality}, nil)
		}
		return list
	}()
)

// Describe sends the descriptions.
func (*servedCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- tokensDesc
	ch <- costDesc
	for _, d := range inferenceDescs {
		ch <- d
	}
}

// counts converts an amount to the books' units of 10^-15 USD.
var counts = new(big.Rat).SetInt64(1e15)

// totals are sums by description and labels.
type totals map[*prometheus.Desc]map[string]price.Amount

func (t totals) add(d *prometheus.Desc, a price.Amount, labels ...string) {
	of := t[d]
	if of == nil {
		of = make(map[string]price.Amount)
		t[d] = of
	}
	key := strings.Join(labels, "\x00")
	if sum, err := of[key].Add(a); err == nil { // an overflow is beyond any sum of money
		of[key] = sum
	}
}

// Collect sends the totals of all accounts.
func (c *servedCollector) Collect(ch chan<- prometheus.Metric) {
	c.collect(c.read(), ch)
}

// collect sends the totals of the accounts, unless the books of one have never answered.
func (*servedCollector) collect(accounts map[string][]spend.Served, ch chan<- prometheus.Metric) {
	t := make(totals)
	for _, list := range accounts {
		if list == nil {
			return
		}
		for i := range list {
			t.count(&list[i])
		}
	}
	for desc, of := range t {
		for key, a := range of {
			exact := a.Rat()
			if desc != costDesc {
				exact.Mul(exact, counts)
			}
			v, _ := exact.Float64()
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, v, strings.Split(key, "\x00")...)
		}
	}
}

// read queries the books of all accounts. The totals of an account whose books have never answered are nil.
func (c *servedCollector) read() map[string][]spend.Served {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), servedTime)
	defer cancel()
	var open []string
	app.Each(func(key string, _ *account.Account) { open = append(open, key) })
	now := make(map[string][]spend.Served)
	for _, key := range open {
		a, release, ok := app.Hold[*account.Account](key)
		if !ok {
			continue
		}
		list, err := a.Served(ctx)
		release()
		if err != nil {
			list = c.last[key]
			caddy.Log().Named("http.handlers.lagobilling").Warn("metrics: the books do not answer; the last known totals are reported",
				zap.String("account", a.Name()), zap.Error(err))
		} else if list == nil {
			list = []spend.Served{}
		}
		now[key] = list
	}
	c.last = now
	return now
}

// count adds what was served.
func (t totals) count(s *spend.Served) {
	if cost := s.Sums[spend.Cost]; !cost.IsZero() {
		t.add(costDesc, cost, s.Model, s.Backend, s.Outcome)
	}
	operation, provider := genai.Operation(s.Endpoint), genai.Provider(s.Provider)
	for k := range usage.Kind(usage.NumKinds) {
		n := s.Sums[spend.KindPrefix+k.String()]
		if n.IsZero() {
			continue
		}
		t.add(tokensDesc, n, s.Model, s.Backend, s.Outcome, k.String())
		for _, name := range genai.Counters(k) {
			t.add(inferenceDescs[name], n, operation, provider, s.Model, genai.Modality(k))
		}
	}
}
