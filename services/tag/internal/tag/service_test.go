package tag_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a store that does what a test says; the real one has tests of its
// own.
type fake struct {
	tag.Store
	err     error
	draft   tag.Draft
	changes atomic.Int64 // how many there are in the feed
	looks   atomic.Int64
	trims   []int64 // what each call of Trim removes; -1 fails
	before  []time.Time
}

func (f *fake) Create(_ context.Context, draft tag.Draft, _ idempotency.Key) (tag.Tag, bool, error) {
	f.draft = draft
	return tag.Tag{ID: 1}, false, f.err
}

func (f *fake) Update(_ context.Context, _ uint64, draft tag.Draft, _ tag.Precondition) (tag.Tag, error) {
	f.draft = draft
	return tag.Tag{ID: 1}, f.err
}

func (f *fake) Delete(context.Context, uint64, string, tag.Precondition) error { return f.err }

func (f *fake) Changes(ctx context.Context, after uint64, limit int) (tag.Changes, error) {
	f.looks.Add(1)
	if ctx.Err() != nil {
		return tag.Changes{}, ctx.Err()
	}
	found := tag.Changes{Last: uint64(f.changes.Load())}
	for n := after + 1; n <= found.Last && len(found.Changes) < limit; n++ {
		found.Changes = append(found.Changes, tag.Change{Sequence: n})
	}
	return found, f.err
}

var errTrim = errors.New("no trimming today")

func (f *fake) Trim(_ context.Context, before time.Time, _ int) (int64, error) {
	f.before = append(f.before, before)
	if len(f.trims) == 0 {
		return 0, nil
	}
	removed := f.trims[0]
	f.trims = f.trims[1:]
	if removed < 0 {
		return 0, errTrim
	}
	return removed, nil
}

// found answers every read with one tag.
type found struct {
	tag.Store
	tag    tag.Tag
	filter tag.Filter
}

func (f *found) Get(context.Context, uint64) (tag.Tag, error) { return f.tag, nil }

func (f *found) List(_ context.Context, filter tag.Filter, _ tag.Page) ([]tag.Tag, int64, error) {
	f.filter = filter
	return []tag.Tag{f.tag}, 1, nil
}

func TestViewers(t *testing.T) {
	for _, c := range []struct {
		viewer tag.Viewer
		state  tag.State
		sees   bool
	}{
		{tag.Anonymous, tag.Enabled, true}, {tag.Anonymous, tag.Disabled, false},
		{tag.Authenticated, tag.Enabled, true}, {tag.Authenticated, tag.Disabled, true},
	} {
		f := &found{tag: tag.Tag{ID: 1, State: c.state}}
		s := tag.NewService(f, tag.Options{})
		_, err := s.Get(t.Context(), c.viewer, 1)
		require.Equal(t, c.sees, err == nil, "%+v", c)
		_, _, err = s.List(t.Context(), c.viewer, tag.Filter{State: &c.state}, tag.Page{})
		if !c.sees {
			require.ErrorIs(t, err, tag.ErrUnauthenticated)
			continue
		}
		require.NoError(t, err)
		_, _, err = s.List(t.Context(), c.viewer, tag.Filter{}, tag.Page{})
		require.NoError(t, err)
		require.Equal(t, c.viewer == tag.Anonymous, f.filter.State != nil && *f.filter.State == tag.Enabled)
	}
}

func TestStateOfADraft(t *testing.T) {
	f := &fake{}
	s := tag.NewService(f, tag.Options{Changed: tag.NewBroadcaster()})
	disabled := tag.Disabled
	_, _, err := s.Create(t.Context(), tag.Draft{Name: "a"}, idempotency.Key{})
	require.NoError(t, err)
	require.Equal(t, tag.Enabled, *f.draft.State, "a new tag is enabled")
	_, _, err = s.Create(t.Context(), tag.Draft{Name: "a", State: &disabled}, idempotency.Key{})
	require.NoError(t, err)
	require.Equal(t, tag.Disabled, *f.draft.State)
	_, err = s.Update(t.Context(), 1, tag.Draft{Name: "a"}, nil)
	require.NoError(t, err)
	require.Nil(t, f.draft.State, "an existing one stays what it is")
}

// A write that succeeded is told here and elsewhere, one that failed is not.
func TestWritesAreAnnounced(t *testing.T) {
	for _, failure := range []error{nil, errors.New("failed")} {
		f := &fake{err: failure}
		broadcaster, announced := tag.NewBroadcaster(), 0
		s := tag.NewService(f, tag.Options{Changed: broadcaster, Announce: func() { announced++ }})
		for i, write := range []func() error{
			func() error { _, _, err := s.Create(t.Context(), tag.Draft{}, idempotency.Key{}); return err },
			func() error { _, err := s.Update(t.Context(), 1, tag.Draft{}, nil); return err },
			func() error { return s.Delete(t.Context(), 1, "", nil) },
		} {
			rung := broadcaster.Next()
			require.Equal(t, failure, write())
			select {
			case <-rung:
				require.NoError(t, failure)
				require.Equal(t, i+1, announced)
			default:
				require.Error(t, failure)
				require.Zero(t, announced)
			}
		}
	}
}

// waiting is a reader of the feed, in a bubble of time that passes only while
// everyone waits.
type waiting struct {
	found tag.Changes
	err   error
	took  time.Duration
}

func read(ctx context.Context, s *tag.Service, wait time.Duration) <-chan waiting {
	done := make(chan waiting, 1)
	go func() {
		began := time.Now()
		found, err := s.Changes(ctx, 0, 10, wait)
		done <- waiting{found, err, time.Since(began)}
	}()
	synctest.Wait()
	return done
}

func TestWaiting(t *testing.T) {
	const poll, wait = 200 * time.Millisecond, 10 * time.Second
	for about, c := range map[string]struct {
		there int64
		wait  time.Duration
		// happens once the reader waits
		happens func(f *fake, broadcaster *tag.Broadcaster, drain, leave func())
		took    time.Duration
		changes int
		err     error
	}{
		"changes are there":              {there: 3, wait: wait, changes: 3},
		"no wait":                        {wait: 0},
		"a negative wait":                {wait: -time.Second},
		"nothing comes":                  {wait: wait, took: wait},
		"less than a poll":               {wait: 50 * time.Millisecond, took: 50 * time.Millisecond},
		"a broadcaster":                  {wait: wait, changes: 1, happens: func(f *fake, broadcaster *tag.Broadcaster, _, _ func()) { f.changes.Add(1); broadcaster.Broadcast() }},
		"a broadcaster for nothing":      {wait: wait, took: wait, happens: func(_ *fake, broadcaster *tag.Broadcaster, _, _ func()) { broadcaster.Broadcast() }},
		"a change without a broadcaster": {wait: wait, took: poll, changes: 1, happens: func(f *fake, _ *tag.Broadcaster, _, _ func()) { f.changes.Add(1) }},
		"a drain":                        {wait: wait, happens: func(_ *fake, _ *tag.Broadcaster, drain, _ func()) { drain() }},
		"a change and a drain":           {wait: wait, changes: 1, happens: func(f *fake, _ *tag.Broadcaster, drain, _ func()) { f.changes.Add(1); drain() }},
		"the reader leaves":              {wait: wait, err: context.Canceled, happens: func(_ *fake, _ *tag.Broadcaster, _, leave func()) { leave() }},
		"the last moment's change": {wait: 300 * time.Millisecond, took: 300 * time.Millisecond, changes: 1, happens: func(f *fake, _ *tag.Broadcaster, _, _ func()) {
			time.Sleep(250 * time.Millisecond)
			f.changes.Add(1)
		}},
	} {
		t.Run(about, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, broadcaster, draining := &fake{}, tag.NewBroadcaster(), make(chan struct{})
				f.changes.Store(c.there)
				s := tag.NewService(f, tag.Options{Changed: broadcaster, PollInterval: poll, Draining: draining})
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				reader := read(ctx, s, c.wait)
				if c.happens != nil {
					c.happens(f, broadcaster, func() { close(draining) }, leave)
				}
				got := <-reader
				require.ErrorIs(t, got.err, c.err)
				require.Equal(t, c.took, got.took)
				require.Len(t, got.found.Changes, c.changes)
			})
		})
	}
}

// Waiting costs a look now and then, not a busy loop.
func TestWaitingIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		s := tag.NewService(f, tag.Options{Changed: tag.NewBroadcaster(), PollInterval: time.Second})
		<-read(t.Context(), s, 10*time.Second)
		require.InDelta(t, 11, f.looks.Load(), 1)
	})
}

func TestAFailureEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{err: errTrim}
		s := tag.NewService(f, tag.Options{Changed: tag.NewBroadcaster(), PollInterval: time.Second})
		got := <-read(t.Context(), s, 10*time.Second)
		require.ErrorIs(t, got.err, errTrim)
		require.Zero(t, got.took)
	})
}

func TestBell(t *testing.T) {
	broadcaster := tag.NewBroadcaster()
	broadcaster.Broadcast() // nobody there: nothing is kept for later
	first := broadcaster.Next()
	require.Equal(t, first, broadcaster.Next(), "all wait for the same key set")
	select {
	case <-first:
		t.Fatal("it has not rung")
	default:
	}
	broadcaster.Broadcast()
	<-first
	second := broadcaster.Next()
	require.NotEqual(t, first, second)
	broadcaster.Broadcast()
	<-second
}

func TestBellUnderLoad(*testing.T) {
	broadcaster := tag.NewBroadcaster()
	var waiting, ringing sync.WaitGroup
	for range 8 {
		waiting.Go(func() {
			for range 100 {
				<-broadcaster.Next()
			}
		})
	}
	stop := make(chan struct{})
	for range 4 {
		ringing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					broadcaster.Broadcast()
				}
			}
		})
	}
	waiting.Wait()
	close(stop)
	ringing.Wait()
}
