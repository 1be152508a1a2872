package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/services/article/internal/store"
)

// insertArticles inserts rows that were last changed at the given time.
func (f fixture) insertArticles(t *testing.T, rows int, deleted bool, changed time.Time) {
	t.Helper()
	const row = "(?, ?, ?, ?, 'title', 'content')"
	var values []any
	for range rows {
		values = append(values, changed, changed, changed, deleted)
	}
	require.NoError(t, f.db.Gorm(t.Context()).Exec("INSERT INTO blog_article (created_at, updated_at, published_at, is_deleted, title, content) VALUES "+
		strings.TrimSuffix(strings.Repeat(row+",", rows), ","), values...).Error)
}

func TestPurge(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		const after = time.Hour
		long, recent := time.Now().Add(-2*after), time.Now().Add(-after/2)
		s.insertArticles(t, 150, true, long) // more than one batch
		s.insertArticles(t, 120, true, recent)
		s.insertArticles(t, 3, false, long)
		s.insertArticles(t, 60, true, long)
		purger := store.Purger{DB: s.db, After: after, Log: zap.NewNop()}
		removed, err := purger.Purge(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 210, removed)
		require.EqualValues(t, 120, s.count(t, "article", "is_deleted = 1"), "deleted a short time ago")
		require.EqualValues(t, 3, s.count(t, "article", "is_deleted = 0"), "never those that are not deleted")
		removed, err = purger.Purge(t.Context())
		require.NoError(t, err)
		require.Zero(t, removed)
	})
}

// A request that created an article can be repeated after its purge.
func TestPurgeKeepsWhatARepeatedRequestNeeds(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		created, _, err := s.Create(t.Context(), draft("purged"), withKey("a"))
		require.NoError(t, err)
		require.NoError(t, s.Delete(t.Context(), created.ID, "", nil))
		removed, err := store.Purger{DB: s.db, After: -time.Hour, Log: zap.NewNop()}.Purge(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, removed)
		repeated, replayed, err := s.Create(t.Context(), draft("purged"), withKey("a"))
		require.NoError(t, err)
		require.True(t, replayed)
		require.Equal(t, created, repeated)
		next, _, err := s.Create(t.Context(), draft("next"), withKey("b"))
		require.NoError(t, err)
		require.Greater(t, next.ID, created.ID, "an id is never used again")
	})
}

func TestPurgerRunsUntilItsContextEnds(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- store.Purger{DB: s.db, After: time.Hour, Interval: time.Millisecond, Log: zap.NewNop()}.Run(ctx)
		}()
		for range 2 {
			s.insertArticles(t, 1, true, time.Now().Add(-2*time.Hour))
			require.Eventually(t, func() bool { return s.count(t, "article", "is_deleted = 1") == 0 }, time.Minute, time.Millisecond)
		}
		cancel()
		require.NoError(t, <-ended)
	})
}
