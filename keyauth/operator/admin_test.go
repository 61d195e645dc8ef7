package operator

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/litellmdb"
)

// TestAdminRefusesWhatItDoesNotUnderstand: what was meant as a dry run must not become an import.
func TestAdminRefusesWhatItDoesNotUnderstand(t *testing.T) {
	s, err := keystore.OpenFile(t.TempDir())
	require.NoError(t, err)
	c := keys.NewCache(s, zaptest.NewLogger(t), time.Now)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	row := `{"table":"LiteLLM_VerificationToken","row":{"token":"` + keys.DigestOf("k").String() + `"}}`
	records := func() []keystore.Row {
		rows, err := s.List(t.Context(), keystore.KeyKind, "", 10)
		require.NoError(t, err)
		return rows
	}
	post := func(query, body string) error {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/tollgate/keys/import?"+query, strings.NewReader(body))
		return serveImport(httptest.NewRecorder(), r, keys.NewService(c, nil))
	}
	for query, status := range map[string]int{"dry_run=yes": 400, "dryrun=true": 400, "overwrite=": 400} {
		refusal, ok := errors.AsType[caddy.APIError](post(query, row))
		require.True(t, ok, query)
		require.Equal(t, status, refusal.HTTPStatus)
	}
	require.NoError(t, post("dry_run=1", row))
	require.Empty(t, records())
	refusal, ok := errors.AsType[caddy.APIError](post("", strings.Repeat(row+"\n", litellmdb.MaxRows+1)))
	require.True(t, ok)
	require.Equal(t, http.StatusRequestEntityTooLarge, refusal.HTTPStatus)
	refusal, ok = errors.AsType[caddy.APIError](post("", row+"[]"))
	require.True(t, ok)
	require.Equal(t, http.StatusBadRequest, refusal.HTTPStatus)
	require.Empty(t, records(), "of a request that cannot be read nothing is taken")
	require.NoError(t, post("", row))
	require.Len(t, records(), 1)
}
