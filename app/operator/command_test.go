package operator

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// TestAdminErrors holds what an operator reads when a command does not come through.
func TestAdminErrors(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/tollgate/refused" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusConflict)
		_, err := w.Write([]byte(`{"error":"the record is no longer interrupted"}`))
		require.NoError(t, err)
	}))
	address := strings.TrimPrefix(server.URL, "http://")
	ask := func(uri string) error {
		cmd := new(cobra.Command)
		cmd.Flags().String("address", address, "")
		_, err := Ask(cmd, http.MethodGet, uri, nil, nil) //nolint:bodyclose // refused: there is none
		return err
	}
	require.EqualError(t, ask("/tollgate/refused"), "the record is no longer interrupted")
	require.EqualError(t, ask("/tollgate/unknown"), "the Caddy at "+address+" has no Tollgate")
	server.Close()
	err := ask("/tollgate/refused")
	require.ErrorIs(t, err, ErrNoInstance)
	require.ErrorContains(t, err, "no instance answers at "+address)
	require.ErrorContains(t, err, "name its admin API with --address")
}
