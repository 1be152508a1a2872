package lifecycle_test

import (
	"context"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
)

// share returns another listener of the same socket, as another process has it.
func share(t *testing.T, ln net.Listener) net.Listener {
	t.Helper()
	file, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	shared, err := net.FileListener(file)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	t.Cleanup(func() { _ = shared.Close() })
	return shared
}

func TestHandOver(t *testing.T) {
	slow(t)
	s := newService(t, lifecycle.Config{DrainDelay: pause, ShutdownTimeout: patience}, http.HandlerFunc(echo))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	other := share(t, ln)
	s.Serve("shared", newServer(http.HandlerFunc(echo)), ln)
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.ServeAdmin("admin", newServer(http.HandlerFunc(echo)), admin)
	old := mustDial(t, ln.Addr().String())
	_, _, _, err = old.post("before")
	require.NoError(t, err)
	s.start()
	s.HandOver()
	await(t, "the drain", s.Draining())

	// New connections are for the other process alone, during the whole drain.
	require.Eventually(t, func() bool {
		_, err := dial(admin.Addr().String())
		return err != nil
	}, patience, time.Millisecond)
	for range 20 {
		c := mustDial(t, ln.Addr().String())
		accepted, err := other.Accept()
		require.NoError(t, err)
		require.Equal(t, c.LocalAddr().String(), accepted.RemoteAddr().String())
		require.NoError(t, accepted.Close())
	}
	_, answer, closing, err := old.post("in the drain")
	require.NoError(t, err)
	require.Equal(t, "in the drain", answer)
	require.True(t, closing)
	// A signal for the whole group of processes doesn't cut off the drain.
	s.signal()
	require.NoError(t, s.wait(t))
}

// Both processes serve without ShareListeners; with it, only the other one does after a signal.
func TestShareListeners(t *testing.T) {
	slow(t)
	s := newService(t, lifecycle.Config{DrainDelay: pause}, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.Serve("shared", newServer(http.HandlerFunc(echo)), ln)
	s.ShareListeners()
	s.start()
	s.signal()
	await(t, "the drain", s.Draining())
	require.Eventually(t, func() bool {
		c, err := dial(ln.Addr().String())
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	}, pause/2, time.Millisecond, "the listener is closed long before the end of the drain")
	require.NoError(t, s.wait(t))
}

func TestHoldServers(t *testing.T) {
	signals := make(chan os.Signal, 1)
	p := lifecycle.New(lifecycle.Config{}, signals, zap.NewNop())
	release := p.HoldServers()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	other := share(t, ln)
	p.Serve("held", newServer(http.HandlerFunc(echo)), ln)
	for range 20 { // the held server takes none of them
		c := mustDial(t, ln.Addr().String())
		accepted, err := other.Accept()
		require.NoError(t, err)
		require.Equal(t, c.LocalAddr().String(), accepted.RemoteAddr().String())
		require.NoError(t, accepted.Close())
	}
	require.NoError(t, other.Close())
	waiting := mustDial(t, ln.Addr().String())
	release()
	_, answer, _, err := waiting.post("x")
	require.NoError(t, err)
	require.Equal(t, "x", answer)
	signals <- syscall.SIGTERM
	require.NoError(t, p.Run())
}

// A process that never accepted connections has none to drain.
func TestStopOfHeldServers(t *testing.T) {
	signals := make(chan os.Signal, 1)
	p := lifecycle.New(lifecycle.Config{DrainDelay: time.Hour, ShutdownTimeout: patience}, signals, zap.NewNop())
	p.HoldServers()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.Serve("held", newServer(nil), ln)
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.ServeAdmin("admin", newServer(http.NotFoundHandler()), admin)
	signals <- syscall.SIGTERM
	require.NoError(t, p.Run())
	for _, closed := range []net.Listener{ln, admin} {
		_, err := dial(closed.Addr().String())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
}

// Signals with commands don't stop the process, before and during the stop.
func TestOnSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals, result := make(chan os.Signal), make(chan error, 1)
		p := lifecycle.New(lifecycle.Config{}, signals, zap.NewNop())
		var got []string
		p.OnSignal(syscall.SIGHUP, func() { got = append(got, "HUP") })
		p.OnSignal(syscall.SIGUSR1, func() { got = append(got, "USR1"); panic("not the end") })
		release := make(chan struct{})
		p.OnStop("slow", time.Hour, func(context.Context) error { <-release; return nil })
		go func() { result <- p.Run() }()
		each := func() {
			for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2} {
				signals <- sig
				synctest.Wait()
			}
		}
		each()
		require.Empty(t, result)
		signals <- syscall.SIGTERM
		time.Sleep(2 * lifecycle.RepeatInterval)
		each()
		require.Empty(t, result, "they are no second signal")
		require.Equal(t, []string{"HUP", "USR1", "HUP", "USR1"}, got)
		close(release)
		require.NoError(t, <-result)
	})
}

func TestStopSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals, result := make(chan os.Signal, 1), make(chan error, 1)
		p := lifecycle.New(lifecycle.Config{}, signals, zap.NewNop())
		registry := prometheus.NewRegistry()
		registry.MustRegister(p)
		p.Go("slow", func(ctx context.Context) error { <-ctx.Done(); time.Sleep(3 * time.Second); return nil })
		p.OnStop("slow", time.Hour, func(context.Context) error { time.Sleep(2 * time.Second); return nil })
		stopSeconds := func(lines ...string) {
			t.Helper()
			text := strings.Join(lines, "\n") + "\n"
			if len(lines) > 0 {
				text = "# HELP achilles_stop_seconds Seconds that the phases of the stop have taken so far: drain, requests, workers and hooks; none before the stop.\n" +
					"# TYPE achilles_stop_seconds gauge\n" + text
			}
			require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(text), "achilles_stop_seconds"))
		}
		stopSeconds()
		go func() { result <- p.Run() }()
		signals <- syscall.SIGTERM
		time.Sleep(4 * time.Second)
		synctest.Wait()
		stopSeconds(`achilles_stop_seconds{phase="drain"} 0`, `achilles_stop_seconds{phase="hooks"} 1`,
			`achilles_stop_seconds{phase="requests"} 0`, `achilles_stop_seconds{phase="workers"} 3`)
		require.NoError(t, <-result)
		stopSeconds(`achilles_stop_seconds{phase="drain"} 0`, `achilles_stop_seconds{phase="hooks"} 2`,
			`achilles_stop_seconds{phase="requests"} 0`, `achilles_stop_seconds{phase="workers"} 3`)
	})
}

func TestStopIsLoggedWithItsTimes(t *testing.T) {
	s := newService(t, lifecycle.Config{ShutdownTimeout: patience}, nil)
	s.OnStop("slow", patience, func(context.Context) error { time.Sleep(20 * time.Millisecond); return nil })
	s.start()
	s.signal()
	require.NoError(t, s.wait(t))
	hook := s.logs.FilterMessage("stop hook ended").All()
	require.Len(t, hook, 1)
	require.Equal(t, "slow", hook[0].ContextMap()["name"])
	require.GreaterOrEqual(t, hook[0].ContextMap()["took"], 20*time.Millisecond)
	end := s.logs.FilterMessage("stopped").All()
	require.Len(t, end, 1)
	require.ElementsMatch(t, []string{"drain", "requests", "workers", "hooks"}, slices.Collect(maps.Keys(end[0].ContextMap())))
	require.GreaterOrEqual(t, end[0].ContextMap()["hooks"], 20*time.Millisecond)
}
