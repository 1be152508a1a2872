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

// tagRow is a tag in the tag service or in the read model.
type tagRow struct {
	ID    uint64
	Name  string
	State uint8
}

// feedRow is the sequence of the feed, or the offset of the read model.
type feedRow struct {
	Epoch string
	Value uint64
}

const (
	querySource    = "SELECT id, name, state FROM blog_tag WHERE is_deleted = 0 ORDER BY id"
	queryReadModel = "SELECT id, name, state FROM blog_tag_projection ORDER BY id"
	querySequence  = "SELECT epoch, value FROM blog_tag_sequence"
	queryOffset    = "SELECT epoch, sequence AS value FROM blog_tag_offset"
)

// requireConsistent waits until the read model has reached the end of the feed, and
// requires that it equals the source and that no reference is dangling.
func requireConsistent(t *testing.T, source, replica database.Config) {
	t.Helper()
	from, to := dbtest.Open(t, source), dbtest.Open(t, replica)
	end := one[feedRow](t, from, querySequence)
	process.Await(t, fmt.Sprintf("the read model to reach offset %d", end.Value), func() bool { return one[feedRow](t, to, queryOffset) == end })
	require.Equal(t, rows[tagRow](t, source, querySource), rows[tagRow](t, replica, queryReadModel))
	require.Equal(t, []int{0}, rows[int](t, replica, `SELECT COUNT(*) FROM blog_article_tag
		LEFT JOIN blog_tag_projection ON blog_tag_projection.id = tag_id LEFT JOIN blog_article ON blog_article.id = article_id AND blog_article.is_deleted = 0
		WHERE blog_tag_projection.id IS NULL OR blog_article.id IS NULL`))
	existing := map[uint64]bool{}
	for _, tag := range rows[tagRow](t, source, querySource) {
		existing[tag.ID] = true
	}
	for _, tagID := range rows[uint64](t, replica, "SELECT DISTINCT tag_id FROM blog_article_tag") {
		require.True(t, existing[tagID], "articles still have the deleted tag %d", tagID)
	}
}

// tagsOf returns the tags of an article.
func tagsOf(t *testing.T, article *process.Process, articleID uint64) []tagRow {
	t.Helper()
	answer := ask(t, article, "GET", "/api/v1/articles/"+id(articleID), nil)
	require.Equal(t, 200, answer.Status, string(answer.Body))
	var envelope struct{ Data struct{ Tags []tagRow } }
	require.NoError(t, answer.JSON(&envelope))
	return envelope.Data.Tags
}

// While the tag service is down, everything works that needs no new tag, even after a
// restart. When it is back, the read model catches up.
func TestArticlesWithoutTheTagService(t *testing.T) {
	tagDatabase, articleDatabase := dbtest.MySQL(t), dbtest.MySQL(t)
	gateway := newGateway(t)
	tagProgram, articleProgram := process.Service(t, "tag"), process.Service(t, "article")
	startTag := func() *process.Process {
		p := process.Ready(t, tagProgram, process.On(tagDatabase))
		gateway.add(p.Addr(t))
		return p
	}
	tag := startTag()
	settings := process.Follow(articleDatabase, gateway.addr())
	article := process.Ready(t, articleProgram, settings)
	first, second := create(t, tag, "/api/v1/tags", newTag("first")), create(t, tag, "/api/v1/tags", newTag("second"))
	articleID := create(t, article, "/api/v1/articles", newArticle("before", first, second))
	both := []tagRow{{first, "first", 1}, {second, "second", 1}}

	whileDown := func(while func()) {
		gateway.remove(tag.Addr(t))
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
		works(article, "tags are down, articles restarted")
	})
	answer := ask(t, article, "POST", "/api/v1/articles", newArticle("unknown", 4711))
	require.Equal(t, 400, answer.Status, string(answer.Body))
	require.Contains(t, string(answer.Body), "4711")

	// Changes while the article service is down.
	gateway.remove(tag.Addr(t))
	article.Kill()
	third := create(t, tag, "/api/v1/tags", newTag("third"))
	require.Equal(t, 200, ask(t, tag, "DELETE", "/api/v1/tags/"+id(first), nil).Status)
	require.Equal(t, 200, ask(t, tag, "PUT", "/api/v1/tags/"+id(second), map[string]any{"name": "renamed", "state": 0}).Status)
	article = process.Serve(t, articleProgram, settings)
	article.AwaitReady(t)
	require.Equal(t, both, tagsOf(t, article, articleID), "the stale read model is served")
	gateway.add(tag.Addr(t))
	requireConsistent(t, tagDatabase, articleDatabase)
	require.Equal(t, []tagRow{{second, "renamed", 0}}, tagsOf(t, article, articleID))
	create(t, article, "/api/v1/articles", newArticle("after", third))
}

// A new tag can be used immediately after its creation.
func TestNewTagIsUsable(t *testing.T) {
	p := newPair(t, mysql, nil)
	for n := range 50 {
		tagID := create(t, p.tag, "/api/v1/tags", newTag(fmt.Sprint("new ", n)))
		create(t, p.article, "/api/v1/articles", newArticle("with a new tag", tagID))
	}
	requireConsistent(t, p.tagDatabase, p.articleDatabase)
}

func TestTrimmedFeed(t *testing.T) {
	tagProgram, articleProgram := process.Service(t, "tag"), process.Service(t, "article")
	tagDatabase, articleDatabase := mysql(t), mysql(t)
	tag := process.Ready(t, tagProgram, process.On(tagDatabase))
	settings := process.Follow(articleDatabase, tag.Addr(t))
	article := process.Ready(t, articleProgram, settings)
	kept, gone := create(t, tag, "/api/v1/tags", newTag("kept")), create(t, tag, "/api/v1/tags", newTag("gone"))
	articleID := create(t, article, "/api/v1/articles", newArticle("before", kept, gone))

	// A replica with a short retention trims the feed and is killed, so that it
	// trims nothing later.
	trim := func() {
		trimming := process.Serve(t, tagProgram, process.On(tagDatabase).With(process.Settings{"Feed.Retention": "100ms", "Feed.TrimInterval": "50ms"}))
		process.Await(t, "the feed to be trimmed", func() bool { return rows[int](t, tagDatabase, "SELECT COUNT(*) FROM blog_tag_change")[0] == 0 })
		trimming.Kill()
	}

	// Trimming does not affect an up-to-date read model.
	requireConsistent(t, tagDatabase, articleDatabase)
	trim()
	create(t, tag, "/api/v1/tags", newTag("seen"))
	requireConsistent(t, tagDatabase, articleDatabase)
	article.AwaitLog(t, "replacing the tag read model by a snapshot") // at the first start
	require.Len(t, article.Log("replacing the tag read model by a snapshot"), 1)

	article.Signal(t, sigterm)
	require.Zero(t, article.Exit(t), article.Stderr())
	require.Equal(t, 200, ask(t, tag, "DELETE", "/api/v1/tags/"+id(gone), nil).Status)
	require.Equal(t, 200, ask(t, tag, "PUT", "/api/v1/tags/"+id(kept), newTag("renamed")).Status)
	create(t, tag, "/api/v1/tags", newTag("gone")) // the name is available again
	trim()
	article = process.Serve(t, articleProgram, settings)
	requireConsistent(t, tagDatabase, articleDatabase)
	article.AwaitLog(t, "replacing the tag read model by a snapshot")
	require.Equal(t, []tagRow{{kept, "renamed", 1}}, tagsOf(t, article, articleID))
	create(t, tag, "/api/v1/tags", newTag("after the gap"))
	requireConsistent(t, tagDatabase, articleDatabase)
}

// replay returns the tags at each offset of the feed.
func replay(changes []changeRow) (at func(offset uint64) []tagRow) {
	return func(offset uint64) []tagRow {
		tags := map[uint64]tagRow{}
		for _, change := range changes[:offset] {
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
