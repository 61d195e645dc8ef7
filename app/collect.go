package app

import (
	"os"
	"runtime/debug"
	"sync"

	"go.uber.org/zap"
)

// collectPercent is the garbage collector's percentage for a gateway, which has a small heap and much garbage. At Go's 100 the
// collector takes a few percent more of the CPU time, at 400 a few percent less for 40 MB more.
const collectPercent = 150

// collector is the process's percentage of the garbage collector. Caddy bounds the memory of the process by what the machine
// or the container has, whatever the percentage.
var collector = struct {
	sync.Mutex
	own   int // what it was before the first configuration; 0 until then
	inUse int // what a configuration set; 0 means own
}{}

// collect sets the percentage, unless the operator has (GOGC); 0 leaves the collector as it was. It logs each change.
func collect(percent int, log *zap.Logger) {
	if os.Getenv("GOGC") != "" {
		return
	}
	collector.Lock()
	defer collector.Unlock()
	if percent == collector.inUse {
		return
	}
	set := percent
	if percent == 0 {
		set = collector.own
	}
	before := debug.SetGCPercent(set)
	if collector.own == 0 {
		collector.own = before
	}
	collector.inUse = percent
	log.Info("garbage collection of the whole process", zap.Int("gc_percent", set), zap.Int("before", before))
}
