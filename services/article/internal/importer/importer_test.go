package importer_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/exporter"
	"github.com/achilles-blog/achilles/services/article/internal/importer"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
	"github.com/achilles-blog/achilles/services/article/migrations"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// blog is a real store with the domain, and a tag service that is only a list.
type blog struct {
	*importer.Importer
	service *article.Service
	store   *store.Store
	results []importer.Result
	refused string // name of a tag that can't be created
	noted   []string
}

func newBlog(t *testing.T, cfg database.Config) *blog {
	t.Helper()
	db := dbtest.Open(t, cfg)
	_, _, err := database.Migrate(t.Context(), db, migrations.All())
	require.NoError(t, err)
	binder, err := requests.NewBinder()
	require.NoError(t, err)
	b := &blog{store: store.New(db, time.Hour)}
	b.service = article.NewService(b.store, func(context.Context) error { return nil }, 1<<20)
	require.NoError(t, b.store.Replace(t.Context(), changefeed.Offset{}, tagfeed.Snapshot{Epoch: "epoch"}))
	b.Importer = &importer.Importer{
		Articles: article.NewImports(b.service, b.store), Tags: b, MaxContent: 1 << 20, Zone: time.UTC, Name: "blog", Actor: "importer",
		Normalize: func(d article.Draft) (article.Draft, error) { return api.Normalize(binder, d) },
		IsAddress: func(path string) bool { return address.MatchString(path) },
		Report:    func(r importer.Result) { b.results = append(b.results, r) },
	}
	return b
}

// Find implements importer.Tags.
func (b *blog) Find(ctx context.Context, name string) (uint64, error) {
	found, err := b.store.TagNamed(ctx, name)
	var coded *errcode.Error
	if errors.As(err, &coded) && coded.Code == errcode.TagNotFound {
		return 0, nil
	}
	return found.ID, err
}

// Check implements importer.Tags.
func (b *blog) Check(name string) error {
	if len(name) > 100 {
		return fmt.Errorf("too long: %w", importer.ErrNoTag)
	}
	return nil
}

// Create implements importer.Tags.
func (b *blog) Create(ctx context.Context, name string, hidden bool) (uint64, error) {
	if name == b.refused {
		return 0, fmt.Errorf("refused: %w", importer.ErrNoTag)
	}
	offset, err := b.store.Offset(ctx)
	if err != nil {
		return 0, err
	}
	next := offset.Sequence + 1
	change := tagfeed.Change{Sequence: next, TagID: next, Kind: changefeed.Put, Name: name, State: 1}
	if hidden {
		change.State = 0
	}
	return next, b.store.Apply(ctx, tagfeed.Changes{Epoch: "epoch", Changes: []tagfeed.Change{change}, Last: next})
}

// run imports a folder and returns the results by file.
func (b *blog) run(t *testing.T, folder fs.FS) map[string]importer.Result {
	t.Helper()
	b.results = nil
	require.NoError(t, b.Run(t.Context(), folder, ""))
	found := map[string]importer.Result{}
	for _, r := range b.results {
		require.NotContains(t, found, r.File)
		found[r.File] = r
	}
	return found
}

// outcomes returns the outcomes of files.
func outcomes(results map[string]importer.Result) map[string]article.Outcome {
	found := map[string]article.Outcome{}
	for file, r := range results {
		found[file] = r.Outcome
	}
	return found
}

// articles returns all articles by their slugs.
func (b *blog) articles(t *testing.T) map[string]article.Article {
	t.Helper()
	found := map[string]article.Article{}
	require.NoError(t, b.service.Export(t.Context(), article.Authenticated, 0, time.Minute, func(a article.Article) error {
		found[a.Slug] = a
		return nil
	}))
	return found
}

func names(tags []article.Tag) (all []string) {
	for _, t := range tags {
		all = append(all, t.Name)
	}
	slices.Sort(all)
	return all
}

func each(t *testing.T, test func(t *testing.T, b *blog)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, cfg database.Config) { test(t, newBlog(t, cfg)) })
}

func embedded(t *testing.T) *blog {
	t.Helper()
	return newBlog(t, dbtest.SQLite(t))
}

// folder opens a folder as the command does.
func folder(t *testing.T, path string) fs.FS {
	t.Helper()
	root, err := os.OpenRoot(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = root.Close() })
	return root.FS()
}

// files stores images in a map, from their addresses to their names and contents.
type files map[string][2]string

// Digest implements importer.Files.
func (f files) Digest(_ context.Context, _ string, content io.Reader) (string, error) {
	text, err := io.ReadAll(content)
	if string(text) == "refused" {
		return "", fmt.Errorf("no image: %w", importer.ErrNoFile)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

// Store implements importer.Files.
func (f files) Store(ctx context.Context, name string, content io.Reader) (importer.Stored, error) {
	text, err := io.ReadAll(content)
	if err != nil {
		return importer.Stored{}, err
	}
	digest, err := f.Digest(ctx, name, strings.NewReader(string(text)))
	address := "/files/" + digest[:8]
	f[address] = [2]string{name, string(text)}
	return importer.Stored{Address: address}, err
}

// Address implements exporter.Files.
func (files) Address(uint64) string { return "" }

var address = regexp.MustCompile(`/files/[0-9a-f]{8}`)

// Addresses implements exporter.Files.
func (files) Addresses(text string) []string { return address.FindAllString(text, -1) }

// Open implements exporter.Files.
func (f files) Open(_ context.Context, address string) (string, io.ReadCloser, error) {
	found, ok := f[address]
	if !ok {
		return "", nil, fmt.Errorf("deleted: %w", exporter.ErrNoFile)
	}
	return address[len("/files/"):] + path.Ext(found[0]), io.NopCloser(strings.NewReader(found[1])), nil
}

// names returns the names of the files.
func (f files) names() (all []string) {
	for _, one := range f {
		all = append(all, one[0])
	}
	return all
}

func TestHugo(t *testing.T) {
	each(t, func(t *testing.T, b *blog) {
		stored := files{}
		b.Files = stored
		results := b.run(t, folder(t, "testdata/hugo"))
		require.Equal(t, map[string]article.Outcome{
			"archetypes": importer.Skipped, "content/_index.md": importer.Skipped,
			"content/posts/moss.md": article.Created, "content/posts/bundle/index.md": article.Created, "content/posts/draft.md": article.Created,
		}, outcomes(results))
		all := b.articles(t)
		require.ElementsMatch(t, []string{"moss", "bundle", "draft"}, slices.Collect(maps.Keys(all)))
		moss := all["moss"]
		require.Equal(t, `Moss: a "slow" plant`, moss.Title)
		require.Equal(t, "It grows where nothing else does.", moss.Desc)
		require.Equal(t, []string{"Patience", "garden", "plants"}, names(moss.Tags))
		require.Equal(t, "2021-05-04T07:30:00Z 2021-06-01T08:00:00Z importer", fmt.Sprint(moss.CreatedAt.Format(time.RFC3339), " ", moss.UpdatedAt.Format(time.RFC3339), " ", moss.CreatedBy))
		require.Regexp(t, `^Moss has no roots\.\n\n!\[A stone\]\(/files/[0-9a-f]{8} "under moss"\)\n$`, moss.Content)
		require.Equal(t, article.Disabled, all["draft"].State)
		require.Less(t, moss.ID, all["bundle"].ID, "the oldest is the first")
		require.Contains(t, all["bundle"].Content, "![not an image](one.png)")
		require.Regexp(t, `src="/files/[0-9a-f]{8}" title="One"(.|\n)*!\[two\]\(/files/[0-9a-f]{8}\)`, all["bundle"].Content)
		require.ElementsMatch(t, []string{"stone.png", "one.png", "two stones.png"}, stored.names())
		require.Contains(t, results["content/posts/bundle/index.md"].Notes[0], "{{< figure")

		require.NotContains(t, fmt.Sprint(outcomes(b.run(t, folder(t, "testdata/hugo")))), "created")
		require.Equal(t, all, b.articles(t))
	})
}

func TestJekyll(t *testing.T) {
	each(t, func(t *testing.T, b *blog) {
		b.refused = "spring"
		results := b.run(t, folder(t, "testdata/jekyll"))
		require.Equal(t, map[string]article.Outcome{
			"about.md": importer.Skipped, "_posts/2015-03-01-old.html": importer.Skipped, "_posts/2015-02-01-broken.md": importer.Invalid,
			"_posts/2014-03-01-first-flush.md": article.Created, "_posts/2014-4-2-a-rainy-day.markdown": article.Created,
			"_posts/2015-01-01-hidden.md": article.Created, "_drafts/no-date.md": article.Created,
		}, outcomes(results))
		require.Equal(t, "line 2: the YAML is malformed: mapping values are not allowed in this context; put texts into quotation marks that have a colon or # in them, and indent by blanks",
			results["_posts/2015-02-01-broken.md"].Reason)
		require.Equal(t, []string{"cover /assets/kettle.png: files are not imported, because Files.URL is not set; put it where readers reach it, and write its address", `tag "spring": refused`},
			results["_posts/2014-03-01-first-flush.md"].LeftOut)
		all := b.articles(t)
		require.Equal(t, []string{"oolong", "rain: light", "tea"}, names(all["first-flush"].Tags))
		require.Equal(t, "2014-03-01T10:05:00Z", all["first-flush"].CreatedAt.Format(time.RFC3339))
		require.Equal(t, "The first leaves of the year.", all["first-flush"].Desc)
		rainy := all["a-rainy-day"]
		require.Equal(t, []string{"A rainy day", "It rains.\r\n", "2014-04-02"}, []string{rainy.Title, rainy.Content, rainy.CreatedAt.Format(time.DateOnly)})
		require.Equal(t, []string{"slow mornings"}, names(rainy.Tags))
		require.Equal(t, article.Disabled, all["hidden-note"].State)
		require.Equal(t, article.Disabled, all["no-date"].State)
	})
}

func TestHexo(t *testing.T) {
	each(t, func(t *testing.T, b *blog) {
		b.Zone = time.FixedZone("", 8*3600)
		b.Files = files{}
		results := b.run(t, folder(t, "testdata/hexo"))
		require.Equal(t, map[string]article.Outcome{
			"scaffolds": importer.Skipped, "source/about/index.md": importer.Skipped,
			"source/_posts/night-train.md": article.Created, "source/_posts/station.md": article.Created, "source/_drafts/plan.md": article.Created,
		}, outcomes(results))
		all := b.articles(t)
		train := all["night-train"]
		require.Equal(t, "夜行列车", train.Title)
		require.ElementsMatch(t, []string{"旅行", "火车", "亚洲", "随笔"}, names(train.Tags))
		require.Equal(t, "2019-07-13T12:46:25Z", train.CreatedAt.Format(time.RFC3339))
		require.Regexp(t, `asset_img /files/[0-9a-f]{8} 窗外`, train.Content)
		require.ElementsMatch(t, []string{"火车", "早晨"}, names(all["station"].Tags))
		require.Equal(t, article.Disabled, all["plan"].State)
	})
}

func md(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

// A second import does only what has changed.
func TestImportAgain(t *testing.T) {
	each(t, func(t *testing.T, b *blog) {
		first := fstest.MapFS{
			"same.md": md("---\ntitle: Same\ntags: [a]\n---\ntext"), "changed.md": md("---\ntitle: Changed\n---\nbefore"), "old name.md": md("---\ntitle: Renamed\n---\nr"),
			"gone.md": md("---\ntitle: Gone\n---\ng"), "edited.md": md("---\ntitle: Edited\n---\ne"), "deleted.md": md("---\ntitle: Deleted\n---\nd"),
		}
		b.run(t, first)
		before := b.articles(t)
		_, err := b.service.Update(t.Context(), before["edited"].ID, article.Draft{Title: new("In the blog")}, nil)
		require.NoError(t, err)
		require.NoError(t, b.service.Delete(t.Context(), before["deleted"].ID, "", nil))
		second := fstest.MapFS{
			"same.md": first["same.md"], "changed.md": md("---\ntitle: Changed\n---\nafter"), "new name.md": md("---\nslug: old-name\ntitle: Renamed\n---\nr"),
			"edited.md": md("---\ntitle: Edited\n---\nedited"), "deleted.md": first["deleted.md"], "new.md": md("---\ntitle: New\n---\nn"),
		}
		want := map[string]article.Outcome{
			"same.md": article.Unchanged, "changed.md": article.Updated, "new name.md": article.Unchanged, "gone.md": importer.Vanished,
			"edited.md": article.Edited, "deleted.md": article.Deleted, "new.md": article.Created,
		}
		b.DryRun = true
		require.Equal(t, want, outcomes(b.run(t, second)))
		require.NotContains(t, b.articles(t), "new", "a dry run does nothing")
		b.DryRun = false
		results := b.run(t, second)
		require.Equal(t, want, outcomes(results))
		for file, r := range results {
			require.Equal(t, file == "edited.md" || file == "deleted.md", r.Incomplete(), file)
			require.Equal(t, file == "edited.md" || file == "deleted.md" || file == "gone.md", r.Reason != "", file)
		}
		after := b.articles(t)
		require.Equal(t, []string{"after", "In the blog", "g"}, []string{after["changed"].Content, after["edited"].Title, after["gone"].Content})
		require.Equal(t, before["same"], after["same"])
		require.Equal(t, before["old-name"], after["old-name"])
		require.Len(t, after, 6)

		b.Force = true
		require.Equal(t, map[string]article.Outcome{
			"same.md": article.Unchanged, "changed.md": article.Unchanged, "new name.md": article.Unchanged, "gone.md": importer.Vanished,
			"edited.md": article.Updated, "deleted.md": article.Created, "new.md": article.Unchanged,
		}, outcomes(b.run(t, second)))
		after = b.articles(t)
		require.Equal(t, "Edited", after["edited"].Title)
		require.Contains(t, after, "deleted")
	})
}

// What is no article by the rules of the API is left out, with the reason.
func TestInvalid(t *testing.T) {
	b := embedded(t)
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprint("t", i)
	}
	tree := fstest.MapFS{
		"title.md":                        md("---\ntitle: " + strings.Repeat("x", 101) + "\n---\n"),
		"line.md":                         md("---\ntitle: \"a\\nb\"\n---\n"),
		"desc.md":                         md("---\ndescription: " + strings.Repeat("x", 256) + "\n---\n"),
		"tags.md":                         md("---\ntags: [" + strings.Join(many, ",") + "]\n---\n"),
		"large.md":                        md(strings.Repeat("x", 1<<20+1)),
		"very-large.md":                   md(strings.Repeat("x", 1<<20+1<<17)),
		"bytes.md":                        md("\xff"),
		"both.md":                         md("---\ntitle: a\ntitle: b\n---\n"),
		"cover.md":                        md("---\ncover: https://\n---\n"),
		"date.md":                         md("---\ndate: soon\n---\n"),
		"2014-02-30-x.md":                 md("text"),
		"good.md":                         md("text"),
		"README.md":                       md("# About this folder"),
		"org.org":                         md("* text"),
		".hidden.md":                      md("text"),
		".git/x.md":                       md("text"),
		"public/x.md":                     md("text"),
		"a/node_modules/x.md":             md("text"),
		strings.Repeat("d/", 40) + "x.md": md("text"),
		strings.Repeat("n", 250) + "/" + strings.Repeat("n", 250) + ".md": md("text"),
		"image.png": md("\xff"),
	}
	results := b.run(t, tree)
	for file, want := range map[string]string{
		"title.md": "title must be a maximum of 100 characters", "line.md": "title must not contain control characters: U+000A", "desc.md": "desc must be a maximum of 255",
		"tags.md": "tags has 21 tags, together with hidden_tags and categories, and may have at most 20: remove some", "large.md": "content must be at most 1048576 bytes", "very-large.md": "it has more than 1115136 bytes: split it",
		"bytes.md": "line 1: the byte 0xFF is not UTF-8", "both.md": "line 3: the field \"title\" is there twice, also in line 2", "cover.md": "cover_image_url must be an http or https URL",
		"date.md": "line 2: date: \"soon\" is no time", "2014-02-30-x.md": "the date in its name: \"2014-02-30\" is no time: the month has fewer days",
		"README.md": "no front matter", "org.org": "convert it to Markdown", ".hidden.md": "hidden", ".git": "hidden", "public": "no posts", "a/node_modules": "no posts",
		strings.TrimSuffix(strings.Repeat("d/", 33), "/"): "nested more than 32 levels deep", strings.Repeat("n", 250) + "/" + strings.Repeat("n", 250) + ".md": "more than 500 characters",
	} {
		require.Contains(t, results[file].Reason, want, file)
		delete(results, file)
	}
	require.Equal(t, map[string]article.Outcome{"good.md": article.Created}, outcomes(results))
	require.Len(t, b.articles(t), 1)
}

// A post that is rejected creates no tags, and a dry run says what an import does.
func TestTags(t *testing.T) {
	b := embedded(t)
	long := strings.Repeat("x", 101)
	tree := fstest.MapFS{
		"good.md":  md("---\ntags: [b, a, caf\u00e9, cafe\u0301, " + long + "]\n---\n"),
		"title.md": md("---\ntitle: " + long + "\ntags: [c]\n---\n"), "many.md": md("---\ntags: d0 d1 d2 d3 d4 d5 d6 d7 d8 d9 d10 d11 d12 d13 d14 d15 d16 d17 d18 d19 d20\n---\n"),
	}
	b.DryRun = true
	predicted := b.run(t, tree)
	require.Equal(t, []string{`the tag "b" would be created`, `the tag "a" would be created`, "the tag \"caf\u00e9\" would be created"}, predicted["good.md"].Notes)
	b.DryRun = false
	for file, done := range b.run(t, tree) {
		require.Equal(t, []any{done.Outcome, done.Reason, done.LeftOut}, []any{predicted[file].Outcome, predicted[file].Reason, predicted[file].LeftOut}, file)
	}
	require.Equal(t, []string{`tag "` + long + `": too long`}, predicted["good.md"].LeftOut)
	require.Equal(t, []string{"a", "b", "caf\u00e9"}, names(b.articles(t)["good"].Tags))
	offset, err := b.store.Offset(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 3, offset.Sequence, "tags that were created")
	require.Equal(t, article.Unchanged, b.run(t, tree)["good.md"].Outcome)

	// Nor does one that was changed in the blog.
	_, err = b.service.Update(t.Context(), b.articles(t)["good"].ID, article.Draft{Title: new("edited"), Actor: "x"}, nil)
	require.NoError(t, err)
	tree["good.md"] = md("---\ntags: [e]\n---\n")
	require.Equal(t, article.Edited, b.run(t, tree)["good.md"].Outcome)
	found, err := b.Find(t.Context(), "e")
	require.NoError(t, err)
	require.Zero(t, found)
}

// Names that are the same once they are normalized would be one article.
func TestSameNames(t *testing.T) {
	b := embedded(t)
	for file, r := range b.run(t, fstest.MapFS{"caf\u00e9.md": md("one"), "cafe\u0301.md": md("two"), "cafe.md": md("three")}) {
		if file == "cafe.md" {
			require.Equal(t, article.Created, r.Outcome)
			continue
		}
		require.Equal(t, importer.Invalid, r.Outcome)
		require.Equal(t, `the names ["cafe\u0301.md" "caf\u00e9.md"] are the same in Unicode's normalization form C: rename all but one`, r.Reason)
	}
	require.Len(t, b.articles(t), 1)
}

// Names and titles that are missing, the same, or no slugs.
func TestNames(t *testing.T) {
	b := embedded(t)
	results := b.run(t, fstest.MapFS{
		"a/hello.md": md("---\ntitle: One\ndate: 2020-01-01\n---\n"), "b/hello.md": md("---\ntitle: Two\ndate: 2020-01-02\n---\n"),
		"heading.md": md("```\n# no\n```\n\n# A heading #\n"), "my_first-post.md": md("text"), "你好.md": md("text"), "😀.md": md("text"),
		"slug.md": md("---\nslug: Héllo Wörld\n---\n"), "2014-03-01-dated/index.md": md("text"), "index.md": md("---\ntitle: Index\n---\n"),
		"future.md": md("---\ndate: 2999-01-01\n---\n"),
	})
	all := b.articles(t)
	require.Equal(t, []string{"One", "hello"}, []string{all["hello"].Title, results["a/hello.md"].Slug})
	require.Equal(t, "two", results["b/hello.md"].Slug)
	require.Equal(t, []string{`another article has the slug "hello"`}, results["b/hello.md"].Notes)
	require.Equal(t, []string{"A heading", "my first post", "你好", "😀", "Index"},
		[]string{all["heading"].Title, all["my-first-post"].Title, all["ni-hao"].Title, all[results["😀.md"].Slug].Title, all["index"].Title})
	require.Equal(t, []string{`the slug "Héllo Wörld" becomes "hello-world"`}, results["slug.md"].Notes)
	require.Equal(t, "2014-03-01", all["dated"].CreatedAt.Format(time.DateOnly))
	require.Equal(t, article.Scheduled, all["future"].State)
	for _, r := range results {
		require.False(t, r.Incomplete())
	}
	require.NotContains(t, fmt.Sprint(outcomes(b.run(t, fstest.MapFS{"b/hello.md": md("---\ntitle: Two\ndate: 2020-01-02\n---\n")}))), "created")
}

// The dates of a post say when it is published, also if that is in the future.
func TestDates(t *testing.T) {
	each(t, func(t *testing.T, b *blog) {
		tree := fstest.MapFS{
			"past.md":      md("---\ndate: 2001-02-03\ntags: [a]\n---\n"),
			"draft.md":     md("---\ndate: 2999-01-01\ndraft: true\n---\n"),
			"scheduled.md": md("---\ndate: 2999-01-01T00:00:00.1239Z\nlastmod: 2999-01-01\ntags: [a]\n---\n"),
			"publish.md":   md("+++\ndate = 2001-02-03\npublishDate = 2999-01-01\n+++\n"),
			"created.md":   md("---\ncreated: 2000-01-01\ndate: 2001-02-03\n---\n"),
			"none.md":      md("text"),
			"ancient.md":   md("---\ndate: 1969-07-20\n---\n"),
		}
		began := time.Now().UTC().Truncate(time.Millisecond)
		results := b.run(t, tree)
		require.Contains(t, results["ancient.md"].Reason, "publish_at must be between 1970-01-01T00:00:00Z and")
		require.Equal(t, []string{"it is published at 2999-01-01T00:00:00Z"}, results["scheduled.md"].Notes)
		all := b.articles(t)
		day := func(year int, month time.Month, day int) time.Time {
			return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
		}
		for slug, want := range map[string]struct {
			state              article.State
			published, created time.Time
		}{
			"past": {article.Enabled, day(2001, 2, 3), day(2001, 2, 3)}, "draft": {article.Disabled, day(2999, 1, 1), time.Time{}},
			"scheduled": {article.Scheduled, day(2999, 1, 1).Add(123 * time.Millisecond), time.Time{}}, "publish": {article.Scheduled, day(2999, 1, 1), day(2001, 2, 3)},
			"created": {article.Enabled, day(2001, 2, 3), day(2000, 1, 1)}, "none": {article.Enabled, all["none"].CreatedAt, time.Time{}},
		} {
			got := all[slug]
			require.Equal(t, []any{want.state, want.published}, []any{got.State, got.PublishedAt}, slug)
			for _, at := range []time.Time{got.CreatedAt, got.UpdatedAt} {
				if want.created.IsZero() { // that of the import
					require.False(t, at.Before(began) || at.After(time.Now()), "%s: %s", slug, at)
				} else {
					require.Equal(t, want.created, at, slug)
				}
			}
		}
		// Lists by a tag are in the order of the times, too.
		found, err := b.service.List(t.Context(), article.Authenticated, article.Filter{AnyTag: []uint64{all["past"].Tags[0].ID}},
			article.Page{Order: article.Order{By: article.ByPublished}, Limit: 10})
		require.NoError(t, err)
		require.Equal(t, []uint64{all["scheduled"].ID, all["past"].ID}, []uint64{found.Articles[0].ID, found.Articles[1].ID})

		for file, outcome := range outcomes(b.run(t, tree)) {
			require.Equal(t, file != "ancient.md", outcome == article.Unchanged, file)
		}
		require.Equal(t, all, b.articles(t))

		// A date that is moved moves the article.
		tree["scheduled.md"], tree["past.md"] = md("---\ndate: 2002-02-03\ntags: [a]\n---\n"), md("---\ndate: 2999-01-01\ntags: [a]\n---\n")
		b.run(t, tree)
		moved := b.articles(t)
		require.Equal(t, []article.State{article.Enabled, article.Scheduled}, []article.State{moved["scheduled"].State, moved["past"].State})
		require.Equal(t, []any{day(2002, 2, 3), day(2002, 2, 3), day(2999, 1, 1), day(2001, 2, 3)},
			[]any{moved["scheduled"].PublishedAt, moved["scheduled"].CreatedAt, moved["past"].PublishedAt, moved["past"].CreatedAt})
		public, err := b.service.List(t.Context(), article.Anonymous, article.Filter{AnyTag: []uint64{all["past"].Tags[0].ID}}, article.Page{Limit: 10})
		require.NoError(t, err)
		require.Len(t, public.Articles, 1)
		require.Equal(t, all["scheduled"].ID, public.Articles[0].ID)
	})
}

// Links lead nowhere out of the folder.
func TestLinks(t *testing.T) {
	b := embedded(t)
	b.Files = files{}
	outside, inside := t.TempDir(), t.TempDir()
	write := func(file, text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write(filepath.Join(outside, "secret.md"), "secret")
	write(filepath.Join(outside, "secret.png"), "secret")
	write(filepath.Join(inside, "real.md"), "![x](../"+filepath.Base(outside)+"/secret.png) ![y](link.png) ![z](/../../etc/passwd)")
	for name, to := range map[string]string{
		"out.md": filepath.Join(outside, "secret.md"), "in.md": "real.md", "nothing.md": "nothing", "loop": ".", "link.png": filepath.Join(outside, "secret.png"), "folder.md": outside,
	} {
		require.NoError(t, os.Symlink(to, filepath.Join(inside, name)))
	}
	results := b.run(t, folder(t, inside))
	require.Equal(t, map[string]article.Outcome{
		"out.md": importer.Skipped, "in.md": article.Created, "nothing.md": importer.Skipped, "loop": importer.Skipped, "folder.md": importer.Skipped,
		"real.md": article.Created, "link.png": importer.Skipped,
	}, outcomes(results))
	require.Len(t, results["real.md"].LeftOut, 3)
	require.Empty(t, b.Files)
}

// A single file is imported as if its folder was.
func TestFile(t *testing.T) {
	b := embedded(t)
	tree := fstest.MapFS{"one.md": md("one"), "two.md": md("two")}
	require.NoError(t, b.Run(t.Context(), tree, "one.md"))
	require.Equal(t, map[string]article.Outcome{"one.md": article.Unchanged, "two.md": article.Created}, outcomes(b.run(t, tree)))
	b.results = nil
	require.NoError(t, b.Run(t.Context(), tree, "two.md"))
	require.Len(t, b.results, 1)
}

// An export that is imported into another blog and exported again is the same, byte by byte.
func TestExportImportExport(t *testing.T) {
	each(t, func(t *testing.T, b *blog) {
		hostile := []string{
			"---", "---\ntitle: x\n---\n", "+++\ntitle = 1\n+++", "\n\ntext", "\r\ntext\r\n", "text  ", " text", "\ufefftext", "null", "true", "1.10", "0x1f", "2026-01-02", "12:30:45", "- a", "a: b # c",
			"[a]", "*a", "!a", "| a", "'a'", `"a"`, `a\nb`, "滚动重启", "😀👩‍💻", "é", "\u2028", "\u00a0x", "<b>&amp;", "a,b", "{% raw %}", "{{< x >}}", "![x](y.png)", "\t", "",
		}
		for i, text := range hostile {
			title := strings.TrimSpace(strings.Join(strings.Fields(strings.NewReplacer("\u2028", "", "\ufeff", "").Replace(text)), " "))
			tag, err := b.Create(t.Context(), strings.TrimSpace(fmt.Sprint("tag ", i, " ", title)), i%3 == 0)
			require.NoError(t, err)
			created := time.Date(1980+i, 1, 2, 3, 4, 5, i*1e6, time.UTC)
			published := []time.Time{created, {}, time.Date(1999, 1, 2, 3, 4, 5, 6e6, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)}[i/2%4]
			draft, err := b.Normalize(article.Draft{
				PublishedAt: &published,
				Title:       new(cmp.Or(title, "x")), Desc: &text, Content: new(text + "|" + text), TagIDs: &[]uint64{tag, 1}, State: new(article.State(i % 2)), CoverImageURL: new("https://example.org/?a=b#c"),
			})
			require.NoError(t, err)
			_, err = b.Articles.Import(t.Context(), article.Import{
				Source: fmt.Sprint(i), Draft: draft, CreatedAt: created, UpdatedAt: time.Date(2020+i%5, 1, 2, 3, 4, 5, 999e6, time.UTC),
			})
			require.NoError(t, err)
		}
		first := export(t, b)
		require.Len(t, first, len(hostile))
		other := newBlog(t, dbtest.SQLite(t))
		other.Name = "other"
		tree := fstest.MapFS{}
		for name, text := range first {
			tree[name] = md(text)
		}
		for file, r := range other.run(t, tree) {
			require.Equal(t, article.Created, r.Outcome, "%s: %s", file, r.Reason)
		}
		require.Equal(t, first, export(t, other))
		for _, a := range b.articles(t) {
			same := other.articles(t)[a.Slug]
			require.Equal(t, []any{a.Title, a.Desc, a.Content, a.State, a.PublishedAt, a.CreatedAt, a.UpdatedAt, a.CoverImageURL, names(a.Tags)},
				[]any{same.Title, same.Desc, same.Content, same.State, same.PublishedAt, same.CreatedAt, same.UpdatedAt, same.CoverImageURL, names(same.Tags)})
		}
	})
}

// Images come back, too, once for each content.
func TestFilesThereAndBack(t *testing.T) {
	b, other := embedded(t), embedded(t)
	b.Files, other.Files = files{}, files{}
	results := b.run(t, fstest.MapFS{
		"a/index.md": md("![one](one.png) ![again](./one.png) ![none](none.png) ![no](no.png) <img alt='x' src=\"two.gif\"> `code`\n~~~\n![code](one.png)\n~~~\n"),
		"a/one.png":  md("1"), "a/two.gif": md("2"), "a/no.png": md("refused"),
	})
	require.Equal(t, []string{"image none.png: there is no such file in the folder, or it is hidden", "image no.png: no image"}, results["a/index.md"].LeftOut)
	first := export(t, b)
	require.Len(t, first, 3)
	require.Contains(t, first["a.md"], "![one](files/6b86b273.png) ![again](files/6b86b273.png) ![none](none.png) ![no](no.png) <img alt='x' src=\"files/d4735e3a.gif\"> `code`\n~~~\n![code](one.png)\n~~~\n")
	require.Equal(t, []string{"1", "2"}, []string{first["files/6b86b273.png"], first["files/d4735e3a.gif"]})
	tree := fstest.MapFS{}
	for name, text := range first {
		tree[name] = md(text)
	}
	require.Equal(t, article.Created, other.run(t, tree)["a.md"].Outcome)
	require.Equal(t, first, export(t, other))
	require.Equal(t, article.Unchanged, other.run(t, tree)["a.md"].Outcome)
}

// Files that a post links to come back, too, and the links lead to them.
func TestLinkedFilesThereAndBack(t *testing.T) {
	b, other := embedded(t), embedded(t)
	stored := files{}
	b.Files, other.Files = stored, files{}
	results := b.run(t, fstest.MapFS{
		"a.md": md("[prices](files/p.pdf) [page](files/p.pdf#page=2 \"P\") [![shown](i.png?x=1)](files/p.pdf?a=b#c)\n\n[def]: files/q.pdf\n" +
			"<a class=x href=\"/r.pdf\">r</a> <video poster='i.png' src='v.mp4'></video> {% asset_link p.pdf %}\n" +
			"[b](b.md) [page](page.html) [nothing](nothing.pdf) [no](no.pdf) [hidden](.env) [up](../x.pdf) [^1] [site](https://example.org/p.pdf) [top](#top)\n\n[^1]: p.pdf\n[gone](/files/00000000) `/files/6b86b273`\n"),
		"b.md": md("text"), "files/p.pdf": md("p"), "files/q.pdf": md("q"), "static/r.pdf": md("r"), "i.png": md("i"), "v.mp4": md("v"), "p.pdf": md("P"),
		"page.html": md("page"), "no.pdf": md("refused"), ".env": md("secret"),
	})
	require.Equal(t, []string{"link no.pdf: no image"}, results["a.md"].LeftOut)
	require.Contains(t, results["a.md"].Notes, "the link /files/00000000 is the address of a file of a blog: make sure that it is the right one in this blog")
	require.ElementsMatch(t, []string{"p.pdf", "q.pdf", "r.pdf", "i.png", "v.mp4", "p.pdf"}, stored.names())
	first := export(t, b)
	require.Equal(t, []string{
		"a.md: the file /files/00000000 is not exported, and its address stays: deleted",
		"a.md: the file /files/6b86b273 is not exported, and its address stays: its address has a host, or is no link or image in Markdown or HTML",
	}, b.noted)
	require.Contains(t, first["a.md"], "[prices](files/148de9c5.pdf) [page](files/148de9c5.pdf#page=2 \"P\") [![shown](files/de7d1b72.png?x=1)](files/148de9c5.pdf?a=b#c)\n\n[def]: files/8e35c2cd.pdf\n"+
		"<a class=x href=\"files/454349e4.pdf\">r</a> <video poster='files/de7d1b72.png' src='files/4c94485e.mp4'></video> {% asset_link files/5c62e091.pdf %}\n"+
		"[b](b.md) [page](page.html) [nothing](nothing.pdf) [no](no.pdf) [hidden](.env) [up](../x.pdf) [^1] [site](https://example.org/p.pdf) [top](#top)\n\n[^1]: p.pdf\n")
	require.Len(t, first, 2+6)
	tree := fstest.MapFS{}
	for name, text := range first {
		tree[name] = md(text)
	}
	require.Empty(t, other.run(t, tree)["a.md"].LeftOut)
	require.Equal(t, first, export(t, other))
	require.Equal(t, article.Unchanged, other.run(t, tree)["a.md"].Outcome)
}

// export returns the files of an export.
func export(t *testing.T, b *blog) map[string]string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "new", "folder")
	e := exporter.Exporter{Articles: b.service, Limit: time.Minute}
	if stored, ok := b.Files.(files); ok {
		e.Files = stored
	}
	b.noted = nil
	e.Note = func(file, text string) { b.noted = append(b.noted, file+": "+text) }
	n, err := e.Run(t.Context(), folder)
	require.NoError(t, err)
	found, articles := map[string]string{}, 0
	require.NoError(t, filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(file) // #nosec G304 -- of this test
		name, _ := filepath.Rel(folder, file)
		found[name] = string(text)
		if filepath.Ext(name) == ".md" {
			articles++
		}
		return err
	}))
	require.Equal(t, n, articles)
	_, err = e.Run(t.Context(), folder)
	require.ErrorContains(t, err, "is not empty")
	return found
}
