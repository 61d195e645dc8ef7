package audit

import (
	"time"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// Account is the audited account.
type Account struct {
	Name    string
	Spool   *spool.Spool
	Lago    *lago.Client     // nil: none is configured
	Retain  time.Duration    // retention of the ledger
	Tariffs []*tariff.Tariff // of the current configuration
}

// Progress reports the progress of an audit: what is counted, how many are done, and of how many (0: unknown).
type Progress = func(what string, done, of int)
