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

func withKey(key string) idempotency.Key { return idempotency.Key{Client: "demo", Value: key} }

func TestCreateWithKey(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2))
		first, replayed, err := s.Create(t.Context(), draft("first", 1, 2), withKey("a"))
		require.NoError(t, err)
		require.False(t, replayed)
		require.Len(t, first.Tags, 2)
		_, err = s.Update(t.Context(), first.ID, draft("changed", 2), nil)
		require.NoError(t, err)
		again, replayed, err := s.Create(t.Context(), draft("first", 1, 2), withKey("a"))
		require.NoError(t, err)
		require.True(t, replayed)
		require.Equal(t, first, again, "the repeat returns the article as it was created")
		require.EqualValues(t, 1, s.count(t, "article", "1 = 1"))
		var rows int64
		require.NoError(t, s.db.Gorm(t.Context()).Table("blog_idempotency_key").Where("expires_at BETWEEN ? AND ?",
			time.Now().UTC().Add(time.Hour-time.Minute), time.Now().UTC().Add(time.Hour)).Count(&rows).Error)
		require.EqualValues(t, 1, rows)
	})
}

// The service retries a write with an unknown tag with the same key. The failed
// write has not stored the key.
func TestUnknownTagWithKey(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1))
		var catchUp func() error
		service := article.NewService(s.Store, func(context.Context) error { return catchUp() }, 1<<20)

		catchUp = func() error { return nil }
		_, _, err := service.Create(t.Context(), draft("first", 2), withKey("key"))
		var coded *errcode.Error
		require.ErrorAs(t, err, &coded)
		require.Equal(t, errcode.UnknownTags, coded.Code)
		require.Zero(t, s.count(t, "article", "1 = 1"))
		require.Zero(t, s.count(t, "idempotency_key", "1 = 1"), "an error is not stored")

		catchUp = func() error { return s.apply(t.Context(), put(2, 2, "two")) }
		first, _, err := service.Create(t.Context(), draft("first", 2), withKey("key"))
		require.NoError(t, err)
		require.Len(t, first.Tags, 1)
		catchUp = func() error { t.Error("a repeat called catchUp"); return nil }
		for _, tagDeleted := range []bool{false, true} {
			if tagDeleted {
				require.NoError(t, s.apply(t.Context(), remove(3, 2)))
			}
			again, replayed, err := service.Create(t.Context(), draft("first", 2), withKey("key"))
			require.NoError(t, err)
			require.True(t, replayed)
			require.Equal(t, first, again)
		}
		require.EqualValues(t, 1, s.count(t, "article", "1 = 1"))
	})
}
