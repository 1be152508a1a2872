package builds_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/failpoint"
	"github.com/achilles-blog/achilles/test/e2e/builds"
	"github.com/achilles-blog/achilles/test/services"
)

const root = "../../.."

// The newer release contains the migration, and the source tree is unchanged.
func TestNewer(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a service")
	}
	folder := t.TempDir()
	program, err := builds.Newer("tag", "tag", "newer-1").Compile(t.Context(), root, folder)
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

// A released program has no fail points: neither their names nor the variable
// that enables them are in it.
func TestReleasedProgramsHaveNoFailPoints(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the services")
	}
	points := []string{failpoint.Variable}
	for _, p := range failpoint.All() {
		points = append(points, string(p))
	}
	found := map[string]bool{}
	all, err := services.Read(root)
	require.NoError(t, err)
	for _, service := range services.Names(all) {
		for _, failPoints := range []bool{false, true} {
			path, err := builds.Build{Service: service, Version: "points", FailPoints: failPoints}.Compile(t.Context(), root, t.TempDir())
			require.NoError(t, err)
			program, err := os.ReadFile(path) // #nosec G304 -- just built
			require.NoError(t, err)
			for _, p := range points {
				there := strings.Contains(string(program), p)
				require.False(t, there && !failPoints, "%s has the fail point %s", service, p)
				found[p] = found[p] || there
			}
		}
	}
	for _, p := range points { // those of lost writes are in the article service
		require.True(t, found[p], "%s is in no program with fail points", p)
	}
}

// The released programs are built with the same flags, except for the linker's
// stamps.
func TestFlagsAreThoseOfTheMakefile(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile")) // #nosec G304 -- our own
	require.NoError(t, err)
	_, flags, found := strings.Cut(string(makefile), "GO_FLAGS ")
	require.True(t, found)
	flags, _, _ = strings.Cut(flags, "-ldflags")
	require.Equal(t, []string{"=", "-trimpath", "-buildvcs=false", "-tags=nomsgpack", "-gcflags='github.com/redis/go-redis/...=-l'"},
		strings.Fields(flags))
}
