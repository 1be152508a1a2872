package lifecycle_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
)

// child is a small service in its own process.
func child(drain string) int {
	signals, stop := lifecycle.Notify()
	defer stop()
	delay, err := time.ParseDuration(drain)
	limit, err2 := time.ParseDuration(os.Getenv("LIFECYCLE_CHILD_SHUTDOWN"))
	if err != nil || err2 != nil {
		return 2
	}
	p := lifecycle.New(lifecycle.Config{DrainDelay: delay, ShutdownTimeout: limit}, signals, zap.NewNop())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 2
	}
	p.Serve("http", newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if pause, err := time.ParseDuration(r.URL.Query().Get("pause")); err == nil {
			fmt.Println("begun")
			time.Sleep(pause)
		}
		echo(w, r)
	})), ln)
	fmt.Println(ln.Addr())
	if err := p.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

type process struct {
	*exec.Cmd
	addr   string
	stdout *bufio.Reader
	stderr *strings.Builder
}

func startChild(t *testing.T, drain, shutdown time.Duration) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0]), stderr: &strings.Builder{}} // #nosec G204 -- this very test binary
	p.Env = append(os.Environ(), "LIFECYCLE_CHILD_DRAIN="+drain.String(), "LIFECYCLE_CHILD_SHUTDOWN="+shutdown.String())
	p.Stderr = p.stderr
	stdout, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill() })
	p.stdout = bufio.NewReader(stdout)
	p.addr = p.line(t)
	return p
}

// line returns the next line of stdout.
func (p *process) line(t *testing.T) string {
	t.Helper()
	line, err := p.stdout.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

func (p *process) exitCode(t *testing.T) int {
	t.Helper()
	killer := time.AfterFunc(patience, func() { _ = p.Process.Kill() })
	defer killer.Stop()
	_ = p.Wait()
	return p.ProcessState.ExitCode()
}

// traffic records what clients observe. They dial addr until removed is set, as
// proxies do until they learn that an endpoint was removed.
type traffic struct {
	addr     string
	removed  atomic.Bool
	answered atomic.Int64
	mu       sync.Mutex
	lost     []error
}

func (tr *traffic) client(id int) {
	var c *conn
	for n := 0; ; n++ {
		if c == nil {
			if tr.removed.Load() {
				return
			}
			fresh, err := dial(tr.addr)
			if err != nil {
				tr.lose(err)
				return
			}
			c = fresh
		}
		body := fmt.Sprintf("%d-%d", id, n)
		status, answer, closing, err := c.post(body)
		if err == nil && (status != http.StatusOK || answer != body) {
			err = fmt.Errorf("status %d, body %q, want %q", status, answer, body)
		}
		if err != nil {
			tr.lose(err)
			_ = c.Close()
			return
		}
		tr.answered.Add(1)
		if closing {
			_ = c.Close()
			c = nil
		}
		time.Sleep(time.Duration(id%10) * time.Millisecond)
	}
}

func (tr *traffic) lose(err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lost = append(tr.lost, err)
}

// restart sends SIGTERM to a process while clients use it. If inTime, its endpoint
// is removed during the drain, else never.
func restart(t *testing.T, drain time.Duration, inTime bool) (tr *traffic, exit int) {
	t.Helper()
	p := startChild(t, drain, patience)
	tr = &traffic{addr: p.addr}
	var clients sync.WaitGroup
	for id := range 40 {
		clients.Go(func() { tr.client(id) })
	}
	require.Eventually(t, func() bool { return tr.answered.Load() > 500 }, patience, time.Millisecond)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	if inTime {
		time.AfterFunc(200*time.Millisecond, func() { tr.removed.Store(true) })
	}
	exit = p.exitCode(t)
	clients.Wait() // each ends when the endpoint is removed, or after an error
	return tr, exit
}

func TestDrainLosesNoPOSTOfClientsThatNeverRetry(t *testing.T) {
	slow(t)
	for i := range 3 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			tr, exit := restart(t, pause, true)
			require.Empty(t, tr.lost)
			require.Zero(t, exit)
		})
	}
}

// This negative control shows that the clients notice lost requests.
func TestWithoutDrainTheSameClientsLosePOSTs(t *testing.T) {
	slow(t)
	tr, _ := restart(t, 0, false)
	require.Len(t, tr.lost, 40, "each client notices")
}

func TestSlowRequestFinishesAfterSIGTERM(t *testing.T) {
	slow(t)
	p := startChild(t, 50*time.Millisecond, patience)
	c := mustDial(t, p.addr)
	require.NoError(t, c.send(http.MethodPost, "/?pause=800ms", "slow"))
	require.Equal(t, "begun", p.line(t)) // it is in progress when SIGTERM arrives
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	_, answer, closing, err := c.receive()
	require.NoError(t, err)
	require.Equal(t, "slow", answer)
	require.True(t, closing, "it was answered during the drain")
	require.Zero(t, p.exitCode(t))
}

func TestExitCodes(t *testing.T) {
	slow(t)
	t.Run("overrun", func(t *testing.T) {
		p := startChild(t, 10*time.Millisecond, time.Second)
		c := mustDial(t, p.addr)
		require.NoError(t, c.send(http.MethodPost, "/?pause=1h", ""))
		require.Equal(t, "begun", p.line(t))
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		require.Equal(t, 1, p.exitCode(t))
		require.Contains(t, p.stderr.String(), "requests were still running")
	})
	t.Run("second signal", func(t *testing.T) {
		p := startChild(t, time.Hour, patience)
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		c := mustDial(t, p.addr)
		require.Eventually(t, func() bool {
			_, _, closing, err := c.post("")
			return err == nil && closing
		}, patience, 5*time.Millisecond)
		time.Sleep(lifecycle.RepeatInterval)
		require.NoError(t, p.Process.Signal(syscall.SIGINT))
		require.Equal(t, 1, p.exitCode(t))
		require.Contains(t, p.stderr.String(), lifecycle.ErrForced.Error())
	})
}
