package delivery

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
)

// TestDuplicatesInsideABatch sends a batch of which Lago has the second and the third event already. Lago stores none of it;
// the others go again at once, and nothing is rejected.
func TestDuplicatesInsideABatch(t *testing.T) {
	for _, partial := range []bool{false, true} {
		r := newRig(t, fakelago.Options{PartialStore: partial})
		var events []string
		for i := range 5 {
			events = append(events, r.event("sub", "tokens", fmt.Sprint("e", i), 1))
		}
		out := r.cfg.Client.Batch(t.Context(), [][]byte{[]byte(events[1]), []byte(events[2])})
		require.Equal(t, lago.Accepted, out.Verdict)
		for _, e := range events {
			r.settle(e)
		}
		r.want["sub"] = 5
		r.d.Start()
		r.drained()
		r.billed()
		assert.Zero(t, r.spool.Stats().Rejected)
		assert.EqualValues(t, 5, r.spool.Stats().Finished)
		had := map[bool]int64{false: 2, true: 5}[partial]
		assert.Equal(t, had, r.d.Status().Results[Duplicate], "a Lago of before v1.39.0 stores the others, and says so in the next round")
		assert.Equal(t, []int{2, 5, 3}, batchSizes(r.lago))
	}
}

func batchSizes(l *fakelago.Server) (sizes []int) {
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
	r := newRig(t, fakelago.Options{})
	had := r.event("sub", "tokens", "had", 1)
	require.Equal(t, lago.Accepted, r.cfg.Client.Batch(t.Context(), [][]byte{[]byte(had)}).Verdict)
	r.settle(r.event("sub", "tokens", "new", 2))
	r.settle(had)
	r.settle(strings.Replace(r.event("sub", "tokens", "bad", 4), `"timestamp":"`, `"timestamp":"x`, 1))
	r.want["sub"] = 3
	r.d.Start()
	r.drained()
	r.billed()
	assert.Equal(t, []int{1, 3, 2, 1}, batchSizes(r.lago), "three rounds")
	assert.EqualValues(t, 1, r.spool.Stats().Rejected)
	assert.EqualValues(t, 2, r.spool.Stats().Finished)
}

// TestStringDetailsOfAnyIndex has Lago refuse one event of a batch in a plain string: it alone is dead-lettered.
func TestStringDetailsOfAnyIndex(t *testing.T) {
	for _, store := range bothStores {
		r := newRig(t, fakelago.Options{Store: store})
		r.lago.Next(fakelago.FaultStringDetails(2, "expression_evaluation_failed: division by zero"))
		for i := range 5 {
			r.settle(r.event("sub", "tokens", fmt.Sprint("e", i), 1))
		}
		r.want["sub"] = 4
		r.d.Start()
		r.drained()
		r.billed()
		assert.EqualValues(t, 1, r.spool.Stats().Rejected)
		assert.Equal(t, 4, r.lago.EventCount())
	}
}
