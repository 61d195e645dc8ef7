package limits

import (
	"github.com/prometheus/client_golang/prometheus"
)

// The collectors are global, so counts survive reloads.
var (
	// Denials counts calls that a limit refused.
	Denials = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "tollgate", Name: "limit_denials_total",
		Help: "Calls that a limit did not admit, by the scope of the limit and by what it counts.",
	}, []string{"scope", "metric"})
	// LeftOut counts fallback models and backends that a limit removed from a call's plan.
	LeftOut = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "tollgate", Name: "limit_left_out_total",
		Help: "Fallback models and backends that a limit took out of the plan of a call, by the scope of the limit and by what it counts.",
	}, []string{"scope", "metric"})
	// SoftPassed counts calls that were admitted beyond a soft budget.
	SoftPassed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "tollgate", Name: "soft_budget_passed_total",
		Help: "Calls admitted while a soft budget is passed, by the scope of the budget.",
	}, []string{"scope"})
	// Local counts calls that were admitted while the store was unavailable.
	Local = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "tollgate", Name: "limit_local_total",
		Help: "Calls admitted by this instance alone, while the store of limits was away.",
	})
	storesAway = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "caddy", Subsystem: "tollgate", Name: "limit_stores_away",
		Help: "Stores of limits that do not answer.",
	})
)

// Collectors returns the collectors, for the registry of a configuration.
func Collectors() []prometheus.Collector {
	return []prometheus.Collector{Denials, LeftOut, SoftPassed, Local, storesAway}
}
