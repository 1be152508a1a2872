package runner

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/bench/corpus"
	"github.com/achilles-blog/achilles/test/bench/seed"
	"github.com/achilles-blog/achilles/test/e2e/load"
	"github.com/achilles-blog/achilles/test/e2e/report"
	"github.com/achilles-blog/achilles/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

// ledgers are the results of a load and the databases of both services.
type ledgers struct {
	tags, articles *sql.DB
	results        map[string][]load.Result
	before         loaded
}

func write(t *testing.T, repeat bool) *ledgers {
	t.Helper()
	l := &ledgers{}
	l.run(t, repeat)
	return l
}

// run runs a load on real services, and waits until the tag read model is complete and each
// change is in the feed.
func (l *ledgers) run(t *testing.T, repeat bool) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts servers")
	}
	tagDatabase, articleDatabase := dbtest.MySQL(t), dbtest.MySQL(t)
	tags := process.Ready(t, process.Service(t, "tag"), process.On(tagDatabase))
	storage := process.Settings{"Files.URL": "file://" + filepath.Join(t.TempDir(), "files"), "Files.Timeout": "10s"}
	articles := process.Ready(t, process.Service(t, "article"), process.Follow(articleDatabase, tags.Addr(t)).With(storage))
	l.tags, l.articles = open(t, tagDatabase), open(t, articleDatabase)
	if l.before.articles > 0 {
		require.NoError(t, newAPIClient("http://"+tags.Addr(t), "tags").createTags(t.Context(), process.Token()))
		require.NoError(t, awaitTags(t.Context(), l.articles))
		require.NoError(t, seed.Articles(t.Context(), l.articles, l.before.articles))
		_, exit := process.Run(t, process.Service(t, "article"), process.Follow(articleDatabase, tags.Addr(t)), "recount")
		require.Zero(t, exit)
	}
	written := load.Start(load.Config{
		Run: "run", Source: "here", Loaded: l.before.articles, Mix: load.Mix{Reused: 2, Fresh: 1, Files: 1, H2C: 1}, MaxDuration: time.Second / 10, Think: time.Millisecond, Token: process.Token(), Repeat: repeat,
		Tags:     load.Endpoint{Addr: tags.Addr(t), Host: "tags"},
		Articles: load.Endpoint{Addr: articles.Addr(t), Host: "articles"},
	})
	process.Await(t, "200 requests and two files", func() bool {
		var files int
		require.NoError(t, l.articles.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM blog_file").Scan(&files))
		return files >= 2 && written.Count().Requests >= 200
	})
	result := written.Stop()
	require.Zero(t, result.Failed, result.Failures)
	l.results = map[string][]load.Result{"run": {result}}
	process.Await(t, "the tag read model", func() bool { return l.compare(t, l.tags, l.articles).ReadModelDiffers == 0 })
	process.Await(t, "an empty outbox", func() bool {
		var waiting int
		require.NoError(t, l.articles.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM blog_article_outbox").Scan(&waiting))
		return waiting == 0
	})
}

func open(t *testing.T, cfg database.Config) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/%s", cfg.Username, cfg.Password.Reveal(), cfg.Host, cfg.DBName))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func (l *ledgers) compare(t *testing.T, tags, articles querier) report.Ledger {
	t.Helper()
	found, err := newComparison("run", l.results, l.before).compare(t.Context(), tags, articles)
	require.NoError(t, err)
	return found
}

// with compares after statements, which it rolls back.
func (l *ledgers) with(t *testing.T, tagStatement, articleStatement string) report.Ledger {
	t.Helper()
	in := func(db *sql.DB, statement string) *sql.Tx {
		tx, err := db.BeginTx(context.Background(), nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, tx.Rollback()) })
		if statement != "" {
			done, err := tx.ExecContext(t.Context(), statement)
			require.NoError(t, err)
			changed, err := done.RowsAffected()
			require.NoError(t, err)
			require.Equal(t, int64(1), changed, statement)
		}
		return tx
	}
	return l.compare(t, in(l.tags, tagStatement), in(l.articles, articleStatement))
}

// Each kind of difference between the ledger and the databases is detected.
func TestLedger(t *testing.T) {
	l := write(t, true)
	exact := l.compare(t, l.tags, l.articles)
	require.True(t, exact.Exact(), exact.Examples)
	require.Equal(t, l.results["run"][0].Posts, exact.Acknowledged)
	require.Equal(t, report.Ledger{Sent: exact.Sent, Acknowledged: exact.Sent}, exact)

	const some = " WHERE is_deleted = 0 ORDER BY id LIMIT 1"
	for _, c := range []struct {
		name, tag, article string
		change             func(*report.Ledger)
	}{
		{"lost article", "", "DELETE FROM blog_article" + some, func(l *report.Ledger) { l.Lost++ }},
		{"deleted article", "", "UPDATE blog_article SET is_deleted = 1" + some, func(l *report.Ledger) { l.Lost++ }},
		{"duplicated article", "", "INSERT INTO blog_article (title, `desc`, content, created_at, updated_at, published_at) SELECT title, `desc`, content, created_at, updated_at, published_at FROM blog_article" + some,
			func(l *report.Ledger) { l.Duplicated++ }},
		{"unexpected article", "", "INSERT INTO blog_article (title, `desc`, content, created_at, updated_at, published_at) VALUES ('run/here/reused0/1000000', '', '', NOW(), NOW(), NOW())", func(l *report.Ledger) { l.Unexpected++ }},
		{"renamed article", "", "UPDATE blog_article SET title = 'by hand'" + some, func(l *report.Ledger) { l.Unexpected++; l.Lost++ }},
		{"unexpected edit", "", "UPDATE blog_article SET `desc` = 'revision 1000'" + some, func(l *report.Ledger) { l.Altered++ }},
		{"article without one of its tags", "", "DELETE FROM blog_article_tag ORDER BY article_id LIMIT 1", func(l *report.Ledger) { l.Altered++ }},
		{"disabled tag", "UPDATE blog_tag SET state = 0" + some, "", func(l *report.Ledger) { l.Altered++; l.ReadModelDiffers++ }},
		{"tag that differs in the read model", "", "UPDATE blog_tag_projection SET name = 'other' ORDER BY id LIMIT 1", func(l *report.Ledger) { l.ReadModelDiffers++ }},
		{"tag that is only in the read model", "", "INSERT INTO blog_tag_projection (id, name, state) VALUES (1000000, 'more', 1)", func(l *report.Ledger) { l.ReadModelDiffers++ }},
		{"lost file", "", "DELETE FROM blog_file ORDER BY id LIMIT 1", func(l *report.Ledger) { l.Lost++ }},
		{"file with the bytes of another one", "", "UPDATE blog_file SET sha256 = (SELECT MAX(sha256) FROM blog_blob) WHERE sha256 < (SELECT MAX(sha256) FROM blog_blob) ORDER BY id LIMIT 1",
			func(l *report.Ledger) { l.Altered++ }},
		{"wrong counter", "", "UPDATE blog_article_count SET value = value + 1 ORDER BY tag_id LIMIT 1", func(l *report.Ledger) { l.CountersDiffer++ }},
		{"missing change", "", "DELETE FROM blog_article_change WHERE article_id = (SELECT MIN(id) FROM blog_article WHERE is_deleted = 0) ORDER BY sequence LIMIT 1",
			func(l *report.Ledger) { l.FeedDiffers += 2 }}, // of the article, and of all
		{"change in the outbox that nobody made", "", "INSERT INTO blog_article_outbox (created_at, article_id, visible_before, visible_after) SELECT NOW(), MIN(id), 1, 1 FROM blog_article WHERE is_deleted = 0",
			func(l *report.Ledger) { l.FeedDiffers++ }},
		{"change with a number too high", "", "UPDATE blog_article_sequence SET value = value + 1", func(l *report.Ledger) { l.FeedDiffers++ }},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, want := l.with(t, c.tag, c.article), exact
			c.change(&want)
			require.NotEmpty(t, found.Examples)
			found.Examples = nil
			if want.CountersDiffer == 0 { // articles that are changed by hand are not counted
				found.CountersDiffer = 0
			}
			if want.FeedDiffers == 0 { // nor are they in the feed
				found.FeedDiffers = 0
			}
			require.Equal(t, want, found)
			require.False(t, found.Exact())
		})
	}
}

// Articles and tags that were loaded before are read and counted, and are in no ledger.
func TestLoadedBefore(t *testing.T) {
	l := &ledgers{before: loaded{corpus.Tags, 1200}}
	l.run(t, false)
	exact := l.compare(t, l.tags, l.articles)
	require.True(t, exact.Exact(), exact.Examples)

	l.before.articles--
	require.Equal(t, 1, l.compare(t, l.tags, l.articles).Unexpected)
}

// Writes that were not acknowledged may exist or not. Later runs don't count them.
func TestUnacknowledgedWrites(t *testing.T) {
	l := write(t, false)
	exact := l.compare(t, l.tags, l.articles)
	unacknowledged := ""
	for name, w := range l.results["run"][0].Writers {
		if len(w.Tags) < 1 || len(w.Articles) < 1 {
			continue // it writes files
		}
		unacknowledged = load.Name("run", "here", name, 0)
		w.Articles[0] = 0                 // exists, unacknowledged
		w.Tags = append(w.Tags, 0)        // does not exist
		w.Tags[len(w.Tags)-2] = 1_000_000 // acknowledged with another id
		break
	}
	found := l.compare(t, l.tags, l.articles)
	require.Equal(t, exact.Acknowledged-1, found.Acknowledged)
	require.Equal(t, 2, found.Unanswered)
	require.Equal(t, 1, found.Applied)
	require.Equal(t, 1, found.Altered)
	require.Zero(t, found.Lost+found.Duplicated+found.Unexpected)

	twice := l.with(t, "", "INSERT INTO blog_article (title, `desc`, content, created_at, updated_at, published_at) "+
		"SELECT title, `desc`, content, created_at, updated_at, published_at FROM blog_article WHERE title = '"+unacknowledged+"'")
	require.Equal(t, 1, twice.Duplicated, "an unacknowledged write exists twice")

	later, err := newComparison("later", l.results, loaded{}).compare(t.Context(), l.tags, l.articles)
	require.NoError(t, err)
	require.Zero(t, later.Sent+later.Acknowledged+later.Unanswered+later.Applied)
	require.Equal(t, 1, later.Altered, "writes of earlier runs must not change")
}
