package proof

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
)

// TestTheLastByteWaitsForTheRecord kills the gateway at the moment a client has an answer's last byte, for each version
// of HTTP and each way an answer can end. If the answer marks its own end, the provider keeps the connection open after
// it, so only that mark can have settled the call. The next process must have a record of every answer the client
// received in full.
func TestTheLastByteWaitsForTheRecord(t *testing.T) {
	w := newWorld(t, mode{store: fakelago.Postgres, durability: "process", disconnect: "auto"})
	var calls []*call
	for version := 1; version <= 3; version++ {
		for _, c := range []*call{
			{api: apiChat, model: "gpt-4o"},
			{api: apiChat, model: "gpt-4o", pieces: 1},
			{api: apiEmbeddings, model: "text-embedding-3-small"},
			{api: apiMessages, model: "claude"},
			{api: apiChat, model: "gpt-4o", stream: true, linger: true},
			{api: apiResponses, model: "gpt-4o", stream: true, linger: true},
			{api: apiMessages, model: "claude", stream: true, linger: true},
		} {
			name := fmt.Sprintf("%s over HTTP/%d", c.api, version)
			c.tag = fmt.Sprintf("call-%d", len(calls))
			if c.pieces == 0 && !c.stream { // a body with Content-Length, and one without
				w.provider.Next(nil)
			} else if !c.stream {
				w.provider.Next(fakeprovider.FaultChunkedBody)
			} else {
				w.provider.Next(lingerOn)
			}
			c.payer, c.hangUp, c.pieces = payers[0], -1, max(c.pieces, 3)
			c.plan = fakeprovider.Usage{Input: 1000 + int64(len(calls)), Output: 50}
			if c.api == apiEmbeddings {
				c.plan.Output = 0
			}
			client, base := w.client(version)
			c.do(context.Background(), client, base, w.keys[c.payer], func() { require.True(t, w.kill()) })
			require.True(t, c.whole, "%s: status %d, %v", name, c.status, c.err)
			require.Contains(t, c.proto, fmt.Sprintf("HTTP/%d", version))
			client.CloseIdleConnections()
			require.NoError(t, w.start())
			w.awaitCertificate()
			calls = append(calls, c)
		}
	}
	rep := &report{mode: w.mode}
	audit(w, calls, w.settle(time.Minute), rep)
	require.Equal(t, len(calls), rep.whole)
	require.Equal(t, len(calls), rep.row("completed").events)
}
