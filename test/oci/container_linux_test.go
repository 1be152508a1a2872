package oci

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

// container is an image unpacked, with what is mounted into it. It has a network
// of its own.
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
	if output, err := exec.Command("unshare", "--mount", "--pid", "--net", "--fork", "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Skipf("this machine has no namespaces for a container: %v: %s", err, output)
	}
}

func newContainer(t *testing.T, image v1.Image, user int, volumes ...string) *container {
	t.Helper()
	config, err := image.ConfigFile()
	require.NoError(t, err)
	c := &container{t: t, dir: t.TempDir(), config: config.Config, user: user, volumes: volumes}
	require.NoError(t, os.Chmod(filepath.Dir(c.dir), 0o755)) // #nosec G302 -- other users have to pass
	require.NoError(t, os.Chmod(c.dir, 0o755))               // #nosec G302 -- likewise
	for _, dir := range []string{"proc", "dev"} {
		require.NoError(t, os.MkdirAll(filepath.Join(c.dir, "root", dir), 0o755))
	}
	files := mutate.Extract(image)
	defer func() { _ = files.Close() }()
	unpack := exec.Command("tar", "--extract", "--preserve-permissions", "--numeric-owner", "--directory="+filepath.Join(c.dir, "root"))
	unpack.Stdin = files
	output, err := unpack.CombinedOutput()
	require.NoError(t, err, "%s", output)
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
	*process.Process
}

// start runs the image with these arguments, as Kubernetes would: its root
// read-only, its volumes writable by anyone.
func (c *container) start(environ []string, args ...string) *running {
	c.t.Helper()
	root := filepath.Join(c.dir, "root")
	script := "set -e; ip link set lo up; mount --make-rprivate /; mount --bind " + root + " " + root + "\n"
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
	command := exec.Command("sh", words...)
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET}
	return &running{c, process.StartCommand(c.t, command)}
}

// enter is the program that starts another one inside, as the container's user.
func (c *container) enter(options ...string) []string {
	nsenter, err := exec.LookPath("nsenter")
	require.NoError(c.t, err)
	user := strconv.Itoa(c.user)
	return append([]string{nsenter, "--setuid=" + user, "--setgid=" + user}, options...)
}

// run runs a command inside and returns what it prints.
func (r *running) run(name string, args ...string) (string, error) {
	words := slices.Concat([]string{"-i"}, r.config.Env, r.enter("--target="+strconv.Itoa(r.PID()), "--mount", "--net", "--root"), []string{name}, args)
	output, err := exec.Command("env", words...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, output)
	}
	return string(output), err
}

// await waits until a command succeeds inside.
func (r *running) await(name string, args ...string) {
	r.t.Helper()
	var err error
	process.Await(r.t, name, func() bool {
		_, err = r.run(name, args...)
		return err == nil || r.Ended()
	})
	require.NoError(r.t, err, "%s%s", r.Stdout(), r.Stderr())
}

// stop asks the server to end, which it is to do cleanly.
func (r *running) stop() {
	r.t.Helper()
	r.Signal(r.t, syscall.SIGTERM)
	require.Zero(r.t, r.Exit(r.t))
}
