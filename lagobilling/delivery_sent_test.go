package lagobilling

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// TestDuplicatesInsideABatch sends a batch of which Lago has the second and the third event already. Lago stores none of it;
// the others go again at once, and nothing is rejected.
func TestDuplicatesInsideABatch(t *testing.T) {
	for _, partial := range []bool{false, true} {
		r := newRig(t, testkit.LagoOptions{PartialStore: partial})
		var events []string
		for i := range 5 {
			events = append(events, r.event("sub", "tokens", fmt.Sprint("e", i), 1))
		}
		out := r.cfg.client.Batch(t.Context(), [][]byte{[]byte(events[1]), []byte(events[2])})
		require.Equal(t, lago.Accepted, out.Verdict)
		for _, e := range events {
			r.settle(e)
		}
		r.want["sub"] = 5
		r.d.start()
		r.drained()
		r.billed()
		assert.Zero(t, r.spool.Stats().Rejected)
		assert.EqualValues(t, 5, r.spool.Stats().Finished)
		had := map[bool]int64{false: 2, true: 5}[partial]
		assert.Equal(t, had, r.d.state().Results[resultDuplicate], "a Lago of before v1.39.0 stores the others, and says so in the next round")
		assert.Equal(t, []int{2, 5, 3}, batchSizes(r.lago))
	}
}

func batchSizes(l *testkit.Lago) (sizes []int) {
	for _, q := range l.Requests() {
		if q.Method == http.MethodPost {
			sizes = append(sizes, q.Events)
		}
	}
	return sizes
}

// TestDuplicateAndBadTimestamp sends both in one batch. Lago tells of the timestamp alone at first, and of the duplicate in
// the next round.
func TestDuplicateAndBadTimestamp(t *testing.T) {
	r := newRig(t, testkit.LagoOptions{})
	had := r.event("sub", "tokens", "had", 1)
	require.Equal(t, lago.Accepted, r.cfg.client.Batch(t.Context(), [][]byte{[]byte(had)}).Verdict)
	r.settle(r.event("sub", "tokens", "new", 2))
	r.settle(had)
	r.settle(strings.Replace(r.event("sub", "tokens", "bad", 4), `"timestamp":"`, `"timestamp":"x`, 1))
	r.want["sub"] = 3
	r.d.start()
	r.drained()
	r.billed()
	assert.Equal(t, []int{1, 3, 2, 1}, batchSizes(r.lago), "three rounds")
	assert.EqualValues(t, 1, r.spool.Stats().Rejected)
	assert.EqualValues(t, 2, r.spool.Stats().Finished)
}

// TestStringDetailsOfAnyIndex has Lago refuse one event of a batch in a plain string: it alone is set aside.
func TestStringDetailsOfAnyIndex(t *testing.T) {
	for _, store := range bothStores {
		r := newRig(t, testkit.LagoOptions{Store: store})
		r.lago.Next(testkit.FaultStringDetails(2, "expression_evaluation_failed: division by zero"))
		for i := range 5 {
			r.settle(r.event("sub", "tokens", fmt.Sprint("e", i), 1))
		}
		r.want["sub"] = 4
		r.d.start()
		r.drained()
		r.billed()
		assert.EqualValues(t, 1, r.spool.Stats().Rejected)
		assert.Equal(t, 4, r.lago.EventCount())
	}
}

// TestEventsThatLagoCounts sends the events of every shape, with usage from one token to the largest counts and costs from the
// smallest on, and sees all of them counted: each has an id of its own (on Postgres, an id that is used again for another
// code is a duplicate and its event is lost), a timestamp in milliseconds, and plain decimal quantities (what has an
// exponent is not counted, and an amount that does not parse is zero).
func TestEventsThatLagoCounts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	ids := make(map[string]bool)
	for name, h := range map[string]*Handler{
		"per request":         {EventCode: "tokens", Markup: []Percent{{Percent: "0.000001"}}},
		"per token type":      {Events: shapePerTokenType},
		"per token type, sdk": {Events: shapePerTokenType, TokenCounts: countsSDK},
		"cost":                {Events: shapeCost, EventCode: "tokens", Discount: []Percent{{Percent: "99.999999"}}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, provision(t, h))
			l := testkit.NewLago(t, testkit.LagoOptions{})
			for _, m := range h.wanted() {
				l.AddMetric(testkit.LagoMetric{Code: m.code, Field: m.field})
			}
			l.AddSubscription(testkit.LagoSubscription{ExternalID: "sub-1"})
			c, err := newClient(settings{apiBase: l.URL, apiKey: l.Key()})
			require.NoError(t, err)
			t.Cleanup(c.CloseIdle)
			sent := 0
			for range 40 {
				most := int64(1) << rnd.IntN(40)
				b, res := priceable("openai", llm.OpenAI, map[usage.Kind]int64{
					usage.Input: 1 + rnd.Int64N(most), usage.CacheRead: 1 + rnd.Int64N(most), usage.Output: 1 + rnd.Int64N(most), usage.Reasoning: rnd.Int64N(most),
				})
				b.Payer = "sub-1"
				b.take(res)
				h.price(b, res)
				bodies, err := record.Events(b.Append(nil, h.appendEvents(nil, b)))
				require.NoError(t, err)
				for _, body := range bodies {
					e := gjson.ParseBytes(body)
					id := e.Get("transaction_id").Str
					require.False(t, ids[id], "an id is used twice")
					ids[id] = true
					require.Regexp(t, `^\d{10}\.\d{3}$`, e.Get("timestamp").Str)
					if cents := e.Get("precise_total_amount_cents"); h.shape.kind == shapeCost {
						require.Regexp(t, `^\d+(\.\d+)?$`, cents.Str)
					}
					wanted := h.wanted()
					e.Get("properties").ForEach(func(k, v gjson.Result) bool {
						require.Equal(t, gjson.String, v.Type, k.Str)
						for _, m := range wanted {
							for _, q := range m.quantities {
								if q == k.Str {
									require.Regexp(t, `^\d+(\.\d+)?$`, v.Str, k.Str)
								}
							}
						}
						return true
					})
				}
				require.Equal(t, lago.Accepted, c.Batch(t.Context(), bodies).Verdict)
				sent += len(bodies)
			}
			require.Equal(t, sent, l.BilledCount("sub-1", ""), "everything that was sent counts")
			require.Empty(t, l.Violations())
		})
	}
}
