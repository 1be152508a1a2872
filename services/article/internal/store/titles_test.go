package store_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/search"
)

// anyTitle returns a title of few different words, so that searches have many results.
func anyTitle() string {
	words := []string{"Go", "golang", "A", "重启", "滚动", "茶", "100%", "_", "😀", "É", "Ag"}
	var title strings.Builder
	for range 1 + rand.N(5) {
		title.WriteString(words[rand.N(len(words))])
		if rand.N(2) == 0 {
			title.WriteByte(' ')
		}
	}
	return strings.TrimSpace(title.String())
}

// entries returns the index of titles: the grams of each article.
func (f fixture) entries(t *testing.T) map[uint64][]string {
	t.Helper()
	rows, err := f.db.SQL().QueryContext(t.Context(), "SELECT article_id, gram FROM blog_article_gram ORDER BY article_id, gram")
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	entries := map[uint64][]string{}
	for rows.Next() {
		var id uint64
		var gram []byte
		require.NoError(t, rows.Scan(&id, &gram))
		entries[id] = append(entries[id], string(gram))
	}
	require.NoError(t, rows.Err())
	return entries
}

// requireIndex requires that the index has the grams of all titles and no others, and that
// Reindex agrees.
func (f fixture) requireIndex(t *testing.T) {
	t.Helper()
	rows, err := f.db.SQL().QueryContext(t.Context(), "SELECT id, title FROM blog_article WHERE is_deleted = 0")
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	want := map[uint64][]string{}
	for rows.Next() {
		var id uint64
		var title string
		require.NoError(t, rows.Scan(&id, &title))
		want[id] = search.Grams(title)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, want, f.entries(t))
	added, removed, err := f.Reindex(t.Context())
	require.NoError(t, err)
	require.Zero(t, added)
	require.Zero(t, removed)
}

// Each write changes the index by what it changes.
func TestTitleIndex(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		one := s.create(t, "滚动重启").ID
		for range 2 { // the second is a repeat
			_, _, err := s.Create(t.Context(), draft("Go"), withKey("a"))
			require.NoError(t, err)
		}
		require.Error(t, third(s.Create(t.Context(), draft("unknown tag", 99), idempotency.Key{})))
		s.requireIndex(t)
		for _, title := range []string{"重启 Redis", "重启 REDIS", "x", strings.Repeat("字a", 50)} {
			require.NoError(t, second(s.Update(t.Context(), one, draft(title), nil)))
			s.requireIndex(t)
		}
		require.NoError(t, second(s.Update(t.Context(), one, ofState(article.Disabled), nil)))
		s.requireIndex(t)
		require.NoError(t, s.Delete(t.Context(), one, "", nil))
		s.requireIndex(t)
		require.Len(t, s.entries(t), 1)
	})
}

// Writers create, change and delete articles while Reindex runs, and while transactions and
// connections are killed. The indexes are always right, so Reindex changes nothing.
func TestIndexesSurviveStorms(t *testing.T) {
	const writers = 8
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := open(t, cfg)
		for range 40 {
			s.create(t, anyTitle())
		}
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
		defer stop()
		var group sync.WaitGroup
		storm(ctx, t, cfg, &group, writers, func(replica fixture) error { return replica.anyRename(t.Context()) })
		group.Go(func() {
			for ctx.Err() == nil {
				s.kill(ctx, t)
				if added, removed, err := s.Reindex(ctx); (err != nil || added+removed > 0) && ctx.Err() == nil && !documented(err) {
					t.Errorf("repaired %d and %d entries: %v", added, removed, err)
				}
			}
		})
		group.Wait()
		s.requireIndex(t)
		s.requireWords(t)
	})
}

// anyRename does a random write that concerns titles and contents.
func (f fixture) anyRename(ctx context.Context) error {
	existing := 1 + rand.Uint64N(60)
	switch rand.N(5) {
	case 0, 1:
		return third(f.Create(ctx, withText(anyTitle(), anyText(), anyText()), idempotency.Key{}))
	case 2:
		return f.Delete(ctx, existing, "", nil)
	}
	return second(f.Update(ctx, existing, withText(anyTitle(), anyText(), anyText()), nil))
}
