package keyauth

import (
	"errors"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate-llm/tollgate/app/limits"
	"github.com/tollgate-llm/tollgate/internal/keys"
)

// The collectors live as long as the process, so that figures survive reloads; each configuration registers them with its
// own registry. No label names a key, a user or a team.
var (
	refusalsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "tollgate", Name: "key_refusals_total",
		Help: "Calls refused by keyauth, by reason.",
	}, []string{"reason"})
)

// registerMetrics adds the collectors to the registry of a configuration.
func registerMetrics(r prometheus.Registerer) error {
	for _, c := range slices.Concat(keys.Collectors(), limits.Collectors(), []prometheus.Collector{refusalsTotal}) {
		if err := r.Register(c); err != nil {
			if _, twice := errors.AsType[prometheus.AlreadyRegisteredError](err); !twice {
				return err
			}
		}
	}
	return nil
}
