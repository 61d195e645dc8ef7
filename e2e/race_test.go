//go:build race

package e2e

// poolLoss is how many allocations of a call come from the race detector, which drops a quarter of what is put into a sync.Pool.
const poolLoss = 40
