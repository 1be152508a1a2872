package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

func under(key string) idempotency.Key { return idempotency.Key{Client: "demo", Value: key} }

func TestCreateUnderAKey(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2))
		first, replayed, err := s.Create(t.Context(), draft("first", 1, 2), under("a"))
		require.NoError(t, err)
		require.False(t, replayed)
		require.Len(t, first.Tags, 2)
		_, err = s.Update(t.Context(), first.ID, draft("changed", 2), nil)
		require.NoError(t, err)
		again, replayed, err := s.Create(t.Context(), draft("first", 1, 2), under("a"))
		require.NoError(t, err)
		require.True(t, replayed)
		require.Equal(t, first, again, "the article as it was created")
		require.EqualValues(t, 1, s.count(t, "article", "1 = 1"))
		var rows int64
		require.NoError(t, s.db.Gorm(t.Context()).Table("blog_idempotency_key").Where("expires_at BETWEEN ? AND ?",
			time.Now().UTC().Add(time.Hour-time.Minute), time.Now().UTC().Add(time.Hour)).Count(&rows).Error)
		require.EqualValues(t, 1, rows)
	})
}

// The service tries a write again when a tag was unknown: under the same key,
// which the first try has released.
func TestAnUnknownTagUnderAKey(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1))
		var news func() error // what catching up with the feed brings
		service := article.NewService(s.Store, func(context.Context) error { return news() }, 1<<20)

		news = func() error { return nil }
		_, _, err := service.Create(t.Context(), draft("first", 2), under("key"))
		var coded *errcode.Error
		require.ErrorAs(t, err, &coded)
		require.Equal(t, errcode.UnknownTags, coded.Code)
		require.Zero(t, s.count(t, "article", "1 = 1"))
		require.Zero(t, s.count(t, "idempotency_key", "1 = 1"), "an error is not stored")

		news = func() error { return s.apply(t.Context(), put(2, 2, "two")) }
		first, _, err := service.Create(t.Context(), draft("first", 2), under("key"))
		require.NoError(t, err)
		require.Len(t, first.Tags, 1)
		news = func() error { t.Error("a repeat knows its tags"); return nil }
		for _, tagDeleted := range []bool{false, true} {
			if tagDeleted {
				require.NoError(t, s.apply(t.Context(), remove(3, 2)))
			}
			again, replayed, err := service.Create(t.Context(), draft("first", 2), under("key"))
			require.NoError(t, err)
			require.True(t, replayed)
			require.Equal(t, first, again)
		}
		require.EqualValues(t, 1, s.count(t, "article", "1 = 1"))
	})
}
