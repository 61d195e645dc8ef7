package testkit

import (
	"syscall"
	"time"
)

// CPUTime returns how much of the processors' time this process has had: what a benchmark measures on a machine that is busy with others.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
