package upstream

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestVariablesOfAnAttempt holds that each attempt has its own request variables: net/http may still dial for one that was given
// up, and read them, while the reverse proxy writes those of the next.
func TestVariablesOfAnAttempt(t *testing.T) {
	w := httptest.NewRecorder()
	r := request(t, w)
	var seen []any
	for _, status := range []int{http.StatusInternalServerError, http.StatusOK} {
		b := backendAt(t, answering(t, status, "{}").URL, `{}`)
		dial := inner(b).DialContext
		inner(b).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			seen = append(seen, caddyhttp.GetVar(ctx, "dialled"))
			caddyhttp.SetVar(ctx, "dialled", true)
			_, known := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
			assert.True(t, known, "what Caddy noted of the request is there")
			return dial(ctx, network, addr)
		}
		a := attemptWith(t, chat)
		a.Last = false
		res := b.Send(w, r, a)
		require.Equal(t, status != http.StatusOK, res.Err != nil)
	}
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, []any{nil, nil}, seen)
}
