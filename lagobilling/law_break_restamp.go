//go:build break_restamp

package lagobilling

// This build gives an event a new timestamp on each retry.
const (
	settleFirst   = true
	sendIdentical = false
	sortRefusals  = true
)
