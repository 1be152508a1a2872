package tag_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

type report struct {
	removed int64
	err     error
}

func TestTrimmer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Two full batches and a smaller one, nothing, an error after a batch, and a
		// batch after the error.
		f := &fake{trims: []int64{1000, 1000, 7, 0, 1000, -1, 5}}
		reports := make(chan report, 10)
		trimmer := tag.Trimmer{
			Store: f, Retention: 24 * time.Hour, Interval: 10 * time.Minute,
			Report: func(removed int64, err error) { reports <- report{removed, err} },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		began := time.Now()
		go func() { ended <- trimmer.Run(ctx) }()
		require.Equal(t, report{2007, nil}, <-reports, "the first round starts at once and removes all batches")
		require.Zero(t, time.Since(began))
		for i, want := range []report{{0, nil}, {1000, errTrim}, {5, nil}} { // an error does not end Run
			require.Equal(t, want, <-reports)
			require.Equal(t, time.Duration(i+1)*10*time.Minute, time.Since(began))
		}
		cancel()
		require.NoError(t, <-ended)
		require.Empty(t, reports)
		require.Equal(t, began.Add(-24*time.Hour), f.before[0])
		require.Equal(t, began.Add(30*time.Minute-24*time.Hour), f.before[len(f.before)-1])
	})
}

// An error after the end of ctx is not reported.
func TestTrimmerEndsWithoutReport(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	trimmer := tag.Trimmer{
		Store: &fake{trims: []int64{-1}}, Retention: time.Hour, Interval: time.Hour,
		Report: func(int64, error) { t.Error("reported") },
	}
	require.NoError(t, trimmer.Run(ctx))
}
