package main

import (
	"os"
	"path/filepath"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/process"
	"github.com/achilles-blog/achilles/test/services"
)

const root = "../.."

func TestMain(m *testing.M) { process.Main(m) }

func TestGeneratedFilesAreCurrent(t *testing.T) {
	all, err := services.Read(root)
	require.NoError(t, err)
	bin := t.TempDir()
	for _, name := range services.Names(all) {
		require.NoError(t, os.Symlink(process.Service(t, name), filepath.Join(bin, name)))
	}
	files, err := generate(root, bin)
	require.NoError(t, err)
	require.Len(t, files, len(partial)+2*len(all)+3)
	for path, want := range files {
		text, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		require.Equal(t, string(want), string(text), "%s is stale: run make generate", path)
	}
}

func TestFill(t *testing.T) {
	parsed := template.Must(template.New("").Parse(`{{define "names"}}{{range .Services}}- {{.Name}}
{{end}}{{end}}`))
	with := data{Services: []services.Service{{Name: "tag"}, {Name: "comment"}}}
	const begin, end = "  # BEGIN GENERATED names from the list\n", "  # END GENERATED\n"
	for _, old := range []string{"", "- old\n", "- old\n- older\n"} {
		filled, err := fill([]byte("before\n"+begin+old+end+"between\n"+begin+end+"after\n"), parsed, with)
		require.NoError(t, err)
		const list = "- tag\n- comment\n"
		require.Equal(t, "before\n"+begin+list+end+"between\n"+begin+list+end+"after\n", string(filled))
	}
	for _, broken := range []string{"nothing\n", begin, "# BEGIN GENERATED unknown\n" + end} {
		_, err := fill([]byte(broken), parsed, with)
		require.Error(t, err, broken)
	}
}
