//go:build break_settle_late

package lawbreak

// This build settles an answer after its last byte went out.
const (
	SettleFirst   = false
	SendIdentical = true
	SortRefusals  = true
	CountOnce     = true
)
