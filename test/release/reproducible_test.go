package release

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The same source makes the same archive, bit for bit, wherever it lies.
func TestImageIsReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("an image is built twice")
	}
	first := archiveSum(t, filepath.Join(t.TempDir(), "first"))
	second := archiveSum(t, filepath.Join(t.TempDir(), "the", "second"))
	assert.Equal(t, first, second, "the archives of two builds of the same source differ")
}

// archiveSum copies the repository into dir and returns the checksum of the
// image archive that make images writes there, as it stands in SHA256SUMS.
func archiveSum(t *testing.T, dir string) string {
	t.Helper()
	copyRepository(t, dir)
	command := exec.CommandContext(t.Context(), "make", "images", "ENGINE=oci", "IMAGE_DIR=dist/images", "SERVICES=tag",
		"PLATFORMS=linux/"+runtime.GOARCH, "IMAGE_TAG=9.8",
		"VERSION=v9.8.7", "COMMIT=0123456789abcdef0123456789abcdef01234567", "BUILD_TIME=2026-01-02T03:04:05Z")
	command.Dir = dir
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
	archive, err := os.ReadFile(filepath.Join(dir, "dist", "images", "tag.tar")) // #nosec G304 -- what was just built
	require.NoError(t, err)
	digest := sha256.Sum256(archive)
	sum := hex.EncodeToString(digest[:])
	listed, err := os.ReadFile(filepath.Join(dir, "dist", "images", "SHA256SUMS")) // #nosec G304 -- what was just written
	require.NoError(t, err)
	require.Equal(t, sum+"  tag.tar\n", string(listed))
	return sum
}

// copyRepository copies the repository without the directories of make and git.
func copyRepository(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(repository, path)
		if err != nil {
			return err
		}
		switch name {
		case ".git", "bin", "dist", "var":
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path) // #nosec G304,G122 -- a file of the repository
		if err != nil {
			return err
		}
		target := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o600)
	}))
}
