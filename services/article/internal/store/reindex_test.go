package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/idempotency"
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

// ReindexWords adds entries that are missing or have another weight, and removes those that
// are wrong, however many it looks at at a time.
func TestReindexWords(t *testing.T) {
	for name, limit := range map[string]func(fixture){
		"all at once":   func(fixture) {},
		"a few":         func(s fixture) { s.LimitReindex(30, 7, 5, 100, 50) },
		"one at a time": func(s fixture) { s.LimitReindex(1, 1, 1, 1, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s fixture) {
				limit(s)
				s.fillTexts(t, 70)
				one, _, err := s.Create(t.Context(), withText("重启 Redis", "in short", "C++ and 2026"), idempotency.Key{})
				require.NoError(t, err)
				two := s.create(t, "deleted").ID
				require.NoError(t, s.Delete(t.Context(), two, "", nil))
				require.NoError(t, third(s.Create(t.Context(), draft("-"), idempotency.Key{}))) // has no words
				s.requireWords(t)

				s.exec(t, "DELETE FROM blog_article_word WHERE article_id = ?", one.ID)
				s.exec(t, "DELETE FROM blog_article_word WHERE word = ?", []byte("go"))
				missing := len(search.Words("重启 Redis", "in short", "C++ and 2026"))
				for id, words := range s.allWords(t) {
					for _, word := range words {
						if word.Text == "go" && id != one.ID {
							missing++
						}
					}
				}
				s.exec(t, "UPDATE blog_article_word SET weight = 0 WHERE word = ?", []byte("茶"))
				wrong := int(s.count(t, "article_word", "weight = 0"))
				s.exec(t, "INSERT INTO blog_article_word (word, article_id, weight) VALUES (?, 1, 1), (?, ?, 1), (?, ?, 4), (?, 99999, 1), (?, 9223372036854775000, 1)",
					[]byte("zzz"), []byte("\xff"), one.ID, []byte("deleted"), two, []byte("a"), []byte("b"))
				added, removed, err := s.ReindexWords(t.Context(), func(string) {})
				require.NoError(t, err)
				require.EqualValues(t, missing+wrong, added)
				require.EqualValues(t, 5, removed)
				s.requireWords(t)

				s.exec(t, "DELETE FROM blog_article_word")
				_, removed, err = s.ReindexWords(t.Context(), func(string) {})
				require.NoError(t, err)
				require.Zero(t, removed)
				s.requireWords(t)
			})
		})
	}
}

// While writers change articles, ReindexWords repairs what is wrong with others, and nothing
// that writers do is wrong afterwards.
func TestReindexWordsBesideWriters(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := open(t, cfg)
		for range 60 {
			require.NoError(t, third(s.Create(t.Context(), withText(anyTitle(), anyText(), anyText()), idempotency.Key{})))
		}
		s.LimitReindex(50, 20, 30, 200, 50)
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
		defer stop()
		var group sync.WaitGroup
		storm(ctx, t, cfg, &group, 4, func(replica fixture) error { return replica.anyRename(t.Context()) })
		repaired := int64(0)
		group.Go(func() {
			for ctx.Err() == nil {
				if err := s.db.InTx(ctx, func(tx *gorm.DB) error {
					if _, err := s.db.Exec(tx, "DELETE FROM blog_article_word WHERE article_id = ?", 1+rand.N(60)); err != nil {
						return err
					}
					_, err := s.db.Exec(tx, "INSERT INTO blog_article_word (word, article_id, weight) VALUES (?, ?, 1)", []byte(fmt.Sprint("zz", rand.Uint64())), 1+rand.N(80))
					return err
				}); err != nil && ctx.Err() == nil && !documented(err) {
					t.Error(err)
				}
				added, removed, err := s.ReindexWords(ctx, func(string) {})
				if repaired += added + removed; err != nil && ctx.Err() == nil && !documented(err) {
					t.Error(err)
				}
			}
		})
		group.Wait()
		added, removed, err := s.ReindexWords(t.Context(), func(string) {})
		require.NoError(t, err)
		s.requireWords(t)
		require.Positive(t, repaired+added+removed)
	})
}
