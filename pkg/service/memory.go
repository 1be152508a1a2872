package service

import (
	"context"
	"errors"
	"math"
	"os"
	"runtime/debug"
	"time"

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
	bytes, err := setMemoryLimit(limit)
	switch {
	case errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported), err == nil && bytes == math.MaxInt64:
		log.Info("no memory limit")
	case err != nil:
		log.Warn("no memory limit: set GOMEMLIMIT to about 85% of the container's memory", zap.Error(err))
	default:
		log.Info("memory limit", zap.Int64("bytes", bytes))
	}
}

// memoryInterval is the interval at which the memory limit of the container is read
// again.
const memoryInterval = 10 * time.Second

// followMemory sets the memory limit of the garbage collector again whenever what limit
// returns has changed, as when Kubernetes resizes a pod in place, until ctx ends.
func followMemory(ctx context.Context, limit memlimit.Provider, log *zap.Logger) error {
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			before := debug.SetMemoryLimit(-1)
			if bytes, err := setMemoryLimit(limit); err == nil && bytes != before {
				log.Info("memory limit changed", zap.Int64("bytes", bytes), zap.Int64("before", before))
			}
		}
	}
}

// setMemoryLimit sets and returns the memory limit of the garbage collector. It returns
// the present one if GOMEMLIMIT is set.
func setMemoryLimit(limit memlimit.Provider) (int64, error) {
	return memlimit.Set(memlimit.WithRatio(memoryRatio), memlimit.WithProvider(limit))
}
