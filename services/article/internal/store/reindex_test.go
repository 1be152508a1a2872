package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/article/internal/search"
)

// Reindex adds entries that are missing and removes those that are wrong.
func TestReindex(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.fill(t, 1000)
		for range 3 {
			s.create(t, "重启 Redis")
		}
		s.requireIndex(t)
		require.NoError(t, s.Delete(t.Context(), 1003, "", nil))
		s.exec(t, "DELETE FROM blog_article_gram WHERE article_id IN (1, 1001)")
		s.exec(t, "INSERT INTO blog_article_gram (gram, article_id) VALUES (?, 1), (?, 2), (?, 1003), (?, 99999)", []byte("zzz"), []byte("重启"), []byte("redis"), []byte("a"))
		added, removed, err := s.Reindex(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1+len(search.Grams("重启 Redis")), added)
		require.EqualValues(t, 4, removed)
		s.requireIndex(t)
		s.exec(t, "DELETE FROM blog_article_gram")
		_, removed, err = s.Reindex(t.Context())
		require.NoError(t, err)
		require.Zero(t, removed)
		s.requireIndex(t)
	})
}
