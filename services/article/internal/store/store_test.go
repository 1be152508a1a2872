package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// injected is in the errors that reject causes.
const injected = "rejected by the test"

// reject makes the database reject an event, INSERT or DELETE, of each row of the table
// that meets the condition.
func (f fixture) reject(t *testing.T, event, table, condition string) {
	t.Helper()
	action := "IF " + condition + " THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '" + injected + "'; END IF"
	if f.db.Dialect() == database.SQLite {
		action = "WHEN " + condition + " BEGIN SELECT RAISE(ABORT, '" + injected + "'); END"
	}
	f.exec(t, "CREATE TRIGGER reject_"+event+" BEFORE "+event+" ON "+f.db.Table(table)+" FOR EACH ROW "+action)
}

func TestWritesAreAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2, 3))
		existing := s.create(t, "existing", 1, 2)
		require.ErrorAs(t, third(s.Create(t.Context(), draft("new", 1, 99), idempotency.Key{})), new(*article.UnknownTagsError))
		require.ErrorAs(t, second(s.Update(t.Context(), existing.ID, draft("changed", 99), nil)), new(*article.UnknownTagsError))
		s.reject(t, "INSERT", "article_tag", "1 = 1")
		s.reject(t, "DELETE", "article_tag", "1 = 1")
		require.ErrorContains(t, third(s.Create(t.Context(), draft("new", 1), idempotency.Key{})), injected)
		require.ErrorContains(t, second(s.Update(t.Context(), existing.ID, draft("changed", 2, 3), nil)), injected)
		require.ErrorContains(t, s.Delete(t.Context(), existing.ID, "", nil), injected)

		require.EqualValues(t, 1, s.count(t, "article", "is_deleted = 0"))
		found, err := s.get(t.Context(), existing.ID)
		require.NoError(t, err)
		require.Equal(t, existing, found)
	})
}

func third[T any](_ T, _ bool, err error) error { return err }
func second[T any](_ T, err error) error        { return err }

func TestMissingArticles(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		deleted := s.create(t, "deleted")
		require.NoError(t, s.Delete(t.Context(), deleted.ID, "", nil))
		for _, id := range []uint64{deleted.ID, deleted.ID + 1, 1 << 33} {
			for name, err := range map[string]error{
				"get": second(s.get(t.Context(), id)), "update": second(s.Update(t.Context(), id, draft("x"), nil)), "delete": s.Delete(t.Context(), id, "", nil),
			} {
				var coded *errcode.Error
				require.ErrorAs(t, err, &coded, name)
				require.Equal(t, errcode.ArticleNotFound, coded.Code, name)
			}
		}
	})
}

// Deletion marks the article as deleted and removes its associations.
func TestDeleteIsSoft(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2))
		kept, deleted := s.create(t, "kept", 1), s.create(t, "deleted", 1, 2)
		require.NoError(t, s.Delete(t.Context(), deleted.ID, "", nil))
		require.EqualValues(t, 1, s.count(t, "article", "is_deleted = 1 AND title = 'deleted'"))
		require.Equal(t, []uint64{1}, s.tagsOf(t, kept.ID))
		require.EqualValues(t, 1, s.count(t, "article_tag", "1 = 1"))
		s.requireNoDanglingTags(t)
	})
}

// An update does not rewrite the rows of unchanged tags.
func TestUpdateKeepsUnchangedRows(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2, 3))
		created := s.create(t, "a", 1, 2)
		idOf := func(tag int) (id int64) {
			require.NoError(t, s.db.Gorm(t.Context()).Raw("SELECT id FROM blog_article_tag WHERE tag_id = ?", tag).Scan(&id).Error)
			return id
		}
		before := idOf(2)
		_, err := s.Update(t.Context(), created.ID, draft("a", 2, 3), nil)
		require.NoError(t, err)
		require.Equal(t, before, idOf(2))
		require.Equal(t, []uint64{2, 3}, s.tagsOf(t, created.ID))
	})
}

// Writers of articles race with the feed, which deletes and restores their tags. Each
// write succeeds or returns one of the documented errors, and no association dangles.
func TestConcurrentWritesAndTagDeletions(t *testing.T) {
	const tags, writers, rounds = 4, 6, 40
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := open(t, cfg)
		s.replace(t, snapshot(1, 1, 2, 3, 4))
		articles := []article.Article{s.create(t, "a", 1), s.create(t, "b", 2)}
		var group sync.WaitGroup
		var results sync.Map
		for w := range writers {
			group.Go(func() {
				for round := range rounds {
					one, two := 1+rand.Uint64N(tags), 1+rand.Uint64N(tags)
					var err error
					switch {
					case w == 0 && round%4 == 0:
						var created article.Article
						if created, _, err = s.Create(t.Context(), draft("c", one), idempotency.Key{}); err == nil {
							err = s.Delete(t.Context(), created.ID, "", nil)
						}
					case one == two:
						_, err = s.Update(t.Context(), articles[w%2].ID, draft("x", one), nil)
					default:
						_, err = s.Update(t.Context(), articles[w%2].ID, draft("x", min(one, two), max(one, two)), nil)
					}
					var unknown *article.UnknownTagsError
					var coded *errcode.Error
					switch {
					case err == nil:
						results.Store("written", true)
					case errors.As(err, &unknown):
						results.Store("unknown tag", true)
					case errors.As(err, &coded) && coded.Code == errcode.Conflict: // deleted and restored
					default:
						t.Errorf("writer %d: %v", w, err)
					}
				}
			})
		}
		group.Go(func() {
			sequence := uint64(1)
			for round := range uint64(rounds) {
				tag := 1 + round%tags
				if err := s.apply(t.Context(), remove(sequence+1, tag)); err != nil {
					t.Errorf("deletion: %v", err)
				}
				if err := s.apply(t.Context(), put(sequence+2, tag, "back")); err != nil {
					t.Errorf("restoration: %v", err)
				}
				sequence += 2
			}
		})
		group.Wait()
		s.requireNoDanglingTags(t)
		_, written := results.Load("written")
		require.True(t, written)
		for _, a := range articles {
			require.LessOrEqual(t, len(s.tagsOf(t, a.ID)), 2)
		}
	})
}

// If a tag is deleted between the check and the insertion, the foreign key error
// becomes an UnknownTagsError. In SQLite, writes are never concurrent.
func TestTagIsDeletedDuringWrite(t *testing.T) {
	cfg := dbtest.MySQL(t)
	s, other := open(t, cfg), open(t, cfg)
	s.replace(t, snapshot(1, 1, 2))
	existing := s.create(t, "existing", 1)
	var once sync.Once
	s.db.OnQuery(func(statement string, _ []any) {
		if strings.HasPrefix(statement, "INSERT INTO blog_article_tag ") {
			once.Do(func() { require.NoError(t, other.apply(t.Context(), remove(2, 2))) })
		}
	})
	var unknown *article.UnknownTagsError
	require.ErrorAs(t, second(s.Update(t.Context(), existing.ID, draft("x", 1, 2), nil)), &unknown)
	require.Equal(t, []uint64{2}, unknown.IDs)
	require.Equal(t, []uint64{1}, s.tagsOf(t, existing.ID))
}

// A reader gets an article as it was before or after a write, never a mixture.
func TestReadsAreConsistent(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2, 3, 4))
		created := s.create(t, "1", 1, 2)
		ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer stop()
		var group sync.WaitGroup
		group.Go(func() {
			for ctx.Err() == nil {
				for _, d := range []article.Draft{draft("2", 3, 4), draft("1", 1, 2)} {
					if _, err := s.Update(t.Context(), created.ID, d, nil); err != nil {
						t.Errorf("update: %v", err)
					}
				}
			}
		})
		for range 3 {
			group.Go(func() {
				for ctx.Err() == nil {
					one, err := s.get(t.Context(), created.ID)
					list, _, err2 := s.List(t.Context(), article.Filter{}, article.Page{Limit: 1})
					if err != nil || err2 != nil {
						t.Errorf("read: %v, %v", err, err2)
						return
					}
					for _, a := range append(list, one) {
						if want := map[string]string{"1": "[1 2]", "2": "[3 4]"}[a.Title]; fmt.Sprint(idsOf(a)) != want {
							t.Errorf("article %s has the tags %v", a.Title, idsOf(a))
						}
					}
				}
			})
		}
		group.Wait()
	})
}

func idsOf(a article.Article) (ids []uint64) {
	for _, tag := range a.Tags {
		ids = append(ids, tag.ID)
	}
	return ids
}

// Each method returns the error of a canceled context.
func TestCanceledContext(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		created := s.create(t, "a")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, second(s.get(ctx, created.ID)), context.Canceled)
		_, _, err := s.List(ctx, article.Filter{}, article.Page{Limit: 1})
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, third(s.Create(ctx, draft("b"), idempotency.Key{})), context.Canceled)
		require.ErrorIs(t, s.Delete(ctx, created.ID, "", nil), context.Canceled)
		require.EqualValues(t, 1, s.count(t, "article", "is_deleted = 0"))
	})
}
