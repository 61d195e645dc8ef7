package lagobilling

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/record"
)

// post10 makes a call by HTTP/1.0 and returns all that comes until the connection ends.
func (b *bench) post10(rt route) (all string) {
	b.t.Helper()
	b.use(rt)
	conn, err := net.Dial("tcp", b.server.Listener.Addr().String())
	require.NoError(b.t, err)
	defer func() { require.NoError(b.t, conn.Close()) }()
	_, err = io.WriteString(conn, "POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
	require.NoError(b.t, err)
	text, _ := io.ReadAll(conn) // a reset is an end too
	return string(text)
}

// TestHTTP10 holds that a client which takes the end of a connection for that of an answer never has a whole one that is not
// billed, nor takes a part for the whole.
func TestHTTP10(t *testing.T) {
	long := strings.Repeat("x", maxUnframed)
	for name, tt := range map[string]struct {
		answer  http.HandlerFunc
		stream  bool
		full    bool // the spool takes no record
		status  int  // 0: nothing comes
		body    string
		outcome string
	}{
		"json of stated length":      {plain("application/json", jsonAnswer), false, false, 200, jsonAnswer, record.OutcomeCompleted},
		"json without a length":      {chunked("application/json", jsonAnswer[:40], jsonAnswer[40:]), false, false, 200, jsonAnswer, record.OutcomeCompleted},
		"long json without a length": {chunked("application/json", jsonAnswer, long[:3*maxWhole]), false, false, 200, jsonAnswer + long[:3*maxWhole], record.OutcomeCompleted},
		"binary without a length":    {chunked("audio/wav", "RIFF", "xxxx"), false, false, 200, "RIFFxxxx", record.OutcomeCompleted},
		"events that were not asked": {chunked(stream, sseStart, sseUsage, sseDone), false, false, 200, sseStart + sseUsage + sseDone, record.OutcomeCompleted},
		"too long":                   {chunked("audio/wav", "RIFF", long), false, false, 0, "", record.OutcomeCut},
		"cut": {func(w http.ResponseWriter, r *http.Request) {
			chunked("application/json", jsonAnswer[:40])(w, r)
			panic(http.ErrAbortHandler)
		}, false, false, 0, "", record.OutcomeCut},
		"no record": {chunked("application/json", jsonAnswer), false, true, 0, "", ""},
		"a stream":  {chunked(stream, sseStart, sseUsage, sseDone), true, false, 505, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, &Handler{})
			rt := chatRoute(func(w http.ResponseWriter, r *http.Request) {
				if tt.full {
					require.NoError(t, b.account.Spool().Close())
				}
				tt.answer(w, r)
			})
			rt.request.Stream = tt.stream
			all := b.post10(rt)
			if tt.status == 0 {
				require.Empty(t, all)
			} else {
				resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(all)), nil)
				require.NoError(t, err)
				t.Logf("%.300q", all)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				require.Equal(t, tt.status, resp.StatusCode)
				require.Equal(t, int64(len(body)), resp.ContentLength, "the length is stated")
				if tt.status == 200 {
					require.Equal(t, tt.body, string(body))
				}
			}
			if tt.outcome != "" {
				require.Equal(t, tt.outcome, b.only().Outcome)
			}
		})
	}
}
