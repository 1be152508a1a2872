package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

func withKey(key string) idempotency.Key { return idempotency.Key{Client: "demo", Value: key} }

func TestCreateWithKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		cfg.TablePrefix = "other_"
		db, s := open(t, cfg)
		first, replayed, err := s.Create(t.Context(), draft("first", tag.Enabled), withKey("a"))
		require.NoError(t, err)
		require.False(t, replayed)
		again, replayed, err := s.Create(t.Context(), draft("first", tag.Enabled), withKey("a"))
		require.NoError(t, err)
		require.True(t, replayed)
		require.Equal(t, first, again)
		_, _, err = s.Create(t.Context(), draft("first", tag.Enabled), withKey("b"))
		requireCode(t, errcode.TagNameExists, err)
		found, err := s.Changes(t.Context(), 0, 10)
		require.NoError(t, err)
		require.Len(t, found.Changes, 1)

		require.NoError(t, db.Gorm(t.Context()).Exec("DELETE FROM other_tag").Error)
		_, replayed, err = s.Create(t.Context(), draft("first", tag.Enabled), withKey("b"))
		require.NoError(t, err)
		require.False(t, replayed, "an error is not stored")
		var expiresAt time.Time
		require.NoError(t, db.Gorm(t.Context()).Raw("SELECT expires_at FROM other_idempotency_key LIMIT 1").Row().Scan(&expiresAt))
		require.WithinDuration(t, time.Now().Add(time.Hour), expiresAt, time.Minute)
	})
}
