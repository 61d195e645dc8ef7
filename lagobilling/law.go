//go:build !break_settle_late && !break_restamp && !break_drop_422

package lagobilling

// The laws that the proof must see broken. A build tag of the same name, for the tests alone, breaks each of them; see
// package proof.
const (
	settleFirst   = true // an answer's last bytes wait until its record is settled
	sendIdentical = true // a retry sends the bytes of the first try
	sortRefusals  = true // a 422 is read event by event
)
