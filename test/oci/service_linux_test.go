package oci

import (
	"net/http"
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

// The service needs nothing of its root but to read it, and no rights.
func TestServiceRunsOnAReadOnlyRoot(t *testing.T) {
	needContainers(t)
	program := compile(t, "../../services/tag", runtime.GOARCH)
	image, err := Service(program, "tag", v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, Build{})
	require.NoError(t, err)
	c := newContainer(t, image)
	c.user = 65532
	c.volumes = []string{"/tmp"} // for the database, which in a cluster is elsewhere
	port := freePort(t)
	environ := []string{"ACHILLES_DATABASE_DBNAME=/tmp/tags.db", "ACHILLES_SERVER_HTTPPORT=" + port, "ACHILLES_SERVER_ADMINPORT=0"}
	migration := c.start(environ, "migrate")
	require.NoError(t, <-migration.ended, "%s", &migration.output)
	running := c.start(append(environ, "ACHILLES_SERVER_DRAINDELAY=0s"), c.config.Cmd...)
	require.Eventually(t, func() bool {
		answer, err := http.Get("http://127.0.0.1:" + port + "/api/v1/tags") // #nosec G107 -- our own
		return err == nil && answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	}, 20*time.Second, 50*time.Millisecond, "%s", &running.output)
	running.stop()
}

func compile(t *testing.T, dir, arch string, flags ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	command := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", program}, flags...), ".")...)
	command.Dir, command.Env = dir, append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return program
}

func TestServiceRefusesWhatCannotStart(t *testing.T) {
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	_, err := Service(compile(t, "standin", "arm64", "-buildmode=pie"), "tag", arm, Build{})
	assert.ErrorContains(t, err, "build it with CGO_ENABLED=0")
	_, err = Service(compile(t, "standin", "amd64"), "tag", arm, Build{})
	assert.ErrorContains(t, err, "build it with GOOS=linux GOARCH=arm64")
}

func TestTheSameBuildMakesTheSameImage(t *testing.T) {
	program := compile(t, "standin", "arm64")
	digest := func(build Build) string {
		image, err := Service(program, "tag", v1.Platform{OS: "linux", Architecture: "arm64"}, build)
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
