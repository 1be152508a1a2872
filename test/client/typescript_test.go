package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Types that openapi-typescript generates from the descriptions that the services serve
// make a client that compiles and works.
func TestTypeScriptClient(t *testing.T) {
	modules := os.Getenv("ACHILLES_TYPESCRIPT")
	if modules == "" {
		t.Skip("make typescript-test runs this, after it has installed what it needs")
	}
	b := start(t, nil)
	dir, err := os.MkdirTemp(filepath.Dir(modules), "test-") // where Node.js finds the modules
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.CopyFS(dir, os.DirFS("typescript")))
	run := func(program string, args ...string) string {
		command := exec.CommandContext(t.Context(), program, args...)
		command.Dir = dir
		command.Env = append(os.Environ(), "TAG_URL="+b.config.TagURL, "ARTICLE_URL="+b.config.ArticleURL, "APP_KEY="+b.config.AppKey, "APP_SECRET="+b.config.AppSecret)
		output, err := command.CombinedOutput()
		require.NoError(t, err, "%s", output)
		return string(output)
	}
	run(filepath.Join(modules, ".bin", "openapi-typescript"), b.tag.URL(t, "/swagger/tag/openapi.json"), "-o", "tag.d.ts")
	run(filepath.Join(modules, ".bin", "openapi-typescript"), b.article.URL(t, "/swagger/article/openapi.json"), "-o", "article.d.ts")
	run(filepath.Join(modules, ".bin", "tsc"), "-p", ".")
	require.Equal(t, "created TypeScript again true\nbatch 1 JavaScript 20010008\ntitles e d c b a\nchanged TS then 10000009\nerror 400 10000001 name required\n", run("node", "program.js"))
}
