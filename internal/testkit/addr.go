package testkit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// FreeAddr returns an unused address of this machine. Its port is below the ephemeral range (from 32768 on Linux), so
// that no other test's outgoing connection takes it first.
func FreeAddr() (string, error) {
	var errs error
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(17000)) //nolint:gosec // no secret
		ln, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, ln.Close()
		}
		errs = errors.Join(errs, err)
	}
	return "", errs
}
