package testkit

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPostgresKeepsItsDataAcrossAnOutage(t *testing.T) {
	s := Postgres(t)
	s.Database("spend")
	s.Exec("spend", "CREATE TABLE t (n numeric); INSERT INTO t VALUES (0.000000000000001), (NULL)")
	for _, end := range []func(){s.Stop, s.Kill} {
		end()
		s.Start()
		require.Equal(t, [][]string{{"0.000000000000001"}, {""}}, s.Rows("spend", "SELECT n FROM t ORDER BY n"))
	}
}
