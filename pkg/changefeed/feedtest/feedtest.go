// Package feedtest tests feeds of changes that sqlfeed stores, those of all services alike.
package feedtest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/sqlfeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Feed is an empty feed.
type Feed struct {
	DB *database.DB
	// Changes is its table, and Number the column of numbers.
	Changes, Number string
	// Write does a write with one change. It may be called by any goroutine.
	Write func(context.Context) error
	Read  func(ctx context.Context, after uint64, limit int) (numbers []uint64, last uint64, err error)
	Trim  func(ctx context.Context, before time.Time, limit int) (int64, error)
	// SQL is the feed whose epoch Renew changes; Epoch returns the epoch that readers get.
	SQL   sqlfeed.Feed
	Epoch func(context.Context) (string, error)
}

// Numbers returns the numbers of changes.
func Numbers[E changefeed.Entry](changes []E) (numbers []uint64) {
	for _, change := range changes {
		numbers = append(numbers, change.Number())
	}
	return numbers
}

func (f Feed) write(t *testing.T, n int) {
	t.Helper()
	for range n {
		require.NoError(t, f.Write(t.Context()))
	}
	_, _, err := f.Read(t.Context(), 0, 1) // so that all have numbers
	require.NoError(t, err)
}

// require requires the numbers of a read.
func (f Feed) require(t *testing.T, after uint64, limit int, want []uint64, last int) {
	t.Helper()
	numbers, newest, err := f.Read(t.Context(), after, limit)
	require.NoError(t, err)
	require.Equal(t, want, numbers)
	require.EqualValues(t, last, newest)
}

func (f Feed) requireTrimmed(t *testing.T, after uint64) {
	t.Helper()
	_, _, err := f.Read(t.Context(), after, 1)
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, errcode.ChangesTrimmed, coded.Code)
}

func (f Feed) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	_, err := f.DB.SQL().ExecContext(t.Context(), statement, args...)
	require.NoError(t, err)
}

// Run runs all tests. Each gets a feed from open.
func Run(t *testing.T, open func(t *testing.T) Feed) {
	t.Run("read", func(t *testing.T) { testRead(t, open(t)) })
	t.Run("gap", func(t *testing.T) { testGap(t, open(t)) })
	t.Run("trim", func(t *testing.T) { testTrim(t, open) })
	t.Run("renew", func(t *testing.T) { testRenew(t, open(t)) })
	t.Run("trim under load", func(t *testing.T) { testTrimUnderLoad(t, open(t)) })
	t.Run("write under load", func(t *testing.T) { testWriteUnderLoad(t, open(t)) })
}

func testRead(t *testing.T, f Feed) {
	f.require(t, 0, 10, nil, 0)
	f.requireTrimmed(t, 1)
	f.write(t, 5)
	for _, c := range []struct {
		after uint64
		limit int
		want  []uint64
	}{
		{0, 100, []uint64{1, 2, 3, 4, 5}}, {0, 1, []uint64{1}}, {2, 2, []uint64{3, 4}}, {4, 2, []uint64{5}}, {5, 2, nil},
	} {
		f.require(t, c.after, c.limit, c.want, 5)
	}
	for _, after := range []uint64{6, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		f.requireTrimmed(t, after)
	}
}

// A snapshot of MariaDB may lack a change before its last one. It is shown as a hole here.
func testGap(t *testing.T, f Feed) {
	f.write(t, 5)
	f.exec(t, "DELETE FROM "+f.DB.Table(f.Changes)+" WHERE "+f.Number+" = 3")
	f.require(t, 0, 100, []uint64{1, 2}, 5)
	f.require(t, 2, 100, nil, 5) // the change is not trimmed, there are older ones
	f.require(t, 3, 100, []uint64{4, 5}, 5)
}

func testTrim(t *testing.T, open func(t *testing.T) Feed) {
	now := time.Now().UTC()
	day := func(age int) time.Time { return now.AddDate(0, 0, -age) }
	for about, c := range map[string]struct {
		ages    []int // of the changes, in days
		limit   int
		removed []int64 // by each call
		left    []uint64
	}{
		"none is old":    {[]int{3, 2, 1}, 10, []int64{0}, []uint64{1, 2, 3}},
		"some are old":   {[]int{9, 8, 2, 1}, 10, []int64{2, 0}, []uint64{3, 4}},
		"all are old":    {[]int{9, 9, 8, 8}, 10, []int64{4, 0}, nil},
		"in batches":     {[]int{9, 9, 9, 9, 9, 1}, 2, []int64{2, 2, 1, 0}, []uint64{6}},
		"clocks differ":  {[]int{10, 1, 9, 1}, 10, []int64{3, 0}, []uint64{4}}, // without a gap
		"the other way":  {[]int{9, 1, 10, 1}, 10, []int64{1, 2, 0}, []uint64{4}},
		"the empty feed": {nil, 10, []int64{0}, nil},
	} {
		t.Run(about, func(t *testing.T) {
			f := open(t)
			f.write(t, len(c.ages))
			for i, age := range c.ages {
				f.exec(t, "UPDATE "+f.DB.Table(f.Changes)+" SET created_at = ? WHERE "+f.Number+" = ?", day(age), i+1)
			}
			for _, want := range c.removed {
				removed, err := f.Trim(t.Context(), day(7), c.limit)
				require.NoError(t, err)
				require.Equal(t, want, removed)
			}
			last := uint64(len(c.ages))
			trimmed := last - uint64(len(c.left))
			f.require(t, trimmed, 100, c.left, len(c.ages))
			for after := range trimmed {
				f.requireTrimmed(t, after)
			}
			require.NoError(t, f.Write(t.Context()))
			f.require(t, last, 100, []uint64{last + 1}, len(c.ages)+1)
		})
	}
}

// After a restored backup, all readers start over, also those that begin with the first change,
// and none waits for a change that the backup lacks. Writers and readers go on meanwhile.
func testRenew(t *testing.T, f Feed) {
	epoch := func() string {
		t.Helper()
		epoch, err := f.Epoch(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, epoch)
		return epoch
	}
	before := epoch()
	_, head, err := f.SQL.Renew(t.Context())
	require.NoError(t, err)
	require.Zero(t, head.Last, "an empty feed")
	require.NotEqual(t, before, epoch())

	const n = 1100 // more than are removed at once
	f.write(t, 5)
	f.exec(t, "DELETE FROM "+f.DB.Table(f.Changes)+" WHERE "+f.Number+" = 3")
	f.require(t, 2, 100, nil, 5)
	var writing sync.WaitGroup
	for range 4 {
		writing.Go(func() {
			for range n / 4 {
				report(t, f.Write(t.Context()))
			}
		})
	}
	writing.Wait()
	f.write(t, 1)
	before = epoch()
	writing.Go(func() {
		for range 20 {
			report(t, f.Write(t.Context()))
		}
	})
	former, current, err := f.SQL.Renew(t.Context())
	require.NoError(t, err)
	writing.Wait()
	require.NotEqual(t, former.Epoch, current.Epoch)
	require.NotEqual(t, before, epoch())
	require.GreaterOrEqual(t, current.Last, uint64(5+n+1))
	for _, after := range []uint64{0, 2, 5, current.Last - 1} {
		f.requireTrimmed(t, after)
	}
	numbers, last, err := f.Read(t.Context(), current.Last, 100)
	require.NoError(t, err)
	require.EqualValues(t, 5+n+1+20, last)
	require.Len(t, numbers, int(last-current.Last), "what was written since is there") // #nosec G115 -- small
	again, _, err := f.SQL.Renew(t.Context())
	require.NoError(t, err)
	require.Equal(t, current.Epoch, again.Epoch)

	f.exec(t, "DELETE FROM "+f.DB.Table(f.SQL.Sequence))
	_, _, err = f.SQL.Renew(t.Context())
	require.ErrorContains(t, err, "has no row with id 1")
}

// Replicas trim concurrently with each other and with writers.
func testTrimUnderLoad(t *testing.T, f Feed) {
	var removed atomic.Int64
	var working sync.WaitGroup
	for range 4 {
		working.Go(func() {
			for range 20 {
				report(t, f.Write(t.Context()))
			}
		})
		working.Go(func() {
			for range 20 {
				_, _, err := f.Read(t.Context(), uint64(removed.Load()), 1)
				var coded *errcode.Error
				if !errors.As(err, &coded) || coded.Code != errcode.ChangesTrimmed {
					report(t, err)
				}
				n, err := f.Trim(t.Context(), time.Now().Add(time.Hour), 3)
				report(t, err)
				removed.Add(n)
			}
		})
	}
	working.Wait()
	numbers, last, err := f.Read(t.Context(), uint64(removed.Load()), 100)
	require.NoError(t, err)
	require.EqualValues(t, 80, last)
	require.Len(t, numbers, 80-int(removed.Load()))
}

// Whoever reads after a write was acknowledged sees its change, and all readers get the
// same sequence without gaps.
func testWriteUnderLoad(t *testing.T, f Feed) {
	const writers, writes = 8, 15
	var acknowledged atomic.Int64
	var working sync.WaitGroup
	for range writers {
		working.Go(func() {
			for range writes {
				report(t, f.Write(t.Context()))
				acknowledged.Add(1)
			}
		})
	}
	for range 3 {
		working.Go(func() {
			for next := uint64(1); next <= writers*writes && !t.Failed(); {
				before := uint64(acknowledged.Load())
				numbers, last, err := f.Read(t.Context(), next-1, 7)
				if report(t, err); last < before {
					t.Errorf("a reader sees %d changes, but %d were acknowledged", last, before)
				}
				for _, number := range numbers {
					if number != next {
						t.Errorf("a reader gets the change %d, want %d", number, next)
						return
					}
					next++
				}
			}
		})
	}
	working.Wait()
}

func report(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}
