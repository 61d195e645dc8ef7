package lawbreak

import (
	"regexp"
	"time"

	"github.com/tollgate-llm/tollgate/internal/record"
)

// Restamp gives event bodies another timestamp, which no retry may do: to Lago on ClickHouse they are other events. Only
// the build that breaks this law calls it.
func Restamp(bodies [][]byte, at time.Time) {
	timestamp := regexp.MustCompile(`"timestamp":"[^"]*"`)
	now := append(record.AppendTimestamp([]byte(`"timestamp":"`), at), '"')
	for i, b := range bodies {
		bodies[i] = timestamp.ReplaceAllLiteral(b, now)
	}
}
