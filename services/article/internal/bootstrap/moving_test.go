package bootstrap

import (
	"bytes"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/article/internal/blobs/blobstest"
)

// write writes files into a new folder.
func write(t *testing.T, files map[string]string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
	}
	return folder
}

// What files have doesn't control the terminal.
func TestImportPrints(t *testing.T) {
	c := newConsole(t)
	c.Succeed("migrate")
	folder := write(t, map[string]string{"a\x1b]0;b\ab\nc.md": "---\ntitle: [\n---\n", "b.md": "---\nslug: \"\\e\\u202e\"\n---\n![](\x1b.png)\n"})
	exit, stdout, stderr := c.Run("import", folder)
	require.Equal(t, 1, exit, stderr)
	require.Contains(t, stdout, `a\x1b]0;b\ab\nc.md: invalid: `)
	require.Contains(t, stdout, `b.md: left out: image \x1b.png: there is no such file`)
	require.NotContains(t, stdout, "\x1b")
	require.Equal(t, 3, strings.Count(stdout, "\n"), stdout)
	_, _, stderr = c.Run("import", filepath.Join(folder, "\x1b"))
	require.Contains(t, stderr, `there is no folder or file `+folder+`/\x1b`)
}

// A dry run leaves out the tags that an import leaves out.
func TestTagsCheck(t *testing.T) {
	c := newConsole(t)
	c.Succeed("migrate")
	long := strings.Repeat("x", 101)
	folder := write(t, map[string]string{"a.md": "---\ntags: [" + long + ", \"a\\nb\", new]\n---\n"})
	exit, without, _ := c.Run("import", "--dry-run", folder)
	require.Equal(t, 1, exit)
	require.Equal(t, 3, strings.Count(without, "there is no such tag; set Auth.KeysFile"))
	t.Setenv("ACHILLES_AUTH_KEYSFILE", filepath.Join(t.TempDir(), "keys"))
	t.Setenv("ACHILLES_FEED_TOKEN", strings.Repeat("x", 40))
	exit, with, _ := c.Run("import", "--dry-run", folder)
	require.Equal(t, 1, exit)
	for _, text := range []string{
		`left out: tag "` + long + `": name must be a maximum of 100 characters`, `left out: tag "a\nb": name must not contain control characters: U+000A`, `note: the tag "new" would be created`,
	} {
		require.Contains(t, with, text)
	}
}

// Images and files that posts link to are stored in S3, and come back from there.
func TestMovingWithS3(t *testing.T) {
	c := newConsole(t)
	c.Succeed("migrate")
	t.Setenv("ACHILLES_FILES_URL", blobstest.S3(t))
	t.Setenv("ACHILLES_FILES_TIMEOUT", "10s")
	var picture bytes.Buffer
	require.NoError(t, png.Encode(&picture, image.NewGray(image.Rect(0, 0, 3, 1))))
	folder := write(t, map[string]string{"a.md": "---\ncover: a.png\n---\n![a](a.png) [b](b.txt#c) [gone](/api/v1/file/download/99)\n", "a.png": picture.String(), "b.txt": "text"})
	require.Contains(t, c.Succeed("import", folder), "a.md: note: the link /api/v1/file/download/99 is the address of a file")
	require.Contains(t, c.Succeed("import", folder), "0 created, 0 updated, 1 unchanged")
	there := filepath.Join(t.TempDir(), "there")
	require.Contains(t, c.Succeed("export", there), "a.md: note: the file /api/v1/file/download/99 is not exported, and its address stays: it doesn't exist, or not any more\n")
	text, err := os.ReadFile(filepath.Join(there, "a.md")) // #nosec G304 -- of this test
	require.NoError(t, err)
	require.Regexp(t, `(?s)cover: "files/(\w{32})\.png".*!\[a\]\(files/\w{32}\.png\) \[b\]\(files/\w{32}\.txt#c\) \[gone\]\(/api/v1/file/download/99\)`, string(text))
	files, err := filepath.Glob(filepath.Join(there, "files", "*.png"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	exported, err := os.ReadFile(files[0]) // #nosec G304 -- of this test
	require.NoError(t, err)
	require.Equal(t, picture.Bytes(), exported)
}
