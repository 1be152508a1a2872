package process_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// piped is a service whose standard output is a pipe.
type piped struct {
	*process.Process
	stdout       *os.File
	serve, admin string
}

// startPiped starts a service and reads its log up to the line "up".
func startPiped(t *testing.T) *piped {
	t.Helper()
	program, settings := process.Service(t, "tag"), process.On(dbtest.SQLite(t)).With(drain)
	process.Migrate(t, program, settings)
	stdout, out, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = stdout.Close() })
	cmd := process.Command(t, program, settings, "serve")
	cmd.Stdout = out
	p := &piped{Process: process.StartCommand(t, cmd), stdout: stdout}
	require.NoError(t, out.Close())
	lines := bufio.NewReader(stdout)
	for p.serve == "" {
		text, err := lines.ReadBytes('\n')
		require.NoError(t, err, p.Stderr())
		var line struct{ Msg, Address string }
		require.NoError(t, json.Unmarshal(text, &line))
		switch line.Msg {
		case "metrics and profiles":
			p.admin = line.Address
		case "up":
			p.serve = line.Address
		}
	}
	process.Await(t, "the service to be ready", func() bool { return p.get(t, "/readyz") == 200 })
	return p
}

func (p *piped) get(t *testing.T, path string) int {
	t.Helper()
	answer, err := process.Ask("GET", "http://"+p.serve+path, nil)
	require.NoError(t, err)
	return answer.Status
}

var droppedLine = regexp.MustCompile(`(?m)^achilles_log_dropped_lines_total (\S+)$`)

func (p *piped) dropped(t *testing.T) float64 {
	t.Helper()
	answer, err := process.Ask("GET", "http://"+p.admin+"/metrics", nil)
	require.NoError(t, err)
	match := droppedLine.FindSubmatch(answer.Body)
	require.NotNil(t, match)
	count, err := strconv.ParseFloat(string(match[1]), 64)
	require.NoError(t, err)
	return count
}

// requireWorks sends requests until lines of the log are dropped, and stops the service
// with a drain.
func (p *piped) requireWorks(t *testing.T) {
	t.Helper()
	conn, err := process.Dial(p.serve)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	for p.dropped(t) == 0 {
		for range 500 {
			answer, err := conn.Ask("GET", "/version", nil)
			require.NoError(t, err)
			require.Equal(t, 200, answer.Status)
		}
	}
	require.Equal(t, 200, p.get(t, "/readyz"))
	p.Signal(t, sigterm)
	process.Await(t, "the drain", func() bool { return p.get(t, "/readyz") == 503 })
	answer, err := conn.Ask("GET", "/version", nil)
	require.NoError(t, err)
	require.True(t, answer.Closing)
	require.Zero(t, p.Exit(t), p.Stderr())
}

func TestStandardOutputThatNobodyReads(t *testing.T) { startPiped(t).requireWorks(t) }

// As in "tag serve | head -3".
func TestStandardOutputThatIsClosed(t *testing.T) {
	p := startPiped(t)
	require.NoError(t, p.stdout.Close())
	p.requireWorks(t)
}

// heedHangup makes SIGHUP do what it does by default in the processes that the test starts.
// Under nohup it is ignored, and processes inherit that.
func heedHangup(t *testing.T) {
	t.Helper()
	heeded := make(chan os.Signal, 1)
	signal.Notify(heeded, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(heeded) })
}

func TestHangupDrains(t *testing.T) {
	heedHangup(t)
	p := process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)))
	p.Signal(t, syscall.SIGHUP)
	p.AwaitLog(t, draining)
	require.Zero(t, p.Exit(t), p.Stderr())
}

// As from "timeout 4 tag serve", which signals the process and its group.
func TestRepeatedSignalIsOne(t *testing.T) {
	p := process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)).With(drain))
	p.Signal(t, sigterm)
	p.Signal(t, sigterm)
	p.AwaitLog(t, draining)
	require.Equal(t, 503, ask(t, p, "GET", "/readyz", nil).Status)
	require.Zero(t, p.Exit(t), p.Stderr())
}

func TestMemoryLimitOfTheContainer(t *testing.T) {
	const limit = 512 << 20
	procs, resize := newCgroup(t, limit)
	program, settings := process.Service(t, "tag"), process.On(dbtest.SQLite(t))
	start := func(environ ...string) *process.Process {
		shell := `echo $$ >"$0" && exec "$@"`
		cmd := process.Command(t, "/bin/sh", settings, "-c", shell, procs, program, "serve")
		cmd.Env = append(cmd.Env, environ...)
		p := process.StartCommand(t, cmd)
		p.Addr(t)
		return p
	}
	p := start()
	require.InDelta(t, 0.85*limit, p.AwaitLog(t, "memory limit")["bytes"], 1)
	require.InDelta(t, 0.85*limit, metric(t, p, "go_gc_gomemlimit_bytes"), 1)
	resize(limit / 2) // as Kubernetes resizes a pod in place
	require.InDelta(t, 0.85*limit/2, p.AwaitLog(t, "memory limit changed")["bytes"], 1)
	require.InDelta(t, 0.85*limit/2, metric(t, p, "go_gc_gomemlimit_bytes"), 1)
	p.Kill() // SQLite is for one process
	p = start("GOMEMLIMIT=100MiB")
	require.Equal(t, "100MiB", p.AwaitLog(t, "memory limit of GOMEMLIMIT")["limit"])
	require.InDelta(t, 100<<20, metric(t, p, "go_gc_gomemlimit_bytes"), 1)
}

// newCgroup makes a cgroup with a memory limit. It returns the file that takes the
// processes in it, and a function that changes the limit. It skips the test where that
// isn't allowed.
func newCgroup(t *testing.T, limit int) (procs string, resize func(limit int)) {
	t.Helper()
	for _, file := range []string{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"} {
		dir := filepath.Join(filepath.Dir(file), fmt.Sprintf("achilles-test-%d", os.Getpid()))
		if os.Mkdir(dir, 0o700) != nil {
			continue
		}
		t.Cleanup(func() {
			process.Await(t, "the processes of the cgroup to exit", func() bool { return os.Remove(dir) == nil })
		})
		set := func(limit int) error {
			f, err := os.OpenFile(filepath.Join(dir, filepath.Base(file)), os.O_WRONLY, 0)
			if err != nil { // as where another kind of cgroup is mounted
				return err
			}
			_, err = f.WriteString(strconv.Itoa(limit))
			return errors.Join(err, f.Close())
		}
		if set(limit) == nil {
			return filepath.Join(dir, "cgroup.procs"), func(limit int) { require.NoError(t, set(limit)) }
		}
	}
	t.Skip("cgroups with a memory limit can't be made here")
	return "", nil
}

// More idle connections than a service keeps.
func TestManyIdleConnections(t *testing.T) {
	p := process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)))
	first := idleConn(t, p)
	for n := range 2500 {
		conn, err := process.Dial(p.Addr(t))
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		if n%2 == 0 {
			_, err := conn.Ask("GET", "/healthz", nil)
			require.NoError(t, err)
		}
	}
	require.NoError(t, first.AwaitClose(), "it was idle longest")
	require.Equal(t, 200, ask(t, p, "GET", "/readyz", nil).Status)
	text := scrape(t, p)
	value := func(name string) float64 {
		match := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(text)
		require.NotNil(t, match, name)
		number, err := strconv.ParseFloat(match[1], 64)
		require.NoError(t, err)
		return number
	}
	limit := value(`achilles_http_connections_limit{server="http"}`)
	require.LessOrEqual(t, value(`achilles_http_connections{server="http"}`), limit)
	require.Greater(t, value(`achilles_http_connections_closed_total{reason="idle",server="http"}`), 400.0)
	t.Logf("resident: %.0f MB", value("process_resident_memory_bytes")/1e6)
}

// One client takes all connections that a service has, and sends no request to its end
// on any of them. Others are answered.
func TestManyUnfinishedRequests(t *testing.T) {
	for name, text := range map[string]string{
		"header": "GET / HTTP/1.1\r\nHos",
		"body":   "POST /api/v1/tags HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n",
		"wrong":  "POST /nowhere HTTP/1.1\r\nHost: test\r\nContent-Length: 500\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)))
			good, err := process.Dial(p.Addr(t))
			require.NoError(t, err)
			defer func() { _ = good.Close() }()
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
			for n := range 2500 {
				conn, err := dialer.Dial("tcp", p.Addr(t))
				require.NoError(t, err)
				defer func() { _ = conn.Close() }()
				_, _ = io.WriteString(conn, text) // the connection may be closed already
				if n%100 == 0 {
					answer, err := good.Ask("GET", "/healthz", nil)
					require.NoError(t, err, "after %d connections", n)
					require.Equal(t, http.StatusOK, answer.Status)
				}
			}
			require.Equal(t, http.StatusOK, ask(t, p, "GET", "/readyz", nil).Status)
		})
	}
}
