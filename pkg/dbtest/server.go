package dbtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/database"
)

const startTimeout = time.Minute

// Server is a server program of one's own, for rehearsing outages.
type Server struct {
	user, password, addr string

	dir     string
	command func() *exec.Cmd
	ready   func(ctx context.Context) error

	process  *os.Process
	exited   chan struct{}
	watchdog io.Closer
	up       atomic.Bool
}

// Addr is the server's host:port; it stays the same over a restart.
func (s *Server) Addr() string { return s.addr }

// Running is false after Stop and Kill, until Start.
func (s *Server) Running() bool { return s.command == nil || s.up.Load() }

// NewMySQL starts a MariaDB server for this test alone, with args behind its
// command line. Its account root has no password.
func NewMySQL(t testing.TB, args ...string) *Server {
	t.Helper()
	return keep(t)(startMySQL(find(t, "mariadbd"), args...))
}

// NewRedis starts a Redis server for this test alone, which keeps nothing on
// disk, with args behind its command line.
func NewRedis(t testing.TB, args ...string) *Server {
	t.Helper()
	return keep(t)(startRedis(find(t, "redis-server"), args...))
}

func keep(t testing.TB) func(*Server, error) *Server {
	return func(s *Server, err error) *Server {
		t.Helper()
		require.NoError(t, err)
		t.Cleanup(s.remove)
		return s
	}
}

// Stop shuts the server down in order and waits for its end.
func (s *Server) Stop(t testing.TB) { t.Helper(); s.end(t, syscall.SIGTERM) }

// Kill ends the server as a crash would, and waits for its end.
func (s *Server) Kill(t testing.TB) { t.Helper(); s.end(t, syscall.SIGKILL) }

// Start starts the server again after Stop or Kill, on the same address and
// data.
func (s *Server) Start(t testing.TB) { t.Helper(); require.NoError(t, s.start()) }

// Pause freezes the server: it accepts connections and answers nothing. It goes
// on after Resume.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	Pause(t, s.process)
}

// Pause freezes a process until SIGCONT, and returns when each of its threads
// has stopped.
func Pause(t testing.TB, process *os.Process) {
	t.Helper()
	require.NoError(t, process.Signal(syscall.SIGSTOP))
	require.Eventually(t, func() bool { return stopped(process.Pid) }, startTimeout, time.Millisecond)
}

// stopped looks at the state of every thread; where there is no /proc it hopes.
func stopped(pid int) bool {
	states, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, file := range states {
		content, err := os.ReadFile(file) // #nosec G304 -- a path of the kernel's
		_, state, _ := strings.Cut(string(content), ") ")
		if err == nil && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// Resume ends Pause.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	require.NoError(t, s.process.Signal(syscall.SIGCONT))
}

func (s *Server) end(t testing.TB, signal os.Signal) {
	t.Helper()
	require.True(t, s.up.Load(), "the server is not running")
	require.NoError(t, s.process.Signal(signal))
	select {
	case <-s.exited:
	case <-time.After(startTimeout):
		t.Fatalf("the server at %s did not end", s.addr)
	}
}

// start returns once the server answers.
func (s *Server) start() error {
	output, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	command := s.command()
	command.Dir, command.Stdout, command.Stderr = s.dir, output, output
	// A Ctrl-C at the terminal is for the tests, which then stop the server.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	s.process, s.exited = command.Process, exited
	s.up.Store(true)
	go func() {
		_ = command.Wait()
		s.up.Store(false)
		close(exited)
	}()
	if err := s.guard(); err != nil {
		return err
	}
	return s.awaitReady()
}

// guard starts a process that kills the server, and removes its folder, when the
// tests die without doing so. It notices by the end of its standard input.
func (s *Server) guard() error {
	if s.watchdog != nil {
		_ = s.watchdog.Close()
	}
	script := `read -r line; [ "$line" = done ] || { kill -9 "$0"; rm -rf "$1"; }`
	command := exec.Command("sh", "-c", script, strconv.Itoa(s.process.Pid), s.dir) // #nosec G204 -- a fixed script
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := command.StdinPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	s.watchdog = released{input: input, command: command}
	return nil
}

type released struct {
	input   io.WriteCloser
	command *exec.Cmd
}

// Close tells the process that nothing is left to guard.
func (r released) Close() error {
	_, err := io.WriteString(r.input, "done\n")
	return errors.Join(err, r.input.Close(), r.command.Wait())
}

func (s *Server) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server at %s ended as it started:\n%s", s.addr, s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("the server at %s does not answer: %w\n%s", s.addr, err, s.logTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) logTail() string {
	content, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// remove ends the server for good. SIGKILL also ends a paused one.
func (s *Server) remove() {
	if s.process != nil && s.up.Load() {
		_ = s.process.Kill()
		<-s.exited
	}
	if s.watchdog != nil {
		_ = s.watchdog.Close()
	}
	_ = os.RemoveAll(s.dir)
}

func startMySQL(program string, args ...string) (*Server, error) {
	dir, err := newDir("mysql")
	if err != nil {
		return nil, err
	}
	s := &Server{user: "root", dir: dir}
	if err := install(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.ready = func(ctx context.Context) error {
		cfg := s.config()
		cfg.Timeout = time.Second
		db, err := database.Open(cfg, zap.NewNop())
		if err != nil {
			return err
		}
		return errors.Join(db.Ping(ctx), db.Close())
	}
	return s.startOnFreePort(func(port string) *exec.Cmd {
		return exec.Command(program, append(append(mysqlArgs(dir), // #nosec G204 -- a program that was looked up
			"--port="+port, "--bind-address=127.0.0.1", "--socket="+filepath.Join(dir, "sock"), "--pid-file="+filepath.Join(dir, "pid"),
			"--skip-name-resolve", "--performance-schema=OFF", "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=2",
		), args...)...)
	})
}

// startOnFreePort chooses again where another process was quicker to take the
// port.
func (s *Server) startOnFreePort(command func(port string) *exec.Cmd) (*Server, error) {
	var failures error
	for range 3 {
		port, err := freePort()
		if err != nil {
			return nil, errors.Join(failures, err)
		}
		s.addr = net.JoinHostPort("127.0.0.1", port)
		s.command = func() *exec.Cmd { return command(port) }
		if err = s.start(); err == nil {
			return s, nil
		}
		failures = errors.Join(failures, err)
	}
	s.remove()
	return nil, failures
}

func mysqlArgs(dir string) []string {
	args := []string{
		"--no-defaults", "--datadir=" + filepath.Join(dir, "data"), "--innodb-log-file-size=16M",
		// What the server has written outlives the server; only a crash of the machine would need more.
		"--loose-debug-no-sync", "--loose-innodb-flush-method=nosync",
		"--tmpdir=" + dir, // a server that starts removes what it finds of temporary tables, also of another's
	}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root") // it refuses to run as root unless told to
	}
	return args
}

// install makes the server's system tables.
func install(dir string) error {
	program, err := lookUp("mariadb-install-db")
	if err != nil {
		return err
	}
	args := append(mysqlArgs(dir), "--auth-root-authentication-method=normal", "--skip-test-db")
	output, err := exec.Command(program, args...).CombinedOutput() // #nosec G204 -- a program that was looked up
	if err != nil {
		return fmt.Errorf("mariadb-install-db: %w\n%s", err, output)
	}
	return nil
}

func startRedis(program string, args ...string) (*Server, error) {
	dir, err := newDir("redis")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir}
	s.ready = func(ctx context.Context) error { return answersPing(ctx, s.addr) }
	return s.startOnFreePort(func(port string) *exec.Cmd {
		return exec.Command(program, append([]string{ // #nosec G204 -- a program that was looked up
			"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir,
		}, args...)...)
	})
}

// answersPing takes any answer: a server that wants a password is up, too.
func answersPing(ctx context.Context, addr string) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if strings.HasPrefix(line, "-LOADING") {
		return errors.New(strings.TrimSpace(line))
	}
	return err
}

// newDir has a short path: that of a socket must fit into 108 bytes.
func newDir(name string) (string, error) { return os.MkdirTemp("", "achilles-"+name+"-") }

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, errors.Join(err, listener.Close())
}
