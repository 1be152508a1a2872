package client_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/client"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/test/process"
)

// A client creates each tag once while the service is killed and started again.
func TestCreationsSurviveCrashes(t *testing.T) {
	b := start(t, nil)
	_, port, _ := strings.Cut(b.tag.Addr(t), ":")
	settings := process.On(dbtest.SQLite(t)).With(process.Settings{"Server.HttpPort": port})
	b.tag.Kill()
	service := process.Ready(t, process.Service(t, "tag"), settings)
	c := b.client(t, func(config *client.Config) { config.MaxRetries = 100 })
	const writers, each = 4, 50
	var group sync.WaitGroup
	created := make(chan uint64, writers*each)
	for w := range writers {
		group.Go(func() {
			for n := range each {
				tag, err := c.CreateTag(t.Context(), client.NewTag{Name: fmt.Sprintf("%d %d", w, n)})
				if err != nil {
					t.Errorf("creating a tag: %v", err)
				}
				created <- tag.ID
			}
		})
	}
	for crashes := 1; crashes <= 3; crashes++ {
		process.Await(t, "tags to be created", func() bool { return len(created) >= crashes*writers*each/5 })
		service.Kill()
		service = process.Serve(t, process.Service(t, "tag"), settings)
	}
	group.Wait()
	close(created)
	var all []uint64
	for tag, err := range c.Tags(t.Context(), client.TagFilter{}) {
		require.NoError(t, err)
		all = append(all, tag.ID)
	}
	require.Len(t, all, writers*each)
	require.ElementsMatch(t, all, slices.Collect(maps.Keys(set(created))))
}

func set[T comparable](all <-chan T) map[T]bool {
	found := map[T]bool{}
	for one := range all {
		found[one] = true
	}
	return found
}

// A client waits as long as the service wants, and gets a new token if its own one is
// rejected.
func TestLimitsAndTokens(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.yaml")
	replaceKeys := func() {
		require.NoError(t, os.WriteFile(keys+".new", []byte(auth.GenerateKeySet(time.Now())), 0o600))
		require.NoError(t, os.Rename(keys+".new", keys))
	}
	replaceKeys()
	b := start(t, process.Settings{"Limits.WriteBurst": "1", "Limits.WritePerSecond": "1", "Auth.KeysFile": keys})
	c := b.client(t, func(config *client.Config) { config.MaxRetries = 20 })
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			if _, err := c.CreateTag(t.Context(), client.NewTag{Name: fmt.Sprint(n)}); err != nil {
				t.Errorf("creating a tag: %v", err)
			}
		})
	}
	group.Wait()
	first, err := c.Token(t.Context())
	require.NoError(t, err)
	replaceKeys()
	for service, path := range map[*process.Process]string{b.tag: "/api/v1/tags", b.article: "/api/v1/articles"} {
		process.Await(t, "the old token to be rejected", func() bool {
			answer, err := process.AskWith(process.Header(first), "GET", service.URL(t, path), nil)
			return err == nil && answer.Status == 401
		})
	}
	_, err = c.CreateTag(t.Context(), client.NewTag{Name: "after"})
	require.NoError(t, err)
	second, err := c.Token(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	rejected := b.client(t, func(config *client.Config) { config.AppKey, config.AppSecret, config.Token = "", "", first })
	_, err = rejected.Tag(t.Context(), 1)
	require.ErrorIs(t, err, client.InvalidToken)
	wrong := b.client(t, func(config *client.Config) { config.AppSecret = "wrong" })
	_, err = wrong.Tag(t.Context(), 1)
	require.ErrorIs(t, err, client.UnknownClient)
}

// Lists have all objects, in their order, and each client sees what it may see.
func TestLists(t *testing.T) {
	b := start(t, nil)
	c, anonymous := b.client(t), b.client(t, func(config *client.Config) { config.AppKey, config.AppSecret = "", "" })
	tag, err := c.CreateTag(t.Context(), client.NewTag{Name: "Go"})
	require.NoError(t, err)
	var titles []string
	for n := range 150 {
		titles = append(titles, fmt.Sprintf("article %03d", n))
		_, err := c.CreateArticle(t.Context(), client.NewArticle{Title: titles[n], Content: "text", State: new(client.State(n % 2)), TagIDs: []uint64{tag.ID}})
		require.NoError(t, err)
	}
	read := func(c *client.Client, filter client.ArticleFilter) (found []string) {
		for one, err := range c.Articles(t.Context(), filter) {
			require.NoError(t, err)
			require.Equal(t, filter.Content, one.Content == "text")
			found = append(found, one.Title)
		}
		return found
	}
	require.Equal(t, titles, read(c, client.ArticleFilter{OrderBy: "title", TagIDs: []uint64{tag.ID}}))
	require.Equal(t, titles, read(c, client.ArticleFilter{OrderBy: "id", Content: true, CreatedFrom: time.Now().Add(-time.Hour)}))
	require.Len(t, read(anonymous, client.ArticleFilter{TagName: "Go"}), 75)
	require.Empty(t, read(c, client.ArticleFilter{CreatedTo: time.Now().Add(-time.Hour)}))
	page, err := anonymous.ArticlePage(t.Context(), client.ArticleFilter{Fields: []string{"id"}}, client.PageAt{Number: 2, Size: 50})
	require.NoError(t, err)
	require.Len(t, page.Items, 25)
	require.EqualValues(t, 75, page.Total)
	require.Empty(t, page.Next)
	require.Empty(t, page.Items[0].Title)
	for counted, err := range anonymous.TagCounts(t.Context(), "name") {
		require.NoError(t, err)
		require.Equal(t, client.TagCount{ID: tag.ID, Name: "Go", State: client.Enabled, Count: 75}, counted)
	}
}

// An article is found by its words, and by its slug, also by a former one.
func TestWordsAndSlugs(t *testing.T) {
	c := start(t, nil).client(t)
	created, err := c.CreateArticle(t.Context(), client.NewArticle{Title: "滚动重启 and upgrades", Content: "Nobody notices."})
	require.NoError(t, err)
	_, err = c.CreateArticle(t.Context(), client.NewArticle{Title: "Other", Slug: created.Slug})
	require.ErrorIs(t, err, client.SlugTaken)
	moved, err := c.UpdateArticle(t.Context(), created.ID, client.ArticleUpdate{Slug: new("moved")}, client.IfMatch(created.ETag))
	require.NoError(t, err)
	for _, slug := range []string{created.Slug, "moved"} {
		found, err := c.ArticleBySlug(t.Context(), slug)
		require.NoError(t, err)
		require.Equal(t, moved, found)
	}
	_, err = c.ArticleBySlug(t.Context(), "moved", client.IfNoneMatch(moved.ETag))
	require.ErrorIs(t, err, client.ErrNotModified)
	found, err := c.ArticlePage(t.Context(), client.ArticleFilter{Words: "重启 notices"}, client.PageAt{})
	require.NoError(t, err)
	require.Len(t, found.Items, 1)
	require.NoError(t, c.DeleteArticle(t.Context(), created.ID))
	_, err = c.Article(t.Context(), created.ID)
	require.ErrorIs(t, err, client.ArticleNotFound)
}

// A client that follows the feed sees each change once and in order, while the service
// restarts.
func TestFollowChanges(t *testing.T) {
	b := start(t, nil)
	_, port, _ := strings.Cut(b.article.Addr(t), ":")
	settings := process.Follow(dbtest.SQLite(t), b.tag.Addr(t)).With(process.Settings{"Server.HttpPort": port})
	b.article.Kill()
	service := process.Ready(t, process.Service(t, "article"), settings)
	retrying := func(config *client.Config) {
		config.MaxRetries, config.AppKey, config.AppSecret, config.Token = 100, "", "", process.Token()
	}
	c := b.client(t, retrying)
	const writes = 60
	ids := make(chan uint64, writes)
	ctx, stop := context.WithTimeout(t.Context(), process.Patience)
	defer stop()
	followed := make(chan []uint64)
	go func() {
		var seen []uint64
		for change, err := range c.FollowArticleChanges(ctx, "") {
			if err != nil {
				t.Errorf("following: %v", err)
				break
			}
			if seen = append(seen, change.ID); len(seen) == writes {
				break
			}
		}
		followed <- seen
	}()
	for n := range writes {
		article, err := c.CreateArticle(t.Context(), client.NewArticle{Title: fmt.Sprint(n)})
		require.NoError(t, err)
		if ids <- article.ID; n == writes/2 {
			service.Kill()
			service = process.Serve(t, process.Service(t, "article"), settings)
		}
	}
	close(ids)
	var written []uint64
	for id := range ids {
		written = append(written, id)
	}
	require.Equal(t, written, <-followed)
}

// Codes of the client are those of the API.
func TestCodes(t *testing.T) {
	for _, code := range []client.Code{
		client.InvalidParams, client.UnknownClient, client.InvalidToken, client.ExpiredToken, client.TooManyRequests, client.Conflict, client.PreconditionFailed,
		client.TooLarge, client.Forbidden, client.Unavailable, client.Timeout, client.ChangesTrimmed, client.KeyReused, client.RequestInProgress, client.ReadOnly,
		client.TagNotFound, client.TagNameExists, client.ArticleNotFound, client.UnknownTags, client.SlugTaken, client.TooManyScheduled,
	} {
		require.Contains(t, errcode.All(), errcode.Code(code))
	}
}

// Batches create all objects or none, or say what became of each.
func TestBatches(t *testing.T) {
	b := start(t, process.Settings{"Limits.WriteBurst": "1", "Limits.WritePerSecond": "1000"})
	c := b.client(t, func(config *client.Config) { config.MaxRetries = 20 })
	var names []client.NewTag
	for n := range client.MaxBatch {
		names = append(names, client.NewTag{Name: fmt.Sprint("tag ", n)})
	}
	tags, err := c.CreateTags(t.Context(), names, client.IdempotencyKey("tags"))
	require.NoError(t, err)
	require.Len(t, tags, client.MaxBatch)
	again, err := c.CreateTags(t.Context(), names, client.IdempotencyKey("tags"))
	require.NoError(t, err)
	require.Equal(t, tags, again)
	_, err = c.CreateTags(t.Context(), []client.NewTag{{Name: "new"}, {Name: "tag 7"}})
	require.ErrorIs(t, err, client.TagNameExists)
	var failure *client.Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, "tags[1].name", failure.Fields[0].Field)
	results, err := c.CreateEachTag(t.Context(), []client.NewTag{{Name: "new"}, {Name: "tag 7"}})
	require.NoError(t, err)
	require.NoError(t, results[0].Err)
	require.Equal(t, "new", results[0].Created.Name)
	require.ErrorIs(t, results[1].Err, client.TagNameExists)

	article := client.NewArticle{Title: "a", Content: "text", TagIDs: []uint64{tags[0].ID, tags[99].ID}}
	articles, err := c.CreateArticles(t.Context(), []client.NewArticle{article, article})
	require.NoError(t, err)
	require.Len(t, articles[1].Tags, 2)
	require.Equal(t, "a", articles[0].Slug)
	invalid := article
	invalid.Title = ""
	created, err := c.CreateEachArticle(t.Context(), []client.NewArticle{article, invalid}, client.IdempotencyKey("articles"))
	require.NoError(t, err)
	require.NoError(t, created[0].Err)
	require.ErrorIs(t, created[1].Err, client.InvalidParams)
	repeated, err := c.CreateEachArticle(t.Context(), []client.NewArticle{article, invalid}, client.IdempotencyKey("articles"))
	require.NoError(t, err)
	require.True(t, repeated[0].Replayed)
	require.Equal(t, created[0].Created, repeated[0].Created)
	_, err = c.CreateEachArticle(t.Context(), []client.NewArticle{article}, client.IdempotencyKey("articles"))
	require.ErrorIs(t, err, client.KeyReused)
}
