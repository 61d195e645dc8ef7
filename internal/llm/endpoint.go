package llm

import "github.com/tollgate-llm/tollgate/internal/usage"

// Billing is how calls to an endpoint are billed.
type Billing uint8

// Kinds of billing.
const (
	Billable Billing = iota
	Free             // forwarded and recorded as not billable: token counters, moderations
	Local            // answered by the gateway itself, such as the list of models
)

// Endpoint is a row of the closed table of endpoints. Paths without a row are not routed.
type Endpoint struct {
	Name    string    // its name in the table: chat/completions, messages, ...
	API     API       // the caller's API, which shapes requests and errors
	Reader  usage.API // how usage is read from its answers
	Billing Billing
}
