//go:build break_drop_422

package lagobilling

// This build takes a batch that Lago answers with 422 for done.
const (
	settleFirst   = true
	sendIdentical = true
	sortRefusals  = false
)
