package builds_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/e2e/builds"
)

const root = "../../.."

// The newer release has the migration in it, and nothing changed in the tree.
func TestNewer(t *testing.T) {
	folder := t.TempDir()
	program, err := builds.Newer("tag", "newer-1").Compile(t.Context(), root, folder)
	require.NoError(t, err)
	version, err := exec.Command(program, "version").Output() // #nosec G204 -- just built
	require.NoError(t, err)
	require.Contains(t, string(version), "newer-1")
	database := filepath.Join(folder, "tag.db")
	migrated, err := exec.Command(program, "migrate", "--database.dbtype=sqlite", "--database.dbname="+database).CombinedOutput() // #nosec G204 -- just built
	require.NoError(t, err, string(migrated))
	require.Contains(t, string(migrated), "9001_note.sql")
	require.NoFileExists(t, filepath.Join(root, "services/tag/migrations/mysql/9001_note.sql"))
}

func TestEditsMustFit(t *testing.T) {
	for _, old := range []string{"no such text in this file", "\n"} {
		_, err := builds.Build{Service: "tag", Version: "stale", Edits: []builds.Edit{{File: "services/tag/main.go", Old: old}}}.
			Compile(t.Context(), root, t.TempDir())
		require.ErrorContains(t, err, "bring the edit up to date")
	}
}
