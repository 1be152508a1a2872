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
		// Two full batches and a rest; nothing; a failure; and on it goes.
		f := &fake{trims: []int64{1000, 1000, 7, 0, 1000, -1, 5}}
		var reports []report
		trimmer := tag.Trimmer{
			Store: f, Retention: 24 * time.Hour, Interval: 10 * time.Minute,
			Report: func(removed int64, err error) { reports = append(reports, report{removed, err}) },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		began := time.Now()
		go func() { ended <- trimmer.Run(ctx) }()
		synctest.Wait()
		require.Equal(t, []report{{2007, nil}}, reports, "it trims at once, all there is")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Equal(t, []report{{2007, nil}, {0, nil}}, reports)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Equal(t, report{1000, errTrim}, reports[2])
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Equal(t, report{5, nil}, reports[3], "a failure is not the end")
		require.Equal(t, began.Add(-24*time.Hour), f.before[0])
		require.Equal(t, began.Add(30*time.Minute-24*time.Hour), f.before[len(f.before)-1])
		cancel()
		require.NoError(t, <-ended)
		require.Len(t, reports, 4)
	})
}

// A round that the end of the process breaks off is no failure to report.
func TestTrimmerEndsQuietly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	trimmer := tag.Trimmer{
		Store: &fake{trims: []int64{-1}}, Retention: time.Hour, Interval: time.Hour,
		Report: func(int64, error) { t.Error("reported") },
	}
	require.NoError(t, trimmer.Run(ctx))
}
