package body

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// TestOneWrite sends payloads over a pipe, on which each write of the transport is one read of the other side.
func TestOneWrite(t *testing.T) {
	for _, model := range []string{"", "another"} {
		b, fault := Parse([]byte(`{"model":"m","stream":true}`))
		require.Nil(t, fault)
		p := b.Edited(model, model != "")
		near, far := net.Pipe()
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return near, nil }}
		first := make(chan string, 1)
		go func() {
			buf := make([]byte, 4<<10)
			n, _ := far.Read(buf)
			first <- string(buf[:n])
			_, _ = io.WriteString(far, "HTTP/1.1 204 No Content\r\n\r\n")
		}()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://model/v1", p.Reader())
		require.NoError(t, err)
		req.ContentLength = p.Len()
		res, err := transport.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		sent, err := http.ReadRequest(bufio.NewReader(strings.NewReader(<-first)))
		require.NoError(t, err)
		body, err := io.ReadAll(sent.Body)
		require.NoError(t, err, "header and body go in one write")
		require.Equal(t, string(p.Bytes()), string(body))
		transport.CloseIdleConnections()
		require.NoError(t, far.Close())
	}
}

func TestReadersOfLongPayloads(t *testing.T) {
	in := `{"model":"m","input":"` + strings.Repeat("x", maxJoined) + `"}`
	b, fault := Parse([]byte(in))
	require.Nil(t, fault)
	require.NoError(t, iotest.TestReader(b.Edited("", false).Reader(), []byte(in)))
	want := bytes.Replace([]byte(in), []byte(`"m"`), []byte(`"n"`), 1)
	require.NoError(t, iotest.TestReader(b.Edited("n", false).Reader(), want))
}
