package process_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// supervisor is a Supervisor that runs the tag service as in deploy/supervisor.
type supervisor struct {
	*process.Process
	dir, socket string
}

func startSupervisor(t *testing.T, settings process.Settings) *supervisor {
	t.Helper()
	program := process.Installed(t, "supervisord")
	heedHangup(t)
	dir, err := os.MkdirTemp("", "") // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &supervisor{dir: dir, socket: "unix://" + dir + "/socket"}
	wrapper, err := filepath.Abs(filepath.Join(deploy, "supervisor/achilles-supervised"))
	require.NoError(t, err)
	programs := read(t, "supervisor/achilles.conf", "/opt/achilles/bin/achilles-supervised", wrapper, "/opt/achilles/bin/", dir+"/",
		"/var/lib/achilles", dir, "user=achilles\n", "", " --config /etc/achilles/tag.yaml", "")
	tag, _, _ := strings.Cut(programs, "[program:achilles-article]")
	s.install(t, process.Service(t, "tag"))
	write(t, filepath.Join(dir, "supervisord.conf"), fmt.Sprintf(`[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile=%[1]s/supervisord.pid
childlogdir=%[1]s
[unix_http_server]
file=%[1]s/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=%[2]s
%[3]sredirect_stderr=true
stdout_logfile=%[1]s/out
stdout_logfile_maxbytes=0
`, dir, s.socket, tag))
	process.Migrate(t, filepath.Join(dir, "tag"), settings)
	cmd := process.Command(t, program, settings, "--configuration", filepath.Join(dir, "supervisord.conf"))
	cmd.Env = append(cmd.Env, "PYTHONPATH="+os.Getenv("PYTHONPATH"))
	s.Process = process.StartCommand(t, cmd)
	t.Cleanup(func() {
		s.Signal(t, sigterm)
		s.Exit(t)
		if pid := s.serving(t); pid != 0 { // the test has failed
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	process.Await(t, "the service", func() bool { return s.serving(t) != 0 || s.Ended() })
	require.False(t, s.Ended(), s.Stdout()+s.Stderr())
	return s
}

func (s *supervisor) install(t *testing.T, program string) {
	t.Helper()
	require.NoError(t, os.Symlink(program, filepath.Join(s.dir, "new")))
	require.NoError(t, os.Rename(filepath.Join(s.dir, "new"), filepath.Join(s.dir, "tag")))
}

func (s *supervisor) ctl(t *testing.T, args ...string) string {
	t.Helper()
	return process.Tool(t, s.dir, nil, "supervisorctl", append([]string{"--serverurl", s.socket}, args...)...)
}

// serving returns the id of the process that serves, 0 if none does.
func (s *supervisor) serving(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "tag.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	require.NoError(t, err)
	pid, err := strconv.Atoi(string(text))
	require.NoError(t, err)
	return pid
}

// log returns what the service has printed.
func (s *supervisor) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "out"))
	require.NoError(t, err)
	return string(text)
}

func TestSupervisor(t *testing.T) {
	cfg, port := dbtest.MySQL(t), freePort(t)
	s := startSupervisor(t, process.On(cfg).With(process.Settings{"Server.DrainDelay": upgradeDrain.String(), "Server.HttpPort": port}))
	tr := beginUpgradeTraffic(t, "127.0.0.1:"+port, "/api/v1/tags", func(name string) any { return newTag(name) })
	for n := range 3 {
		before := s.serving(t)
		s.ctl(t, "signal", "HUP", "achilles-tag")
		process.Await(t, "an upgrade", func() bool { return strings.Count(s.log(t), replacedEnded) > n })
		require.NotEqual(t, before, s.serving(t))
		tr.awaitMore(t, 20)
	}
	tr.end()
	require.Empty(t, tr.lost)
	tr.requireStored(t, cfg, "SELECT id, name FROM blog_tag")
	require.Contains(t, s.ctl(t, "status"), "RUNNING")

	// Supervisor notices the end of a process that it has not started.
	crashed := s.serving(t)
	require.NoError(t, syscall.Kill(crashed, syscall.SIGKILL))
	process.Await(t, "another process", func() bool { return s.serving(t) != 0 && s.serving(t) != crashed })

	// It waits until the service has stopped.
	require.Contains(t, s.ctl(t, "stop", "achilles-tag"), "stopped")
	require.Zero(t, s.serving(t))
	require.Contains(t, s.log(t), `"msg":"stopped"`)
}
