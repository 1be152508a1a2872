package coalesce_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// one allows one read at a time, so that a test decides what waits.
var one = coalesce.Config{MaxReads: 1}

// bubble runs a test with a Group, which must be idle at its end.
func bubble(t *testing.T, config coalesce.Config, test func(t *testing.T, g *group, reads <-chan read)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g, reads := newGroup(config)
		test(t, g, reads)
		synctest.Wait()
		require.True(t, g.Idle(), "nothing must be left")
		require.Empty(t, reads)
	})
}

type contextKey struct{}

func TestReadsAtOnceIfIdle(t *testing.T) {
	bubble(t, coalesce.Config{}, func(t *testing.T, g *group, reads <-chan read) {
		for range 2 {
			alone := get(context.WithValue(t.Context(), contextKey{}, "a trace"), g, 1)
			require.Len(t, reads, 1)
			r := <-reads
			require.Equal(t, []int{1}, r.keys)
			require.Equal(t, "a trace", r.ctx.Value(contextKey{}))
			r.finish("a")
			require.Equal(t, got("a"), <-alone)
		}
	})
}

// A call that has waited for a slow read starts another one, up to MaxReads.
func TestDelay(t *testing.T) {
	bubble(t, coalesce.Config{MaxReads: 2, Delay: time.Second}, func(t *testing.T, g *group, reads <-chan read) {
		first := get(t.Context(), g, 1)
		slow := <-reads
		early := get(t.Context(), g, 2)
		time.Sleep(time.Second / 2)
		late := get(t.Context(), g, 3)
		require.Empty(t, reads)
		time.Sleep(time.Second / 2)
		synctest.Wait()
		second := <-reads
		require.Equal(t, []int{2, 3}, second.keys, "all that wait")

		last := get(t.Context(), g, 2)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Empty(t, reads, "two reads are in progress")
		second.finish("b")
		for _, c := range []<-chan result{early, late} {
			require.Equal(t, got("b"), <-c)
		}
		(<-reads).finish("c")
		require.Equal(t, got("c"), <-last)
		slow.finish("a")
		require.Equal(t, got("a"), <-first)
	})
}

// If a read has one key, calls for another key don't wait, but calls for the same one share
// the next read.
func TestSingleKeys(t *testing.T) {
	bubble(t, coalesce.Config{MaxReads: 3, MaxKeys: 1}, func(t *testing.T, g *group, reads <-chan read) {
		first := get(t.Context(), g, 1)
		running := <-reads
		equal := []<-chan result{get(t.Context(), g, 1), get(t.Context(), g, 1)}
		require.Empty(t, reads)
		other := get(t.Context(), g, 2)
		(<-reads).finish("2")
		require.Equal(t, got("2"), <-other)
		next := <-reads // in the place of the read that has ended
		require.Equal(t, []int{1}, next.keys)
		running.finish("old")
		require.Equal(t, got("old"), <-first)
		next.finish("new")
		for _, c := range equal {
			require.Equal(t, got("new"), <-c)
		}
	})
}

// As soon as as many keys wait as a read may have, they are read, up to MaxReads.
func TestFullReadStartsAtOnce(t *testing.T) {
	for maxKeys, want := range map[int][][]int{3: {{1}, {2, 3, 4}, {5, 6, 7}}, 1: {{1}, {2}, {3}}} {
		bubble(t, coalesce.Config{MaxReads: 3, MaxKeys: maxKeys}, func(t *testing.T, g *group, reads <-chan read) {
			for key := 1; key <= 8; key++ {
				get(t.Context(), g, key)
			}
			var running []read
			for _, keys := range want {
				running = append(running, <-reads)
				require.Equal(t, keys, running[len(running)-1].keys)
			}
			require.Empty(t, reads)
			for _, r := range running {
				r.finish("")
			}
			for g.Waiting() > 0 || len(reads) > 0 {
				(<-reads).finish("")
				synctest.Wait()
			}
		})
	}
}

func TestWaitingCallersShareARead(t *testing.T) {
	bubble(t, one, func(t *testing.T, g *group, reads <-chan read) {
		first := get(t.Context(), g, 1)
		running := <-reads
		ctx := context.WithValue(t.Context(), contextKey{}, "a trace")
		var waiting []<-chan result
		for _, key := range []int{3, 2, 3, 1} {
			waiting = append(waiting, get(ctx, g, key))
		}
		require.Empty(t, reads)
		running.finish("a")
		require.Equal(t, got("a"), <-first)

		shared := <-reads
		require.Equal(t, []int{3, 2, 1}, shared.keys, "the oldest first")
		require.Nil(t, shared.ctx.Value(contextKey{}))
		shared.finish("b")
		for _, w := range waiting {
			require.Equal(t, got("b"), <-w)
		}
		require.Error(t, shared.ctx.Err(), "what the read has left behind ends, too")
	})
}

// What a read returns was perhaps read before a write that was acknowledged before the
// later call.
func TestJoinsNoRunningRead(t *testing.T) {
	bubble(t, one, func(t *testing.T, g *group, reads <-chan read) {
		alone := get(t.Context(), g, 1)
		first := <-reads
		early := get(t.Context(), g, 1)
		first.finish("old")
		require.Equal(t, got("old"), <-alone)

		second := <-reads // shared
		late := get(t.Context(), g, 1)
		second.finish("old")
		require.Equal(t, got("old"), <-early)

		(<-reads).finish("new")
		require.Equal(t, got("new"), <-late)
	})
}

func TestMaxKeys(t *testing.T) {
	for name, test := range map[string]struct {
		maxKeys int
		want    [][]int
	}{
		"a batch": {2, [][]int{{1, 2}, {3, 4}, {5}}},
		"lists":   {1, [][]int{{1}, {2}, {3}, {4}, {5}}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, coalesce.Config{MaxReads: 1, MaxKeys: test.maxKeys}, func(t *testing.T, g *group, reads <-chan read) {
				get(t.Context(), g, 0)
				running := <-reads
				for _, key := range []int{1, 2, 1, 3, 4, 5, 5} {
					get(t.Context(), g, key)
				}
				for _, want := range test.want {
					running.finish("")
					running = <-reads
					require.Equal(t, want, running.keys)
				}
				running.finish("")
			})
		})
	}
}

func TestMaxReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int32
		var exceeded atomic.Bool
		g := coalesce.New(coalesce.Config{MaxReads: 3, MaxKeys: 2}, func(context.Context, []int) (map[int]string, error) {
			defer reads.Add(-1)
			if reads.Add(1) > 3 {
				exceeded.Store(true)
			}
			time.Sleep(time.Second)
			return nil, nil
		})
		begin := time.Now()
		var callers sync.WaitGroup
		for key := range 1 + 2*2 + 3*2 + 1 {
			callers.Go(func() { _, _, _ = g.Get(t.Context(), key) })
		}
		callers.Wait()
		require.False(t, exceeded.Load())
		require.Equal(t, 3*time.Second, time.Since(begin), "reads are in progress as long as calls wait")
		require.True(t, g.Idle())
	})
}

func TestMaxWaiting(t *testing.T) {
	bubble(t, coalesce.Config{MaxReads: 1, MaxWaiting: 2}, func(t *testing.T, g *group, reads <-chan read) {
		alone := get(t.Context(), g, 1)
		running := <-reads
		ctx, cancel := context.WithCancel(t.Context())
		leaving, waiting := get(ctx, g, 2), get(t.Context(), g, 2)

		_, _, err := g.Get(t.Context(), 2)
		requireUnavailable(t, err, coalesce.ErrFull)

		cancel()
		require.ErrorIs(t, (<-leaving).err, context.Canceled)
		another := get(t.Context(), g, 3)
		running.finish("a")
		require.Equal(t, got("a"), <-alone)
		(<-reads).finish("b")
		require.Equal(t, got("b"), <-waiting)
		require.Equal(t, got("b"), <-another)
	})
}

// A key that is in a full queue can be waited for, another one can't.
func TestMaxQueued(t *testing.T) {
	bubble(t, coalesce.Config{MaxReads: 1, MaxQueued: 1}, func(t *testing.T, g *group, reads <-chan read) {
		alone := get(t.Context(), g, 1)
		running := <-reads
		first, second := get(t.Context(), g, 2), get(t.Context(), g, 2)

		_, _, err := g.Get(t.Context(), 3)
		requireUnavailable(t, err, coalesce.ErrFull)

		running.finish("a")
		require.Equal(t, got("a"), <-alone)
		(<-reads).finish("b")
		require.Equal(t, []result{got("b"), got("b")}, []result{<-first, <-second})
	})
}

func TestMissingKey(t *testing.T) {
	bubble(t, one, func(t *testing.T, g *group, reads <-chan read) {
		alone := get(t.Context(), g, 1)
		running := <-reads
		known, missing := get(t.Context(), g, 2), get(t.Context(), g, 3)
		running.finishWith(nil)
		require.Equal(t, result{}, <-alone)
		(<-reads).finishWith(map[int]string{2: "b"})
		require.Equal(t, got("b"), <-known)
		require.Equal(t, result{}, <-missing)
	})
}

func TestContextEnded(t *testing.T) {
	bubble(t, one, func(t *testing.T, g *group, reads <-chan read) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err := g.Get(ctx, 1)
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, reads)
	})
}

func TestContextEndsDuringTheReadOfOneCaller(t *testing.T) {
	bubble(t, one, func(t *testing.T, g *group, reads <-chan read) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		alone, waiting := get(ctx, g, 1), get(t.Context(), g, 2)
		<-reads
		require.ErrorIs(t, (<-alone).err, context.DeadlineExceeded)
		(<-reads).finish("b")
		require.Equal(t, got("b"), <-waiting)
	})
}

func TestContextEndsWhileWaiting(t *testing.T) {
	bubble(t, one, func(t *testing.T, g *group, reads <-chan read) {
		get(t.Context(), g, 1)
		running := <-reads
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var leaving []<-chan result
		for _, key := range []int{2, 2, 3} {
			leaving = append(leaving, get(ctx, g, key))
		}
		staying := get(t.Context(), g, 3)
		begin := time.Now()
		for _, l := range leaving {
			require.ErrorIs(t, (<-l).err, context.DeadlineExceeded)
		}
		require.Equal(t, time.Second, time.Since(begin))

		running.finish("a")
		next := <-reads
		require.Equal(t, []int{3}, next.keys, "nobody waits for 2 any longer")
		next.finish("b")
		require.Equal(t, got("b"), <-staying)
	})
}

func TestContextEndsDuringASharedRead(t *testing.T) {
	bubble(t, one, func(t *testing.T, g *group, reads <-chan read) {
		get(t.Context(), g, 1)
		running := <-reads
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		long, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		first, second := get(short, g, 2), get(long, g, 2)
		third := get(long, g, 3)
		running.finish("a")

		shared := <-reads
		require.ErrorIs(t, (<-first).err, context.DeadlineExceeded)
		require.NoError(t, shared.ctx.Err(), "others wait")
		require.ErrorIs(t, (<-second).err, context.DeadlineExceeded)
		require.ErrorIs(t, (<-third).err, context.DeadlineExceeded)
		synctest.Wait()
		require.ErrorIs(t, shared.ctx.Err(), context.Canceled, "nobody waits")
	})
}

// A read that takes no notice of its context keeps nobody waiting, but counts as long
// as it runs.
func TestReadThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := coalesce.New(one, func(context.Context, []int) (map[int]string, error) {
			<-release
			return map[int]string{2: "b", 3: "c"}, nil
		})
		get(t.Context(), g, 1)
		ctx, cancel := context.WithCancel(t.Context())
		leaving := get(ctx, g, 2)
		release <- struct{}{}
		synctest.Wait()
		cancel()
		require.ErrorIs(t, (<-leaving).err, context.Canceled)
		waiting := get(t.Context(), g, 3)
		require.False(t, g.Idle())
		close(release)
		require.Equal(t, got("c"), <-waiting)
		synctest.Wait()
		require.True(t, g.Idle())
	})
}

func TestErrors(t *testing.T) {
	failure := errors.New("no connection")
	for name, test := range map[string]struct {
		end  func() (map[int]string, error)
		want func(t *testing.T, err error)
	}{
		"error": {
			func() (map[int]string, error) { return map[int]string{1: "must be ignored"}, failure },
			func(t *testing.T, err error) { require.ErrorIs(t, err, failure) },
		},
		"panic": {
			func() (map[int]string, error) { panic("a bug") },
			func(t *testing.T, err error) {
				require.ErrorContains(t, err, "a bug")
				require.ErrorContains(t, err, "coalesce_test.go", "the stack")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, one, func(t *testing.T, g *group, reads <-chan read) {
				alone := get(t.Context(), g, 1)
				running := <-reads
				waiting := []<-chan result{get(t.Context(), g, 1), get(t.Context(), g, 1), get(t.Context(), g, 2)}
				running.result <- test.end
				(<-reads).result <- test.end
				for _, w := range append(waiting, alone) {
					r := <-w
					test.want(t, r.err)
					require.Equal(t, result{err: r.err}, r)
				}
				after := get(t.Context(), g, 1)
				(<-reads).finish("a")
				require.Equal(t, got("a"), <-after)
			})
		})
	}
}

// runtime.Goexit is what a failing assertion of a test calls.
func TestGoexit(t *testing.T) {
	bubble(t, one, func(t *testing.T, g *group, reads <-chan read) {
		exit := func() (map[int]string, error) { runtime.Goexit(); return nil, nil }
		alone := get(t.Context(), g, 1)
		running := <-reads
		waiting := get(t.Context(), g, 1)
		running.result <- exit
		_, returned := <-alone
		require.False(t, returned, "the goroutine is the caller's")
		(<-reads).result <- exit
		require.ErrorContains(t, (<-waiting).err, "exited")
	})
}

// TestStorm has callers that leave at any moment, and reads that fail in every way.
func TestStorm(t *testing.T) {
	failure := errors.New("no connection")
	g := coalesce.New(coalesce.Config{MaxReads: 2, MaxKeys: 3, MaxWaiting: 20}, func(ctx context.Context, keys []int) (map[int]int, error) {
		values := map[int]int{}
		for _, key := range keys {
			values[key] = key * key
		}
		switch rand.N(10) {
		case 0:
			return nil, failure
		case 1:
			panic(failure)
		case 2:
			<-ctx.Done()
			return nil, ctx.Err()
		case 3:
			runtime.Gosched()
		}
		return values, nil
	})
	var callers sync.WaitGroup
	for range 30 {
		callers.Go(func() {
			for range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), rand.N(2*time.Millisecond))
				key := rand.N(10)
				value, found, err := g.Get(ctx, key)
				cancel()
				switch {
				case err == nil:
					assert.True(t, found)
					assert.Equal(t, key*key, value)
				case !errors.Is(err, failure) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, coalesce.ErrFull):
					assert.ErrorContains(t, err, failure.Error(), "of a panic")
				}
			}
		})
	}
	callers.Wait()
	require.Eventually(t, g.Idle, patience, time.Millisecond)
}

// A call that waits for longer than the timeout gets an error, and the read that nobody
// waits for ends.
func TestTimeout(t *testing.T) {
	bubble(t, coalesce.Config{MaxReads: 1, Timeout: time.Second}, func(t *testing.T, g *group, reads <-chan read) {
		first := get(t.Context(), g, 1)
		running := <-reads
		early := get(t.Context(), g, 2)
		time.Sleep(600 * time.Millisecond)
		late := get(t.Context(), g, 3)
		running.finish("1")
		require.Equal(t, got("1"), <-first)
		shared := <-reads
		require.Equal(t, []int{2, 3}, shared.keys)
		time.Sleep(399 * time.Millisecond)
		synctest.Wait()
		require.Empty(t, early)
		time.Sleep(time.Millisecond)
		failed := <-early
		requireUnavailable(t, failed.err, coalesce.ErrTimeout)
		require.NoError(t, shared.ctx.Err(), "another call waits for it")
		time.Sleep(600 * time.Millisecond)
		require.ErrorIs(t, (<-late).err, coalesce.ErrTimeout)
		require.ErrorIs(t, shared.ctx.Err(), context.Canceled)
	})
}

func requireUnavailable(t *testing.T, err, cause error) {
	t.Helper()
	require.ErrorIs(t, err, cause)
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, errcode.Unavailable, coded.Code)
	require.Positive(t, coded.RetryAfter)
}
