package testkit

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// IsLeftOut reports whether the tests that need a program are left out: TOLLGATE_LEAVE_OUT names, with commas between, those
// that test.sh could not get. CI gets all of them.
func IsLeftOut(program string) bool {
	return slices.Contains(strings.Split(os.Getenv("TOLLGATE_LEAVE_OUT"), ","), program)
}

// LeftOut skips a test whose program is left out.
func LeftOut(t testing.TB, program string) {
	t.Helper()
	if IsLeftOut(program) {
		t.Skipf("left out: there is no %s (TOLLGATE_LEAVE_OUT)", program)
	}
}
