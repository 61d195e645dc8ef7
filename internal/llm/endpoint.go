package llm

import "github.com/tollgate-llm/tollgate/internal/usage"

// Billing is whether a call to an endpoint costs money.
type Billing uint8

// How an endpoint is billed.
const (
	Billable Billing = iota
	Free             // forwarded and recorded as not billable: token counters, moderations
	Local            // answered by the gateway itself: the list of models
)

// Endpoint is a row of the closed table of endpoints: no row, no route.
type Endpoint struct {
	Name    string    // the table's name for it: chat/completions, messages, ...
	API     API       // the caller's API: shape of requests and errors
	Reader  usage.API // how its answers report usage
	Billing Billing
}
