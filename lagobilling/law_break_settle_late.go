//go:build break_settle_late

package lagobilling

// This build settles an answer after its last byte went out.
const (
	settleFirst   = false
	sendIdentical = true
	sortRefusals  = true
)
