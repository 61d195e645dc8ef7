package limit

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// TestWindowsRollOverUnderLoad has callers of four instances ask without a pause while windows of a second end: each window is used
// up, and never exceeded.
func TestWindowsRollOverUnderLoad(t *testing.T) {
	instances := newInstances(t, 4, testkit.Redis(t))
	budget := Limit{Scope: Scope{Team, "blue"}, Metric: Cost, Window: Window{Every: time.Second}, Money: usd(t, "0.05")}
	admitted := make(map[string]int)
	for round := 0; len(admitted) < 4; round++ {
		for _, g := range storm(t, instances, round*40, 40, []Limit{budget}, usd(t, "0.01")) {
			require.Len(t, g.Counters, 1)
			admitted[g.Counters[0]]++
			require.LessOrEqual(t, plus(g.States[0].Spent, g.States[0].Reserved).Cmp(budget.Money), 0)
		}
	}
	full := 0
	for window, n := range admitted {
		require.LessOrEqual(t, n, 5, window)
		if n == 5 {
			full++
		}
	}
	require.GreaterOrEqual(t, full, 2, "%v", admitted)
}

// TestLeases renews the reservation of a call, as the instance of a long stream does, and then stops: what a killed instance had
// reserved is free again once the lease has run out.
func TestLeases(t *testing.T) {
	media(t, func(t *testing.T, m *medium, c *clock) {
		budget := teamBudget(t, "1")
		parallel := Limit{Scope: Scope{Key, "k"}, Metric: Parallel, Max: 1}
		reserve := func(id string) (*Grant, error) {
			return m.Reserve(t.Context(), &Reservation{ID: id, Limits: []Limit{budget, parallel}, Cost: budget.Money})
		}
		g, err := reserve("stream")
		require.NoError(t, err)
		held := []*Held{{ID: g.ID, At: g.At, need: g.need}}
		for i := range 20 { // ten minutes
			c.at = c.at.Add(renewEvery)
			_, err := m.Renew(t.Context(), "a", held)
			require.NoError(t, err)
			_, err = reserve(fmt.Sprint("other-", i))
			require.True(t, errors.As(err, new(*DeniedError)), "%v", err)
		}
		c.at = c.at.Add(Lease - time.Millisecond)
		_, err = reserve("too early")
		require.ErrorAs(t, err, new(*DeniedError))
		c.at = c.at.Add(time.Millisecond)
		_, err = reserve("after the lease")
		require.NoError(t, err)
	})
}
