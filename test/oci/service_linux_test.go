package oci

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var here = v1.Platform{OS: "linux", Architecture: runtime.GOARCH}

// The service runs on a read-only root and without capabilities.
func TestServiceRunsOnAReadOnlyRoot(t *testing.T) {
	needContainers(t)
	image, err := Service(compile(t, "../../services/tag"), "tag", here, Build{})
	require.NoError(t, err)
	c := newContainer(t, image, 65532, "/tmp") // for the database, which in a cluster is elsewhere
	environ := []string{"ACHILLES_DATABASE_DBNAME=/tmp/tags.db", "ACHILLES_SERVER_DRAINDELAY=0s"}
	migration := c.start(environ, "migrate")
	require.Zero(t, migration.Exit(t), migration.Stderr())
	service := c.start(environ, c.config.Cmd...)
	service.await("/tag", "healthcheck", "http://127.0.0.1:8081/readyz")
	service.stop()
}

// compile compiles a static program as the Makefile does.
func compile(t *testing.T, dir string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("programs are compiled")
	}
	program := filepath.Join(t.TempDir(), "program")
	command := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-tags=nomsgpack", "-gcflags=github.com/redis/go-redis/...=-l",
		"-o", program, ".")
	command.Dir, command.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return program
}

func TestServiceRejectsWhatCannotStart(t *testing.T) {
	_, err := Service("/bin/sh", "tag", here, Build{})
	assert.ErrorContains(t, err, "build it with CGO_ENABLED=0")
	elsewhere := v1.Platform{OS: "linux", Architecture: "arm64"}
	if here.Equals(elsewhere) {
		elsewhere.Architecture = "amd64"
	}
	_, err = Service("/bin/sh", "tag", elsewhere, Build{})
	assert.ErrorContains(t, err, "build it with GOOS=linux GOARCH="+elsewhere.Architecture)
}

func TestTheSameBuildMakesTheSameImage(t *testing.T) {
	program := compile(t, "testdata/empty")
	digest := func(build Build) string {
		image, err := Service(program, "tag", here, build)
		require.NoError(t, err)
		sum, err := image.Digest()
		require.NoError(t, err)
		return sum.String()
	}
	first := Build{Version: "v1", Commit: "abc", Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	assert.Equal(t, digest(first), digest(first))
	later := first
	later.Created = later.Created.Add(time.Second)
	assert.NotEqual(t, digest(first), digest(later))
}
