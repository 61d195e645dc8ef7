package audit

import (
	"time"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// Account is what is audited.
type Account struct {
	Name    string
	Spool   *spool.Spool
	Lago    *lago.Client     // nil: none is configured
	Retain  time.Duration    // how far back the ledger reaches
	Tariffs []*tariff.Tariff // of the configuration in force
}

// Progress reports the progress of an audit: what is counted, how many are done, and of how many (0: not known).
type Progress = func(what string, done, of int)
