//go:build !break_settle_late && !break_restamp && !break_drop_422 && !break_double_spend

// Package lawbreak holds those laws of docs/architecture.md that package proof must see broken. A build tag, for the tests
// alone, breaks each of them.
package lawbreak

// The laws. All hold in a build without such a tag.
const (
	SettleFirst   = true // an answer's last bytes wait until its record is settled
	SendIdentical = true // a retry sends the bytes of the first try
	SortRefusals  = true // a 422 is read event by event
	CountOnce     = true // what a call cost is added once to what was spent
)
