package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
)

func TestStopRunsInOrder(t *testing.T) {
	var (
		mu    sync.Mutex
		order []string
	)
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	started := make(chan struct{})
	s := newService(t, lifecycle.Config{DrainDelay: 100 * time.Millisecond, ShutdownTimeout: patience}, nil)
	hook := func(name string) {
		s.OnStop(name, patience, func(context.Context) error { note(name); return nil })
	}
	hook("log")
	hook("database")
	hook("cache")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	release := make(chan struct{})
	s.Serve("slow", newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-release
		note("request")
		if r.Context().Err() != nil {
			note("its context was cancelled")
		}
	})), ln)
	workers := make(chan context.Context, 1)
	s.Go("worker", func(ctx context.Context) error {
		workers <- ctx
		<-ctx.Done()
		note("worker")
		return ctx.Err()
	})
	s.Go("short", func(context.Context) error { return nil })

	c := mustDial(t, ln.Addr().String())
	require.NoError(t, c.send(http.MethodPost, "/", ""))
	await(t, "the request", started)
	s.start()
	require.False(t, s.draining())
	s.signal()
	await(t, "the drain", s.Draining())
	require.NoError(t, (<-workers).Err(), "workers run during the drain")
	// Shutdown has begun when the listener is closed, and waits for the request.
	require.Eventually(t, func() bool {
		other, err := net.Dial("tcp", ln.Addr().String())
		if err == nil {
			_ = other.Close()
		}
		return err != nil
	}, patience, 5*time.Millisecond)
	close(release)
	_, _, closing, err := c.receive()
	require.NoError(t, err)
	require.True(t, closing)
	require.NoError(t, s.wait(t))
	require.Equal(t, []string{"request", "worker", "cache", "database", "log"}, order)
}

func TestDrainServesForTheWholeDelay(t *testing.T) {
	slow(t)
	const delay = pause
	s := newService(t, lifecycle.Config{DrainDelay: delay, ShutdownTimeout: patience}, http.HandlerFunc(echo))
	idle := mustDial(t, s.addr) // the drain must not close it
	_, _, closing, err := idle.post("before")
	require.NoError(t, err)
	require.False(t, closing)
	begin := time.Now()
	s.start()
	s.signal()
	await(t, "the drain", s.Draining())

	time.Sleep(100 * time.Millisecond) // long enough for SetKeepAlivesEnabled(false) to have closed the idle connection
	_, answer, closing, err := idle.post("on an old connection")
	require.NoError(t, err)
	require.Equal(t, "on an old connection", answer)
	require.True(t, closing)
	_, answer, closing, err = mustDial(t, s.addr).post("on a new connection")
	require.NoError(t, err)
	require.Equal(t, "on a new connection", answer)
	require.True(t, closing)
	require.NoError(t, s.wait(t))
	require.GreaterOrEqual(t, time.Since(begin), delay)
}

func TestOverrunOfShutdownTimeout(t *testing.T) {
	slow(t)
	for name, watches := range map[string]bool{"watches its context": true, "ignores its context": false} {
		t.Run(name, func(t *testing.T) {
			started, release := make(chan struct{}), make(chan struct{})
			s := newService(t, lifecycle.Config{ShutdownTimeout: 100 * time.Millisecond}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(started)
				select {
				case <-r.Context().Done():
				case <-release:
				}
				if !watches {
					<-release
				}
				w.WriteHeader(http.StatusServiceUnavailable)
			}))
			stopped := false
			s.OnStop("database", patience, func(context.Context) error { stopped = true; return nil })
			c := mustDial(t, s.addr)
			require.NoError(t, c.send(http.MethodPost, "/", ""))
			await(t, "the request", started)
			s.start()
			s.signal()
			status, _, _, err := c.receive()
			if watches {
				require.NoError(t, err, "it could still answer")
				require.Equal(t, http.StatusServiceUnavailable, status)
			} else {
				require.Error(t, err, "it was cut off")
			}
			require.ErrorContains(t, s.wait(t), "requests were still running")
			require.True(t, stopped, "hooks run after an overrun too")
			close(release)
		})
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Run("in the drain", func(t *testing.T) {
		s := newService(t, lifecycle.Config{DrainDelay: time.Hour, ShutdownTimeout: time.Hour}, nil)
		s.start()
		s.signal()
		await(t, "the drain", s.Draining())
		time.Sleep(lifecycle.RepeatInterval)
		s.signal()
		require.ErrorIs(t, s.wait(t), lifecycle.ErrForced)
	})
	t.Run("in the shutdown", func(t *testing.T) {
		started := make(chan struct{})
		s := newService(t, lifecycle.Config{ShutdownTimeout: time.Hour}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(started)
			<-r.Context().Done()
		}))
		c := mustDial(t, s.addr)
		require.NoError(t, c.send(http.MethodPost, "/", ""))
		await(t, "the request", started)
		s.start()
		s.signal()
		await(t, "the drain", s.Draining())
		time.Sleep(lifecycle.RepeatInterval)
		s.signal()
		require.ErrorIs(t, s.wait(t), lifecycle.ErrForced)
	})
	t.Run("in a hook", func(t *testing.T) {
		s := newService(t, lifecycle.Config{ShutdownTimeout: time.Hour}, nil)
		reached, skipped := make(chan struct{}), true
		s.OnStop("later", time.Hour, func(context.Context) error { skipped = false; return nil })
		s.OnStop("hung", time.Hour, func(ctx context.Context) error { close(reached); <-ctx.Done(); return ctx.Err() })
		s.start()
		s.signal()
		await(t, "the hook", reached)
		time.Sleep(lifecycle.RepeatInterval)
		s.signal()
		require.ErrorIs(t, s.wait(t), lifecycle.ErrForced)
		require.True(t, skipped)
	})
}

// Supervisors signal a process and its group.
func TestRepeatedSignalIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals, result, done := make(chan os.Signal, 4), make(chan error, 1), make(chan struct{})
		p := lifecycle.New(lifecycle.Config{}, signals, zap.NewNop())
		p.OnStop("hung", time.Hour, func(context.Context) error { <-done; return nil })
		signals <- syscall.SIGTERM
		signals <- syscall.SIGHUP
		go func() { result <- p.Run() }()
		time.Sleep(lifecycle.RepeatInterval - time.Millisecond)
		signals <- syscall.SIGTERM
		synctest.Wait()
		require.Empty(t, result)
		time.Sleep(time.Millisecond)
		signals <- syscall.SIGTERM
		synctest.Wait()
		require.ErrorIs(t, <-result, lifecycle.ErrForced)
		close(done)
	})
}

// A log that blocks does not keep a signal from being acted on.
func TestSignalIsActedOnBeforeItIsLogged(t *testing.T) {
	release := make(chan struct{})
	signals, result := make(chan os.Signal, 1), make(chan error, 1)
	p := lifecycle.New(lifecycle.Config{}, signals, zap.New(blockingCore{zapcore.NewNopCore(), release}))
	go func() { result <- p.Run() }()
	signals <- syscall.SIGTERM
	await(t, "the drain", p.Draining())
	close(release)
	require.NoError(t, <-result)
}

type blockingCore struct {
	zapcore.Core
	release <-chan struct{}
}

func (c blockingCore) Check(_ zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	<-c.release
	return checked
}

func TestFirstSignalAfterAFailureDoesNotForce(t *testing.T) {
	s := newService(t, lifecycle.Config{DrainDelay: 200 * time.Millisecond, ShutdownTimeout: patience}, nil)
	s.Go("feed", func(context.Context) error { return errors.New("no more") })
	s.start()
	await(t, "the drain", s.Draining())
	s.signal()
	err := s.wait(t)
	require.ErrorContains(t, err, "no more")
	require.NotErrorIs(t, err, lifecycle.ErrForced)
}

func TestFailuresStopTheProcess(t *testing.T) {
	cause := errors.New("the tag feed is broken")
	cases := map[string]struct {
		begin func(s *service)
		want  string
	}{
		"worker error": {func(s *service) {
			s.Go("feed", func(context.Context) error { return cause })
		}, "worker feed: the tag feed is broken"},
		"worker panic": {func(s *service) {
			s.Go("feed", func(context.Context) error { panic("boom") })
		}, "worker feed: panic: boom"},
		"listener": {func(s *service) {
			ln, _ := net.Listen("tcp", "127.0.0.1:0")
			_ = ln.Close()
			s.Serve("broken", newServer(nil), ln)
		}, "broken: serving 127.0.0.1:"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newService(t, lifecycle.Config{ShutdownTimeout: patience}, nil)
			ran := false
			s.OnStop("hook", patience, func(context.Context) error { ran = true; return nil })
			c.begin(s)
			s.start()
			require.ErrorContains(t, s.wait(t), c.want)
			require.True(t, s.draining())
			require.True(t, ran)
		})
	}
}

func TestPanicOfAWorkerIsLoggedWithItsStack(t *testing.T) {
	s := newService(t, lifecycle.Config{}, nil)
	s.Go("feed", func(context.Context) error { panic("boom") })
	s.start()
	require.Error(t, s.wait(t))
	entries := s.logs.FilterMessage("panic").All()
	require.Len(t, entries, 1)
	require.Contains(t, entries[0].ContextMap()["stack"], "TestPanicOfAWorker")
}

func TestWorkerErrorAfterCancellation(t *testing.T) {
	s := newService(t, lifecycle.Config{}, nil)
	s.Go("feed", func(ctx context.Context) error { <-ctx.Done(); return errors.New("connection closed") })
	s.start()
	s.signal()
	require.NoError(t, s.wait(t), "cancelling its context may cause any error")
	require.Contains(t, lines(s.logs), "connection closed")
}

func TestWorkerErrorInTheDrainCounts(t *testing.T) {
	slow(t)
	s := newService(t, lifecycle.Config{DrainDelay: pause}, nil)
	s.Go("feed", func(context.Context) error { <-s.Draining(); return errors.New("broken in the drain") })
	s.start()
	s.signal()
	require.ErrorContains(t, s.wait(t), "broken in the drain")
}

func TestHungWorkerIsNamed(t *testing.T) {
	slow(t)
	s := newService(t, lifecycle.Config{}, nil)
	release := make(chan struct{})
	defer close(release)
	ran := false
	s.OnStop("database", patience, func(context.Context) error { ran = true; return nil })
	s.Go("well-behaved", func(ctx context.Context) error { <-ctx.Done(); return nil })
	s.Go("stubborn", func(context.Context) error { <-release; return nil })
	s.start()
	s.signal()
	err := s.wait(t)
	require.ErrorContains(t, err, "worker stubborn did not end within 5s")
	require.NotContains(t, err.Error(), "well-behaved")
	require.True(t, ran)
}

func TestHooksAreBounded(t *testing.T) {
	s := newService(t, lifecycle.Config{}, nil)
	release := make(chan struct{})
	defer close(release)
	ran := false
	s.OnStop("last", patience, func(context.Context) error { ran = true; return nil })
	s.OnStop("failing", patience, func(context.Context) error { return errors.New("disk full") })
	s.OnStop("panicking", patience, func(context.Context) error { panic("boom") })
	s.OnStop("hung", 50*time.Millisecond, func(context.Context) error { <-release; return nil })
	s.start()
	s.signal()
	err := s.wait(t)
	require.ErrorContains(t, err, "stopping hung: not done within 50ms")
	require.ErrorContains(t, err, "stopping panicking: panic: boom")
	require.ErrorContains(t, err, "stopping failing: disk full")
	require.Contains(t, lines(s.logs), "stopping hung")
	require.True(t, ran)
}

func TestNotUpSkipsTheDrain(t *testing.T) {
	s := newService(t, lifecycle.Config{DrainDelay: time.Hour, ShutdownTimeout: patience}, nil)
	s.Go("self check", func(context.Context) error { return fmt.Errorf("%w: refused", lifecycle.ErrNotUp) })
	s.start()
	require.ErrorIs(t, s.wait(t), lifecycle.ErrNotUp)
}

func TestFailedStartSkipsTheDrain(t *testing.T) {
	p := lifecycle.New(lifecycle.Config{DrainDelay: time.Hour}, nil, zap.NewNop())
	cause, order := errors.New("no such host"), []string{}
	p.OnStop("log", patience, func(context.Context) error { order = append(order, "log"); return nil })
	p.OnStop("database", patience, func(context.Context) error { order = append(order, "database"); return errors.New("stuck") })
	p.Go("worker", func(ctx context.Context) error { <-ctx.Done(); order = append(order, "worker"); return nil })
	p.Fail(cause)
	err := p.Run()
	require.ErrorIs(t, err, cause)
	require.ErrorContains(t, err, "stopping database: stuck")
	require.Equal(t, []string{"worker", "database", "log"}, order)
}

func TestLongPollEndsOnDraining(t *testing.T) {
	started := make(chan struct{})
	s := &service{}
	s = newService(t, lifecycle.Config{ShutdownTimeout: time.Hour}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-s.Draining()
		_, _ = io.WriteString(w, "nothing new")
	}))
	c := mustDial(t, s.addr)
	require.NoError(t, c.send(http.MethodGet, "/", ""))
	await(t, "the poll", started)
	s.start()
	s.signal()
	_, answer, closing, err := c.receive()
	require.NoError(t, err)
	require.Equal(t, "nothing new", answer)
	require.True(t, closing)
	require.NoError(t, s.wait(t))
}

func TestNotify(t *testing.T) {
	// Under nohup the signal is ignored, and processes that are started inherit that.
	heeded := make(chan os.Signal, 1)
	signal.Notify(heeded, syscall.SIGHUP)
	defer signal.Stop(heeded)
	ch, stop := lifecycle.Notify()
	defer stop()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		require.NoError(t, syscall.Kill(os.Getpid(), sig))
		require.Equal(t, sig, <-ch)
	}
	require.True(t, signal.Ignored(syscall.SIGPIPE))
	require.GreaterOrEqual(t, cap(ch), 3)
}

func TestServeAdminServesUntilTheHooks(t *testing.T) {
	s := newService(t, lifecycle.Config{ShutdownTimeout: patience}, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	reached := func() error {
		c, err := dial(ln.Addr().String())
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_, _, _, err = c.post("x")
		return err
	}
	var before, after, inWorker error
	s.OnStop("after it", patience, func(context.Context) error { after = reached(); return nil })
	s.ServeAdmin("admin", newServer(http.HandlerFunc(echo)), ln)
	s.OnStop("before it", patience, func(context.Context) error { before = reached(); return nil })
	s.Go("worker", func(ctx context.Context) error { <-ctx.Done(); inWorker = reached(); return nil })
	hanging := mustDial(t, ln.Addr().String())
	_, _, _, err = hanging.post("x")
	require.NoError(t, err)
	s.start()
	s.signal()
	require.NoError(t, s.wait(t))
	require.NoError(t, inWorker)
	require.NoError(t, before)
	require.Error(t, after)
}
