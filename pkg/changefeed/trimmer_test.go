package changefeed_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/changefeed"
)

var errTrim = errors.New("trim failed")

// trims are the results of successive calls; -1 is an error.
type trims struct {
	results []int64
	before  []time.Time
	calls   chan time.Duration // times of the calls that end a round, since the start
	began   time.Time
}

func (f *trims) trim(_ context.Context, before time.Time, limit int) (int64, error) {
	f.before = append(f.before, before)
	removed := f.results[0]
	f.results = f.results[1:]
	if removed < int64(limit) {
		f.calls <- time.Since(f.began)
	}
	if removed < 0 {
		return 0, errTrim
	}
	return removed, nil
}

func TestTrimmer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Two full batches and a smaller one, nothing, an error after a batch, and a
		// batch after the error.
		f := &trims{results: []int64{1000, 1000, 7, 0, 1000, -1, 5}, calls: make(chan time.Duration, 10), began: time.Now()}
		core, logs := observer.New(zapcore.InfoLevel)
		trimmer := changefeed.Trimmer{Trim: f.trim, Retention: 24 * time.Hour, Interval: 10 * time.Minute, Log: zap.New(core)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- trimmer.Run(ctx) }()
		for round := range 4 { // an error does not end Run
			require.Equal(t, time.Duration(round)*10*time.Minute, <-f.calls)
		}
		synctest.Wait()
		cancel()
		require.NoError(t, <-ended)
		require.Empty(t, f.results)
		require.Equal(t, f.began.Add(-24*time.Hour), f.before[0])
		require.Equal(t, f.began.Add(30*time.Minute-24*time.Hour), f.before[len(f.before)-1])
		var seen []any
		for _, entry := range logs.All() {
			seen = append(seen, entry.Level, entry.ContextMap()["changes"])
		}
		require.Equal(t, []any{zapcore.InfoLevel, int64(2007), zapcore.WarnLevel, nil, zapcore.InfoLevel, int64(5)}, seen)
	})
}
