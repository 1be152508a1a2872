// Package blobstest provides storages of files for tests: a directory, and a real S3 server.
package blobstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/article/internal/blobs"
)

const (
	bucket   = "files"
	patience = time.Minute
	secret   = "secret of the tests" // #nosec G101 -- of a server that lives as long as a test
)

// Each runs a test with the address of each kind of storage, which is empty.
func Each(t *testing.T, test func(t *testing.T, address string)) {
	t.Helper()
	t.Run("directory", func(t *testing.T) { test(t, Directory(t)) })
	t.Run("s3", func(t *testing.T) { test(t, S3(t)) })
}

// Open returns the storage at an address, until the end of the test.
func Open(t testing.TB, address string) *blobs.Blobs {
	t.Helper()
	opened, err := blobs.Open(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	return opened
}

// Directory returns the address of a new directory.
func Directory(t testing.TB) string { return "file://" + filepath.Join(t.TempDir(), "files") }

// S3 starts a server, and returns the address of a bucket. The environment of the test has
// the credentials.
func S3(t *testing.T) string {
	t.Helper()
	program, err := server()
	require.NoError(t, err)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	data, metadata := t.TempDir(), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(data, bucket), 0o700))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	host := listener.Addr().String()
	require.NoError(t, listener.Close())
	process := exec.CommandContext(context.Background(), program, "--quiet", "--port", host, "posix", "--sidecar", metadata, data) // #nosec G204 -- what server has built
	process.Env = append(os.Environ(), "ROOT_ACCESS_KEY=test", "ROOT_SECRET_KEY="+secret)
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		require.NoError(t, process.Process.Kill())
		_ = process.Wait()
	})
	address := fmt.Sprintf("s3://%s?region=us-east-1&endpoint=%s&use_path_style=true", bucket, url.QueryEscape("http://"+host))
	require.Eventually(t, func() bool {
		opened, err := blobs.Open(t.Context(), address)
		if err != nil {
			return false
		}
		defer func() { _ = opened.Close() }()
		return opened.Ping(t.Context()) == nil
	}, patience, 50*time.Millisecond)
	return address
}

// server returns the program of the server, which is built once in a test binary.
var server = sync.OnceValues(build)

// build builds the server with go run -exec cp, because Go caches programs linked by go run, so
// that test binaries share them. The lock keeps test binaries that run at the same time from
// compiling it several times.
func build() (program string, err error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("achilles-s3-server-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	_, here, _, _ := runtime.Caller(0)
	program = filepath.Join(dir, "versitygw")
	command := exec.CommandContext(context.Background(), "go", "run", "-exec", "cp", "github.com/versity/versitygw/cmd/versitygw", program+".new") // #nosec G204 -- constant
	command.Dir, command.Env = filepath.Join(filepath.Dir(here), "../../../../../test/s3"), append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the S3 server of the tests: %w: %s", err, output)
	}
	return program, os.Rename(program+".new", program) // another test may be running the old one
}
