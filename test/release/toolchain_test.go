package release

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const repository = "../.."

// go.work names the toolchain; each module and the Dockerfile repeat it.
func TestToolchainIsTheSameEverywhere(t *testing.T) {
	workspace := pin(t, filepath.Join(repository, "go.work"), `(?m)^toolchain go(\S+)$`)
	minimum := pin(t, filepath.Join(repository, "go.work"), `(?m)^go (\S+)$`)
	modules := find(t, "pkg/go.mod", "services/*/go.mod", "test/go.mod")
	require.GreaterOrEqual(t, len(modules), 4)
	for _, path := range modules {
		assert.Equal(t, workspace, pin(t, path, `(?m)^toolchain go(\S+)$`), path)
		assert.Equal(t, minimum, pin(t, path, `(?m)^go (\S+)$`), path)
	}
	dockerfile := filepath.Join(repository, "services", "Dockerfile")
	assert.Equal(t, workspace, pin(t, dockerfile, `(?m)^FROM .*\bgolang:([0-9.]+)-`))
}

func find(t *testing.T, patterns ...string) []string {
	t.Helper()
	var found []string
	for _, pattern := range patterns {
		paths, err := filepath.Glob(filepath.Join(repository, pattern))
		require.NoError(t, err)
		found = append(found, paths...)
	}
	return found
}

// pin returns what the pattern's group matches, which must stand there once.
func pin(t *testing.T, path, pattern string) string {
	t.Helper()
	text, err := os.ReadFile(path) // #nosec G304 -- a file of the repository
	require.NoError(t, err)
	found := regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1)
	require.Len(t, found, 1, "%s: %s", path, pattern)
	return found[0][1]
}
