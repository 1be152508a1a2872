package proof

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The controls are edits of the source as it is today; one that no longer fits
// it would be found out only when a cluster is at hand.
func TestControlsCanBeBuilt(t *testing.T) {
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	folder := t.TempDir()
	for _, c := range controls() {
		if build, built := c.build(); built {
			_, err := build.Compile(t.Context(), root, folder)
			require.NoError(t, err)
		} else {
			require.NotEmpty(t, c.patch, "%s breaks nothing", c.name)
		}
	}
}
