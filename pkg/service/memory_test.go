package service

import (
	"context"
	"errors"
	"math"
	"os"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	failing := func(err error) memlimit.Provider { return func() (uint64, error) { return 0, err } }
	for name, test := range map[string]struct {
		environment string
		provider    memlimit.Provider
		limit       int64
		level       zapcore.Level
		message     string
	}{
		"container":    {"", memlimit.Limit(1000 << 20), 850 << 20, zap.InfoLevel, "memory limit"},
		"environment":  {"1GiB", memlimit.Limit(1000 << 20), 1 << 40, zap.InfoLevel, "memory limit of GOMEMLIMIT"},
		"no limit":     {"", failing(memlimit.ErrNoLimit), math.MaxInt64, zap.InfoLevel, "no memory limit"},
		"no container": {"", failing(memlimit.ErrNoCgroup), 1 << 40, zap.InfoLevel, "no memory limit"},
		"not Linux":    {"", failing(memlimit.ErrCgroupsNotSupported), 1 << 40, zap.InfoLevel, "no memory limit"},
		"cannot be read": {"", failing(errors.New("denied")), 1 << 40, zap.WarnLevel,
			"no memory limit: set GOMEMLIMIT to about 85% of the container's memory"},
	} {
		t.Run(name, func(t *testing.T) {
			debug.SetMemoryLimit(1 << 40)
			t.Setenv("GOMEMLIMIT", "") // restores it
			if test.environment == "" {
				require.NoError(t, os.Unsetenv("GOMEMLIMIT"))
			} else {
				t.Setenv("GOMEMLIMIT", test.environment)
			}
			core, logs := observer.New(zapcore.DebugLevel)
			limitMemory(test.provider, zap.New(core))
			require.Equal(t, test.limit, debug.SetMemoryLimit(-1))
			require.Equal(t, 1, logs.Len())
			require.Equal(t, test.level, logs.All()[0].Level)
			require.Equal(t, test.message, logs.All()[0].Message)
		})
	}
}

// The limit of a container that is resized is followed; one that can't be read is kept.
func TestFollowMemory(t *testing.T) {
	before := debug.SetMemoryLimit(1 << 40)
	defer debug.SetMemoryLimit(before)
	synctest.Test(t, func(t *testing.T) {
		var size atomic.Uint64 // 0 for one that can't be read
		size.Store(1000 << 20)
		provider := func() (uint64, error) {
			if size.Load() == 0 {
				return 0, errors.New("denied")
			}
			return size.Load(), nil
		}
		core, logs := observer.New(zapcore.DebugLevel)
		ctx, stop := context.WithCancel(t.Context())
		go func() { assert.NoError(t, followMemory(ctx, provider, zap.New(core))) }()
		after := func() int64 {
			time.Sleep(memoryInterval)
			synctest.Wait()
			return debug.SetMemoryLimit(-1)
		}
		require.EqualValues(t, 850<<20, after())
		require.EqualValues(t, 850<<20, after())
		require.Equal(t, 1, logs.Len(), "once for each change")
		size.Store(2000 << 20)
		require.EqualValues(t, 1700<<20, after())
		size.Store(0)
		require.EqualValues(t, 1700<<20, after())
		require.Equal(t, 2, logs.FilterMessage("memory limit changed").Len())
		stop()
	})
}

func TestRelaxCollector(t *testing.T) {
	for environment, want := range map[string]int{"": garbageRatio, "50": 70} {
		before := debug.SetGCPercent(70)
		t.Setenv("GOGC", environment)
		relaxCollector()
		require.Equal(t, want, debug.SetGCPercent(before), "GOGC=%s", environment)
	}
}
