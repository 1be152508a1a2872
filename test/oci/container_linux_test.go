package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"
)

// container is an image unpacked, with what is mounted into it.
type container struct {
	t       *testing.T
	dir     string // root/ is the image, volumes/ what it may write
	config  v1.Config
	user    int
	volumes []string
}

// needContainers skips the test where no container can be started.
func needContainers(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("real servers are left out by -short")
	}
	if os.Getuid() != 0 {
		t.Skip("only root can start a container")
	}
	if output, err := exec.Command("unshare", "--mount", "--pid", "--fork", "true").CombinedOutput(); err != nil {
		t.Skipf("this machine has no namespaces for a container: %v: %s", err, output)
	}
}

func newContainer(t *testing.T, image v1.Image) *container {
	t.Helper()
	config, err := image.ConfigFile()
	require.NoError(t, err)
	c := &container{t: t, dir: t.TempDir(), config: config.Config}
	require.NoError(t, os.Chmod(filepath.Dir(c.dir), 0o755)) // #nosec G302 -- other users have to pass
	require.NoError(t, os.Chmod(c.dir, 0o755))               // #nosec G302 -- likewise
	unpack(t, mutate.Extract(image), filepath.Join(c.dir, "root"))
	for _, point := range []string{"proc", "dev"} {
		require.NoError(t, os.MkdirAll(filepath.Join(c.dir, "root", point), 0o755))
	}
	return c
}

func (c *container) put(path, text string) {
	full := filepath.Join(c.dir, "root", path)
	require.NoError(c.t, os.MkdirAll(filepath.Dir(full), 0o755))
	require.NoError(c.t, os.WriteFile(full, []byte(text), 0o644)) // #nosec G306 -- for another user
}

// running is a container's first process.
type running struct {
	*container
	process *exec.Cmd
	output  buffer
	ended   chan error
}

// start runs the image with these arguments, as Kubernetes would: its root
// read-only, its volumes writable by anyone.
func (c *container) start(environ []string, args ...string) *running {
	c.t.Helper()
	root := filepath.Join(c.dir, "root")
	script := "set -e; mount --make-rprivate /; mount --bind " + root + " " + root + "\n"
	for _, volume := range c.volumes {
		source := filepath.Join(c.dir, "volumes", volume)
		require.NoError(c.t, os.MkdirAll(source, 0o755))
		require.NoError(c.t, os.Chmod(source, 0o777)) // #nosec G302 -- as an emptyDir is
		script += "mount --bind " + source + " " + root + volume + "\n"
	}
	script += "mount -t proc proc " + root + "/proc; mount --rbind /dev " + root + "/dev\n" +
		"mount -o remount,bind,ro " + root + "\n" + `exec env -i "$@"`
	words := slices.Concat([]string{"-c", script, "sh"}, c.config.Env, environ,
		c.enter("--root="+root, "--wd="+filepath.Join(root, c.config.WorkingDir)), c.config.Entrypoint, args)
	r := &running{container: c, process: exec.Command("sh", words...), ended: make(chan error, 1)}
	r.process.Stdout, r.process.Stderr = &r.output, &r.output
	r.process.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	require.NoError(c.t, r.process.Start())
	go func() { r.ended <- r.process.Wait(); close(r.ended) }()
	c.t.Cleanup(func() {
		_ = r.process.Process.Kill()
		for range r.ended { // until it has ended
		}
	})
	return r
}

// enter is the program that starts another one inside, as the container's user.
func (c *container) enter(options ...string) []string {
	nsenter, err := exec.LookPath("nsenter")
	require.NoError(c.t, err)
	user := strconv.Itoa(c.user)
	return append([]string{nsenter, "--setuid=" + user, "--setgid=" + user}, options...)
}

// run runs a command inside.
func (r *running) run(name string, args ...string) error {
	words := slices.Concat([]string{"-i"}, r.config.Env, r.enter("--target="+strconv.Itoa(r.process.Process.Pid), "--mount", "--root"), []string{name}, args)
	output, err := exec.Command("env", words...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, output)
	}
	return nil
}

func (r *running) awaitHealthy() {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		return r.run("healthcheck.sh", "--connect", "--innodb_initialized") == nil
	}, time.Minute, 100*time.Millisecond, "%s", &r.output)
}

// stop asks the server to end, which it is to do cleanly.
func (r *running) stop() {
	r.t.Helper()
	require.NoError(r.t, r.process.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-r.ended:
		require.NoError(r.t, err, "%s", &r.output)
	case <-time.After(time.Minute):
		require.Fail(r.t, "it does not end", "%s", &r.output)
	}
}

// buffer is written by a process and read by a test.
type buffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}

func freePort(t *testing.T) string {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// unpack writes the files of an image below dir, with their owners and modes.
func unpack(t *testing.T, stream io.ReadCloser, dir string) {
	t.Helper()
	defer func() { _ = stream.Close() }()
	for in := tar.NewReader(stream); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		path := filepath.Join(dir, header.Name) // #nosec G305 -- our own image
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch header.Typeflag {
		case tar.TypeDir:
			require.NoError(t, os.MkdirAll(path, 0o755))
		case tar.TypeSymlink:
			require.NoError(t, os.Symlink(header.Linkname, path))
			continue
		default:
			body, err := io.ReadAll(in)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, body, 0o600))
		}
		require.NoError(t, os.Chown(path, header.Uid, header.Gid))
		require.NoError(t, os.Chmod(path, header.FileInfo().Mode()))
	}
}
