//go:build !race

package e2e

const poolLoss = 0
