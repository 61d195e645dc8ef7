package lago_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
)

func TestProbeStoresNothing(t *testing.T) {
	for _, store := range []string{fakelago.Postgres, fakelago.ClickHouse} {
		l := fakelago.New(t, fakelago.Options{Key: key, Store: store, BatchMax: 40})
		c := client(t, l.URL)
		for n, takes := range map[int]bool{1: true, 40: true, 41: false, 100: false} {
			ok, tooMany, err := c.Probe(t.Context(), n)
			require.NoError(t, err)
			assert.Equal(t, takes, ok)
			assert.Equal(t, !takes, tooMany)
		}
		assert.Zero(t, l.EventCount())
		assert.Empty(t, l.Violations())
		for words, fault := range map[string]fakelago.Fault{
			"not JSON":   fakelago.FaultHTML(200),
			"status 502": fakelago.FaultHTML(502),
			"may not":    fakelago.FaultStatus(403, `{"status":403,"error":"Forbidden","code":"write_action_not_allowed_for_event"}`),
		} {
			l.Next(fault)
			ok, tooMany, err := c.Probe(t.Context(), 5)
			assert.False(t, ok || tooMany)
			assert.ErrorContains(t, err, words)
		}
		l.SetKey("other")
		_, _, err := c.Probe(t.Context(), 5)
		var e *lago.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 401, e.Status)
		assert.NotContains(t, err.Error(), key)
	}
}
