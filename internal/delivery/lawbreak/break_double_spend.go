//go:build break_double_spend

package lawbreak

// This build adds what some calls cost to what was spent twice.
const (
	SettleFirst   = true
	SendIdentical = true
	SortRefusals  = true
	CountOnce     = false
)
