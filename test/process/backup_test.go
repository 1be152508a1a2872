package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/client"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// installation is a pair of services with a storage of files, and a client.
type installation struct {
	*pair
	storage string
	api     *client.Client
}

// newInstallation returns an installation that is not started.
func newInstallation(t *testing.T, tags, articles database.Config, storage string) *installation {
	t.Helper()
	return &installation{storage: storage, pair: &pair{
		tagProgram: process.Service(t, "tag"), articleProgram: process.Service(t, "article"), tagDatabase: tags, articleDatabase: articles,
		tagSettings: process.On(tags), articleSettings: process.On(articles).With(process.Settings{"Files.URL": "file://" + storage, "Files.Timeout": "10s"}),
	}}
}

func (i *installation) start(t *testing.T) {
	t.Helper()
	i.startTags(t)
	i.startArticles(t)
}

func (i *installation) startTags(t *testing.T) {
	t.Helper()
	i.tag = process.Ready(t, i.tagProgram, i.tagSettings)
}

func (i *installation) startArticles(t *testing.T) {
	t.Helper()
	i.articleSettings["Feed.URL"] = "http://" + i.tag.Addr(t)
	i.article = process.Ready(t, i.articleProgram, i.articleSettings)
	i.api = i.client(t, process.Token())
}

// client returns a client with a token, or an anonymous one.
func (i *installation) client(t *testing.T, token string) *client.Client {
	t.Helper()
	api, err := client.New(client.Config{TagURL: i.tag.URL(t, ""), ArticleURL: i.article.URL(t, ""), Token: token, Timeout: process.Patience})
	require.NoError(t, err)
	t.Cleanup(api.Close)
	return api
}

func (i *installation) stop(t *testing.T) {
	t.Helper()
	for _, p := range []*process.Process{i.article, i.tag} {
		p.Signal(t, sigterm)
		require.Zero(t, p.Exit(t), p.Stderr())
	}
}

// runBoth runs a command of each service.
func (i *installation) runBoth(t *testing.T, args ...string) (printed string) {
	t.Helper()
	for program, settings := range map[string]process.Settings{i.tagProgram: i.tagSettings, i.articleProgram: i.articleSettings} {
		p, exit := process.Run(t, program, settings, args...)
		require.Zero(t, exit, p.Stderr())
		printed += p.Stdout()
	}
	return printed
}

// post is an article that was acknowledged, with its tag and its cover.
type post struct {
	name    string
	tag     client.Tag
	file    uint64
	article client.Article
	request client.NewArticle
	created uint64
}

// content returns the file of the post, an image whose pixels are its name.
func (p post) content() string {
	var encoded strings.Builder
	pixels := image.NewGray(image.Rect(0, 0, len(p.name), 1))
	copy(pixels.Pix, p.name)
	_ = png.Encode(&encoded, pixels) // it fails only if the Builder does
	return encoded.String()
}

// authors write posts, which they don't touch once they have recorded them.
type authors struct {
	api     *client.Client
	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	posts []post
	err   error
}

func newAuthors(t *testing.T, api *client.Client) *authors {
	t.Helper()
	over, stop := context.WithCancel(t.Context())
	a := &authors{api: api, stop: stop}
	t.Cleanup(a.end)
	for author := range 4 {
		a.running.Go(func() {
			for n := 0; over.Err() == nil; n++ {
				written, err := a.write(context.WithoutCancel(over), fmt.Sprintf("post %d of author %d", n, author), n)
				a.mu.Lock()
				a.posts, a.err = append(a.posts, written), errors.Join(a.err, err)
				a.mu.Unlock()
				time.Sleep(rand.N(20 * time.Millisecond)) // all that they write is written again after the restore
			}
		})
	}
	return a
}

// write creates a post, and changes every other one. It deletes another article.
func (a *authors) write(ctx context.Context, name string, n int) (p post, err error) {
	p.name = name
	if p.tag, err = a.api.CreateTag(ctx, client.NewTag{Name: name}); err != nil {
		return p, err
	}
	if n%2 == 0 {
		if p.tag, err = a.api.UpdateTag(ctx, p.tag.ID, client.TagUpdate{Name: new("changed " + name)}); err != nil {
			return p, err
		}
	}
	stored, err := a.api.UploadFiles(ctx, []client.NewFile{{Name: name + ".png", Content: []byte(p.content())}})
	if err != nil {
		return p, err
	}
	p.file = stored[0].ID
	p.request = client.NewArticle{Title: name, Content: "the content of " + name, TagIDs: []uint64{p.tag.ID}, CoverFileID: p.file}
	created, err := a.api.CreateArticle(ctx, p.request, client.IdempotencyKey(name))
	if err != nil {
		return p, err
	}
	p.created = created.ID
	other, err := a.api.CreateArticle(ctx, client.NewArticle{Title: "deleted " + name})
	if err == nil && n%2 == 0 {
		_, err = a.api.UpdateArticle(ctx, p.created, client.ArticleUpdate{Title: new("changed " + name)})
	}
	if err == nil {
		err = a.api.DeleteArticle(ctx, other.ID)
	}
	if err == nil {
		p.article, err = a.api.Article(ctx, p.created)
	}
	return p, err
}

// acknowledged returns the posts so far.
func (a *authors) acknowledged() []post {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.posts)
}

// await waits until n more posts have been written.
func (a *authors) await(t *testing.T, n int) {
	t.Helper()
	enough := len(a.acknowledged()) + n
	process.Await(t, "posts", func() bool { return len(a.acknowledged()) >= enough })
}

func (a *authors) end() {
	a.stop()
	a.running.Wait()
}

// follower keeps a copy of the articles by their feed of changes, as a client does.
type follower struct {
	offset    string
	titles    map[uint64]string
	startOver int
}

func (f *follower) follow(t *testing.T, api *client.Client) {
	t.Helper()
	for change, err := range api.ArticleChanges(t.Context(), f.offset) {
		var answer *client.Error
		if errors.Is(err, client.ChangesTrimmed) && errors.As(err, &answer) {
			f.offset, f.titles = answer.Next, titles(t, api)
			f.startOver++
			f.follow(t, api)
			return
		}
		require.NoError(t, err)
		if f.offset = change.Offset; change.Kind == client.Delete {
			delete(f.titles, change.ID)
		} else {
			f.titles[change.ID] = change.Article.Title
		}
	}
}

// titles returns the titles of all articles.
func titles(t *testing.T, api *client.Client) map[uint64]string {
	t.Helper()
	found := map[uint64]string{}
	for one, err := range api.Articles(t.Context(), client.ArticleFilter{}) {
		require.NoError(t, err)
		found[one.ID] = one.Title
	}
	return found
}

// backups backs up an installation while it serves, and restores what it has backed up.
type backups struct {
	fresh func(testing.TB) database.Config
	// backUp calls meanwhile between its steps, if they are fast.
	backUp  func(t *testing.T, from *installation, to string, meanwhile func())
	restore func(t *testing.T, from string, to *installation)
	// restoreTags restores the database of the tag service only.
	restoreTags func(t *testing.T, from string, to *installation)
}

// An installation is backed up while clients write, restored elsewhere, and has everything that
// was acknowledged before the backup began.
func TestBackupAndRestore(t *testing.T) {
	for name, with := range map[string]func(*testing.T) backups{database.MySQL: withMake, database.SQLite: withVacuum} {
		t.Run(name, func(t *testing.T) { rehearse(t, with(t)) })
	}
}

func rehearse(t *testing.T, b backups) {
	live := newInstallation(t, b.fresh(t), b.fresh(t), t.TempDir())
	live.start(t)
	anonymous := live.client(t, "")
	authors := newAuthors(t, live.api)
	authors.await(t, 12)

	before := authors.acknowledged()
	backup := filepath.Join(t.TempDir(), "backup")
	b.backUp(t, live, backup, func() { authors.await(t, 1) })
	require.Greater(t, len(authors.acknowledged()), len(before), "clients wrote during the backup")
	authors.await(t, 12)
	authors.end()
	require.NoError(t, authors.err)
	written := authors.acknowledged()
	lost := live.destroy(t, before)
	all, public := follower{titles: map[uint64]string{}}, follower{titles: map[uint64]string{}}
	all.follow(t, live.api)
	public.follow(t, anonymous)
	require.Equal(t, titles(t, live.api), all.titles)
	live.stop(t)

	for _, renew := range []bool{false, true} {
		restored := newInstallation(t, b.fresh(t), b.fresh(t), t.TempDir())
		b.restore(t, backup, restored)
		if renew {
			require.Equal(t, 2, strings.Count(restored.runBoth(t, "epoch", "--new"), "its readers start over"))
		}
		restored.start(t)
		restored.runBoth(t, "recount")
		require.Equal(t, 2, strings.Count(restored.runBoth(t, "recount"), "Nothing was wrong."))
		requireConsistent(t, restored.tagDatabase, restored.articleDatabase)
		restored.requirePosts(t, before)
		restored.requireWhole(t, written)
		restored.requireLost(t, renew, written[len(written)-1])
		restored.requireVersions(t, renew, lost)
		restored.requireFollowers(t, renew, all, public)
		requireConsistent(t, restored.tagDatabase, restored.articleDatabase)
		restored.stop(t)

		onlyTags := newInstallation(t, b.fresh(t), live.articleDatabase, live.storage)
		b.restoreTags(t, backup, onlyTags)
		require.Equal(t, renew, onlyTags.converges(t, renew), "the read model after the tag database alone was restored")
	}
}

// destroy changes and deletes posts, and returns an article that it has changed.
func (i *installation) destroy(t *testing.T, posts []post) client.Article {
	t.Helper()
	ctx := t.Context()
	_, err := i.api.UpdateTag(ctx, posts[0].tag.ID, client.TagUpdate{Name: new("lost")})
	require.NoError(t, err)
	require.NoError(t, i.api.DeleteTag(ctx, posts[1].tag.ID))
	_, err = i.api.UpdateArticle(ctx, posts[2].created, client.ArticleUpdate{Title: new("lost"), TagIDs: &[]uint64{}})
	require.NoError(t, err)
	require.NoError(t, i.api.DeleteArticle(ctx, posts[3].created))
	require.NoError(t, i.api.DeleteFile(ctx, posts[3].file))
	changed, err := i.api.UpdateArticle(ctx, posts[4].created, client.ArticleUpdate{Title: new("lost")})
	require.NoError(t, err)
	return changed
}

// requirePosts requires all of the posts, and their Idempotency-Keys.
func (i *installation) requirePosts(t *testing.T, before []post) {
	t.Helper()
	ctx := t.Context()
	for _, p := range before {
		tag, err := i.api.Tag(ctx, p.tag.ID)
		require.NoError(t, err, p.name)
		p.tag.ETag, p.article.ETag = tag.ETag, ""
		require.Equal(t, p.tag, tag)
		article, err := i.api.Article(ctx, p.created)
		require.NoError(t, err, p.name)
		article.ETag = ""
		require.Equal(t, p.article, article)
		var content bytes.Buffer
		require.NoError(t, i.api.DownloadFile(ctx, p.file, &content), p.name)
		require.Equal(t, p.content(), content.String())
		repeated, err := i.api.CreateArticle(ctx, p.request, client.IdempotencyKey(p.name))
		require.NoError(t, err)
		require.Equal(t, p.created, repeated.ID, "the key of %s", p.name)
	}
}

// requireWhole requires that the articles that were written during the backup have their tags, if
// they are in it at all, and that the storage has the bytes of every file.
func (i *installation) requireWhole(t *testing.T, written []post) {
	t.Helper()
	tags := map[uint64]uint64{} // by article
	for _, p := range written {
		tags[p.created] = p.tag.ID
	}
	for article, err := range i.api.Articles(t.Context(), client.ArticleFilter{}) {
		require.NoError(t, err)
		if tag := tags[article.ID]; tag != 0 {
			require.Len(t, article.Tags, 1, article.Title)
			require.Equal(t, tag, article.Tags[0].ID)
			require.NotNil(t, article.CoverFileID)
		}
	}
	for file, err := range i.api.Files(t.Context(), client.FileFilter{}) {
		require.NoError(t, err)
		var content bytes.Buffer
		require.NoError(t, i.api.DownloadFile(t.Context(), file.ID, &content), file.Name)
		require.Equal(t, post{name: strings.TrimSuffix(file.Name, ".png")}.content(), content.String())
	}
}

// requireLost requires that a post is not there, that its Idempotency-Key is free, and that its ids
// are not given to others if and only if there is a new epoch.
func (i *installation) requireLost(t *testing.T, renewed bool, lost post) {
	t.Helper()
	_, err := i.api.Tag(t.Context(), lost.tag.ID)
	require.ErrorIs(t, err, client.TagNotFound)
	tag, err := i.api.CreateTag(t.Context(), client.NewTag{Name: "another tag"})
	require.NoError(t, err)
	request := lost.request
	request.TagIDs, request.CoverFileID = nil, 0
	article, err := i.api.CreateArticle(t.Context(), request, client.IdempotencyKey(lost.name))
	require.NoError(t, err)
	require.Equal(t, lost.request.Title, article.Title)
	files, err := i.api.UploadFiles(t.Context(), []client.NewFile{{Name: "another.txt", Content: []byte("another file")}})
	require.NoError(t, err)
	for given, before := range map[uint64]uint64{tag.ID: lost.tag.ID, article.ID: lost.created, files[0].ID: lost.file} {
		require.Equal(t, renewed, given > before, "the id %d after %d", given, before)
	}
}

// requireVersions requires that an article which is changed for the first time since the restore
// doesn't get the ETag of the change that was lost if and only if there is a new epoch.
func (i *installation) requireVersions(t *testing.T, renewed bool, lost client.Article) {
	t.Helper()
	_, err := i.api.UpdateArticle(t.Context(), lost.ID, client.ArticleUpdate{Title: new("another change")})
	require.NoError(t, err)
	_, err = i.api.UpdateArticle(t.Context(), lost.ID, client.ArticleUpdate{Title: new("by who saw the lost one")}, client.IfMatch(lost.ETag))
	if renewed {
		require.ErrorIs(t, err, client.PreconditionFailed)
	} else {
		require.NoError(t, err, "this test would not notice a version that is given twice")
	}
}

// requireFollowers writes until the feed is longer than it was, and requires that clients which
// had read changes that are lost start over, and then have all articles, if and only if the feed
// has a new epoch.
func (i *installation) requireFollowers(t *testing.T, renewed bool, all, public follower) {
	t.Helper()
	reached, err := changefeed.ParseOffset(all.offset)
	require.NoError(t, err)
	db := dbtest.Open(t, i.articleDatabase)
	for one[uint64](t, db, "SELECT value + (SELECT COUNT(*) FROM blog_article_outbox) FROM blog_article_sequence") <= reached.Sequence {
		_, err := i.api.CreateArticle(t.Context(), client.NewArticle{Title: "after the restore"})
		require.NoError(t, err)
	}
	want := titles(t, i.api)
	for _, reader := range []struct {
		follower
		api *client.Client
	}{{all, i.api}, {public, i.client(t, "")}} {
		reader.titles = maps.Clone(reader.titles)
		reader.follow(t, reader.api)
		if renewed {
			require.Equal(t, 1, reader.startOver)
			require.Equal(t, want, reader.titles)
		} else {
			require.Zero(t, reader.startOver)
			require.NotEqual(t, want, reader.titles, "this test would not notice that the epoch is missing")
		}
	}
}

// converges writes tags until their feed is longer than the read model of the article service knows
// it, starts that service, and reports whether it then has all tags.
func (i *installation) converges(t *testing.T, renew bool) bool {
	t.Helper()
	if renew {
		p, exit := process.Run(t, i.tagProgram, i.tagSettings, "epoch", "--new")
		require.Zero(t, exit, p.Stderr())
	}
	i.startTags(t)
	source, replica := dbtest.Open(t, i.tagDatabase), dbtest.Open(t, i.articleDatabase)
	known := one[feedRow](t, replica, queryOffset)
	for n := 0; one[feedRow](t, source, querySequence).Value <= known.Value; n++ {
		create(t, i.tag, "/api/v1/tags", newTag(fmt.Sprint("after the restore ", n)))
	}
	i.startArticles(t)
	end := one[feedRow](t, source, querySequence)
	process.Await(t, "the end of the feed", func() bool { return one[feedRow](t, replica, queryOffset) == end })
	i.stop(t)
	return slices.Equal(rows[tagRow](t, i.tagDatabase, querySource), rows[tagRow](t, i.articleDatabase, queryReadModel))
}
