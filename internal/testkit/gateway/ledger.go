package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// LedgerLine is a ledger record.
type LedgerLine struct {
	ID        string           `json:"id"`
	Team      string           `json:"team"`
	Outcome   string           `json:"outcome"`
	Status    int              `json:"status"`
	Hangup    string           `json:"hangup"`
	Source    string           `json:"source"`
	How       string           `json:"how"`
	NotBilled string           `json:"not_billed"`
	Backend   string           `json:"backend"`
	Upstream  string           `json:"upstream"`
	Model     string           `json:"model"`
	Cost      string           `json:"cost"`
	Attempts  int              `json:"attempts"`
	Counts    map[string]int64 `json:"counts"`
	Events    []any            `json:"events"`
	State     string           `json:"state"`
}

// Billing returns the status of the accounts, from the admin API.
func (g *Gateway) Billing() string {
	a, err := (&Gateway{T: g.T, Addr: g.Admin}).Do(http.MethodGet, "/tollgate/billing", "", "")
	require.NoError(g.T, err)
	return a.Body
}

// Ledger returns all records of the ledger.
func (g *Gateway) Ledger() []LedgerLine {
	g.T.Helper()
	a, err := (&Gateway{T: g.T, Addr: g.Admin}).Do(http.MethodGet, "/tollgate/billing/events", "", "")
	require.NoError(g.T, err)
	var out []LedgerLine
	for line := range strings.Lines(a.Body) {
		var l LedgerLine
		require.NoError(g.T, json.Unmarshal([]byte(line), &l))
		out = append(out, l)
	}
	return out
}

// Record waits until there is exactly one settled record and returns it.
func (g *Gateway) Record() LedgerLine {
	g.T.Helper()
	var all []LedgerLine
	require.Eventually(g.T, func() bool {
		all = g.Ledger()
		return len(all) == 1 && all[0].Outcome != ""
	}, 10*time.Second, 5*time.Millisecond)
	return all[0]
}
