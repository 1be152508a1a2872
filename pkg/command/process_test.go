package command_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
)

func buildTiny(t *testing.T) string {
	t.Helper()
	const path = "-X github.com/achilles-blog/achilles/pkg/buildinfo."
	program := filepath.Join(t.TempDir(), "tiny")
	flags := path + "version=v1.2.3 " + path + "commit=abc123 " + path + "buildTime=2026-01-02T03:04:05Z"
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", flags, "-o", program, "./testdata/tiny")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// process is a running program.
type process struct {
	*exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

func start(t *testing.T, program string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(program, args...)}
	p.Env = []string{}
	p.Stderr = &p.stderr
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	timeout := time.AfterFunc(time.Minute, func() { _ = p.Process.Kill() })
	t.Cleanup(func() {
		timeout.Stop()
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	p.lines = bufio.NewScanner(out)
	return p
}

func (p *process) expect(t *testing.T, line string) {
	t.Helper()
	require.True(t, p.lines.Scan(), "the output ended before %q", line)
	require.Equal(t, line, p.lines.Text())
}

// end waits for the process and returns its exit code, or -1 if a signal ended it.
func (p *process) end(t *testing.T) int {
	t.Helper()
	require.False(t, p.lines.Scan(), "unexpected line %q", p.lines.Text())
	_ = p.Wait()
	return p.ProcessState.ExitCode()
}

func TestProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("-short builds no programs")
	}
	program := buildTiny(t)
	// Under nohup the signal is ignored, and processes that are started inherit that.
	heeded := make(chan os.Signal, 1)
	signal.Notify(heeded, syscall.SIGHUP)
	defer signal.Stop(heeded)

	t.Run("version", func(t *testing.T) {
		out, err := exec.Command(program, "version").CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, "tiny v1.2.3 (commit abc123, built 2026-01-02T03:04:05Z, "+runtime.Version()+")\n", string(out))
		out, err = exec.Command(program, "version", "--json").CombinedOutput()
		require.NoError(t, err)
		require.JSONEq(t, `{"version":"v1.2.3","commit":"abc123","build_time":"2026-01-02T03:04:05Z","go_version":"`+runtime.Version()+`"}`, string(out))
	})

	t.Run("mistake", func(t *testing.T) {
		p := start(t, program, "deploy")
		require.Equal(t, 1, p.end(t))
		require.Equal(t, "tiny: unknown command \"deploy\"; the commands are config, healthcheck, help, migrate, serve, version\n", p.stderr.String())
	})

	for signal, name := range map[os.Signal]string{syscall.SIGTERM: "terminated", os.Interrupt: "interrupt", syscall.SIGHUP: "hangup"} {
		t.Run("serve gets "+name, func(t *testing.T) {
			p := start(t, program, "serve")
			p.expect(t, "serving")
			require.NoError(t, p.Process.Signal(signal))
			p.expect(t, "got "+name)
			require.Equal(t, 0, p.end(t), p.stderr.String())
		})
		t.Run("migrate ends by "+name, func(t *testing.T) {
			p := start(t, program, "migrate")
			p.expect(t, "migrating")
			require.NoError(t, p.Process.Signal(signal))
			p.expect(t, "ending")
			require.Equal(t, 1, p.end(t))
			require.Equal(t, "tiny: stopped by signal: "+name+": context canceled\n", p.stderr.String())
		})
	}

	t.Run("nohup", func(t *testing.T) {
		p := start(t, "nohup", program, "serve")
		p.expect(t, "serving")
		require.NoError(t, p.Process.Signal(syscall.SIGHUP))
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		p.expect(t, "got terminated")
		require.Equal(t, 0, p.end(t), p.stderr.String())
	})

	t.Run("a second signal ends migrate at once", func(t *testing.T) {
		p := start(t, program, "migrate", "--app.stubborn")
		p.expect(t, "migrating")
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		p.expect(t, "ending")
		require.NoError(t, p.Process.Signal(syscall.SIGTERM)) // a repetition
		time.Sleep(lifecycle.RepeatInterval / 2)
		require.NoError(t, p.Process.Signal(syscall.Signal(0)), "it runs")
		ended := make(chan struct{})
		go func() {
			for { // the default is restored after the window
				select {
				case <-ended:
					return
				case <-time.After(50 * time.Millisecond):
					_ = p.Process.Signal(syscall.SIGTERM)
				}
			}
		}()
		defer close(ended)
		require.Equal(t, -1, p.end(t))
		require.Equal(t, syscall.SIGTERM, p.ProcessState.Sys().(syscall.WaitStatus).Signal(), "and not SIGKILL of the test's timeout")
	})
}
