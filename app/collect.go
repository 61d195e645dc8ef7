package app

import (
	"os"
	"runtime/debug"
	"sync"
)

// collectPercent is the garbage collector's percentage for a gateway: what lives in it is small, and each call leaves
// garbage, so that at Go's 100 the collector runs all the time. Some tens of megabytes buy back a tenth of the CPU time.
const collectPercent = 400

// collectLess sets the percentage of the garbage collector, unless the operator has (GOGC). Caddy bounds the memory of the
// process by what the machine or the container has, whatever the percentage.
var collectLess = sync.OnceFunc(func() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectPercent)
	}
})
