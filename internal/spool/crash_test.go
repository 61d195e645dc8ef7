package spool

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// seeds is how many random workloads a test runs. TOLLGATE_SPOOL_SEEDS makes them more.
func seeds(t testing.TB, n uint64) uint64 {
	if v := os.Getenv("TOLLGATE_SPOOL_SEEDS"); v != "" {
		more, err := strconv.ParseUint(v, 10, 32)
		require.NoError(t, err)
		return more
	}
	return n
}

// TestCrashAtEveryChange crashes a spool before every change that a workload makes to the disk, and in the middle of
// every write: by the end of the process, and, where syncs are promised to help, by the loss of power.
func TestCrashAtEveryChange(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		for seed := range seeds(t, 4) {
			t.Run(fmt.Sprintf("%v/%d", [...]string{"process", "fsync"}[d], seed), func(t *testing.T) {
				t.Parallel()
				m := newModel(t, seed, d)
				crashAtEveryChange(m)
				m.open()
				for range 90 + 210*(1-int(d)) { // a crash of the process leaves one disk, so there is time for more
					m.step()
				}
				m.end()
			})
		}
	}
}

// crashAtEveryChange makes the model's disk crash before each change and in the middle of each write.
func crashAtEveryChange(m *model) {
	points := 0
	crash := func(op string) {
		points++
		deep := points%5 == 0
		m.verify(m.fs.killed(), op, false, deep)
		for range 2 * int(m.o.Durability) {
			m.verify(m.fs.lostPower(m.r), op, true, deep)
		}
	}
	m.fs.before, m.fs.torn = crash, crash
	m.t.Cleanup(func() { m.t.Logf("%d crash points, %d disks checked, %d calls", points, m.checks, len(m.calls)) })
}

// end closes the spool on a disk that is well.
func (m *model) end() {
	m.fs.before, m.fs.torn, m.fs.fault, m.fs.limit = nil, nil, nil, 0
	require.NoError(m.t, m.s.Close())
	m.open()
	m.check(scan(m.t, m.s), "the end", false)
	require.NoError(m.t, m.s.Close())
}
