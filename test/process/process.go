// Package process builds, starts and stops the real programs for tests, and records
// their outputs.
package process

import (
	"bytes"
	"encoding/json"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// Patience is the deadline of conditions that tests wait for. It only matters if a test
// fails.
const Patience = time.Minute

// Settings are the settings of a service by key, such as Server.DrainDelay. They are
// passed as environment variables.
type Settings map[string]string

// With returns the settings with others added, which take precedence.
func (s Settings) With(others Settings) Settings {
	all := Settings{}
	maps.Copy(all, s)
	maps.Copy(all, others)
	return all
}

// Environ returns the settings as environment variables.
func (s Settings) Environ() []string {
	var environ []string
	for key, value := range s {
		environ = append(environ, "ACHILLES_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))+"="+value)
	}
	return environ
}

// Process is a running or exited program.
type Process struct {
	name           string
	cmd            *exec.Cmd
	stdout, stderr output
	done           chan struct{} // closed when it has exited
	killed         atomic.Bool   // by the test
}

// Start starts a program with args and without the environment of the tests. See
// StartCommand.
func Start(t testing.TB, program string, settings Settings, args ...string) *Process {
	t.Helper()
	return StartCommand(t, Command(t, program, settings, args...))
}

// Command returns a command for StartCommand.
func Command(t testing.TB, program string, settings Settings, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, args...) // #nosec G204 -- a program that the test has built
	// Without this the race detector delays the exit by a second.
	cmd.Env = append(settings.Environ(), "PATH="+os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0")
	cmd.Dir = t.TempDir()
	return cmd
}

// StartCommand starts a command, and kills it at the end of the test. A data race that
// it reports fails the test. StartCommand closes cmd.ExtraFiles. It does not record the
// standard output if cmd.Stdout is set. In short mode it skips the test.
func StartCommand(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	skipIfShort(t)
	p := &Process{name: filepath.Base(cmd.Path), cmd: cmd, done: make(chan struct{})}
	if cmd.Stderr = &p.stderr; cmd.Stdout == nil {
		cmd.Stdout = &p.stdout
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	asChild(cmd.SysProcAttr)
	require.NoError(t, p.start())
	for _, file := range cmd.ExtraFiles {
		require.NoError(t, file.Close())
	}
	t.Cleanup(func() { p.cleanUp(t) })
	return p
}

func (p *Process) start() error {
	started := make(chan error, 1)
	go func() {
		// Linux kills the child when the thread that started it exits (see asChild).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // see Exit
			close(p.done)
		}
	}()
	return <-started
}

func (p *Process) cleanUp(t testing.TB) {
	_ = p.cmd.Process.Kill()
	<-p.done
	if strings.Contains(p.stderr.String(), "WARNING: DATA RACE") {
		t.Errorf("%s has a data race", p.name)
	}
	if t.Failed() && !p.killed.Load() {
		t.Logf("end of the output of %s:\n%s\n%s", p.name, tail(p.stdout.String()), tail(p.stderr.String()))
	}
}

func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// Signal sends a signal.
func (p *Process) Signal(t testing.TB, signal os.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(signal))
}

// Pause stops the process until SIGCONT, and returns when all its threads have stopped.
func (p *Process) Pause(t testing.TB) {
	t.Helper()
	dbtest.Pause(t, p.cmd.Process)
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill kills the process with SIGKILL and waits until it has exited.
func (p *Process) Kill() {
	p.killed.Store(true)
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Ended reports whether the process has exited.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Exit waits until the process has exited and returns its exit code, -1 if it was killed
// by a signal.
func (p *Process) Exit(t testing.TB) int {
	t.Helper()
	Await(t, p.name+" to exit", p.Ended)
	return p.cmd.ProcessState.ExitCode()
}

// Run runs a program and returns its exit code.
func Run(t testing.TB, program string, settings Settings, args ...string) (p *Process, exit int) {
	t.Helper()
	p = Start(t, program, settings, args...)
	return p, p.Exit(t)
}

// Stdout returns the standard output so far.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr returns the standard error so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Line is a line of the log.
type Line map[string]any

// Log returns the lines of the log with this message.
func (p *Process) Log(message string) []Line {
	encoded, _ := json.Marshal(message)
	mark := []byte(`"msg":` + string(encoded))
	var found []Line
	for _, text := range bytes.Split(p.stdout.bytes(), []byte("\n")) {
		var line Line
		if bytes.Contains(text, mark) && json.Unmarshal(text, &line) == nil {
			found = append(found, line)
		}
	}
	return found
}

// AwaitLog waits for a message in the log and returns its first line.
func (p *Process) AwaitLog(t testing.TB, message string) Line {
	t.Helper()
	var lines []Line
	Await(t, p.name+" to log "+message, func() bool {
		lines = p.Log(message)
		return len(lines) > 0 || p.Ended()
	})
	require.NotEmpty(t, lines, "%s exited without logging %q:\n%s", p.name, message, p.Stderr())
	return lines[0]
}

// Addr waits until the service serves, and returns its host:port.
func (p *Process) Addr(t testing.TB) string { t.Helper(); return p.address(t, "up") }

// AdminAddr waits for the admin listener and returns its host:port.
func (p *Process) AdminAddr(t testing.TB) string {
	t.Helper()
	return p.address(t, "metrics and profiles")
}

func (p *Process) address(t testing.TB, message string) string {
	t.Helper()
	address, ok := p.AwaitLog(t, message)["address"].(string)
	require.True(t, ok)
	_, _, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return address
}

// URL returns the URL of a path of the service.
func (p *Process) URL(t testing.TB, path string) string {
	t.Helper()
	return "http://" + p.Addr(t) + path
}

// AwaitReady waits until /readyz answers 200.
func (p *Process) AwaitReady(t testing.TB) {
	t.Helper()
	url := p.URL(t, "/readyz")
	Await(t, p.name+" to be ready", func() bool {
		answer, err := Ask("GET", url, nil)
		return err == nil && answer.Status == 200 || p.Ended()
	})
	require.False(t, p.Ended(), "%s has exited:\n%s", p.name, p.Stderr())
}

// Await waits for a condition, and fails the test after Patience.
func Await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s for %s", what, Patience)
		}
	}
}

// output is a buffer that is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, text...)
	return len(text), nil
}

func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text[:len(o.text):len(o.text)] // only appended to
}

func (o *output) String() string { return string(o.bytes()) }
