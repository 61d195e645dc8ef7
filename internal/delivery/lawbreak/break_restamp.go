//go:build break_restamp

package lawbreak

// This build gives an event a new timestamp on each retry.
const (
	SettleFirst   = true
	SendIdentical = false
	SortRefusals  = true
	CountOnce     = true
)
