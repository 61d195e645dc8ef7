package app

import (
	"os"
	"runtime/debug"
	"sync"

	"go.uber.org/zap"
)

// collectPercent suits a gateway, which has a small heap and much garbage. At Go's default of 100 the
// collector takes a few percent more CPU time; at 400 a few percent less, for 40 MB more memory.
const collectPercent = 150

// collector is the garbage collector's percentage for the process. Caddy limits the process's memory to
// that of the machine or container, whatever the percentage.
var collector = struct {
	sync.Mutex
	own   int // before the first configuration; 0 until then
	inUse int // set by a configuration; 0 means own
}{}

// collect sets the percentage unless GOGC is set. 0 restores the original one. It logs each change.
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
