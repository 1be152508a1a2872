// Package process runs the real programs for tests: built once, started on
// free ports, stopped by real signals, with all they print kept.
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

// Patience is how long the tests wait for what has to happen. It matters only
// when a test fails: a machine may be slow.
const Patience = time.Minute

// Settings are the settings of a service by their keys, such as
// Server.DrainDelay. They reach it as environment variables.
type Settings map[string]string

// With returns the settings with others added, which win.
func (s Settings) With(others Settings) Settings {
	all := Settings{}
	maps.Copy(all, s)
	maps.Copy(all, others)
	return all
}

func (s Settings) environ() []string {
	var environ []string
	for key, value := range s {
		environ = append(environ, "ACHILLES_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))+"="+value)
	}
	return environ
}

// Process is a running, or ended, program.
type Process struct {
	name           string
	cmd            *exec.Cmd
	stdout, stderr output
	done           chan struct{} // closed when it has ended
	killed         atomic.Bool   // by the test, on purpose
}

// Start starts a program with args, with nothing of the tester's own
// environment. See StartCommand.
func Start(t testing.TB, program string, settings Settings, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(program, args...) // #nosec G204 -- a program that the test has built
	// No second for reports of races after the end.
	cmd.Env = append(settings.environ(), "PATH="+os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0")
	cmd.Dir = t.TempDir()
	return StartCommand(t, cmd)
}

// StartCommand starts a command. At the end of the test it is killed if it still
// runs; a data race that it reported fails the test. The files that it takes
// over are closed here. With -short the test is skipped.
func StartCommand(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	skipIfShort(t)
	p := &Process{name: filepath.Base(cmd.Path), cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
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
		// Linux kills the child with the thread that started it, so the thread
		// has to stay for as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // the exit code tells
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
		t.Logf("the end of what %s printed:\n%s\n%s", p.name, tail(p.stdout.String()), tail(p.stderr.String()))
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

// Pause freezes the process until SIGCONT, and returns when all of it stands
// still.
func (p *Process) Pause(t testing.TB) {
	t.Helper()
	dbtest.Pause(t, p.cmd.Process)
}

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the process as a crash would, and waits for its end.
func (p *Process) Kill() {
	p.killed.Store(true)
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Ended tells whether the process has come to its end.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Exit waits for the end of the process and returns its exit code, -1 when a
// signal ended it.
func (p *Process) Exit(t testing.TB) int {
	t.Helper()
	Await(t, "the end of "+p.name, p.Ended)
	return p.cmd.ProcessState.ExitCode()
}

// Run runs a program to its end and returns the exit code.
func Run(t testing.TB, program string, settings Settings, args ...string) (p *Process, exit int) {
	t.Helper()
	p = Start(t, program, settings, args...)
	return p, p.Exit(t)
}

// Stdout and Stderr are what the process has printed so far.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr is what the process has printed on its standard error so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Line is one line of a log.
type Line map[string]any

// Log returns the lines of the log that have the message.
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

// AwaitLog waits for the message in the log and returns its first line.
func (p *Process) AwaitLog(t testing.TB, message string) Line {
	t.Helper()
	var lines []Line
	Await(t, p.name+" to log "+message, func() bool {
		lines = p.Log(message)
		return len(lines) > 0 || p.Ended()
	})
	require.NotEmpty(t, lines, "%s ended without the line %q:\n%s", p.name, message, p.Stderr())
	return lines[0]
}

// Addr is the address, host:port, on which the service is up; it waits for it.
func (p *Process) Addr(t testing.TB) string { t.Helper(); return p.address(t, "up") }

// AdminAddr is the address of the admin listener.
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

// URL is the address of a path of the service.
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
	require.False(t, p.Ended(), "%s has ended:\n%s", p.name, p.Stderr())
}

// Await fails the test when something does not happen within Patience.
func Await(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !happened(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s for %s in vain", what, Patience)
		}
	}
}

// output keeps what is written to it and may be read meanwhile.
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
	return o.text[:len(o.text):len(o.text)] // never changed, only added to
}

func (o *output) String() string { return string(o.bytes()) }
