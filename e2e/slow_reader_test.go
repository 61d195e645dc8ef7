package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestSlowReader has clients stop reading long streams. Other calls with the same key are answered meanwhile, the gateway does not
// take the long answers into its memory, and they are billed like any other once they are read.
func TestSlowReader(t *testing.T) {
	const slow, others = 3, 40
	w := gateway.SetUp(t, fakelago.Options{})
	key := w.NewKey(`{"team_id":"sub-1"}`)
	body := gateway.Chat("gpt-4o", "tokens=in:10,out:20 chunks=500 bytes=33554432", true) // far more than sockets hold
	readers := make([]*bufio.Reader, slow)
	for i := range readers {
		conn, err := net.Dial("tcp", w.Addr)
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
		_, err = fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", w.Addr, key, len(body), body)
		require.NoError(t, err)
		readers[i] = bufio.NewReaderSize(conn, 4<<10)
		line, err := readers[i].ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 200 OK\r\n", line)
	}

	var wg sync.WaitGroup
	for i := range others {
		wg.Go(func() {
			a, err := w.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "tokens=in:1,out:2", i%2 == 0))
			if assert.NoError(t, err) {
				assert.Equal(t, http.StatusOK, a.Status)
			}
		})
	}
	wg.Wait()
	require.Equal(t, slow, w.Provider.Open(), "what nobody reads waits at the provider")
	w.Settled(others)

	for _, r := range readers {
		wg.Go(func() {
			res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader([]byte("HTTP/1.1 200 OK\r\n")), r)), nil)
			if !assert.NoError(t, err) {
				return
			}
			var end lastEvent
			_, err = io.Copy(&end, res.Body)
			assert.NoError(t, err)
			assert.Equal(t, "data: [DONE]\n\n", string(end))
			assert.NoError(t, res.Body.Close())
		})
	}
	wg.Wait()
	w.Settled(others + slow)
	var input, output int64
	for _, r := range w.Ledger() {
		require.Equal(t, "completed", r.Outcome)
		input, output = input+r.Counts["input"], output+r.Counts["output"]
	}
	require.Equal(t, int64(slow*10+others), input)
	require.Equal(t, int64(slow*20+others*2), output)
}

// lastEvent keeps the last event of a stream.
type lastEvent []byte

func (e *lastEvent) Write(p []byte) (int, error) {
	all := append(*e, p...)
	*e = append([]byte(nil), all[max(0, len(all)-len("data: [DONE]\n\n")):]...)
	return len(p), nil
}
