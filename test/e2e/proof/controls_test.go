package proof

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/e2e/builds"
)

// The controls are edits of the source as it is today; one that no longer fits
// it, or is not compiled in, would be found out only when a cluster is at hand.
func TestControlsAreBroken(t *testing.T) {
	compile := func(build builds.Build) []byte {
		path, err := build.Compile(t.Context(), "../../..", t.TempDir())
		require.NoError(t, err)
		program, err := os.ReadFile(path) // #nosec G304 -- just built
		require.NoError(t, err)
		return program
	}
	for _, c := range controls() {
		build, built := c.build()
		if !built {
			require.NotEmpty(t, c.patch, "%s breaks nothing", c.name)
			continue
		}
		whole := builds.Build{Service: build.Service, Version: build.Version}
		require.False(t, string(compile(build)) == string(compile(whole)), "%s is the service as it is", c.name)
	}
}
