package lagobilling

import (
	"regexp"

	"github.com/tollgate-llm/tollgate/internal/record"
)

var stampOf = regexp.MustCompile(`"timestamp":"[^"]*"`)

// stampAnew is what no delivery may do to events that were sent before: to Lago on ClickHouse they are other events. It
// is called by the build that breaks this law, and folded away in all others.
func (d *delivery) stampAnew(bodies [][]byte) {
	stamp := append(record.AppendTimestamp([]byte(`"timestamp":"`), d.now()), '"')
	for i, b := range bodies {
		bodies[i] = stampOf.ReplaceAllLiteral(b, stamp)
	}
}
