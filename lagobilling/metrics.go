package lagobilling

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// callMetrics are the metrics of all handlers of the process. They outlive reloads; each configuration registers them in
// its own registry. Labels are configured names and closed lists, never keys, payers or a client's text.
type callMetrics struct {
	requests  *prometheus.CounterVec
	firstByte *prometheus.HistogramVec
	duration  *prometheus.HistogramVec
	unpriced  *prometheus.CounterVec
	events    *prometheus.CounterVec
	prices    *prometheus.CounterVec
	unsettled prometheus.Counter

	inference, firstChunk *prometheus.HistogramVec // OpenTelemetry's names

	mu     sync.RWMutex
	series map[seriesLabels]*callSeries
	kinds  map[inferenceLabels]*inferenceSeries
}

const (
	metricsNamespace = "caddy"
	metricsSubsystem = "tollgate"
)

var theMetrics = newCallMetrics()

func newCallMetrics() *callMetrics {
	call := []string{"model", "backend", "outcome"}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help,
		}, labels)
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help, Buckets: buckets,
		}, call)
	}
	inference, firstChunk := newInference()
	return &callMetrics{
		inference: inference, firstChunk: firstChunk,
		series: make(map[seriesLabels]*callSeries), kinds: make(map[inferenceLabels]*inferenceSeries),

		requests:  counter("requests_total", "Model calls by configured model, backend and outcome.", call...),
		unpriced:  counter("unpriced_total", "Calls served without a price.", "model", "backend"),
		prices:    counter("price_updates_total", "Fetches of prices by URL and result.", "result"),
		events:    counter("lago_events_total", "Events by result of their delivery to Lago.", "result"),
		firstByte: histogram("time_to_first_token_seconds", "Time until the first byte of the answer's body.", []float64{.05, .1, .25, .5, 1, 2, 4, 8, 16, 32, 64}),
		duration:  histogram("request_duration_seconds", "Time until a call was settled.", []float64{.1, .25, .5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512}),
		unsettled: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "unsettled_total",
			Help: "Calls whose usage record could not be written; their answers were cut short.",
		}),
	}
}

// registerMetrics registers the metrics in a configuration's registry.
func registerMetrics(registry *prometheus.Registry) error {
	m := theMetrics
	for _, c := range []prometheus.Collector{
		m.requests, m.firstByte, m.duration, m.unpriced, m.events, m.prices, m.unsettled, m.inference, m.firstChunk, spoolCollector{}, servedTotals,
	} {
		if err := registry.Register(c); err != nil {
			if _, twice := errors.AsType[prometheus.AlreadyRegisteredError](err); !twice {
				return err
			}
		}
	}
	return nil
}

// seriesLabels are the values of the labels that a call's series share.
type seriesLabels struct{ model, backend, outcome string }

// callSeries are the series of calls with the same labels. Each is created when it first counts something, so that unused
// ones are not exported, and cached, as a lookup costs more than counting.
type callSeries struct {
	requests, unpriced  kept[prometheus.Counter]
	duration, firstByte kept[prometheus.Observer]
}

// kept caches a series from its first use on.
type kept[T any] struct{ p atomic.Pointer[T] }

func (k *kept[T]) get(find func() T) T {
	if p := k.p.Load(); p != nil {
		return *p
	}
	v := find()
	k.p.Store(&v)
	return v
}

// of returns the series of a call. The cache holds as many as the vectors do.
func (m *callMetrics) of(l seriesLabels) *callSeries {
	m.mu.RLock()
	s := m.series[l]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s = m.series[l]; s == nil {
		s = new(callSeries)
		m.series[l] = s
	}
	return s
}

// observe counts a settled call.
func (m *callMetrics) observe(c *llm.Settlement) {
	s := m.of(seriesLabels{c.Target.Model, c.Target.Backend, c.Outcome})
	counter := func(v *prometheus.CounterVec) func() prometheus.Counter {
		return func() prometheus.Counter { return v.WithLabelValues(c.Target.Model, c.Target.Backend, c.Outcome) }
	}
	histogram := func(v *prometheus.HistogramVec) func() prometheus.Observer {
		return func() prometheus.Observer { return v.WithLabelValues(c.Target.Model, c.Target.Backend, c.Outcome) }
	}
	s.requests.get(counter(m.requests)).Inc()
	s.duration.get(histogram(m.duration)).Observe(c.Duration.Seconds())
	if c.FirstByte >= 0 {
		s.firstByte.get(histogram(m.firstByte)).Observe(c.FirstByte.Seconds())
	}
	if c.Unpriced != "" {
		s.unpriced.get(func() prometheus.Counter { return m.unpriced.WithLabelValues(c.Target.Model, c.Target.Backend) }).Inc()
	}
	m.observeInference(c)
}

// delivered counts the results of delivery.
func (m *callMetrics) delivered(result string, n int) {
	m.events.WithLabelValues(result).Add(float64(n))
}

// spoolCollector reads the figures of all open spools when scraped.
type spoolCollector struct{}

var (
	spoolRecords = prometheus.NewDesc("caddy_tollgate_spool_records", "Records in the spool by state.", []string{"account", "state"}, nil)
	spoolOldest  = prometheus.NewDesc("caddy_tollgate_spool_oldest_seconds", "Age of the oldest record that Lago does not have yet.", []string{"account"}, nil)
	spoolBytes   = prometheus.NewDesc("caddy_tollgate_spool_bytes", "Size of the spool on disk.", []string{"account"}, nil)
	spoolUnread  = prometheus.NewDesc("caddy_tollgate_spool_unread_records", "Settled records that a consumer has not passed.", []string{"account", "consumer"}, nil)
	spoolLag     = prometheus.NewDesc("caddy_tollgate_spool_unread_oldest_seconds", "Age of the oldest record that a consumer has not passed.", []string{"account", "consumer"}, nil)
)

// Describe sends the descriptions of the spool's metrics.
func (spoolCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- spoolRecords
	ch <- spoolOldest
	ch <- spoolBytes
	ch <- spoolUnread
	ch <- spoolLag
}

// Collect sends the figures of all open spools. An account that a reload has moved has two spools until the old one is
// delivered; they are added up in one series.
func (spoolCollector) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	accounts := make(map[string]spool.Stats)
	type reader struct{ account, consumer string }
	lags, unread := make(map[reader]float64), make(map[reader]int64)
	app.Each(func(_ string, a *account.Account) {
		st, before := a.Spool().Stats(), accounts[a.Name()]
		for consumer, n := range st.Unread {
			r := reader{a.Name(), consumer}
			unread[r] += n
			if oldest := a.Spool().OldestUnread(consumer); !oldest.IsZero() {
				lags[r] = max(lags[r], now.Sub(oldest).Seconds())
			}
		}
		if st.Oldest.IsZero() || !before.Oldest.IsZero() && before.Oldest.Before(st.Oldest) {
			st.Oldest = before.Oldest
		}
		st.Open += before.Open
		st.Interrupted += before.Interrupted
		st.Pending += before.Pending
		st.Rejected += before.Rejected
		st.Finished += before.Finished
		st.Bytes += before.Bytes
		accounts[a.Name()] = st
	})
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	for r, n := range unread {
		gauge(spoolUnread, float64(n), r.account, r.consumer)
		gauge(spoolLag, lags[r], r.account, r.consumer)
	}
	for name, st := range accounts {
		gauge(spoolRecords, float64(st.Open), name, "open")
		gauge(spoolRecords, float64(st.Interrupted), name, "interrupted")
		gauge(spoolRecords, float64(st.Pending), name, "pending")
		gauge(spoolRecords, float64(st.Rejected), name, "rejected")
		gauge(spoolRecords, float64(st.Finished), name, "finished")
		oldest := 0.0
		if !st.Oldest.IsZero() {
			oldest = max(0, now.Sub(st.Oldest).Seconds())
		}
		gauge(spoolOldest, oldest, name)
		gauge(spoolBytes, float64(st.Bytes), name)
	}
}
