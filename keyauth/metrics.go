package keyauth

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// The collectors live as long as the process, so that figures survive reloads; each configuration registers them with its
// own registry. No label names a key, a user or a team.
var (
	refusalsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "tollgate", Name: "key_refusals_total",
		Help: "Calls refused by keyauth, by reason.",
	}, []string{"reason"})
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

// registerMetrics adds the collectors to the registry of a configuration.
func registerMetrics(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{refusalsTotal, lookupsTotal, staleTotal, storeErrorsTotal, storesOpen, storesDown} {
		if err := r.Register(c); err != nil {
			if _, twice := errors.AsType[prometheus.AlreadyRegisteredError](err); !twice {
				return err
			}
		}
	}
	return nil
}
