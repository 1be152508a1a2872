package process_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// notifySocket receives what a service tells systemd.
type notifySocket struct {
	path     string
	messages chan string
}

func newNotifySocket(t *testing.T) *notifySocket {
	t.Helper()
	dir, err := os.MkdirTemp("", "") // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &notifySocket{path: filepath.Join(dir, "notify"), messages: make(chan string, 100)}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			size, err := conn.Read(buffer)
			if err != nil {
				return
			}
			n.messages <- string(buffer[:size])
		}
	}()
	return n
}

// next returns the next message, without the time of a reload.
func (n *notifySocket) next(t *testing.T) string {
	t.Helper()
	process.Await(t, "a message to systemd", func() bool { return len(n.messages) > 0 })
	var lines []string
	for line := range strings.SplitSeq(<-n.messages, "\n") {
		if !strings.HasPrefix(line, "MONOTONIC_USEC=") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func TestSystemdIsTold(t *testing.T) {
	n := newNotifySocket(t)
	u := newUpgradable(t, "tag", process.On(dbtest.MySQL(t)))
	process.Migrate(t, u.program, u.settings)
	cmd := process.Command(t, u.program, u.settings, "serve")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+n.path)
	u.start(t, process.StartCommand(t, cmd))
	const serving = "READY=1\nSTATUS=serving"
	require.Equal(t, serving, n.next(t))

	const reloading = "RELOADING=1\nSTATUS=starting a new process"
	first := u.serving()
	u.upgrade(t)
	require.NotEqual(t, first, u.serving())
	require.Equal(t, reloading, n.next(t))
	require.Equal(t, serving, n.next(t))

	u.installScript(t, "exit 3")
	u.send(t, syscall.SIGHUP)
	require.Equal(t, reloading, n.next(t))
	require.Regexp(t, `^READY=1\nSTATUS=serving, not replaced: .*exit status 3$`, n.next(t))

	u.stop(t)
	require.Equal(t, "STOPPING=1\nSTATUS=draining", n.next(t))
	require.Empty(t, n.messages, "a process that was replaced doesn't say that the service stops")

	// Without a PID file, systemd is told the process.
	delete(u.settings, "Upgrade.PIDFile")
	cmd = process.Command(t, u.real, u.settings, "serve")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+n.path)
	p := process.StartCommand(t, cmd)
	require.Equal(t, fmt.Sprintf("%s\nMAINPID=%d", serving, p.PID()), n.next(t))
}

// socket is what systemd passes to a service.
type socket interface{ File() (*os.File, error) }

// activate starts a service that gets sockets from systemd, with these names.
func activate(t *testing.T, program string, settings process.Settings, names string, sockets ...socket) *process.Process {
	t.Helper()
	cmd := process.Command(t, "/bin/sh", settings, "-c", `LISTEN_PID=$$ exec "$0" "$@"`, program, "serve")
	cmd.Env = append(cmd.Env, "LISTEN_FDNAMES="+names, fmt.Sprintf("LISTEN_FDS=%d", len(sockets)))
	for _, s := range sockets {
		file, err := s.File()
		require.NoError(t, err)
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	return process.StartCommand(t, cmd)
}

// listenTCP returns a listener on a free port, without accepting connections.
func listenTCP(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// Connections wait in the socket of systemd while a service restarts.
func TestSocketActivation(t *testing.T) {
	ln := listenTCP(t)
	cfg := dbtest.MySQL(t)
	u := newUpgradable(t, "tag", process.On(cfg).With(process.Settings{"Server.DrainDelay": upgradeDrain.String()}))
	process.Migrate(t, u.program, u.settings)
	start := func() { u.start(t, activate(t, u.program, u.settings, "http", ln)) }
	start()
	require.Equal(t, ln.Addr().String(), u.Addr(t))
	tr := beginUpgradeTraffic(t, u.Addr(t), "/api/v1/tags", func(name string) any { return newTag(name) })
	for range 3 {
		u.stop(t)
		start()
		tr.awaitMore(t, 20)
	}
	u.upgrade(t) // the new process knows that the socket is of systemd
	tr.awaitMore(t, 20)
	u.stop(t)
	start()
	tr.awaitMore(t, 20)
	tr.end()
	require.Empty(t, tr.lost)
	tr.requireStored(t, cfg, "SELECT id, name FROM blog_tag")
	u.stop(t)
}

func TestSocketsOfSystemd(t *testing.T) {
	program, settings := process.Service(t, "tag"), process.On(dbtest.SQLite(t))
	process.Migrate(t, program, settings)
	http, admin := listenTCP(t), listenTCP(t)
	stop := func(p *process.Process) {
		p.Signal(t, sigterm)
		require.Zero(t, p.Exit(t), p.Stderr())
	}

	p := activate(t, program, settings, "achilles@tag.socket", http)
	require.Equal(t, http.Addr().String(), p.Addr(t), "a single socket may have any name")
	stop(p)
	p = activate(t, program, settings, "admin:http", admin, http)
	require.Equal(t, http.Addr().String(), p.Addr(t))
	require.Equal(t, admin.Addr().String(), p.AdminAddr(t))
	stop(p)

	unix, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	require.NoError(t, err)
	defer func() { _ = unix.Close() }()
	for _, c := range []struct {
		names, message string
		sockets        []socket
	}{
		{"http:metrics", "systemd passes a socket named metrics: set FileDescriptorName of each socket unit to another one of http, admin", []socket{http, admin}},
		{"http:http", "systemd passes a socket named http: set FileDescriptorName", []socket{http, admin}},
		{"http", "the socket http of systemd cannot be used: its network is unix; it must be a ListenStream with the address and the port of TCP", []socket{unix}},
	} {
		p := activate(t, program, settings, c.names, c.sockets...)
		require.Equal(t, 1, p.Exit(t))
		require.Contains(t, p.Stderr(), c.message)
	}
}

// Connections wait for a service that is not ready, but not for long.
func TestSocketOfServiceThatIsNotReady(t *testing.T) {
	ln := listenTCP(t)
	conn, err := process.Dial(ln.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.Send("GET", "/api/v1/tags", nil, 0))
	activate(t, process.Service(t, "tag"), process.On(dbtest.MySQL(t)), "http", ln)
	answer, err := conn.Receive("GET")
	require.NoError(t, err)
	require.Equal(t, 503, answer.Status)
	require.NotEmpty(t, answer.Header.Get("Retry-After"))
}
