package limit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

// TestSessionsAreForgotten spends within sessions, whose names clients choose: a session's spend is kept for a week after its last
// call, and then takes no room.
func TestSessionsAreForgotten(t *testing.T) {
	session := Limit{Scope: Scope{Session, SessionID("k", "a|session:b")}, Metric: Cost, Money: usd(t, "1")}
	looks := Limit{Scope: Scope{Key, "k"}, Model: "session:x", Metric: Cost, Money: usd(t, "1")} // a model of that name is no session
	media(t, func(t *testing.T, m *medium, c *clock) {
		var seq uint64
		spend := func(l Limit) {
			g, err := m.Reserve(t.Context(), &Reservation{ID: "x", Limits: []Limit{l}, Cost: usd(t, "0.1")})
			require.NoError(t, err)
			_, err = m.Apply(t.Context(), &Batch{Spool: "s", From: seq, To: seq + 1, Charges: []Charge{{ID: g.ID, At: g.At, Counters: g.Counters, Cost: usd(t, "0.1")}}})
			require.NoError(t, err)
			seq++
		}
		spent := func(l Limit) string {
			states, err := m.Status(t.Context(), []Limit{l})
			require.NoError(t, err)
			return states[0].Spent.String()
		}
		spend(session)
		spend(looks)
		if s, ok := m.Store.(*redisStore); ok {
			for l, least := range map[*Limit]time.Duration{&session: sessionKept - time.Hour, &looks: -2} {
				ttl, err := s.client.TTL(t.Context(), s.counter(nameOf(l, c.at))).Result()
				require.NoError(t, err)
				require.GreaterOrEqual(t, ttl, least)
				require.LessOrEqual(t, ttl, sessionKept)
				require.Equal(t, l == &looks, ttl < 0, "a session's key expires, and no other")
			}
			return
		}
		c.at = c.at.Add(sessionKept - time.Hour)
		m.crash()
		require.Equal(t, "0.1", spent(session))
		spend(session)
		c.at = c.at.Add(sessionKept - time.Hour)
		m.crash()
		require.Equal(t, "0.2", spent(session), "a week after the last call")
		c.at = c.at.Add(2 * time.Hour)
		spend(looks)
		inFile := 0
		require.NoError(t, m.Store.(*file).db.View(func(tx *bbolt.Tx) error {
			inFile = tx.Bucket(spentBucket).Stats().KeyN
			return nil
		}))
		require.Equal(t, 1, inFile, "the session's is gone from the file")
		m.crash()
		require.Equal(t, "0", spent(session))
		require.Equal(t, "0.2", spent(looks))
	})
}

func nameOf(l *Limit, at time.Time) string {
	name, _, _ := l.counter(at)
	return name
}
