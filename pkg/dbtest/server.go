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

// Server is a database server, which tests can stop, kill and pause.
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

// Addr returns the host:port of the server. It does not change when the server restarts.
func (s *Server) Addr() string { return s.addr }

// Running reports whether the server process runs.
func (s *Server) Running() bool { return s.command == nil || s.up.Load() }

// NewMySQL starts a MariaDB server for one test, with additional arguments. Its account
// root has no password.
func NewMySQL(t testing.TB, args ...string) *Server {
	t.Helper()
	return keep(t)(startMySQL(find(t, "mariadbd"), args...))
}

// NewRedis starts a Redis server without persistence for one test, with additional
// arguments.
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

// Stop shuts the server down and waits until it has exited.
func (s *Server) Stop(t testing.TB) { t.Helper(); s.end(t, syscall.SIGTERM) }

// Kill kills the server with SIGKILL and waits until it has exited.
func (s *Server) Kill(t testing.TB) { t.Helper(); s.end(t, syscall.SIGKILL) }

// Start restarts the server after Stop or Kill, with the same address and data.
func (s *Server) Start(t testing.TB) { t.Helper(); require.NoError(t, s.start()) }

// Pause stops the server with SIGSTOP until Resume: it accepts connections and does not
// answer.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	Pause(t, s.process)
}

// Pause stops a process with SIGSTOP, and returns when all its threads have stopped.
func Pause(t testing.TB, process *os.Process) {
	t.Helper()
	require.NoError(t, process.Signal(syscall.SIGSTOP))
	require.Eventually(t, func() bool { return stopped(process.Pid) }, startTimeout, time.Millisecond)
}

// stopped reports whether all threads are stopped. Without /proc it returns true.
func stopped(pid int) bool {
	states, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, file := range states {
		content, err := os.ReadFile(file) // #nosec G304 -- a path in /proc
		_, state, _ := strings.Cut(string(content), ") ")
		if err == nil && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// Resume continues a paused server.
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
		t.Fatalf("the server at %s did not exit", s.addr)
	}
}

// start starts the server and waits until it is ready.
func (s *Server) start() error {
	output, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	command := s.command()
	command.Dir, command.Stdout, command.Stderr = s.dir, output, output
	// Ctrl-C must only reach the tests, which then stop the server.
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

// guard starts a process that kills the server and removes its directory if the tests
// exit without doing so, which closes its standard input.
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
	s.watchdog = watchdog{input: input, command: command}
	return nil
}

type watchdog struct {
	input   io.WriteCloser
	command *exec.Cmd
}

// Close stops the process.
func (w watchdog) Close() error {
	_, err := io.WriteString(w.input, "done\n")
	return errors.Join(err, w.input.Close(), w.command.Wait())
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
			return fmt.Errorf("the server at %s exited at the start:\n%s", s.addr, s.logTail())
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

// remove kills the server, even if it is paused, and removes its data.
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
		return exec.Command(program, append(append(mysqlArgs(dir), // #nosec G204 -- an installed program
			"--port="+port, "--bind-address=127.0.0.1", "--socket="+filepath.Join(dir, "sock"), "--pid-file="+filepath.Join(dir, "pid"),
			"--skip-name-resolve", "--performance-schema=OFF", "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=2",
		), args...)...)
	})
}

// startOnFreePort tries again if another process has taken the port.
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
		// Tests don't need durability over a crash of the machine.
		"--loose-debug-no-sync", "--loose-innodb-flush-method=nosync",
		"--tmpdir=" + dir, // a starting server removes the temporary tables of others in the same directory
	}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root") // required to run as root
	}
	return args
}

// install creates the system tables.
func install(dir string) error {
	program, err := lookUp("mariadb-install-db")
	if err != nil {
		return err
	}
	args := append(mysqlArgs(dir), "--auth-root-authentication-method=normal", "--skip-test-db")
	output, err := exec.Command(program, args...).CombinedOutput() // #nosec G204 -- an installed program
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
		return exec.Command(program, append([]string{ // #nosec G204 -- an installed program
			"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir,
		}, args...)...)
	})
}

// answersPing accepts any response, even an error that a password is required.
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

// newDir returns a directory with a short path: paths of sockets are limited to 108
// bytes.
func newDir(name string) (string, error) { return os.MkdirTemp("", "achilles-"+name+"-") }

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, errors.Join(err, listener.Close())
}
