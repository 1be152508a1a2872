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

// fake is a store whose results are set by the test.
type fake struct {
	tag.Store
	err     error
	draft   tag.Draft
	changes atomic.Int64 // in the feed
	reads   atomic.Int64
	trims   []int64 // results of Trim; -1 is an error
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
	f.reads.Add(1)
	if ctx.Err() != nil {
		return tag.Changes{}, ctx.Err()
	}
	found := tag.Changes{Last: uint64(f.changes.Load())}
	for n := after + 1; n <= found.Last && len(found.Changes) < limit; n++ {
		found.Changes = append(found.Changes, tag.Change{Sequence: n})
	}
	return found, f.err
}

var errTrim = errors.New("trim failed")

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

// found is a store with one tag.
type found struct {
	tag.Store
	tag    tag.Tag
	filter tag.Filter
}

func (f *found) Get(context.Context, uint64) (*tag.Shared, error) {
	return &tag.Shared{Tag: f.tag}, nil
}

func (f *found) List(_ context.Context, filter tag.Filter, _ tag.Page) (*tag.List, error) {
	f.filter = filter
	return &tag.List{Tags: []tag.Tag{f.tag}, Total: 1}, nil
}

func TestViewers(t *testing.T) {
	for _, c := range []struct {
		viewer tag.Viewer
		state  tag.State
		want   bool // the viewer sees the tag
	}{
		{tag.Anonymous, tag.Enabled, true}, {tag.Anonymous, tag.Disabled, false},
		{tag.Authenticated, tag.Enabled, true}, {tag.Authenticated, tag.Disabled, true},
	} {
		f := &found{tag: tag.Tag{ID: 1, State: c.state}}
		s := tag.NewService(f, tag.Options{})
		_, err := s.Get(t.Context(), c.viewer, 1)
		require.Equal(t, c.want, err == nil, "%+v", c)
		_, err = s.List(t.Context(), c.viewer, tag.Filter{State: &c.state}, tag.Page{})
		if !c.want {
			require.ErrorIs(t, err, tag.ErrUnauthenticated)
			continue
		}
		require.NoError(t, err)
		_, err = s.List(t.Context(), c.viewer, tag.Filter{}, tag.Page{})
		require.NoError(t, err)
		require.Equal(t, c.viewer == tag.Anonymous, f.filter.State != nil && *f.filter.State == tag.Enabled)
	}
}

// The version of a page depends on the tags, their order and their versions.
func TestVersionOfLists(t *testing.T) {
	a, changed, b := tag.Tag{ID: 1, Revision: 1}, tag.Tag{ID: 1, Revision: 2}, tag.Tag{ID: 2, Revision: 1}
	versions := map[string]bool{}
	for _, tags := range [][]tag.Tag{{}, {a}, {changed}, {b}, {a, b}, {b, a}} {
		versions[(&tag.List{Tags: tags}).Version()] = true
	}
	require.Len(t, versions, 6)
}

func TestStateOfDraft(t *testing.T) {
	f := &fake{}
	s := tag.NewService(f, tag.Options{Changed: tag.NewBroadcaster()})
	disabled := tag.Disabled
	_, _, err := s.Create(t.Context(), tag.Draft{Name: new("a")}, idempotency.Key{})
	require.NoError(t, err)
	require.Equal(t, tag.Enabled, *f.draft.State, "a new tag is enabled")
	_, _, err = s.Create(t.Context(), tag.Draft{Name: new("a"), State: &disabled}, idempotency.Key{})
	require.NoError(t, err)
	require.Equal(t, tag.Disabled, *f.draft.State)
	_, err = s.Update(t.Context(), 1, tag.Draft{Name: new("a")}, nil)
	require.NoError(t, err)
	require.Nil(t, f.draft.State, "an update without a state keeps it")
}

// A successful write is announced in this process and to other replicas, a failed
// one is not.
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
			changed := broadcaster.Next()
			require.Equal(t, failure, write())
			select {
			case <-changed:
				require.NoError(t, failure)
				require.Equal(t, i+1, announced)
			default:
				require.Error(t, failure)
				require.Zero(t, announced)
			}
		}
	}
}

// pollResult is the result of a long poll.
type pollResult struct {
	found tag.Changes
	err   error
	took  time.Duration
}

// longPoll starts a long poll and returns once it waits. It must be called in a
// bubble of synctest.
func longPoll(ctx context.Context, s *tag.Service, wait time.Duration) <-chan pollResult {
	done := make(chan pollResult, 1)
	go func() {
		began := time.Now()
		found, err := s.Changes(ctx, 0, 10, wait)
		done <- pollResult{found, err, time.Since(began)}
	}()
	synctest.Wait()
	return done
}

func TestLongPoll(t *testing.T) {
	const poll, wait = 200 * time.Millisecond, 10 * time.Second
	for about, c := range map[string]struct {
		existing int64
		wait     time.Duration
		// happens is called once the reader waits.
		happens func(f *fake, broadcaster *tag.Broadcaster, drain, disconnect func())
		took    time.Duration
		changes int
		err     error
	}{
		"existing changes":             {existing: 3, wait: wait, changes: 3},
		"no wait":                      {wait: 0},
		"a negative wait":              {wait: -time.Second},
		"no change":                    {wait: wait, took: wait},
		"less than PollInterval":       {wait: 50 * time.Millisecond, took: 50 * time.Millisecond},
		"a broadcast":                  {wait: wait, changes: 1, happens: func(f *fake, broadcaster *tag.Broadcaster, _, _ func()) { f.changes.Add(1); broadcaster.Broadcast() }},
		"a broadcast without a change": {wait: wait, took: wait, happens: func(_ *fake, broadcaster *tag.Broadcaster, _, _ func()) { broadcaster.Broadcast() }},
		"a change without a broadcast": {wait: wait, took: poll, changes: 1, happens: func(f *fake, _ *tag.Broadcaster, _, _ func()) { f.changes.Add(1) }},
		"a drain":                      {wait: wait, happens: func(_ *fake, _ *tag.Broadcaster, drain, _ func()) { drain() }},
		"a change and a drain":         {wait: wait, changes: 1, happens: func(f *fake, _ *tag.Broadcaster, drain, _ func()) { f.changes.Add(1); drain() }},
		"the client disconnects":       {wait: wait, err: context.Canceled, happens: func(_ *fake, _ *tag.Broadcaster, _, disconnect func()) { disconnect() }},
		"a change after the last poll": {wait: 300 * time.Millisecond, took: 300 * time.Millisecond, changes: 1, happens: func(f *fake, _ *tag.Broadcaster, _, _ func()) {
			time.Sleep(250 * time.Millisecond)
			f.changes.Add(1)
		}},
	} {
		t.Run(about, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, broadcaster, draining := &fake{}, tag.NewBroadcaster(), make(chan struct{})
				f.changes.Store(c.existing)
				s := tag.NewService(f, tag.Options{Changed: broadcaster, PollInterval: poll, Draining: draining})
				ctx, disconnect := context.WithCancel(t.Context())
				defer disconnect()
				reader := longPoll(ctx, s, c.wait)
				if c.happens != nil {
					c.happens(f, broadcaster, func() { close(draining) }, disconnect)
				}
				got := <-reader
				require.ErrorIs(t, got.err, c.err)
				require.Equal(t, c.took, got.took)
				require.Len(t, got.found.Changes, c.changes)
			})
		})
	}
}

// A long poll reads the feed once per PollInterval.
func TestLongPollInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		s := tag.NewService(f, tag.Options{Changed: tag.NewBroadcaster(), PollInterval: time.Second})
		<-longPoll(t.Context(), s, 10*time.Second)
		require.InDelta(t, 11, f.reads.Load(), 1)
	})
}

func TestErrorEndsLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{err: errTrim}
		s := tag.NewService(f, tag.Options{Changed: tag.NewBroadcaster(), PollInterval: time.Second})
		got := <-longPoll(t.Context(), s, 10*time.Second)
		require.ErrorIs(t, got.err, errTrim)
		require.Zero(t, got.took)
	})
}

func TestBroadcaster(t *testing.T) {
	broadcaster := tag.NewBroadcaster()
	broadcaster.Broadcast() // without receivers, it has no effect
	first := broadcaster.Next()
	require.Equal(t, first, broadcaster.Next(), "all receivers share a channel")
	select {
	case <-first:
		t.Fatal("closed without a broadcast")
	default:
	}
	broadcaster.Broadcast()
	<-first
	second := broadcaster.Next()
	require.NotEqual(t, first, second)
	broadcaster.Broadcast()
	<-second
}

func TestBroadcasterUnderLoad(*testing.T) {
	broadcaster := tag.NewBroadcaster()
	var receiving, broadcasting sync.WaitGroup
	for range 8 {
		receiving.Go(func() {
			for range 100 {
				<-broadcaster.Next()
			}
		})
	}
	stop := make(chan struct{})
	for range 4 {
		broadcasting.Go(func() {
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
	receiving.Wait()
	close(stop)
	broadcasting.Wait()
}
