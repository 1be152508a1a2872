package service

import (
	"errors"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"go.uber.org/zap"
)

// memoryRatio is the share of the container's memory that Go may use. The rest is for
// what its limit does not count, such as the buffers of SQLite, and for the moments in
// which it is exceeded.
const memoryRatio = 0.85

// garbageRatio is the amount of garbage, in percent of what is in use, at which the
// garbage collector runs, unless the memory limit is reached before. What is in use is
// small beside the limit, and a quarter of the CPU time was the collector's with Go's 100.
const garbageRatio = 400

// relaxCollector sets garbageRatio, unless GOGC is set.
func relaxCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbageRatio)
	}
}

// limitMemory sets the memory limit of the garbage collector, unless GOMEMLIMIT is
// set, to memoryRatio of what limit returns.
func limitMemory(limit memlimit.Provider, log *zap.Logger) {
	if value := os.Getenv("GOMEMLIMIT"); value != "" {
		log.Info("memory limit of GOMEMLIMIT", zap.String("limit", value))
		return
	}
	bytes, err := memlimit.Set(memlimit.WithRatio(memoryRatio), memlimit.WithProvider(limit))
	switch {
	case errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported), err == nil && bytes == math.MaxInt64:
		log.Info("no memory limit")
	case err != nil:
		log.Warn("no memory limit: set GOMEMLIMIT to about 85% of the container's memory", zap.Error(err))
	default:
		log.Info("memory limit", zap.Int64("bytes", bytes))
	}
}
