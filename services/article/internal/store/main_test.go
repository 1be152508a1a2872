package store_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
	"github.com/achilles-blog/achilles/services/article/migrations"
)

func TestMain(m *testing.M) {
	if point := os.Getenv(envFiles); point != "" {
		useFilesUntilKilled(point)
		return
	}
	dbtest.Main(m)
}

const epoch = "epoch"

// fixture is a store and its database.
type fixture struct {
	*store.Store
	db *database.DB
}

// List returns what an authenticated viewer sees of a page.
func (f fixture) List(ctx context.Context, filter article.Filter, page article.Page) ([]article.Article, article.Total, error) {
	found, err := f.Store.List(ctx, filter, page)
	if err != nil {
		return nil, article.Total{}, err
	}
	seen := found.View(article.Authenticated)
	return seen.Articles, seen.Total, nil
}

func open(t *testing.T, cfg database.Config) fixture { return openFor(t, cfg) }

func openFor(t testing.TB, cfg database.Config) fixture {
	t.Helper()
	db := dbtest.Open(t, cfg)
	_, _, err := database.Migrate(t.Context(), db, migrations.All())
	require.NoError(t, err)
	return fixture{store.New(db, time.Hour), db}
}

func each(t *testing.T, test func(t *testing.T, s fixture)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, cfg database.Config) { test(t, open(t, cfg)) })
}

// snapshot returns a snapshot with tags of the given ids.
func snapshot(sequence uint64, ids ...uint64) tagfeed.Snapshot {
	s := tagfeed.Snapshot{Epoch: epoch, Sequence: sequence}
	for _, id := range ids {
		s.Tags = append(s.Tags, tagfeed.Tag{ID: id, Name: fmt.Sprint("tag ", id), State: 1})
	}
	return s
}

// replace replaces the read model at its current offset.
func (f fixture) replace(t *testing.T, snapshot tagfeed.Snapshot) {
	t.Helper()
	require.NoError(t, f.Replace(t.Context(), f.offset(t), snapshot))
}

func (f fixture) offset(t *testing.T) changefeed.Offset {
	t.Helper()
	offset, err := f.Offset(t.Context())
	require.NoError(t, err)
	return offset
}

// apply applies consecutive changes.
func (f fixture) apply(ctx context.Context, changes ...tagfeed.Change) error {
	return f.Apply(ctx, tagfeed.Changes{Epoch: epoch, Changes: changes, Last: changes[len(changes)-1].Sequence})
}

func put(sequence, tag uint64, name string) tagfeed.Change {
	return tagfeed.Change{Sequence: sequence, TagID: tag, Kind: changefeed.Put, Name: name, State: 1}
}

func remove(sequence, tag uint64) tagfeed.Change {
	return tagfeed.Change{Sequence: sequence, TagID: tag, Kind: changefeed.Delete}
}

// readModel returns the tags and the offset of the read model.
func (f fixture) readModel(t testing.TB) (map[uint64]string, changefeed.Offset) {
	t.Helper()
	var offset changefeed.Offset
	names := map[uint64]string{}
	require.NoError(t, f.db.Snapshot(context.WithoutCancel(t.Context()), func(tx *gorm.DB) error {
		if err := tx.Table(f.db.Table("tag_offset")).Take(&offset).Error; err != nil {
			return err
		}
		var rows []struct {
			ID    uint64
			Name  string
			State int
		}
		err := tx.Table(f.db.Table("tag_projection")).Find(&rows).Error
		for _, r := range rows {
			names[r.ID] = fmt.Sprintf("%s (%d)", r.Name, r.State)
		}
		return err
	}))
	return names, offset
}

func (f fixture) create(t *testing.T, title string, tags ...uint64) article.Article {
	t.Helper()
	created, _, err := f.Create(t.Context(), draft(title, tags...), idempotency.Key{})
	require.NoError(t, err)
	return created
}

func draft(title string, tags ...uint64) article.Draft {
	state := article.Enabled
	return article.Draft{Title: &title, State: &state, TagIDs: &tags}
}

// get returns an article with all of its tags.
func (f fixture) get(ctx context.Context, id uint64) (article.Article, error) {
	found, err := f.Get(ctx, id)
	if err != nil {
		return article.Article{}, err
	}
	view, _ := found.View(article.Authenticated)
	return view.Article, nil
}

func (f fixture) tagsOf(t *testing.T, id uint64) []uint64 {
	t.Helper()
	found, err := f.get(t.Context(), id)
	require.NoError(t, err)
	ids := make([]uint64, 0, len(found.Tags))
	for _, tag := range found.Tags {
		ids = append(ids, tag.ID)
	}
	return ids
}

// count returns the number of rows in the table.
func (f fixture) count(t *testing.T, table, where string) (n int64) {
	t.Helper()
	require.NoError(t, f.db.Gorm(t.Context()).Table(f.db.Table(table)).Where(where).Count(&n).Error)
	return n
}

// requireNoDanglingTags requires that every association has a tag and an article.
func (f fixture) requireNoDanglingTags(t *testing.T) {
	t.Helper()
	require.Zero(t, f.count(t, "article_tag", "tag_id NOT IN (SELECT id FROM "+f.db.Table("tag_projection")+")"))
	require.Zero(t, f.count(t, "article_tag", "article_id NOT IN (SELECT id FROM "+f.db.Table("article")+" WHERE is_deleted = 0)"))
}

// requireCounters requires that the counters are right, and that each association has the
// state of its article.
func (f fixture) requireCounters(t *testing.T) {
	t.Helper()
	repaired, err := f.Recount(t.Context())
	require.NoError(t, err)
	require.Empty(t, repaired)
	require.Zero(t, f.count(t, "article_tag", "article_state <> (SELECT state FROM "+f.db.Table("article")+" AS a WHERE a.id = article_id)"))
	require.Zero(t, f.count(t, "article_count", "tag_id > 0 AND tag_id NOT IN (SELECT id FROM "+f.db.Table("tag_projection")+")"))
}

func (f fixture) exec(t *testing.T, statement string, values ...any) {
	t.Helper()
	_, err := f.db.SQL().ExecContext(t.Context(), statement, values...)
	require.NoError(t, err)
}

// fill inserts n articles, a multiple of 1000. Each element of tags is an SQL
// expression over the id of an article that yields a tag of it. One article in ten
// is deleted. The counters are right.
func (f fixture) fill(t *testing.T, n int, tags ...string) {
	t.Helper()
	require.Zero(t, n%1000)
	numbers := "WITH RECURSIVE ones(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM ones WHERE i < 1000), " +
		fmt.Sprintf("thousands(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM thousands WHERE k < %d) ", n/1000-1)
	f.exec(t, "INSERT INTO blog_article (id, created_at, published_at, updated_at, is_deleted, title, content, state) "+numbers+
		"SELECT 1000 * k + i, '2026-01-02 03:04:05', '2026-01-02 03:04:05', '2026-01-02 03:04:05', CASE WHEN i % 10 = 0 THEN 1 ELSE 0 END, i % 97, "+
		"'"+fmt.Sprintf("%0500d", 7)+"', CASE WHEN i % 7 = 0 THEN 0 ELSE 1 END FROM ones CROSS JOIN thousands")
	for _, tag := range tags {
		f.exec(t, "INSERT INTO blog_article_tag (created_at, updated_at, published_at, article_id, tag_id, article_state) "+
			"SELECT created_at, updated_at, published_at, id, "+tag+", state FROM blog_article WHERE is_deleted = 0")
	}
	_, err := f.Recount(t.Context())
	require.NoError(t, err)
	_, _, err = f.Reindex(t.Context())
	require.NoError(t, err)
	_, _, err = f.ReindexWords(t.Context(), func(string) {})
	require.NoError(t, err)
}

// repeats returns how often a test with random values repeats what takes long: less often
// under the race detector, which slows down SQLite.
func repeats(n int) int {
	if raceDetector {
		return n / 5
	}
	return n
}
