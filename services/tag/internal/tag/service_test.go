package tag_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a store whose results are set by the test.
type fake struct {
	tag.Store
	err   error
	draft tag.Draft
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
		s := tag.NewService(f, nil)
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
	s := tag.NewService(f, changefeed.NewWatcher(changefeed.WatcherOptions{}))
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

// A successful write is announced, a failed one is not.
func TestWritesAreAnnounced(t *testing.T) {
	for _, failure := range []error{nil, errors.New("failed")} {
		f, announced := &fake{err: failure}, 0
		s := tag.NewService(f, changefeed.NewWatcher(changefeed.WatcherOptions{Announce: func() { announced++ }}))
		for i, write := range []func() error{
			func() error { _, _, err := s.Create(t.Context(), tag.Draft{}, idempotency.Key{}); return err },
			func() error { _, err := s.Update(t.Context(), 1, tag.Draft{}, nil); return err },
			func() error { return s.Delete(t.Context(), 1, "", nil) },
		} {
			require.Equal(t, failure, write())
			if failure == nil {
				require.Equal(t, i+1, announced)
			} else {
				require.Zero(t, announced)
			}
		}
	}
}
