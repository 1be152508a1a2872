package store_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// underKey is the context of a POST that carries an Idempotency-Key.
func underKey(t *testing.T, key string) context.Context {
	t.Helper()
	return idempotency.NewContext(t.Context(), idempotency.Request{Key: key}, func(written any) (idempotency.Answer, error) {
		body, err := json.Marshal(written.(article.Article))
		return idempotency.Answer{Status: 201, Body: body}, err
	})
}

func requireReplayed(t *testing.T, first article.Article, err error) {
	t.Helper()
	var before *idempotency.Replayed
	require.ErrorAs(t, err, &before)
	want, err := json.Marshal(first)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(before.Answer.Body))
}

func TestCreateUnderAKey(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2))
		kept := s.WithRetention(time.Hour)
		first, err := kept.Create(underKey(t, "a"), draft("first", 1, 2))
		require.NoError(t, err)
		require.Len(t, first.Tags, 2)
		// It is the first answer, whatever became of the article since.
		_, err = s.Update(t.Context(), first.ID, draft("changed", 2), nil)
		require.NoError(t, err)
		_, err = kept.Create(underKey(t, "a"), draft("first", 1, 2))
		requireReplayed(t, first, err)
		require.EqualValues(t, 1, s.count(t, "article", "1 = 1"))

		_, err = s.Create(underKey(t, "b"), draft("second"))
		require.NoError(t, err)
		for _, lasts := range []time.Duration{time.Hour, 24 * time.Hour} {
			var rows int64
			require.NoError(t, s.db.Gorm(t.Context()).Table("blog_idempotency_key").Where("expires_at BETWEEN ? AND ?",
				time.Now().UTC().Add(lasts-time.Minute), time.Now().UTC().Add(lasts)).Count(&rows).Error)
			require.EqualValues(t, 1, rows, "%s", lasts)
		}
	})
}

// The service tries a write again when a tag was unknown: under the same key,
// which the first try has given back.
func TestAnUnknownTagUnderAKey(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1))
		var news func() error // what catching up with the feed brings
		service := article.NewService(s.Store, func(context.Context) error { return news() }, 1<<20)

		news = func() error { return nil }
		_, err := service.Create(underKey(t, "key"), draft("first", 2))
		var coded *errcode.Error
		require.ErrorAs(t, err, &coded)
		require.Equal(t, errcode.UnknownTags, coded.Code)
		require.Zero(t, s.count(t, "article", "1 = 1"))
		require.Zero(t, s.count(t, "idempotency_key", "1 = 1"), "a refusal is not kept")

		news = func() error { return s.apply(t.Context(), put(2, 2, "two")) }
		first, err := service.Create(underKey(t, "key"), draft("first", 2))
		require.NoError(t, err)
		require.Len(t, first.Tags, 1)
		news = func() error { t.Error("a repeat knows its tags"); return nil }
		_, err = service.Create(underKey(t, "key"), draft("first", 2))
		requireReplayed(t, first, err)
		// Not even its tag has to be there any more.
		require.NoError(t, s.apply(t.Context(), remove(3, 2)))
		_, err = service.Create(underKey(t, "key"), draft("first", 2))
		requireReplayed(t, first, err)
		require.EqualValues(t, 1, s.count(t, "article", "1 = 1"))
	})
}
