package process_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// manager is a systemd that runs the units of deploy/systemd in namespaces of its own.
type manager struct {
	*process.Process
	root string // its root directory, as the test sees it
}

// bootScript starts systemd in new namespaces: with its own users, and its own
// directories for everything that the units name.
const bootScript = `set -e
if [ "$1" != in ]; then
  echo $$ >"$CGROUP/cgroup.procs"
  exec unshare --cgroup /bin/sh -c "$0" "$0" in
fi
mount --make-rprivate /
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for dir in /run /opt /var/lib /var/log; do mount -t tmpfs tmpfs $dir; done
mount -t proc proc /proc
mkdir -p /run/lock /run/etc/upper /run/etc/work /opt/achilles/bin
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work overlay /etc
cp "$PROGRAM" /opt/achilles/bin/tag
systemd-sysusers "$UNITS/achilles.sysusers"
install -d -o root -g achilles -m 750 /etc/achilles
install -o root -g achilles -m 640 "$ENVIRONMENT" /etc/achilles/tag.env
install -o root -g achilles -m 640 "$KEYS" /etc/achilles/keys.yaml
echo '{}' >/etc/achilles/tag.yaml
export container=other SYSTEMD_UNIT_PATH="$UNITS"
exec /lib/systemd/systemd --system --unit=default.target --log-target=console --show-status=no`

// bootSystemd starts a systemd with the units and the program of the tag service. It
// skips the test where that isn't allowed.
func bootSystemd(t *testing.T, settings process.Settings, dropIns map[string]string) *manager {
	t.Helper()
	process.Installed(t, "systemd-analyze")
	const namespaces = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC
	if os.Getuid() != 0 || !allowed(t, &syscall.SysProcAttr{Cloneflags: namespaces}) {
		t.Skip("systemd can't be started in namespaces of its own here")
	}
	dir := t.TempDir()
	units := filepath.Join(dir, "units")
	require.NoError(t, os.CopyFS(units, os.DirFS(filepath.Join(deploy, "systemd"))))
	for _, target := range []string{"default", "sysinit", "basic", "shutdown", "multi-user", "network-online", "sockets"} {
		write(t, filepath.Join(units, target+".target"), "[Unit]\nDefaultDependencies=no\n")
	}
	for unit, text := range dropIns {
		write(t, filepath.Join(units, unit+".d", "test.conf"), text)
	}
	environment := filepath.Join(dir, "environment")
	write(t, environment, strings.Join(settings.Environ(), "\n")+"\n")
	cmd := process.Command(t, "/bin/sh", nil, "-c", bootScript, bootScript)
	cmd.Env = append(cmd.Env, "CGROUP="+newUnifiedCgroup(t), "PROGRAM="+process.Service(t, "tag"), "UNITS="+units, "ENVIRONMENT="+environment, "KEYS="+process.KeysFile())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	m := &manager{Process: process.StartCommand(t, cmd)}
	m.root = fmt.Sprintf("/proc/%d/root", m.PID())
	process.Await(t, "systemd", func() bool {
		_, err := m.systemctl("is-system-running")
		return err == nil || m.Ended()
	})
	require.False(t, m.Ended(), m.Stderr())
	return m
}

// newUnifiedCgroup makes a cgroup (version 2), and removes it with those below it. It skips
// the test where that isn't allowed.
func newUnifiedCgroup(t *testing.T) string {
	t.Helper()
	for _, base := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(base, "cgroup.controllers")); err != nil {
			continue
		}
		dir, err := os.MkdirTemp(base, "achilles-test-")
		if err != nil {
			break
		}
		t.Cleanup(func() {
			process.Await(t, "the processes of the cgroup to exit", func() bool { return exec.Command("find", dir, "-depth", "-type", "d", "-delete").Run() == nil })
		})
		return dir
	}
	t.Skip("cgroups can't be made here")
	return ""
}

func (m *manager) systemctl(args ...string) (string, error) {
	args = append([]string{"-t", strconv.Itoa(m.PID()), "-a", "systemctl"}, args...)
	output, err := exec.Command("nsenter", args...).CombinedOutput() // #nosec G204 -- the arguments of the test
	return strings.TrimSpace(string(output)), err
}

func (m *manager) must(t *testing.T, args ...string) string {
	t.Helper()
	output, err := m.systemctl(args...)
	require.NoError(t, err, "systemctl %s: %s\n%s", strings.Join(args, " "), output, m.log(t))
	return output
}

// show returns a property of the service.
func (m *manager) show(t *testing.T, property string) string {
	t.Helper()
	return m.must(t, "show", "--value", "--property="+property, "achilles@tag.service")
}

// log returns what the service has printed.
func (m *manager) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.root, "var/lib/out"))
	require.NoError(t, err)
	return string(text)
}

// reload reloads the service, and waits until another process is the main one and the
// former has ended.
func (m *manager) reload(t *testing.T) {
	t.Helper()
	before, ended := m.show(t, "MainPID"), strings.Count(m.log(t), replacedEnded)
	m.must(t, "reload", "achilles@tag.service")
	process.Await(t, "the end of the former process", func() bool { return strings.Count(m.log(t), replacedEnded) > ended })
	require.NotEqual(t, before, m.show(t, "MainPID"))
	require.Equal(t, "active", m.show(t, "ActiveState"))
}

// The units as they are, under a real systemd.
func TestUnits(t *testing.T) {
	cfg, port := dbtest.MySQL(t), freePort(t)
	settings := process.On(cfg).With(process.Settings{
		"Server.DrainDelay": upgradeDrain.String(), "Server.HttpPort": port, "Auth.KeysFile": "/etc/achilles/keys.yaml",
	})
	m := bootSystemd(t, settings, map[string]string{
		"achilles@.service":   "[Service]\nStandardOutput=append:/var/lib/out\nStandardError=append:/var/lib/out\n",
		"achilles@tag.socket": "[Socket]\nListenStream=\nListenStream=127.0.0.1:" + port + "\n",
	})
	m.must(t, "start", "achilles@tag.service")
	require.Equal(t, "serving", m.show(t, "StatusText"), "the start is complete when the service is ready")
	clients := func(prefix string) *traffic {
		return beginUpgradeTraffic(t, "127.0.0.1:"+port, "/api/v1/tags", func(name string) any { return newTag(prefix + name) })
	}
	tr := clients("of the service: ")
	for range 2 {
		m.reload(t)
		tr.awaitMore(t, 20)
	}
	m.requireFailedReloads(t)
	m.reload(t)
	tr.awaitMore(t, 20)
	tr.end()
	require.Empty(t, tr.lost)
	m.must(t, "stop", "achilles@tag.service")
	require.Equal(t, "success", m.show(t, "Result"), "%s\n%s", m.must(t, "show", "achilles@tag.service"), m.log(t))

	m.must(t, "start", "achilles@tag.socket", "achilles@tag.service")
	tr = clients("of the socket: ")
	for range 2 {
		m.must(t, "restart", "achilles@tag.service")
		tr.awaitMore(t, 20)
	}
	m.reload(t)
	tr.awaitMore(t, 20)
	tr.end()
	require.Empty(t, tr.lost)

	// systemd notices the end of a process that it has not started. It, or the next client,
	// starts the service again.
	before := m.show(t, "MainPID")
	m.must(t, "kill", "--kill-who=main", "--signal=SIGKILL", "achilles@tag.service")
	process.Await(t, "a restart", func() bool { return m.show(t, "ActiveState") == "active" && m.show(t, "MainPID") != before })
	m.must(t, "stop", "achilles@tag.socket", "achilles@tag.service")
}

// requireFailedReloads requires that a broken program changes nothing.
func (m *manager) requireFailedReloads(t *testing.T) {
	t.Helper()
	program, before := filepath.Join(m.root, "opt/achilles/bin/tag"), m.show(t, "MainPID")
	require.NoError(t, os.Rename(program, program+".good"))
	install := func(script string) {
		write(t, program, "#!/bin/sh\n"+script+"\n")
		require.NoError(t, os.Chmod(program, 0o755)) // #nosec G302 -- a program
	}
	install("[ $1 = migrate ] || exit 3")
	m.must(t, "reload", "achilles@tag.service")
	process.Await(t, "the failure", func() bool { return strings.Contains(m.show(t, "StatusText"), "not replaced: child pid=") })
	require.Equal(t, before, m.show(t, "MainPID"))
	install("exit 4")
	_, err := m.systemctl("reload", "achilles@tag.service")
	require.Error(t, err, "a failed migration ends the reload")
	require.Equal(t, before, m.show(t, "MainPID"))
	require.Equal(t, "active", m.show(t, "ActiveState"))
	require.NoError(t, os.Rename(program+".good", program))
}
