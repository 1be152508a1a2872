package process_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// tagRow is a tag, in the source or in the copy.
type tagRow struct {
	ID    uint64
	Name  string
	State uint8
}

// feedRow is where the feed stands, or a reader in it.
type feedRow struct {
	Epoch string
	Value uint64
}

const (
	querySource   = "SELECT id, name, state FROM blog_tag WHERE is_deleted = 0 ORDER BY id"
	queryCopy     = "SELECT id, name, state FROM blog_tag_projection ORDER BY id"
	querySequence = "SELECT epoch, value FROM blog_tag_sequence"
	queryPosition = "SELECT epoch, sequence AS value FROM blog_tag_offset"
)

// exact waits until the copy has come to the end of the feed, and checks that
// it then equals the source and that nothing refers to what is not there.
func exact(t *testing.T, source, replica database.Config) {
	t.Helper()
	from, to := dbtest.Open(t, source), dbtest.Open(t, replica)
	one := func(db *database.DB, query string) (row feedRow) {
		require.NoError(t, db.Gorm(t.Context()).Raw(query).Scan(&row).Error)
		return row
	}
	end := one(from, querySequence)
	process.Await(t, fmt.Sprintf("the copy to reach %d", end.Value), func() bool { return one(to, queryPosition) == end })
	require.Equal(t, rows[tagRow](t, source, querySource), rows[tagRow](t, replica, queryCopy))
	require.Equal(t, []int{0}, rows[int](t, replica, `SELECT COUNT(*) FROM blog_article_tag
		LEFT JOIN blog_tag_projection ON blog_tag_projection.id = tag_id LEFT JOIN blog_article ON blog_article.id = article_id AND blog_article.is_deleted = 0
		WHERE blog_tag_projection.id IS NULL OR blog_article.id IS NULL`))
	living := map[uint64]bool{}
	for _, tag := range rows[tagRow](t, source, querySource) {
		living[tag.ID] = true
	}
	for _, tagID := range rows[uint64](t, replica, "SELECT DISTINCT tag_id FROM blog_article_tag") {
		require.True(t, living[tagID], "articles still carry tag %d, which is deleted", tagID)
	}
}

// tagsOf are the tags of an article as a reader sees them.
func tagsOf(t *testing.T, article *process.Process, articleID uint64) []tagRow {
	t.Helper()
	answer := ask(t, article, "GET", "/api/v1/articles/"+id(articleID), nil)
	require.Equal(t, 200, answer.Status, string(answer.Body))
	var envelope struct{ Data struct{ Tags []tagRow } }
	require.NoError(t, answer.JSON(&envelope))
	return envelope.Data.Tags
}

// With the tag service down everything goes on that needs no new tag, also
// after a restart, and its return makes the copy exact.
func TestArticlesWithoutTheTagService(t *testing.T) {
	tagDatabase, articleDatabase := dbtest.MySQL(t), dbtest.MySQL(t)
	before := newFront(t)
	tagProgram, articleProgram := process.Service(t, "tag"), process.Service(t, "article")
	startTag := func() *process.Process {
		p := process.Ready(t, tagProgram, process.On(tagDatabase))
		before.add(p.Addr(t))
		return p
	}
	tag := startTag()
	settings := process.Follow(articleDatabase, before.addr())
	article := process.Ready(t, articleProgram, settings)
	first, second := create(t, tag, "/api/v1/tags", newTag("first")), create(t, tag, "/api/v1/tags", newTag("second"))
	articleID := create(t, article, "/api/v1/articles", newArticle("before", first, second))
	both := []tagRow{{first, "first", 1}, {second, "second", 1}}

	whileDown := func(while func()) {
		before.remove(tag.Addr(t))
		tag.Kill()
		while()
		tag = startTag()
	}
	works := func(article *process.Process, title string) {
		require.Equal(t, both, tagsOf(t, article, articleID))
		require.Equal(t, 200, ask(t, article, "GET", "/api/v1/articles?tag_id="+id(first), nil).Status)
		require.Equal(t, both[:1], tagsOf(t, article, create(t, article, "/api/v1/articles", newArticle(title, first))))
		require.Equal(t, 200, ask(t, article, "PUT", "/api/v1/articles/"+id(articleID), newArticle(title, first, second)).Status)
	}
	whileDown(func() {
		works(article, "tags are down")
		require.NoError(t, request{article, "POST", "/api/v1/articles", newArticle("unknown", 4711)}.unavailable(article.URL(t, "/api/v1/articles")))
		require.Equal(t, 200, ask(t, article, "GET", "/readyz", nil).Status)
		article.Kill()
		article = process.Serve(t, articleProgram, settings)
		article.AwaitReady(t)
		works(article, "tags are down, and it was restarted")
	})
	answer := ask(t, article, "POST", "/api/v1/articles", newArticle("unknown", 4711))
	require.Equal(t, 400, answer.Status, string(answer.Body))
	require.Contains(t, string(answer.Body), "4711")

	// Changes that the article service hears of only afterwards.
	before.remove(tag.Addr(t))
	article.Kill()
	third := create(t, tag, "/api/v1/tags", newTag("third"))
	require.Equal(t, 200, ask(t, tag, "DELETE", "/api/v1/tags/"+id(first), nil).Status)
	require.Equal(t, 200, ask(t, tag, "PUT", "/api/v1/tags/"+id(second), map[string]any{"name": "renamed", "state": 0}).Status)
	article = process.Serve(t, articleProgram, settings)
	article.AwaitReady(t)
	require.Equal(t, both, tagsOf(t, article, articleID), "the old copy serves on")
	before.add(tag.Addr(t))
	exact(t, tagDatabase, articleDatabase)
	require.Equal(t, []tagRow{{second, "renamed", 0}}, tagsOf(t, article, articleID))
	create(t, article, "/api/v1/articles", newArticle("after", third))
}

// A write with a tag that was created a moment ago is never told that there is
// no such tag.
func TestATagCanBeUsedAtOnce(t *testing.T) {
	p := newPair(t, mysql, nil)
	for n := range 50 {
		tagID := create(t, p.tag, "/api/v1/tags", newTag(fmt.Sprint("new ", n)))
		create(t, p.article, "/api/v1/articles", newArticle("with a new tag", tagID))
	}
	exact(t, p.tagDatabase, p.articleDatabase)
}

func TestATrimmedFeedIsFollowedFromASnapshot(t *testing.T) {
	for dialect, fresh := range map[string]func(testing.TB) database.Config{"sqlite": sqlite, "mysql": mysql} {
		t.Run(dialect, func(t *testing.T) {
			tagProgram, articleProgram := process.Service(t, "tag"), process.Service(t, "article")
			tagDatabase, articleDatabase := fresh(t), fresh(t)
			tag := process.Ready(t, tagProgram, process.On(tagDatabase))
			settings := process.Follow(articleDatabase, tag.Addr(t))
			article := process.Ready(t, articleProgram, settings)
			kept, gone := create(t, tag, "/api/v1/tags", newTag("kept")), create(t, tag, "/api/v1/tags", newTag("gone"))
			articleID := create(t, article, "/api/v1/articles", newArticle("before", kept, gone))

			// A replica that keeps the feed for a moment trims it, and ends. (One that
			// stayed could trim what a reader has had no time to read.)
			trim := func() {
				trimming := process.Serve(t, tagProgram, process.On(tagDatabase).With(process.Settings{"Feed.Retention": "100ms", "Feed.TrimInterval": "50ms"}))
				process.Await(t, "the feed to be trimmed", func() bool { return rows[int](t, tagDatabase, "SELECT COUNT(*) FROM blog_tag_change")[0] == 0 })
				trimming.Kill()
			}

			// One that is up to date does not notice the trimming.
			exact(t, tagDatabase, articleDatabase)
			trim()
			create(t, tag, "/api/v1/tags", newTag("seen"))
			exact(t, tagDatabase, articleDatabase)
			require.Len(t, article.Log("starting over from a snapshot of the tags"), 1, "at its first start")

			article.Signal(t, sigterm)
			require.Zero(t, article.Exit(t), article.Stderr())
			require.Equal(t, 200, ask(t, tag, "DELETE", "/api/v1/tags/"+id(gone), nil).Status)
			require.Equal(t, 200, ask(t, tag, "PUT", "/api/v1/tags/"+id(kept), newTag("renamed")).Status)
			create(t, tag, "/api/v1/tags", newTag("gone")) // the name is free again
			trim()
			article = process.Serve(t, articleProgram, settings)
			exact(t, tagDatabase, articleDatabase)
			require.NotEmpty(t, article.Log("starting over from a snapshot of the tags"))
			require.Equal(t, []tagRow{{kept, "renamed", 1}}, tagsOf(t, article, articleID))
			create(t, tag, "/api/v1/tags", newTag("after the gap"))
			exact(t, tagDatabase, articleDatabase)
		})
	}
}

// replay returns the tags as they were at each position of the feed.
func replay(changes []changeRow) (at func(position uint64) []tagRow) {
	return func(position uint64) []tagRow {
		tags := map[uint64]tagRow{}
		for _, change := range changes[:position] {
			if change.Kind == "delete" {
				delete(tags, change.TagID)
			} else {
				tags[change.TagID] = tagRow{change.TagID, change.Name, change.State}
			}
		}
		return slices.SortedFunc(maps.Values(tags), func(a, b tagRow) int { return int(a.ID) - int(b.ID) })
	}
}

type changeRow struct {
	Sequence, TagID uint64
	Kind, Name      string
	State           uint8
}
