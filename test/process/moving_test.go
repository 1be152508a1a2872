package process_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// posts writes a folder with n posts, which have ten tags together.
func posts(t *testing.T, n int) (folder string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "blog")
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "_posts"), 0o750))
	for i := range n {
		text := fmt.Sprintf("---\ntitle: Post %d\ntags: [tag %d, tag %d]\n---\nText of %d.\n", i, i%10, (i+1)%10, i)
		file := filepath.Join(folder, "_posts", fmt.Sprintf("20%02d-03-%02d-post-%d.md", i%20, 1+i%28, i))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	return folder
}

// runs runs a command of the article service, and returns what it has printed.
func (p *pair) runs(t *testing.T, exit int, args ...string) string {
	t.Helper()
	ran, got := process.Run(t, p.articleProgram, p.articleSettings, args...)
	require.Equal(t, exit, got, "%s%s", ran.Stdout(), ran.Stderr())
	return ran.Stdout()
}

// count returns the number of rows of a table of the article service.
func (p *pair) count(t *testing.T, table string) int {
	t.Helper()
	return rows[int](t, p.articleDatabase, "SELECT COUNT(*) FROM "+table)[0]
}

// tree returns the files of a folder.
func tree(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(file) // #nosec G304 -- of this test
		name, _ := filepath.Rel(folder, file)
		found[name] = string(text)
		return err
	}))
	return found
}

// An import that is killed and repeated, beside another one and while the services run, creates
// each article and each tag once.
func TestImportKilled(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		fresh := mysql
		if cfg.DBType == database.SQLite {
			fresh = dbtest.SQLite
		}
		const n = 150
		p := newPair(t, fresh, nil)
		folder := posts(t, n)
		begin := func() *process.Process {
			return process.Start(t, p.articleProgram, p.articleSettings, "import", folder)
		}
		for range 3 {
			enough := p.count(t, "blog_article") + 1 + rand.IntN(n/4)
			killed, other := begin(), begin()
			process.Await(t, "some articles", func() bool { return p.count(t, "blog_article") >= min(enough, n) })
			killed.Kill()
			other.Kill()
		}
		last := begin()
		p.runs(t, 0, "import", folder)
		require.Zero(t, last.Exit(t), last.Stderr())
		p.runs(t, 0, "epoch", "--new") // as after a restore, which is no change of an article
		require.Contains(t, p.runs(t, 0, "import", folder), fmt.Sprintf("Imported: 0 created, 0 updated, %d unchanged; 0 invalid", n))
		require.Equal(t, []int{n, n}, []int{p.count(t, "blog_article"), p.count(t, "blog_import")})
		require.Equal(t, []int{n}, rows[int](t, p.articleDatabase, "SELECT COUNT(DISTINCT title) FROM blog_article"))
		require.Equal(t, []int{10}, rows[int](t, p.tagDatabase, "SELECT COUNT(*) FROM blog_tag"))
		requireConsistent(t, p.tagDatabase, p.articleDatabase)
		require.Contains(t, p.runs(t, 0, "recount"), "Nothing was wrong")

		// There and back: the files of both blogs are the same.
		there, back := filepath.Join(t.TempDir(), "there"), filepath.Join(t.TempDir(), "back")
		require.Contains(t, p.runs(t, 0, "export", there), fmt.Sprintf("Exported %d articles", n))
		p.runs(t, 1, "export", there)
		other := newPair(t, fresh, nil)
		other.runs(t, 0, "import", "--dry-run", there)
		require.Zero(t, other.count(t, "blog_article"))
		other.runs(t, 0, "import", there)
		other.runs(t, 0, "export", back)
		require.Len(t, tree(t, there), n)
		require.Equal(t, tree(t, there), tree(t, back))
	})
}

// storing makes the commands of the pair store files in a directory.
func (p *pair) storing(t *testing.T) {
	t.Helper()
	p.articleSettings = p.articleSettings.With(process.Settings{"Files.URL": "file://" + t.TempDir(), "Files.Timeout": "10s"})
}

// illustrated writes a folder with n posts, of which each has a picture of its own, one that all
// have, a cover, and pictures that can't be imported.
func illustrated(t *testing.T, n int) (folder string) {
	t.Helper()
	folder = t.TempDir()
	write := func(name string, content []byte) {
		file := filepath.Join(folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o750))
		require.NoError(t, os.WriteFile(file, content, 0o600))
	}
	picture := func(width int) []byte {
		var encoded bytes.Buffer
		require.NoError(t, png.Encode(&encoded, image.NewGray(image.Rect(0, 0, width, 1))))
		return encoded.Bytes()
	}
	write("same image (1).png", picture(1))
	for i := range n {
		dir := fmt.Sprintf("post-%d/", i)
		write(dir+"index.md", fmt.Appendf(nil, "---\ntitle: Post %d\ncover: own.png\ncover_image_url: https://example.org/%d\n---\n![a](own.png \"title\") ![b](../same%%20image%%20%%281%%29.png)\n"+
			"{%% asset_img 图.png %%} ![c](own.png)\n```\n![code](own.png)\n```\n", i, i))
		write(dir+"own.png", picture(2+i))
		write(dir+"图.png", picture(2+i))
	}
	write("refused.md", []byte("---\ncover: x.svg\n---\n![svg](x.svg) ![big](big.png) ![none](none.png)\n"))
	write("x.svg", []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>`))
	write("big.png", append(picture(1), make([]byte, 10<<20)...))
	return folder
}

// The images of posts become files, once, however often an import is killed and repeated; an export
// has them again, and a second one is the same.
func TestImagesThereAndBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		fresh := mysql
		if cfg.DBType == database.SQLite {
			fresh = dbtest.SQLite
		}
		const n = 40
		p := newPair(t, fresh, nil)
		p.storing(t)
		folder := illustrated(t, n)
		require.Contains(t, p.runs(t, 1, "import", "--dry-run", folder), "refused.md: left out: image x.svg: the content of the file \"x.svg\" is image/svg+xml")
		require.Zero(t, p.count(t, "blog_file"))
		for range 3 {
			enough := p.count(t, "blog_file") + 1 + rand.IntN(n/2)
			killed, other := process.Start(t, p.articleProgram, p.articleSettings, "import", folder), process.Start(t, p.articleProgram, p.articleSettings, "import", folder)
			process.Await(t, "some files", func() bool { return p.count(t, "blog_file") >= min(enough, 2*n+1) })
			killed.Kill()
			other.Kill()
		}
		printed := p.runs(t, 1, "import", folder)
		for range 2 {
			for _, text := range []string{"image big.png: the file \"big.png\" has more than 10485760 bytes", "image none.png: there is no such file"} {
				require.Contains(t, printed, text)
			}
			require.Equal(t, []int{2*n + 1, n + 1, n + 1}, []int{p.count(t, "blog_file"), p.count(t, "blog_blob"), p.count(t, "blog_article")})
			printed = p.runs(t, 1, "import", folder)
			require.Contains(t, printed, fmt.Sprintf("0 created, 0 updated, %d unchanged", n+1))
		}
		require.Equal(t, []int{n}, rows[int](t, p.articleDatabase, "SELECT COUNT(*) FROM blog_article AS a JOIN blog_file AS f ON f.id = a.cover_file_id WHERE f.name = 'own.png' AND f.created_by = 'import'"))

		there, back := filepath.Join(t.TempDir(), "there"), filepath.Join(t.TempDir(), "back")
		p.runs(t, 0, "export", there)
		files := tree(t, there)
		require.Len(t, files, 2*n+2)
		require.Regexp(t, `(?s)cover: "files/(\w{32})\.png"\ncover_image_url: "https://example\.org/0".*!\[a\]\(files/\w{32}\.png "title"\) !\[b\]\(files/\w{32}\.png\)\n`+
			`\{% asset_img files/\w{32}\.png %\}.*`+"```\n!\\[code\\]\\(own\\.png\\)\n```", files["post-0.md"])
		other := newPair(t, fresh, nil)
		other.storing(t)
		other.runs(t, 1, "import", there) // because of what was refused before
		other.runs(t, 0, "export", back)
		require.Equal(t, files, tree(t, back))
	})
}

// Without a key set, tags can't be created: they are left out, and the exit code says so.
func TestImportWithoutTags(t *testing.T) {
	p := newPair(t, dbtest.SQLite, nil)
	create(t, p.tag, "/api/v1/tags", newTag("tag 0"))
	process.Await(t, "the tag", func() bool { return p.count(t, "blog_tag_projection") == 1 })
	folder := posts(t, 2)
	report := filepath.Join(t.TempDir(), "report")
	p.articleSettings = p.articleSettings.With(process.Settings{"Auth.KeysFile": ""})
	printed := p.runs(t, 1, "import", folder, "--report", report)
	require.Contains(t, printed, `_posts/2000-03-01-post-0.md: left out: tag "tag 1": there is no such tag; set Auth.KeysFile`)
	require.Contains(t, printed, "Imported: 2 created, 0 updated")
	text, err := os.ReadFile(report)
	require.NoError(t, err)
	var first struct {
		File, Outcome, Slug string
		ArticleID           uint64   `json:"article_id"`
		LeftOut             []string `json:"left_out"`
	}
	require.NoError(t, json.Unmarshal([]byte(strings.Split(string(text), "\n")[0]), &first))
	require.Equal(t, []string{"_posts/2000-03-01-post-0.md", "created", "post-0"}, []string{first.File, first.Outcome, first.Slug})
	require.Len(t, first.LeftOut, 1)
	p.articleSettings["Auth.KeysFile"] = process.KeysFile()
	require.Contains(t, p.runs(t, 0, "import", folder), "0 created, 2 updated")
	require.Contains(t, p.runs(t, 0, "import", filepath.Join(folder, "_posts", "2000-03-01-post-0.md"), "--name", "single"), "0 created, 0 updated, 1 unchanged")
	for args, want := range map[string]string{
		"/no/such/folder": "there is no folder or file", "/dev/null": "neither a folder nor a regular file", folder + " --zone=Mars/Base": "--zone",
		folder + " --as=a/b": "--as must consist of", folder + " --report=/no/such/folder/x": "--report",
	} {
		ran, exit := process.Run(t, p.articleProgram, p.articleSettings, append([]string{"import"}, strings.Fields(args)...)...)
		require.Equal(t, 1, exit)
		require.Contains(t, ran.Stderr(), want)
	}
}

// An export that can't finish before its service stops ends with a line that says so, and the
// service ends as always.
func TestExportWhileStopping(t *testing.T) {
	p := newPair(t, dbtest.SQLite, process.Settings{
		"Server.RequestTimeout": "3s", "Server.ReadTimeout": "5s", "Server.WriteTimeout": "6s", "Server.ShutdownTimeout": "8s", "Database.Timeout": "2s",
	})
	for n := range 40 {
		create(t, p.article, "/api/v1/articles", map[string]any{"title": fmt.Sprint(n), "content": strings.Repeat("x", 1<<20)})
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.article.URL(t, "/api/v1/articles/export"), nil)
	require.NoError(t, err)
	response, err := (&http.Client{Transport: &http.Transport{DisableCompression: true}}).Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 2<<20)
	require.True(t, lines.Scan())
	p.article.Signal(t, syscall.SIGTERM)
	n, last := 1, ""
	for lines.Scan() {
		if last = lines.Text(); strings.HasPrefix(last, `{"end"`) {
			break
		}
		n++
		time.Sleep(250 * time.Millisecond) // a client that takes its time
	}
	require.NoError(t, lines.Err())
	require.Equal(t, fmt.Sprintf(`{"end":false,"articles":%d,"after":%[1]d}`, n), last)
	require.False(t, lines.Scan())
	require.NoError(t, lines.Err(), "the response is complete")
	require.Zero(t, p.article.Exit(t), p.article.Stderr())
}
