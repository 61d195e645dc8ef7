package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
)

var bothStores = []string{fakelago.Postgres, fakelago.ClickHouse}

func TestDeliveryOverFaults(t *testing.T) {
	html := fakelago.FaultHTML
	for name, faults := range map[string][]fakelago.Fault{
		"none":                   nil,
		"connection reset":       {fakelago.FaultReset, fakelago.FaultReset},
		"commit, answer lost":    {fakelago.FaultCommitThenReset, nil, fakelago.FaultCommitThenReset},
		"commit, then 500":       {fakelago.FaultCommitThen500, fakelago.FaultCommitThen500},
		"truncated 200":          {fakelago.FaultTruncated},
		"delivered twice":        {fakelago.FaultTwice, fakelago.FaultTwice},
		"200 html":               {html(200), html(200), html(200)},
		"502 html":               {html(502), html(502), html(502)},
		"500 html":               {html(500), html(500), html(500), html(500)},
		"503 empty":              {fakelago.FaultStatus(503, ""), fakelago.FaultStatus(503, "")},
		"429":                    {fakelago.FaultRateLimit(90 * time.Second)},
		"408 and 425":            {fakelago.FaultStatus(408, ""), fakelago.FaultStatus(425, "")},
		"hang":                   {fakelago.FaultHang},
		"slow body":              {fakelago.FaultSlow(50 * time.Millisecond)},
		"slower than we wait":    {fakelago.FaultSlow(3 * time.Second)},
		"400 for once":           {html(400)},
		"404 until repaired":     {html(404), html(404), html(404)},
		"403 until repaired":     {fakelago.FaultStatus(403, `{"status":403,"error":"Forbidden"}`)},
		"redirect until repairs": {fakelago.FaultStatus(302, "", "Location", "https://login.invalid/")},
		"422 without sense":      {fakelago.FaultStatus(422, `{"error_details":"what"}`)},
	} {
		for _, store := range bothStores {
			t.Run(name+" "+store, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, fakelago.Options{Store: store})
				r.lago.Next(faults...)
				r.records(350)
				r.d.Start()
				r.drained()
				r.billed()
				assert.Zero(t, r.spool.Stats().Rejected)
				assert.Equal(t, 350, r.lago.BilledCount("sub", "tokens"))
				st := r.d.Status()
				assert.EqualValues(t, 350, st.Results[Accepted]+st.Results[Duplicate])
				assert.Empty(t, st.Stopped)
				if name == "429" {
					assert.GreaterOrEqual(t, r.clock.longest(), 89*time.Second)
				}
			})
		}
	}
}

func TestDeliveryUnderRandomFaults(t *testing.T) {
	for _, o := range []fakelago.Options{
		{Store: fakelago.Postgres}, {Store: fakelago.Postgres, PartialStore: true}, {Store: fakelago.ClickHouse},
	} {
		t.Run(fmt.Sprint(o.Store, o.PartialStore), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, o)
			r.lago.Random(7, 400, fakelago.FaultReset, fakelago.FaultCommitThenReset, fakelago.FaultCommitThen500, fakelago.FaultTruncated,
				fakelago.FaultTwice, fakelago.FaultHTML(200), fakelago.FaultHTML(502), fakelago.FaultRateLimit(time.Second), fakelago.FaultStatus(503, ""))
			r.records(3000)
			r.d.Start()
			r.drained()
			r.billed()
			assert.Zero(t, r.spool.Stats().Rejected)
		})
	}
}

// Without deduplication in ClickHouse, what was stored when its answer was lost counts twice: that is what the fake Lago
// is there to see.
func TestLostAnswerWithoutDeduplication(t *testing.T) {
	r := newRig(t, fakelago.Options{Store: fakelago.ClickHouse, NoDeduplication: true})
	r.lago.Next(fakelago.FaultCommitThenReset)
	r.records(1)
	r.d.Start()
	r.drained()
	assert.Len(t, r.lago.BilledTwice(), 1)
}

func TestAcknowledgedThenLostIsReplayed(t *testing.T) {
	r := newRig(t, fakelago.Options{Store: fakelago.ClickHouse})
	r.lago.Next(nil, fakelago.FaultLost, nil)
	r.records(300)
	r.d.Start()
	r.drained()
	assert.Equal(t, 200, r.lago.BilledCount("sub", "tokens"))
	n, err := r.spool.Replay(time.Time{}, r.clock.now().Add(time.Hour), func(spool.Record) bool { return true })
	require.NoError(t, err)
	assert.Equal(t, 300, n)
	r.drained()
	r.billed()
	assert.Equal(t, 300, r.lago.BilledCount("sub", "tokens"))
	assert.Equal(t, fakelago.ClickHouse, r.d.Status().EventsStore)
}

func TestDeliveryStopsAndResumes(t *testing.T) {
	for _, store := range bothStores {
		r := newRig(t, fakelago.Options{Store: store})
		good := r.lago.Key()
		r.lago.SetKey("rotated")
		r.records(250)
		r.d.Start()
		require.NoError(t, r.lago.Await(t.Context(), func() bool { return r.d.Status().Stopped != "" }))
		assert.Contains(t, r.d.Status().Stopped, "API key")
		assert.NotContains(t, r.d.Status().Stopped, good)
		assert.Zero(t, r.lago.EventCount())

		r.cfg.Client = r.client("rotated") // the operator's reload
		r.d.Configure(r.cfg)
		r.drained()
		r.billed()
		assert.Empty(t, r.d.Status().Stopped)
		assert.Zero(t, r.spool.Stats().Rejected)
	}
}

func TestKeyRepairedAtLago(t *testing.T) {
	r := newRig(t, fakelago.Options{})
	good := r.lago.Key()
	r.lago.SetKey("wrong")
	r.records(20)
	r.d.Start()
	n := 0
	require.NoError(t, r.lago.Await(t.Context(), func() bool { n++; return n > 20 }))
	assert.GreaterOrEqual(t, r.clock.longest(), 30*time.Second, "probes come up to a minute apart")
	r.lago.SetKey(good)
	r.drained()
	r.billed()
}

func TestRejectedEventsAreDeadLettersAlone(t *testing.T) {
	for _, store := range bothStores {
		r := newRig(t, fakelago.Options{Store: store})
		r.lago.AddMetric(fakelago.Metric{Code: "expr", Needs: []string{"b"}})
		r.records(40)
		badTime := strings.Replace(r.event("sub", "tokens", "bad-time", 1), `"timestamp":"`, `"timestamp":"x`, 1)
		r.settle(badTime)
		r.settle(r.event("sub", "tokens", "two-in", 5), r.event("sub", "expr", "two-expr", 5), r.event("sub", "tokens", "two-out", 6))
		r.want["sub"] += 11
		r.settle("not JSON")
		r.records(57)
		r.d.Start()
		r.drained()
		r.billed()
		assert.EqualValues(t, 3, r.spool.Stats().Rejected)
		notes := make(map[string]string)
		require.NoError(t, r.spool.Scan(time.Time{}, r.clock.now().Add(time.Hour), func(rec spool.Record) error {
			if rec.State == spool.StateRejected {
				notes[string(rec.Payload)] = string(rec.Note)
			}
			return nil
		}))
		assert.JSONEq(t, `{"events":[{"event":0,"transaction_id":"bad-time","status":422,"error":{"timestamp":["invalid_format"]}}]}`, notes[`{"v":1,"events":[`+badTime+`]}`])
		for payload, note := range notes {
			if strings.Contains(payload, "two-expr") {
				assert.JSONEq(t, `{"events":[{"event":1,"transaction_id":"two-expr","status":422,
					"error":"expression_evaluation_failed: Variable: b not found"}]}`, note)
			}
			if strings.Contains(payload, "not JSON") {
				assert.Contains(t, note, "cannot be read")
			}
		}
		assert.EqualValues(t, 3, r.d.Status().Results[Rejected])
	}
}

func TestPoisonIsFoundByBisection(t *testing.T) {
	for _, store := range bothStores {
		r := newRig(t, fakelago.Options{Store: store})
		r.lago.Poison(func(e fakelago.Event) bool { return strings.HasPrefix(e.TransactionID, "poison") })
		r.records(30)
		r.settle(r.event("sub", "tokens", "poison-1", 1))
		r.records(50)
		r.settle(r.event("sub", "tokens", "poison-2", 1))
		r.records(200)
		r.d.Start()
		r.drained()
		r.billed()
		assert.EqualValues(t, 2, r.spool.Stats().Rejected)
		assert.Equal(t, 280, r.lago.BilledCount("sub", "tokens"))

		// Mended at Lago's side, they go again on the operator's word.
		r.lago.Poison(nil)
		_, err := r.spool.Retry()
		require.NoError(t, err)
		r.want["sub"] += 2
		r.drained()
		r.billed()
	}
}

func TestPoisonDoesNotStopOthers(t *testing.T) {
	r := newRig(t, fakelago.Options{})
	r.lago.Poison(func(e fakelago.Event) bool { return strings.HasPrefix(e.TransactionID, "poison") })
	for i := range 30 { // more than there are batches in flight
		r.settle(r.event("sub", "tokens", fmt.Sprint("poison-", i), 1))
	}
	r.records(5000)
	r.d.Start()
	r.until("the poison is dead-lettered", func() bool {
		st := r.spool.Stats()
		if st.Rejected < 30 && st.Pending <= 30 {
			r.records(10) // it is known by others passing beside it: they must not run out
		}
		return st.Rejected == 30
	})
	r.drained()
	r.billed()
}

// A lone event that Lago fails on, with nothing else to send, may meet a Lago that fails on all: it is kept.
func TestLoneFailureIsKept(t *testing.T) {
	r := newRig(t, fakelago.Options{})
	r.lago.Poison(func(fakelago.Event) bool { return true })
	r.settle(r.event("sub", "tokens", "lonely", 1))
	r.d.Start()
	n := 0
	require.NoError(t, r.lago.Await(t.Context(), func() bool { n++; return n > 50 }))
	assert.Zero(t, r.spool.Stats().Rejected)
	r.lago.Poison(nil)
	r.want["sub"] = 1
	r.drained()
	r.billed()
}

// A Lago that fails on everything for long costs no record, and is not called in a tight loop.
func TestLongOutageRejectsNothing(t *testing.T) {
	for name, fault := range map[string]fakelago.Fault{
		"500": fakelago.FaultHTML(500), "502": fakelago.FaultHTML(502), "reset": fakelago.FaultReset,
		"lost": fakelago.FaultCommitThenReset,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fakelago.Options{})
			r.lago.Always(func(*fakelago.Call) fakelago.Fault { return fault })
			r.records(1500)
			began := r.clock.now()
			r.d.Start()
			n := 0
			require.NoError(t, r.lago.Await(t.Context(), func() bool { n++; return n > 600 }))
			assert.Greater(t, r.clock.now().Sub(began), 10*time.Minute, "600 calls")
			assert.Zero(t, r.spool.Stats().Rejected)
			assert.LessOrEqual(t, r.d.Status().Batches, 8)
			r.lago.Always(nil)
			r.drained()
			r.billed()
			assert.Zero(t, r.spool.Stats().Rejected)
		})
	}
}

// What a proxy refuses is no verdict of Lago on a record: nothing is dead-lettered, however often it is refused.
func TestRefusalsOfProxiesAreNoVerdict(t *testing.T) {
	for _, status := range []int{400, 413, 422} {
		r := newRig(t, fakelago.Options{})
		r.lago.Always(func(*fakelago.Call) fakelago.Fault { return fakelago.FaultHTML(status) })
		r.records(300)
		r.d.Start()
		n := 0
		require.NoError(t, r.lago.Await(t.Context(), func() bool { n++; return n > 3000 }))
		assert.Zero(t, r.spool.Stats().Rejected)
		assert.Positive(t, r.d.Status().Results[Refused])
		r.lago.Always(nil)
		r.drained()
		r.billed()
		assert.Zero(t, r.spool.Stats().Rejected)
	}
}

func TestBatchLimitIsLearned(t *testing.T) {
	r := newRig(t, fakelago.Options{BatchMax: 10})
	r.records(500)
	r.d.Start()
	r.drained()
	r.billed()
	assert.LessOrEqual(t, r.d.Status().BatchLimit, 10)
	assert.Zero(t, r.spool.Stats().Rejected)
}

// A limit that was learned by halving lies below Lago's own: after a thousand calls a larger batch is tried.
func TestLearnedBatchLimitGrowsAgain(t *testing.T) {
	r := newRig(t, fakelago.Options{BatchMax: 2})
	r.records(100)
	r.d.Start()
	r.drained()
	require.Equal(t, 1, r.d.Status().BatchLimit)
	r.records(passesToRegrow)
	r.drained()
	assert.Equal(t, 2, r.d.Status().BatchLimit)
	r.billed()
}

// A proxy takes no body beyond a size: batches are made smaller, and the one event that is larger waits until the proxy takes it, while the
// others pass.
func TestBodyLimitIsBisected(t *testing.T) {
	r := newRig(t, fakelago.Options{})
	limit := int64(5000)
	r.lago.Always(func(c *fakelago.Call) fakelago.Fault {
		if c.Request.ContentLength > limit {
			return fakelago.FaultHTML(413)
		}
		return nil
	})
	r.records(300)
	r.settle(r.event("other", "tokens", strings.Repeat("huge", 2000), 1))
	r.d.Start()
	require.NoError(t, r.lago.Await(t.Context(), func() bool { return r.lago.EventCount() == 300 && r.d.Status().Results[Refused] > 2*refusalsToDrop }))
	assert.Zero(t, r.spool.Stats().Rejected)
	r.lago.Always(nil)
	r.drained()
	r.billed()
	assert.Zero(t, r.spool.Stats().Rejected)
}

// An operator sees what a proxy refuses, and gives up one such call: it is dead-lettered with the proxy's error, the others go on.
func TestRefusedEventsAreShownAndGivenUp(t *testing.T) {
	r := newRig(t, fakelago.Options{})
	r.lago.Always(func(c *fakelago.Call) fakelago.Fault {
		if c.Request.ContentLength > 5000 {
			return fakelago.FaultHTML(413)
		}
		return nil
	})
	r.records(30)
	for _, name := range []string{"large", "vast"} {
		r.settle(r.event("other", "tokens", strings.Repeat(name, 2000), 1))
	}
	r.d.Start()
	var refused []Refusal
	require.NoError(t, r.lago.Await(t.Context(), func() bool {
		st := r.d.Status()
		refused = st.Refused
		return r.lago.EventCount() == 30 && st.RefusedTotal == 2 && refused[0].Times > 1 && refused[1].Times > 1
	}))
	require.Equal(t, 413, refused[0].Status)
	require.NotEmpty(t, refused[0].Error)
	require.NotEqual(t, refused[0].ID, refused[1].ID)
	id := spool.ID(uuid.MustParse(refused[0].ID))
	require.NoError(t, r.lago.Await(t.Context(), func() bool { // but for the moments in which it is tried
		r.d.GiveUp(map[spool.ID]bool{id: true})
		return r.spool.Stats().Rejected == 1
	}))
	var note Rejection
	require.NoError(t, r.spool.Select([]spool.State{spool.StateRejected}, time.Time{}, time.Time{}, func(rec spool.Record) error {
		require.Equal(t, id, rec.ID)
		return json.Unmarshal(rec.Note, &note)
	}))
	require.Equal(t, 413, note.Events[0].Status)
	require.Contains(t, string(note.Events[0].Error), "refused before Lago")
	r.lago.Always(nil)
	r.drained()
	require.Equal(t, 31, r.lago.EventCount(), "the other one passes once the proxy takes it")
	require.Zero(t, r.d.Status().RefusedTotal)
}

func TestManyEventsARecord(t *testing.T) {
	r := newRig(t, fakelago.Options{})
	for i := range 90 {
		events := make([]string, i%13)
		for j := range events {
			events[j] = r.event("sub", "tokens", fmt.Sprintf("r%d-%d", i, j), 1)
		}
		r.want["sub"] += len(events)
		r.settle(events...)
	}
	r.lago.Next(fakelago.FaultCommitThenReset, nil, fakelago.FaultHTML(500))
	r.d.Start()
	r.drained()
	r.billed()
	for _, q := range r.lago.Requests() {
		assert.LessOrEqual(t, q.Events, 100)
	}
}

func TestStopAndStartAgain(t *testing.T) {
	for _, store := range bothStores {
		r := newRig(t, fakelago.Options{Store: store})
		r.lago.Random(3, 500, fakelago.FaultCommitThenReset, fakelago.FaultReset, fakelago.FaultHTML(503))
		for range 10 {
			r.records(300)
			r.d.Start()
			r.until("delivering", func() bool { return r.spool.Stats().Pending < 300 })
			r.close()
			r.open()
		}
		r.d.Start()
		r.drained()
		r.billed()
	}
}

// Stopping waits for the answer of a call under way, and gives what hangs back when its time is up.
func TestStopBoundsItsWait(t *testing.T) {
	r := newRig(t, fakelago.Options{})
	under := make(chan struct{}, 100)
	r.lago.Always(func(c *fakelago.Call) fakelago.Fault {
		if c.Batch() {
			under <- struct{}{}
		}
		return fakelago.FaultHang
	})
	r.cfg.Client = func() *lago.Client {
		u, err := url.Parse(r.lago.URL)
		require.NoError(t, err)
		c, err := lago.New(lago.Options{Base: u, Key: r.lago.Key(), Timeout: time.Hour})
		require.NoError(t, err)
		return c
	}()
	r.d.Configure(r.cfg)
	r.records(10)
	r.d.Start()
	<-under
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r.d.Stop(ctx)
	st := r.spool.Stats()
	assert.EqualValues(t, 10, st.Pending)
	assert.Zero(t, st.Claimed)
}

// A spool that cannot note a delivery for a while is asked again: the records are not sent again meanwhile.
func TestSpoolFaultsAreOutlived(t *testing.T) {
	r := newRig(t, fakelago.Options{Store: fakelago.ClickHouse, NoDeduplication: true})
	f := &failingSpool{watchedSpool: r.spool, left: 5}
	r.d.spool = f
	r.records(50)
	r.d.Start()
	r.drained()
	r.billed()
	assert.Zero(t, f.left)
}

type failingSpool struct {
	*watchedSpool
	mu   sync.Mutex
	left int
}

func (f *failingSpool) Done(seqs ...uint64) error {
	f.mu.Lock()
	fail := f.left > 0
	if fail {
		f.left--
	}
	f.mu.Unlock()
	if fail {
		return spool.ErrUnavailable
	}
	return f.watchedSpool.Done(seqs...)
}

func TestResultsAreTold(t *testing.T) {
	r := newRig(t, fakelago.Options{})
	var mu sync.Mutex
	told := make(map[string]int)
	r.cfg.OnResult = func(result string, n int) {
		mu.Lock()
		defer mu.Unlock()
		told[result] += n
	}
	r.d.maxInFlight = 1
	r.d.Configure(r.cfg)
	r.lago.Next(fakelago.FaultCommitThenReset)
	r.records(100)
	r.d.Start()
	r.drained()
	mu.Lock()
	defer mu.Unlock()
	assert.Equal(t, map[string]int{CallFailed: 1, Retried: 100, Duplicate: 100}, told)
	b, err := json.Marshal(r.d.Status())
	require.NoError(t, err)
	assert.Contains(t, string(b), `"last_error":"no answer`)
	assert.False(t, bytes.Contains(b, []byte(r.lago.Key())))
}

func TestNothingIsSentWithoutLago(t *testing.T) {
	r := newRig(t, fakelago.Options{})
	client := r.cfg.Client
	r.cfg.Client = nil
	r.d.Configure(r.cfg)
	r.records(10)
	r.d.Start()
	assert.Zero(t, r.spool.Stats().Claimed)
	r.cfg.Client = client
	r.d.Configure(r.cfg)
	r.drained()
	r.billed()
}
