package store_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/search"
	"github.com/achilles-blog/achilles/services/article/migrations"
)

func TestDialectsHaveTheSameSchema(t *testing.T) {
	dbtest.SameSchema(t, migrations.All())
}

// The database rejects rows that break the rules of the domain.
func TestConstraints(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1))
		one := s.create(t, "one", 1)
		for name, statement := range map[string]string{
			"state":              "UPDATE blog_article SET state = 3",
			"flag":               "UPDATE blog_article SET is_deleted = 2",
			"missing tag":        associate(one.ID, 9),
			"missing article":    associate(99, 1),
			"the same tag twice": associate(one.ID, 1),
			"no title":           "UPDATE blog_article SET title = NULL",
		} {
			t.Run(name, func(t *testing.T) {
				_, err := s.db.SQL().ExecContext(t.Context(), statement)
				require.Error(t, err)
			})
		}
	})
}

// The columns of the grams and of the words have room for all of them.
func TestGramsFit(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		word := dbtest.Column{Name: "word", Type: fmt.Sprintf("varbinary(%d)", search.MaxWord)}
		require.Contains(t, dbtest.SchemaOf(t, s.db)["blog_article_word"].Columns, word)
		want := dbtest.Column{Name: "gram", Type: fmt.Sprintf("varbinary(%d)", search.MaxGram)}
		require.Contains(t, dbtest.SchemaOf(t, s.db)["blog_article_gram"].Columns, want)
	})
}

func associate(articleID, tagID uint64) string {
	return fmt.Sprintf("INSERT INTO blog_article_tag (created_at, updated_at, published_at, article_id, tag_id, article_state) VALUES ('2026-01-02', '2026-01-02', '2026-01-02', %d, %d, 1)", articleID, tagID)
}

// All statements use the configured table prefix.
func TestTablePrefix(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		cfg.TablePrefix = "my_"
		s := open(t, cfg)
		s.replace(t, snapshot(1, 1, 2))
		one := s.create(t, "one", 1, 2)
		list, total, err := s.List(t.Context(), article.Filter{AnyTag: []uint64{2}, Title: pointer("N"), State: pointer(article.Enabled)}, article.Page{Limit: 10})
		require.NoError(t, err)
		require.Equal(t, article.Total{Rows: 1}, total)
		require.Equal(t, one.ID, list[0].ID)
		require.NoError(t, s.apply(t.Context(), remove(2, 1)))
		require.Equal(t, []uint64{2}, s.tagsOf(t, one.ID))
		require.NoError(t, s.Delete(t.Context(), one.ID, "", nil))
	})
}

func pointer[T any](v T) *T { return &v }

// Times in the database are UTC, whatever the time zones of server and process.
func TestTimesAreUTC(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		created := s.create(t, "one")
		var stored time.Time
		require.NoError(t, s.db.Gorm(t.Context()).Raw("SELECT created_at FROM blog_article").Row().Scan(&stored))
		require.True(t, stored.Equal(created.CreatedAt))
		require.Equal(t, time.UTC, created.CreatedAt.Location())
		require.WithinDuration(t, time.Now(), created.CreatedAt, time.Minute)
		var literal string
		require.NoError(t, s.db.Gorm(t.Context()).Raw("SELECT SUBSTR(CONCAT(created_at, ''), 1, 13) FROM blog_article").Scan(&literal).Error)
		require.Equal(t, created.CreatedAt.Format("2006-01-02 15"), literal)
	})
}

// No statement scans a table.
func TestNoFullScan(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		ids := make([]uint64, 0, 1000)
		for id := range uint64(1000) {
			ids = append(ids, id+1)
		}
		s.replace(t, snapshot(1, ids...))
		rows := 1000
		if s.db.Dialect() == database.MySQL { // SQLite plans without statistics, as in production, so the number of rows does not matter
			rows = 5000
		}
		s.fill(t, rows, "1 + id % 300", "301 + id % 7", "400 + id % 300")
		s.unsettle(t, 11) // and lists merge the states, until it is published
		s.exec(t, "INSERT INTO blog_article_slug (slug, article_id, retired) SELECT CONCAT('slug-', id), id, 0 FROM blog_article WHERE is_deleted = 0")
		s.exec(t, "INSERT INTO blog_article_change (sequence, public_sequence, created_at, article_id, visible_before, visible_after) "+
			"SELECT ROW_NUMBER() OVER (ORDER BY id), ROW_NUMBER() OVER (ORDER BY id), created_at, id, 0, 1 FROM blog_article")
		s.exec(t, "UPDATE blog_article_sequence SET value = (SELECT COUNT(*) FROM blog_article_change), public_value = (SELECT COUNT(*) FROM blog_article_change)")
		if s.db.Dialect() == database.MySQL {
			dbtest.Analyze(t, s.db, "article_slug", "article", "article_tag", "article_change", "tag_projection")
		}
		enabled, disabled := article.Enabled, article.Disabled
		filters := map[string]article.Filter{
			"all": {}, "enabled": {State: &enabled}, "disabled": {State: &disabled}, "rare tag": {AnyTag: []uint64{5}},
			"frequent tag": {AnyTag: []uint64{303}}, "unused tag": {AnyTag: []uint64{999}}, "title": {Title: pointer("9")},
			"word": {Words: []string{"9"}}, "words": {Words: []string{"9", search.QueryWords(fmt.Sprintf("%0500d", 7))[0]}, State: &enabled}, "word and all": {Words: []string{"9"}, Title: pointer("9"), AnyTag: []uint64{303}, State: &enabled},
			"all filters": {AnyTag: []uint64{303}, Title: pointer("9"), State: &enabled}, "title and state": {Title: pointer("9"), State: &disabled},
			"impossible tag": {AnyTag: []uint64{math.MaxUint64}}, "any tag": {AnyTag: []uint64{303, 304}}, "all tags": {AllTags: []uint64{303, 5}, State: &enabled},
			"public": public(), "public tag": public(303), "public tags": public(303, 304), "published": {Published: article.Interval{From: pointer(time.Time{})}},
			"name": {Tag: pointer("tag 5"), TagEnabled: true}, "times": {Created: article.Interval{From: pointer(time.Time{})}, Updated: article.Interval{To: pointer(time.Now())}},
		}
		for name, filter := range filters {
			for _, page := range []article.Page{{Limit: 10}, {Limit: 100}, {Limit: 10, Offset: 300}, {Limit: 10, Order: article.Order{By: article.ByTitle, Ascending: true}}, {Limit: 10, Order: article.Order{By: article.ByPublished}}, {Limit: 10, Order: article.Order{By: article.ByPublished}, After: &article.Position{ID: 50, Time: time.Now()}}, {Limit: 10, Order: article.Order{By: article.ByUpdated}, After: &article.Position{ID: 50, Time: time.Now()}}} {
				t.Run(fmt.Sprint(name, " ", page.Offset, page.Order.By), func(t *testing.T) {
					s.requireIndexes(t, func() error { _, _, err := s.List(t.Context(), filter, page); return err })
				})
			}
		}
		for name, work := range map[string]func() error{
			"create":  func() error { _, _, err := s.Create(t.Context(), draft("x", 7), withKey(rand.Text())); return err },
			"get":     func() error { _, err := s.get(t.Context(), 1); return err },
			"publish": func() error { return second(s.PublishDue(t.Context())) },
			"tag":     func() error { _, err := s.TagNamed(t.Context(), "tag 7"); return err },
			"slug":    func() error { _, err := s.GetBySlug(t.Context(), "slug-1"); return err },
			"update":  func() error { _, err := s.Update(t.Context(), 1, draft("x", 7, 8, 9), nil); return err },
			"rename":  func() error { _, err := s.Update(t.Context(), 1, named("x", rand.Text()), nil); return err },
			"delete":  func() error { return s.Delete(t.Context(), 2, "", nil) },
			"changes": func() error {
				_, err := s.Changes(t.Context(), article.Anonymous, changefeed.Offset{}, 100)
				return errors.Join(err, second(s.Changes(t.Context(), article.Authenticated, changefeed.Offset{Sequence: 1}, 10)))
			},
			"last change": func() error { return second(s.LastChange(t.Context(), article.Anonymous)) },
			"apply":       func() error { return s.apply(t.Context(), put(2, 3, "x"), remove(3, 303), remove(4, 999)) },
		} {
			t.Run(name, func(t *testing.T) {
				// The outbox is empty then. MariaDB deletes from so small a table by a scan.
				require.NoError(t, second(s.LastChange(t.Context(), article.Anonymous)))
				s.requireIndexes(t, work)
			})
		}
		t.Run("trim", func(t *testing.T) { // last: it removes changes
			s.requireIndexes(t, func() error { return second(s.TrimChanges(t.Context(), time.Now(), 10)) })
		})
	})
}

func (f fixture) requireIndexes(t *testing.T, work func() error) {
	t.Helper()
	dbtest.Indexed(t, f.db, func() { require.NoError(t, work()) })
}
