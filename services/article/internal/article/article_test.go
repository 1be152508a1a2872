package article_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// memory is a store that records the drafts. It returns UnknownTagsError as
// article.Store requires it.
type memory struct {
	article.Store
	known  map[uint64]bool // ids of known tags
	drafts []article.Draft
	fail   error
}

func (m *memory) Create(_ context.Context, draft article.Draft, _ idempotency.Key) (article.Article, bool, error) {
	created, err := m.write(1, draft)
	return created, false, err
}

func (m *memory) Update(_ context.Context, id uint64, draft article.Draft, _ article.Precondition) (article.Article, error) {
	return m.write(id, draft)
}

func (m *memory) write(id uint64, draft article.Draft) (article.Article, error) {
	m.drafts = append(m.drafts, draft)
	if m.fail != nil {
		return article.Article{}, m.fail
	}
	var unknown []uint64
	if draft.TagIDs != nil {
		for _, tag := range *draft.TagIDs {
			if !m.known[tag] {
				unknown = append(unknown, tag)
			}
		}
	}
	if unknown != nil {
		return article.Article{}, fmt.Errorf("store: %w", &article.UnknownTagsError{IDs: unknown})
	}
	return article.Article{ID: id}, nil
}

// writes has the methods that write an article. The same rules apply to both.
var writes = map[string]func(*article.Service, article.Draft) error{
	"create": func(s *article.Service, d article.Draft) error {
		_, _, err := s.Create(context.Background(), d, idempotency.Key{})
		return err
	},
	"update": func(s *article.Service, d article.Draft) error {
		_, err := s.Update(context.Background(), 7, d, nil)
		return err
	},
}

func eachWrite(t *testing.T, test func(t *testing.T, write func(*article.Service, article.Draft) error)) {
	t.Helper()
	for name, write := range writes {
		t.Run(name, func(t *testing.T) { test(t, write) })
	}
}

// noChanges is a catchUp function without effect.
func noChanges(context.Context) error { return nil }

func pointer[T any](v T) *T { return &v }

func requireCode(t *testing.T, err error, code errcode.Code, detail string) {
	t.Helper()
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, code, coded.Code)
	require.Len(t, coded.Details, 1)
	require.Equal(t, detail, coded.Details[0].EN)
}

func TestTagsAreASet(t *testing.T) {
	eachWrite(t, func(t *testing.T, write func(*article.Service, article.Draft) error) {
		given := []uint64{3, 1, 3, 2, 1}
		m := &memory{known: map[uint64]bool{1: true, 2: true, 3: true}}
		require.NoError(t, write(article.NewService(m, noChanges, 10), article.Draft{TagIDs: &given}))
		require.Equal(t, []uint64{1, 2, 3}, *m.drafts[0].TagIDs)
		require.Equal(t, []uint64{3, 1, 3, 2, 1}, given, "the slice of the caller is unchanged")

		require.NoError(t, write(article.NewService(m, noChanges, 10), article.Draft{}))
		require.Nil(t, m.drafts[1].TagIDs, "nil means unchanged, not empty")
		require.NoError(t, write(article.NewService(m, noChanges, 10), article.Draft{TagIDs: &[]uint64{}}))
		require.Empty(t, *m.drafts[2].TagIDs)
		require.NotNil(t, m.drafts[2].TagIDs)
	})
}

func TestMaxTags(t *testing.T) {
	eachWrite(t, func(t *testing.T, write func(*article.Service, article.Draft) error) {
		m := &memory{known: map[uint64]bool{}}
		var ids []uint64
		for id := range uint64(article.MaxTags) {
			m.known[id+1] = true
			ids = append(ids, id+1, id+1)
		}
		require.NoError(t, write(article.NewService(m, noChanges, 10), article.Draft{TagIDs: &ids}))
		ids = append(ids, article.MaxTags+1)
		requireCode(t, write(article.NewService(m, noChanges, 10), article.Draft{TagIDs: &ids}),
			errcode.InvalidParams, "tag_ids must contain at most 20 items")
		require.Len(t, m.drafts, 1)
	})
}

func TestContentLimitCountsBytes(t *testing.T) {
	eachWrite(t, func(t *testing.T, write func(*article.Service, article.Draft) error) {
		m := &memory{}
		s := article.NewService(m, noChanges, 6)
		require.NoError(t, write(s, article.Draft{Content: pointer("中文")}))
		requireCode(t, write(s, article.Draft{Content: pointer("中文a")}), errcode.TooLarge, "content must be at most 6 bytes")
		requireCode(t, write(s, article.Draft{Content: pointer(strings.Repeat("a", 7))}), errcode.TooLarge, "content must be at most 6 bytes")
		require.Len(t, m.drafts, 1)
	})
}

func TestStateOfNewArticle(t *testing.T) {
	m := &memory{}
	s := article.NewService(m, noChanges, 10)
	for _, draft := range []article.Draft{{}, {State: pointer(article.Disabled)}} {
		_, _, err := s.Create(t.Context(), draft, idempotency.Key{})
		require.NoError(t, err)
	}
	_, err := s.Update(t.Context(), 1, article.Draft{}, nil)
	require.NoError(t, err)
	require.Equal(t, article.Enabled, *m.drafts[0].State)
	require.Equal(t, article.Disabled, *m.drafts[1].State)
	require.Nil(t, m.drafts[2].State, "an update without a state keeps it")
}

func TestUnknownTags(t *testing.T) {
	eachWrite(t, func(t *testing.T, write func(*article.Service, article.Draft) error) {
		calls := 0
		count := func(context.Context) error { calls++; return nil }
		m := &memory{known: map[uint64]bool{1: true}}
		err := write(article.NewService(m, count, 10), article.Draft{TagIDs: &[]uint64{9, 1, 8}})
		requireCode(t, err, errcode.UnknownTags, "tag_ids has unknown tags: 8, 9")
		require.Equal(t, 1, calls)
		require.Len(t, m.drafts, 2)

		learn := func(context.Context) error { calls++; m.known[8] = true; return nil }
		err = write(article.NewService(m, learn, 10), article.Draft{TagIDs: &[]uint64{9, 1, 8}})
		requireCode(t, err, errcode.UnknownTags, "tag_ids has unknown tags: 9")
		require.NoError(t, write(article.NewService(m, learn, 10), article.Draft{TagIDs: &[]uint64{1, 8}}))
		require.Equal(t, 2, calls, "known tags need no call of catchUp")

		unavailable := errcode.NewUnavailable(nil)
		before := len(m.drafts)
		err = write(article.NewService(m, func(context.Context) error { return unavailable }, 10), article.Draft{TagIDs: &[]uint64{9}})
		require.ErrorIs(t, err, unavailable)
		require.Len(t, m.drafts, before+1, "the write is not retried")
	})
}

func TestOtherErrorsAreReturned(t *testing.T) {
	eachWrite(t, func(t *testing.T, write func(*article.Service, article.Draft) error) {
		m := &memory{fail: errors.New("broken")}
		s := article.NewService(m, func(context.Context) error { t.Error("catchUp was called"); return nil }, 10)
		require.ErrorIs(t, write(s, article.Draft{}), m.fail)
		require.Len(t, m.drafts, 1)
	})
}

// found is a store with one article.
type found struct {
	article.Store
	article article.Article
	filter  article.Filter
}

func (f *found) Get(context.Context, uint64) (*article.Shared, error) {
	return article.NewShared(f.article, false), nil
}

func (f *found) List(_ context.Context, filter article.Filter, _ article.Page) (*article.SharedList, error) {
	f.filter = filter
	return article.NewSharedList([]article.Article{f.article}, article.Total{Rows: 1}), nil
}

func TestViewers(t *testing.T) {
	tags := []article.Tag{{ID: 1, State: article.Enabled}, {ID: 2, State: article.Disabled}}
	for _, c := range []struct {
		viewer article.Viewer
		state  article.State
		tags   []article.Tag // nil if the viewer doesn't see the article
	}{
		{article.Anonymous, article.Enabled, tags[:1]}, {article.Anonymous, article.Disabled, nil},
		{article.Authenticated, article.Enabled, tags}, {article.Authenticated, article.Disabled, tags},
	} {
		f := &found{article: article.Article{ID: 1, State: c.state, Tags: tags}}
		s := article.NewService(f, noChanges, 10)
		got, err := s.Get(t.Context(), c.viewer, 1)
		if c.tags == nil {
			requireArticleNotFound(t, err)
		} else {
			require.NoError(t, err)
			require.Equal(t, c.tags, got.Tags)
		}
		_, err = s.List(t.Context(), c.viewer, article.Filter{State: &c.state}, article.Page{})
		if c.tags == nil {
			require.ErrorIs(t, err, article.ErrUnauthenticated)
			continue
		}
		require.NoError(t, err)
		list, err := s.List(t.Context(), c.viewer, article.Filter{}, article.Page{})
		require.NoError(t, err)
		require.Equal(t, c.tags, list.Articles[0].Tags)
		anonymous := c.viewer == article.Anonymous
		require.Equal(t, anonymous, f.filter.TagEnabled)
		require.Equal(t, anonymous, f.filter.State != nil && *f.filter.State == article.Enabled)
		require.Len(t, f.article.Tags, 2, "the store's own slice is unchanged")
	}
}

func requireArticleNotFound(t *testing.T, err error) {
	t.Helper()
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, errcode.ArticleNotFound, coded.Code)
}

// The version depends on the revision and on all visible fields of the tags.
func TestVersion(t *testing.T) {
	versions := map[string]bool{}
	for _, a := range []article.Article{
		{Revision: 1}, {Revision: 2}, {Revision: 12},
		{Revision: 1, Tags: []article.Tag{{ID: 2, Name: "a", State: article.Enabled}}},
		{Revision: 1, Tags: []article.Tag{{ID: 3, Name: "a", State: article.Enabled}}},
		{Revision: 1, Tags: []article.Tag{{ID: 2, Name: "b", State: article.Enabled}}},
		{Revision: 1, Tags: []article.Tag{{ID: 2, Name: "a", State: article.Disabled}}},
		{Revision: 1, Tags: []article.Tag{{ID: 2, Name: "a", State: article.Enabled}, {ID: 3, Name: "b", State: article.Enabled}}},
		{Revision: 1, Tags: []article.Tag{{ID: 2, Name: "a\"\n3 1 \"b", State: article.Enabled}}},
	} {
		require.Regexp(t, `^[A-Za-z0-9_-]+$`, a.Version())
		versions[a.Version()] = true
		require.Equal(t, a.Version(), article.Article{Revision: a.Revision, Tags: a.Tags, Title: "x", Content: "y"}.Version())
	}
	require.Len(t, versions, 9)
}

// Viewers who see the same share a page and its version, which depends on what they see.
func TestSharedLists(t *testing.T) {
	plain := article.Article{ID: 1, Revision: 1, State: article.Enabled, Tags: []article.Tag{{ID: 1, State: article.Enabled}}}
	tagged := plain
	tagged.Tags = []article.Tag{{ID: 1, State: article.Enabled}, {ID: 2, State: article.Disabled}}

	shared := article.NewSharedList([]article.Article{plain}, article.Total{Rows: 7})
	require.Same(t, shared.View(article.Anonymous), shared.View(article.Authenticated))
	require.EqualValues(t, 7, shared.View(article.Anonymous).Total.Rows)

	mixed := article.NewSharedList([]article.Article{plain, tagged}, article.Total{Rows: 7})
	anonymous, authenticated := mixed.View(article.Anonymous), mixed.View(article.Authenticated)
	require.Equal(t, []article.Article{plain, plain}, anonymous.Articles)
	require.Equal(t, []article.Article{plain, tagged}, authenticated.Articles)
	require.Equal(t, authenticated.Total, anonymous.Total)

	versions := map[string]bool{}
	other, changed := plain, plain
	other.ID, changed.Revision = 2, 2
	for _, articles := range [][]article.Article{{}, {plain}, {tagged}, {other}, {changed}, {plain, other}, {other, plain}} {
		versions[article.NewSharedList(articles, article.Total{}).View(article.Authenticated).Version()] = true
	}
	require.Len(t, versions, 7)
}
