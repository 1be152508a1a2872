package release

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// place is a line of `release.sh versions`: make release sets the version there.
type place struct{ file, version string }

func places(t *testing.T) []place {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", "deploy/release.sh", "versions")
	command.Dir = repository
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
	var found []place
	for line := range strings.Lines(string(output)) {
		file, version, ok := strings.Cut(strings.TrimSpace(line), " ")
		require.True(t, ok, line)
		found = append(found, place{file, version})
	}
	return found
}

func appVersion(t *testing.T) string {
	t.Helper()
	return pin(t, repository+"/deploy/helm/achilles/Chart.yaml", `(?m)^appVersion: "(.+)"$`)
}

func TestVersionIsTheSameEverywhere(t *testing.T) {
	want := appVersion(t)
	found := places(t)
	require.NotEmpty(t, found)
	for _, place := range found {
		assert.Equal(t, want, place.version, place.file)
	}
}

// make release sets the version in every file that has it.
func TestReleaseSetsEveryVersion(t *testing.T) {
	version := regexp.MustCompile(`(^|[^0-9A-Za-z.+])v?` + regexp.QuoteMeta(appVersion(t)) + `([^0-9A-Za-z.+-]|\.\s|$)`)
	want, got := map[string]int{}, map[string]int{}
	for _, place := range places(t) {
		want[place.file]++
	}
	tree := os.DirFS(repository)
	require.NoError(t, fs.WalkDir(tree, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{".git", "bin", "dist", "var"}, file) {
				return fs.SkipDir
			}
			return nil
		}
		// Other modules have versions of their own; the changelog keeps the old ones.
		if base := path.Base(file); strings.HasPrefix(base, "go.") || base == ".git" || file == "CHANGELOG.md" {
			return nil
		}
		text, err := fs.ReadFile(tree, file)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if found := len(version.FindAllString(line, -1)); found > 0 {
				got[file] += found
			}
		}
		return nil
	}))
	assert.Equal(t, want, got, "teach deploy/release.sh this place of the version, or read it from the chart")
}
