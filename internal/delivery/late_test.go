package delivery

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
)

func lateRig(t *testing.T, store string) *rig {
	r := newRig(t, fakelago.Options{Store: store})
	r.cfg.Late, r.cfg.SentFile = LateRestamp, filepath.Join(r.dir, "sent")
	r.maxInFlight = 2
	r.d.maxInFlight = 2
	r.d.Configure(r.cfg)
	r.clock.add(time.Minute)
	return r
}

// closePeriod lets a month go by: what was settled before is late, and its invoice final.
func (r *rig) closePeriod() {
	r.clock.add(time.Hour)
	r.lago.Finalise("sub", r.clock.now())
	r.clock.add(time.Hour)
}

// Through an outage and a restart: what was never sent moves into the open period and is billed; what may have been
// sent, and was in fact stored when its answers were lost, keeps its time and is not billed twice.
func TestLateRecordsAreRestampedOnce(t *testing.T) {
	for _, store := range bothStores {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(store, " restart ", restart), func(t *testing.T) {
				r := lateRig(t, store)
				r.lago.Always(func(c *fakelago.Call) fakelago.Fault {
					if c.Batch() {
						return fakelago.FaultCommitThenReset
					}
					return nil
				})
				for range 1000 { // settled over a quarter of an hour
					r.records(1)
					r.clock.add(time.Second)
				}
				r.d.Start()
				// Two batches are under way, and hold both places: once Lago has stored them, nothing more is claimed.
				stored := 200
				require.NoError(t, r.lago.Await(t.Context(), func() bool { return r.lago.BilledCount("sub", "tokens") == stored }))
				if restart {
					r.close()
				}
				r.closePeriod()
				if restart {
					r.open()
					r.d.Start()
				}
				r.lago.Always(nil)
				r.d.Kick()
				r.drained()
				st := r.d.Status()
				assert.EqualValues(t, 800, st.LateRestamped)
				if restart {
					assert.EqualValues(t, 200, st.LateUndecided)
				}
				assert.Empty(t, r.lago.BilledTwice())
				assert.Empty(t, r.lago.Violations())
				assert.Equal(t, 800+stored, r.lago.BilledCount("sub", "tokens"))
			})
		}
	}
}

func TestLateRecordsKeepTheirTimeByDefault(t *testing.T) {
	r := newRig(t, fakelago.Options{})
	r.records(50)
	r.closePeriod()
	r.d.Start()
	r.drained()
	assert.Equal(t, 50, r.lago.EventCount())
	assert.Zero(t, r.lago.BilledCount("sub", "tokens"), "its invoice is final: that is what keep means")
	assert.Zero(t, r.d.Status().LateRestamped)
}

func TestRecordsInTimeAreNotRestamped(t *testing.T) {
	r := lateRig(t, fakelago.Postgres)
	r.records(50)
	r.clock.add(3 * time.Hour) // an outage within the period
	r.d.Start()
	r.drained()
	r.billed()
	assert.Zero(t, r.d.Status().LateRestamped)
	for _, e := range r.lago.Events() {
		assert.Greater(t, r.clock.now().Sub(e.Time), 2*time.Hour)
	}
}

// A rejected record was sent: when it is retried after its period has closed, it keeps its time.
func TestRejectedRecordsAreNotRestamped(t *testing.T) {
	r := lateRig(t, fakelago.ClickHouse)
	r.lago.AddMetric(fakelago.Metric{Code: "expr", Needs: []string{"b"}})
	r.settle(r.event("sub", "tokens", "in", 5), r.event("sub", "expr", "bad", 5))
	r.d.Start()
	r.drained()
	require.EqualValues(t, 1, r.spool.Stats().Rejected)
	r.closePeriod()
	r.lago.AddMetric(fakelago.Metric{Code: "expr", Field: "value"})
	_, err := r.spool.Retry()
	require.NoError(t, err)
	r.drained()
	assert.Empty(t, r.lago.BilledTwice())
	assert.Equal(t, 1, r.lago.BilledTimes("in"))
	assert.Zero(t, r.d.Status().LateRestamped)
}

// The mark must not outlive the mode: what is sent under keep is not marked.
func TestKeepTakesTheMarkAway(t *testing.T) {
	r := lateRig(t, fakelago.ClickHouse)
	r.records(1)
	r.d.Start()
	r.drained()
	assert.FileExists(t, r.cfg.SentFile)
	r.cfg.Late = LateKeep
	r.d.Configure(r.cfg)
	assert.NoFileExists(t, r.cfg.SentFile)
	r.lago.Always(func(c *fakelago.Call) fakelago.Fault { return fakelago.FaultCommitThenReset })
	r.clock.add(time.Minute)
	r.records(100)
	n := 0
	require.NoError(t, r.lago.Await(t.Context(), func() bool { n++; return n > 5 }))
	r.close()
	r.cfg.Late = LateRestamp
	r.clock.add(time.Minute)
	r.open()
	r.closePeriod()
	r.lago.Always(nil)
	r.d.Start()
	r.drained()
	assert.Empty(t, r.lago.BilledTwice())
	assert.Zero(t, r.d.Status().LateRestamped)
}

func TestDamagedMarkTrustsNothing(t *testing.T) {
	r := lateRig(t, fakelago.Postgres)
	r.records(10)
	r.close()
	require.NoError(t, os.WriteFile(r.cfg.SentFile, []byte(`{"sent_`), 0o600))
	r.closePeriod()
	r.open()
	r.d.Start()
	r.drained()
	assert.Zero(t, r.d.Status().LateRestamped)
	assert.EqualValues(t, 10, r.d.Status().LateUndecided)
}

// Restamping goes on while calls are opened and settled.
func TestRestampUnderTraffic(t *testing.T) {
	r := lateRig(t, fakelago.Postgres)
	r.records(500)
	r.closePeriod()
	r.lago.AddSubscription(fakelago.Subscription{ExternalID: "now"})
	r.d.Start()
	for i := range 1000 {
		r.settle(r.event("now", "tokens", fmt.Sprint("n", i), 1))
	}
	r.want["now"] = 1000
	r.drained()
	r.billed()
	assert.EqualValues(t, 500, r.d.Status().LateRestamped)
}

// TestAdoptedRecordsKeepTheirTime adopts records that the dead instance may have sent: `late restamp` must not make them
// other events to ClickHouse.
func TestAdoptedRecordsKeepTheirTime(t *testing.T) {
	r := newRig(t, fakelago.Options{Store: fakelago.ClickHouse})
	r.close()
	r.cfg.Late, r.cfg.SentFile = LateRestamp, filepath.Join(r.dir, "sent")
	r.open()
	settled := r.clock.now().Add(time.Minute)
	require.NoError(t, r.d.late.adopted(settled))
	record := spool.Record{Seq: 1, Time: settled}
	require.False(t, r.d.late.fresh(record))
	require.True(t, r.d.late.fresh(spool.Record{Seq: 2, Time: settled.Add(time.Second)}), "what is settled here after it is")
	r.close()
	r.open()
	require.False(t, r.d.late.fresh(record), "after the next start too")
}
