package changefeed_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

type entry uint64

func (e entry) Number() uint64 { return uint64(e) }

// feed is a feed whose state is set by the test.
type feed struct {
	changes      atomic.Int64
	reads, looks atomic.Int64
	err          atomic.Pointer[error]
}

func (f *feed) failure() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *feed) head(context.Context) (uint64, error) {
	f.looks.Add(1)
	return uint64(f.changes.Load()), f.failure()
}

// read reads up to ten changes.
func (f *feed) read(ctx context.Context, after uint64) (changefeed.Changes[entry], error) {
	f.reads.Add(1)
	if ctx.Err() != nil {
		return changefeed.Changes[entry]{}, ctx.Err()
	}
	found := changefeed.Changes[entry]{Last: uint64(f.changes.Load())}
	for n := after + 1; n <= found.Last && len(found.Changes) < 10; n++ {
		found.Changes = append(found.Changes, entry(n))
	}
	return found, f.failure()
}

// watch runs a watcher until the end of the test.
func (f *feed) watch(t *testing.T, options changefeed.WatcherOptions) *changefeed.Watcher {
	t.Helper()
	options.Head = f.head
	if options.Interval == 0 {
		options.Interval = 200 * time.Millisecond
	}
	w := changefeed.NewWatcher(options)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return w
}

// pollResult is the result of a long poll.
type pollResult struct {
	found changefeed.Changes[entry]
	err   error
	took  time.Duration
}

// longPoll starts a long poll and returns once it waits. It must be called in a
// bubble of synctest.
func (f *feed) longPoll(ctx context.Context, w *changefeed.Watcher, request changefeed.Request) <-chan pollResult {
	done := make(chan pollResult, 1)
	go func() {
		began := time.Now()
		found, err := changefeed.Poll(ctx, w, request, func(ctx context.Context) (changefeed.Changes[entry], error) { return f.read(ctx, request.After) })
		done <- pollResult{found, err, time.Since(began)}
	}()
	synctest.Wait()
	return done
}

func TestLongPoll(t *testing.T) {
	const poll, wait = 200 * time.Millisecond, 10 * time.Second
	broken := errors.New("broken")
	for about, c := range map[string]struct {
		existing int64
		wait     time.Duration
		// happens is called once the reader waits.
		happens func(f *feed, w *changefeed.Watcher, drain, disconnect func())
		took    time.Duration
		changes int
		err     error
	}{
		"existing changes":             {existing: 3, wait: wait, changes: 3},
		"no wait":                      {wait: 0},
		"a negative wait":              {wait: -time.Second},
		"no change":                    {wait: wait, took: wait},
		"less than the interval":       {wait: 50 * time.Millisecond, took: 50 * time.Millisecond},
		"a write":                      {wait: wait, changes: 1, happens: func(f *feed, w *changefeed.Watcher, _, _ func()) { f.changes.Add(1); w.Changed() }},
		"a write elsewhere":            {wait: wait, changes: 1, happens: func(f *feed, w *changefeed.Watcher, _, _ func()) { f.changes.Add(1); w.Broadcast() }},
		"a broadcast without a change": {wait: wait, took: wait, happens: func(_ *feed, w *changefeed.Watcher, _, _ func()) { w.Broadcast() }},
		"a change without a broadcast": {wait: wait, took: poll, changes: 1, happens: func(f *feed, _ *changefeed.Watcher, _, _ func()) { f.changes.Add(1) }},
		"a drain":                      {wait: wait, happens: func(_ *feed, _ *changefeed.Watcher, drain, _ func()) { drain() }},
		"a change and a drain":         {wait: wait, changes: 1, happens: func(f *feed, _ *changefeed.Watcher, drain, _ func()) { f.changes.Add(1); drain() }},
		"the client disconnects":       {wait: wait, err: context.Canceled, happens: func(_ *feed, _ *changefeed.Watcher, _, disconnect func()) { disconnect() }},
		"a failure":                    {wait: wait, took: poll, err: broken, happens: func(f *feed, _ *changefeed.Watcher, _, _ func()) { f.err.Store(&broken) }},
		"a change after the last look": {wait: 300 * time.Millisecond, took: 300 * time.Millisecond, changes: 1, happens: func(f *feed, _ *changefeed.Watcher, _, _ func()) {
			time.Sleep(250 * time.Millisecond)
			f.changes.Add(1)
		}},
	} {
		t.Run(about, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, draining := &feed{}, make(chan struct{})
				f.changes.Store(c.existing)
				w := f.watch(t, changefeed.WatcherOptions{Interval: poll, Draining: draining})
				ctx, disconnect := context.WithCancel(t.Context())
				defer disconnect()
				reader := f.longPoll(ctx, w, changefeed.Request{Wait: c.wait})
				if c.happens != nil {
					c.happens(f, w, func() { close(draining) }, disconnect)
				}
				got := <-reader
				require.ErrorIs(t, got.err, c.err)
				require.Equal(t, c.took, got.took)
				require.Len(t, got.found.Changes, c.changes)
				require.Zero(t, w.Waiting())
			})
		})
	}
}

// While readers wait, the feed is looked at once per interval, however many they are; without
// a reader it isn't.
func TestReadersShareLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{}
		w := f.watch(t, changefeed.WatcherOptions{Interval: time.Second})
		time.Sleep(10 * time.Second)
		w.Changed()
		synctest.Wait()
		require.Zero(t, f.looks.Load())
		var readers []<-chan pollResult
		for range 50 {
			readers = append(readers, f.longPoll(t.Context(), w, changefeed.Request{Wait: 10 * time.Second}))
		}
		for _, reader := range readers {
			require.NoError(t, (<-reader).err)
		}
		require.InDelta(t, 11, f.looks.Load(), 1)
		require.EqualValues(t, 100, f.reads.Load(), "each reads before and after its wait")
	})
}

// A change that arrived while nobody waited doesn't wake readers that have it.
func TestHeadThatTheReaderHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{}
		w := f.watch(t, changefeed.WatcherOptions{})
		f.changes.Store(5)
		require.Equal(t, 2*time.Second, (<-f.longPoll(t.Context(), w, changefeed.Request{After: 5, Wait: 2 * time.Second})).took)
		f.changes.Store(7)
		require.Zero(t, (<-f.longPoll(t.Context(), w, changefeed.Request{After: 5, Wait: 2 * time.Second})).took)
		require.Equal(t, 2*time.Second, (<-f.longPoll(t.Context(), w, changefeed.Request{After: 7, Wait: 2 * time.Second})).took)
	})
}

// At the bound, one reader more is rejected at once, and one client has a quarter. Readers
// that don't wait are not counted.
func TestMaxWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{}
		w := f.watch(t, changefeed.WatcherOptions{MaxWaiting: 8})
		poll := func(client string) <-chan pollResult {
			return f.longPoll(t.Context(), w, changefeed.Request{Wait: 10 * time.Second, Client: client})
		}
		requireRejected := func(client string) {
			t.Helper()
			var coded *errcode.Error
			got := <-poll(client)
			require.ErrorAs(t, got.err, &coded)
			require.Equal(t, errcode.Unavailable, coded.Code)
			require.Positive(t, coded.RetryAfter)
			require.Zero(t, got.took)
		}
		var waiting []<-chan pollResult
		for n := range 4 {
			client := fmt.Sprint("client ", n)
			waiting = append(waiting, poll(client), poll(client))
			requireRejected(client)
		}
		requireRejected("another client")
		got := <-f.longPoll(t.Context(), w, changefeed.Request{Client: "another client"})
		require.NoError(t, got.err, "a reader that doesn't wait")
		require.Equal(t, 8, w.Waiting())
		require.Equal(t, 5, w.Rejected())
		f.changes.Add(1)
		w.Changed()
		for _, reader := range waiting {
			require.Len(t, (<-reader).found.Changes, 1)
		}
		require.Zero(t, w.Waiting())
	})
}

func TestChangedIsAnnounced(t *testing.T) {
	announced := 0
	w := changefeed.NewWatcher(changefeed.WatcherOptions{Announce: func() { announced++ }})
	w.Changed()
	w.Changed()
	w.Broadcast()
	require.Equal(t, 2, announced)
}

// Readers get all changes of concurrent writers.
func TestReadersUnderLoad(t *testing.T) {
	const readers, changes = 16, 500
	f := &feed{}
	w := f.watch(t, changefeed.WatcherOptions{Interval: time.Minute})
	var group sync.WaitGroup
	for range readers {
		group.Go(func() {
			for after := uint64(0); after < changes; {
				found, err := changefeed.Poll(t.Context(), w, changefeed.Request{After: after, Wait: time.Minute},
					func(ctx context.Context) (changefeed.Changes[entry], error) { return f.read(ctx, after) })
				if err != nil || len(found.Changes) == 0 {
					t.Errorf("after %d: %v, %v", after, found, err)
					return
				}
				after = found.Changes[len(found.Changes)-1].Number()
			}
		})
	}
	for range changes {
		f.changes.Add(1)
		w.Changed()
	}
	group.Wait()
}
