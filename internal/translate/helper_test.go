package translate

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// sortedJSON returns JSON with its members in order and its texts written in one way.
func sortedJSON(t testing.TB, text string) string {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}
