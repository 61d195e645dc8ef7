package keys

import (
	"github.com/prometheus/client_golang/prometheus"
)

// The collectors live as long as the process, so that counts survive reloads. No label names a key, a user or a team.
var (
	lookupsTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "tollgate", Name: "key_store_lookups_total",
		Help: "Records asked of key stores because no cached one could serve.",
	})
	staleTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "tollgate", Name: "key_stale_total",
		Help: "Calls let in by a cached key while its store was down.",
	})
	storeErrorsTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "tollgate", Name: "key_store_errors_total",
		Help: "Failed requests to key stores.",
	})
	storesOpen = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "caddy", Subsystem: "tollgate", Name: "key_stores",
		Help: "Key stores in use.",
	})
	storesDown = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "caddy", Subsystem: "tollgate", Name: "key_stores_down",
		Help: "Key stores in use that did not answer when last asked.",
	})
)

// Collectors returns the metrics of key stores and of the caches in front of them.
func Collectors() []prometheus.Collector {
	return []prometheus.Collector{lookupsTotal, staleTotal, storeErrorsTotal, storesOpen, storesDown}
}
