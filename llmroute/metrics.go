package llmroute

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// keysRefused is shared by all handlers of the process and outlives reloads. Each configuration registers it in
// its own registry.
var keysRefused = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy", Subsystem: "tollgate", Name: "backend_key_refused_total",
	Help: "Answers by which a provider refuses a backend's key, of the statuses in retry_on.",
}, []string{"model", "backend", "status"})

func registerMetrics(registry *prometheus.Registry) error {
	if err := registry.Register(keysRefused); err != nil {
		if _, twice := errors.AsType[prometheus.AlreadyRegisteredError](err); !twice {
			return err
		}
	}
	return nil
}
