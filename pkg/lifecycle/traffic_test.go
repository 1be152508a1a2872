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

// child is a small service in a process of its own, stopped by real signals.
func child(drain string) int {
	signals, stop := lifecycle.Notify()
	defer stop()
	delay, err := time.ParseDuration(drain)
	if err != nil {
		return 2
	}
	p := lifecycle.New(lifecycle.Config{DrainDelay: delay, ShutdownTimeout: 2 * time.Second}, signals, zap.NewNop())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 2
	}
	p.Listen("http", newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if pause, err := time.ParseDuration(r.URL.Query().Get("pause")); err == nil {
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
	stderr *strings.Builder
}

func startChild(t *testing.T, drain time.Duration) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0]), stderr: &strings.Builder{}} // #nosec G204 -- this very test binary
	p.Env = append(os.Environ(), "LIFECYCLE_CHILD_DRAIN="+drain.String())
	p.Stderr = p.stderr
	stdout, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	p.addr = strings.TrimSpace(line)
	return p
}

func (p *process) exitCode(t *testing.T) int {
	t.Helper()
	killer := time.AfterFunc(patience, func() { _ = p.Process.Kill() })
	defer killer.Stop()
	_ = p.Wait()
	return p.ProcessState.ExitCode()
}

// traffic is what clients see of an endpoint that goes on being dialled until
// its removal has spread.
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

// restart lets clients run against a process that gets SIGTERM, and whose
// endpoint is removed some time later.
func restart(t *testing.T, drain time.Duration) (tr *traffic, exit int) {
	t.Helper()
	p := startChild(t, drain)
	tr = &traffic{addr: p.addr}
	var clients sync.WaitGroup
	for id := range 40 {
		clients.Go(func() { tr.client(id) })
	}
	require.Eventually(t, func() bool { return tr.answered.Load() > 500 }, patience, time.Millisecond)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	time.AfterFunc(200*time.Millisecond, func() { tr.removed.Store(true) })
	exit = p.exitCode(t)
	clients.Wait()
	return tr, exit
}

func TestDrainLosesNoPOSTOfClientsThatNeverRetry(t *testing.T) {
	for range 3 {
		tr, exit := restart(t, time.Second)
		require.Empty(t, tr.lost)
		require.Zero(t, exit)
	}
}

// The control: without the window the same clients lose requests, so they
// would have seen a loss.
func TestWithoutDrainTheSameClientsLosePOSTs(t *testing.T) {
	for range 10 { // one restart in many hits nobody
		if tr, _ := restart(t, 0); len(tr.lost) > 0 {
			return
		}
	}
	t.Fatal("ten restarts without a drain lost nothing: the clients would not notice a loss")
}

func TestSlowRequestFinishesAfterSIGTERM(t *testing.T) {
	p := startChild(t, 50*time.Millisecond)
	c := mustDial(t, p.addr)
	require.NoError(t, c.send(http.MethodPost, "/?pause=800ms", "slow"))
	time.Sleep(100 * time.Millisecond) // SIGTERM must find it in flight
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	_, answer, closing, err := c.receive()
	require.NoError(t, err)
	require.Equal(t, "slow", answer)
	require.True(t, closing, "it began before the drain and was answered in it")
	require.Zero(t, p.exitCode(t))
}

func TestExitCodes(t *testing.T) {
	t.Run("overrun", func(t *testing.T) {
		p := startChild(t, 10*time.Millisecond)
		c := mustDial(t, p.addr)
		require.NoError(t, c.send(http.MethodPost, "/?pause=30s", ""))
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		require.Equal(t, 1, p.exitCode(t))
		require.Contains(t, p.stderr.String(), "requests were still running")
	})
	t.Run("second signal", func(t *testing.T) {
		p := startChild(t, time.Hour)
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		c := mustDial(t, p.addr)
		require.Eventually(t, func() bool {
			_, _, closing, err := c.post("")
			return err == nil && closing
		}, patience, 5*time.Millisecond)
		require.NoError(t, p.Process.Signal(syscall.SIGINT))
		require.Equal(t, 1, p.exitCode(t))
		require.Contains(t, p.stderr.String(), lifecycle.ErrForced.Error())
	})
}
