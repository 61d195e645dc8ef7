package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestBrowsersMayManage asks for the management API as a page in a browser does: the question before the call is answered without a
// key, and the call itself is readable by the page and needs one.
func TestBrowsersMayManage(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	g := gateway.Start(t, "", limitedSite(t, "file "+t.TempDir(), "", provider))
	const page = "https://app.example"
	for path, method := range map[string]string{"/key/generate": http.MethodPost, "/key/info": http.MethodGet, "/team/new": http.MethodPost, "/customer/list": http.MethodGet} {
		a := g.Must(http.StatusNoContent, http.MethodOptions, path, "", "", "Origin", page, "Access-Control-Request-Method", method,
			"Access-Control-Request-Headers", "authorization,content-type")
		require.NotEmpty(t, a.Header.Get("Access-Control-Allow-Origin"), path)
		require.Contains(t, a.Header.Get("Access-Control-Allow-Methods"), method, path)
		require.Equal(t, "authorization,content-type", a.Header.Get("Access-Control-Allow-Headers"), path)
		g.Must(http.StatusUnauthorized, method, path, "", "", "Origin", page)
	}
	a := g.Must(http.StatusOK, http.MethodPost, "/key/generate", gateway.MasterKey, `{}`, "Origin", page)
	require.NotEmpty(t, a.Header.Get("Access-Control-Allow-Origin"))
}
