package store_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// underKey is the context of a POST that carries an Idempotency-Key.
func underKey(t *testing.T, key string) context.Context {
	t.Helper()
	return idempotency.NewContext(t.Context(), idempotency.Request{Key: key}, func(written any) (idempotency.Answer, error) {
		body, err := json.Marshal(written.(tag.Tag))
		return idempotency.Answer{Status: 201, Body: body}, err
	})
}

func requireReplayed(t *testing.T, first tag.Tag, err error) {
	t.Helper()
	var before *idempotency.Replayed
	require.ErrorAs(t, err, &before)
	want, err := json.Marshal(first)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(before.Answer.Body))
}

func TestCreateUnderAKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		cfg.TablePrefix = "other_"
		db, s := open(t, cfg)
		s = s.WithRetention(time.Hour)
		first, err := s.Create(underKey(t, "a"), draft("first", tag.Enabled))
		require.NoError(t, err)
		_, err = s.Create(underKey(t, "a"), draft("first", tag.Enabled))
		requireReplayed(t, first, err)
		_, err = s.Create(underKey(t, "b"), draft("first", tag.Enabled))
		requireCode(t, errcode.TagNameExists, err)
		found, err := s.Changes(t.Context(), 0, 10)
		require.NoError(t, err)
		require.Len(t, found.Changes, 1, "the feed tells of one")

		require.NoError(t, db.Gorm(t.Context()).Exec("DELETE FROM other_tag").Error)
		_, err = s.Create(underKey(t, "b"), draft("first", tag.Enabled))
		require.NoError(t, err, "the failure was not kept")
		var expiresAt time.Time
		require.NoError(t, db.Gorm(t.Context()).Raw("SELECT expires_at FROM other_idempotency_key LIMIT 1").Row().Scan(&expiresAt))
		require.WithinDuration(t, time.Now().Add(time.Hour), expiresAt, time.Minute)
	})
}

// Without WithRetention a key holds as long as the setting's default says.
func TestDefaultRetention(t *testing.T) {
	db, s := open(t, dbtest.SQLite(t))
	_, err := s.Create(underKey(t, "a"), draft("first", tag.Enabled))
	require.NoError(t, err)
	var expiresAt time.Time
	require.NoError(t, db.Gorm(t.Context()).Raw("SELECT expires_at FROM blog_idempotency_key").Row().Scan(&expiresAt))
	require.WithinDuration(t, time.Now().Add(24*time.Hour), expiresAt, time.Minute)
}
