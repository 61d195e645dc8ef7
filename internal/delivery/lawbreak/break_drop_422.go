//go:build break_drop_422

package lawbreak

// This build takes a batch that Lago answers with 422 for done.
const (
	SettleFirst   = true
	SendIdentical = true
	SortRefusals  = false
	CountOnce     = true
)
