package proof

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
)

// chatCall is a plain call.
func chatCall(tag string, stream bool) *call {
	return &call{
		tag: tag, api: apiChat, model: "gpt-4o", payer: payers[0], stream: stream, hangUp: -1, pieces: 4, rest: true,
		plan: fakeprovider.Usage{Input: 100, Output: 20},
	}
}

// begin makes calls and returns once all of them wait at the provider's gate; ended waits for them to end.
func (w *world) begin(gate *fakeprovider.Gate, calls ...*call) (ended func()) {
	done := make(chan struct{}, len(calls))
	client, base := w.client(1)
	for _, c := range calls {
		go func() {
			c.do(context.Background(), client, base, w.keys[c.payer], nil)
			done <- struct{}{}
		}()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(w.t, gate.Await(ctx, len(calls)))
	return func() {
		for range calls {
			<-done
		}
		client.CloseIdleConnections()
	}
}

// TestOpenedBeforeForwarded kills the gateway while calls are at the provider and no byte has been answered. Each call
// must have a record.
func TestOpenedBeforeForwarded(t *testing.T) {
	w := newWorld(t, mode{store: fakelago.Postgres, durability: "process", disconnect: "auto"})
	calls := []*call{chatCall("call-1", false), chatCall("call-2", true)}
	ended := w.begin(w.provider.Gate(0, nil), calls...)
	require.True(t, w.kill())
	ended()
	require.NoError(t, w.start())
	ledger := w.settle(time.Minute)
	require.Len(t, ledger, len(calls))
	for _, e := range ledger {
		require.Equal(t, "interrupted", e.State)
		require.Empty(t, e.Events)
	}
	audit(w, calls, ledger, &report{mode: w.mode})
}

// TestStopSettlesCallsUnderWay stops the gateway as an operator would. Calls that end within the grace period are served
// and billed; calls still open after it are cut off and settled.
func TestStopSettlesCallsUnderWay(t *testing.T) {
	w := newWorld(t, mode{store: fakelago.ClickHouse, durability: "process", disconnect: "auto"})
	swift := []*call{chatCall("call-1", true), chatCall("call-2", false), chatCall("call-3", true)}
	gate := w.provider.Gate(2, nil)
	ended := w.begin(gate, swift...)
	stuck := []*call{chatCall("call-4", true), chatCall("call-5", false)}
	never := w.provider.Gate(2, nil)
	broken := w.begin(never, stuck...)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		w.stop()
	}()
	w.awaitRefusal()
	gate.Open()
	ended()
	<-stopped
	broken()
	for _, c := range swift {
		require.True(t, c.whole, "%s: %v", c.tag, c.err)
	}
	for _, c := range stuck {
		require.False(t, c.whole, c.tag)
	}
	never.Open()
	require.NoError(t, w.start())
	ledger := w.settle(time.Minute)
	require.Len(t, ledger, len(swift)+len(stuck))
	for _, e := range ledger {
		want := "completed"
		switch e.Tag {
		case stuck[0].tag:
			want = "cut" // billed for what was sent
		case stuck[1].tag:
			want = "error" // no byte was received
		}
		require.Equal(t, want, e.row(), e.Tag)
	}
	audit(w, append(swift, stuck...), ledger, &report{mode: w.mode})
}
