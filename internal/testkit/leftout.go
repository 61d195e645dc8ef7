package testkit

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// IsLeftOut reports whether tests that need a program are skipped: TOLLGATE_LEAVE_OUT is a comma-separated list of the
// programs that test.sh could not get. CI gets all of them.
func IsLeftOut(program string) bool {
	return slices.Contains(strings.Split(os.Getenv("TOLLGATE_LEAVE_OUT"), ","), program)
}

// LeftOut skips a test whose program is missing.
func LeftOut(t testing.TB, program string) {
	t.Helper()
	if IsLeftOut(program) {
		t.Skipf("left out: there is no %s (TOLLGATE_LEAVE_OUT)", program)
	}
}
