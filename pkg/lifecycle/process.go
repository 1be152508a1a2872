// Package lifecycle starts what a service consists of and stops it so that no
// client notices: signals, serving, drain, and an ordered, bounded end.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/failpoint"
)

// WorkerTimeout bounds how long the stop waits for the workers started by
// Process.Go, and LastAnswerTimeout how long requests cut short by an
// exhausted Config.ShutdownTimeout have to answer all the same. A grace period
// given from outside has to leave room for both.
const (
	WorkerTimeout     = 5 * time.Second
	LastAnswerTimeout = time.Second
)

// ErrForced is the error of Process.Run when a second signal cut the stop
// short.
var ErrForced = errors.New("ended by a second signal before the stop was complete")

// Config holds the windows of the stop.
type Config struct {
	// DrainDelay is how long the process goes on serving after it was told to
	// stop, with every answer closing its connection. It has to be longer than
	// the removal of the endpoint takes to reach every proxy.
	DrainDelay time.Duration
	// ShutdownTimeout is how long requests may take to finish after that.
	// net/http counts a new, still silent connection as idle only after 5 s:
	// anything shorter can turn such a connection into an overrun.
	ShutdownTimeout time.Duration
}

// Process is one run of a service, from its first listener to its last hook.
// Its methods may be called from any goroutine; Run is called once.
type Process struct {
	cfg     Config
	signals <-chan os.Signal
	log     *zap.Logger

	draining  chan struct{}
	drainOnce sync.Once
	failed    chan struct{} // closed at the first failure

	// workers ends when workers must stop, requests when the requests that
	// outlived ShutdownTimeout must, alive when a second signal ends it all.
	workers, requests, alive         context.Context
	stopWorkers, cutRequestsOff, end context.CancelFunc

	mu       sync.Mutex
	failures []error
	servers  []*served
	running  []*worker
	hooks    []hook
}

type served struct {
	name        string
	srv         *http.Server
	ln          net.Listener
	connections connections
	done        chan struct{} // closed when nothing is accepted any more
}

type worker struct {
	name string
	done chan struct{}
}

type hook struct {
	name    string
	timeout time.Duration
	stop    func(ctx context.Context) error
}

// New returns a process that stops at the first of signals, which comes from
// Notify.
func New(cfg Config, signals <-chan os.Signal, log *zap.Logger) *Process {
	p := &Process{
		cfg: cfg, signals: signals, log: log,
		draining: make(chan struct{}), failed: make(chan struct{}),
	}
	p.alive, p.end = context.WithCancel(context.Background())
	p.workers, p.stopWorkers = context.WithCancel(p.alive)
	p.requests, p.cutRequestsOff = context.WithCancel(p.alive)
	return p
}

// Draining is closed when the stop begins. Long polls end on it, and readiness
// turns 503.
func (p *Process) Draining() <-chan struct{} { return p.draining }

// IsDraining tells whether the stop has begun.
func (p *Process) IsDraining() bool { return closed(p.draining) }

// Context ends when workers must stop: after the last request.
func (p *Process) Context() context.Context { return p.workers }

// Listen serves srv on ln, from now until the stop has drained it. It wraps
// srv.Handler in CloseWhenDraining, adds to srv.ConnState and sets srv.BaseContext: the contexts of
// requests outlive the signal and are cancelled only when ShutdownTimeout has
// run out.
func (p *Process) Listen(name string, srv *http.Server, ln net.Listener) {
	handler := srv.Handler
	if handler == nil {
		handler = http.NotFoundHandler()
	}
	srv.Handler = CloseWhenDraining(p.draining, handler)
	srv.BaseContext = func(net.Listener) context.Context { return p.requests }
	s := &served{name: name, srv: srv, done: make(chan struct{})}
	s.ln = s.connections.track(srv, ln)
	p.mu.Lock()
	p.servers = append(p.servers, s)
	p.mu.Unlock()
	go func() {
		defer close(s.done)
		p.serve(name, srv, s.ln)
	}()
}

// ServeAdmin serves srv on ln until the hooks run, in whose order it stands
// like one added by OnStop: for the listener of metrics and profiles, which is
// to be there while everything else stops. Its requests are not waited for
// longer than LastAnswerTimeout.
func (p *Process) ServeAdmin(name string, srv *http.Server, ln net.Listener) {
	p.OnStop(name, 2*LastAnswerTimeout, func(context.Context) error {
		if p.shutdownWithin(srv, LastAnswerTimeout) != nil {
			_ = srv.Close()
		}
		return nil
	})
	go p.serve(name, srv, ln)
}

func (p *Process) serve(name string, srv *http.Server, ln net.Listener) {
	err := srv.Serve(ln)
	closing := errors.Is(err, net.ErrClosed) && p.IsDraining()
	if !closing && !errors.Is(err, http.ErrServerClosed) {
		p.Fail(fmt.Errorf("%s: serving %s: %w", name, ln.Addr(), err))
	}
}

// Go runs a worker. Its context ends after the last request has been answered;
// an error it returns before that, or a panic, stops the process and becomes
// part of Run's error. A worker that returns nil has done its work.
func (p *Process) Go(name string, run func(ctx context.Context) error) {
	w := &worker{name: name, done: make(chan struct{})}
	p.mu.Lock()
	p.running = append(p.running, w)
	p.mu.Unlock()
	go func() {
		defer close(w.done)
		err := p.protect(name, func() error { return run(p.workers) })
		switch {
		case err == nil:
		case p.workers.Err() == nil:
			p.Fail(fmt.Errorf("worker %s: %w", name, err))
		case !errors.Is(err, context.Canceled):
			// Told to stop, a worker may meet any error on its way out.
			p.log.Warn("worker ended with an error after it was told to stop", zap.String("worker", name), zap.Error(err))
		}
	}()
}

// OnStop adds what has to be released at the end of the stop. Like deferred
// calls the hooks run last added first, after the requests and the workers.
// Each gets a context of the given timeout; one that overruns it is named in
// the log and in Run's error, is left behind, and the next one runs.
func (p *Process) OnStop(name string, timeout time.Duration, stop func(ctx context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hooks = append(p.hooks, hook{name, timeout, stop})
}

// Run waits for a signal or a failure and then stops the process: it announces
// the drain, goes on serving for DrainDelay, shuts the servers down within
// ShutdownTimeout, ends the workers and runs the hooks. It returns nil after a
// complete stop that a signal asked for, else every failure, joined. A second
// signal makes it return ErrForced at once, whatever is still going on.
func (p *Process) Run() error {
	defer p.end()
	signalled := false
	select {
	case sig := <-p.signals:
		signalled = true
		p.log.Info("stopping", zap.Stringer("signal", sig))
		if failpoint.Enabled(failpoint.ExitOnSignal) {
			os.Exit(0)
		}
	case <-p.failed:
		p.log.Error("stopping after a failure", zap.Error(p.err()))
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.stop()
	}()
	for {
		select {
		case <-stopped:
			p.log.Info("stopped")
			return p.err()
		case sig := <-p.signals:
			// After a failure the first signal is somebody's ordinary request
			// to stop, which must not cost the requests in flight.
			if signalled {
				p.log.Warn("second signal: ending at once", zap.Stringer("signal", sig))
				return ErrForced
			}
			signalled = true
			p.log.Info("stopping already", zap.Stringer("signal", sig))
		}
	}
}

func (p *Process) stop() {
	p.drainOnce.Do(func() { close(p.draining) })
	if failpoint.Enabled(failpoint.DisableKeepAlives) {
		p.disableKeepAlives()
	}
	p.drain()
	p.shutdownServers()
	p.stopWorkers()
	p.awaitWorkers()
	p.runHooks()
	p.cutRequestsOff()
}

func (p *Process) drain() {
	if !p.serving() || errors.Is(p.err(), ErrNotUp) {
		return // no client was ever sent here
	}
	if failpoint.Enabled(failpoint.SkipDrain) {
		return
	}
	p.log.Info("draining: still serving, but not ready any more", zap.Duration("for", p.cfg.DrainDelay))
	select {
	case <-time.After(p.cfg.DrainDelay):
	case <-p.alive.Done():
	}
}

func (p *Process) serving() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.servers) > 0
}

func (p *Process) shutdownServers() {
	p.mu.Lock()
	servers := p.servers
	p.mu.Unlock()
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(func() { p.shutdown(s) })
	}
	all.Wait()
}

func (p *Process) shutdown(s *served) {
	p.log.Info("shutting down: finishing requests", zap.String("server", s.name), zap.Duration("within", p.cfg.ShutdownTimeout))
	// A fresh context: the drain must not eat into this window.
	ctx, cancel := context.WithTimeout(p.alive, p.cfg.ShutdownTimeout)
	defer cancel()
	// Shutdown drops requests that it has not begun, so none is left to it.
	_ = s.ln.Close()
	<-s.done
	s.connections.drain(ctx)
	err := s.srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		p.addFailure(fmt.Errorf("%s: requests were still running %s after the drain and were cut off; "+
			"raise the shutdown timeout or shorten the requests", s.name, p.cfg.ShutdownTimeout))
		// Those who heed their context can still answer, and are done with the
		// database before it is closed.
		p.cutRequestsOff()
		if p.shutdownWithin(s.srv, LastAnswerTimeout) != nil {
			_ = s.srv.Close()
		}
		return
	}
	if p.alive.Err() != nil {
		_ = s.srv.Close()
		return
	}
	if err != nil {
		p.addFailure(fmt.Errorf("%s: shutting down: %w", s.name, err))
	}
}

func (p *Process) shutdownWithin(srv *http.Server, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(p.alive, limit)
	defer cancel()
	return srv.Shutdown(ctx)
}

func (p *Process) awaitWorkers() {
	p.mu.Lock()
	running := p.running
	p.mu.Unlock()
	limit := time.After(WorkerTimeout)
	expired := false
	for _, w := range running {
		if !expired {
			select {
			case <-w.done:
			case <-limit:
				expired = true
			case <-p.alive.Done():
				return
			}
		}
		if expired && !closed(w.done) {
			p.addFailure(fmt.Errorf("worker %s did not end within %s", w.name, WorkerTimeout))
		}
	}
}

func (p *Process) runHooks() {
	for {
		p.mu.Lock()
		if len(p.hooks) == 0 || p.alive.Err() != nil {
			p.mu.Unlock()
			return
		}
		last := len(p.hooks) - 1
		h := p.hooks[last]
		p.hooks = p.hooks[:last]
		p.mu.Unlock()
		p.log.Debug("running a stop hook", zap.String("name", h.name))
		if err := p.runHook(h); err != nil {
			p.addFailure(fmt.Errorf("stopping %s: %w", h.name, err))
		}
	}
}

func (p *Process) runHook(h hook) error {
	ctx, cancel := context.WithTimeout(p.alive, h.timeout)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- p.protect(h.name, func() error { return h.stop(ctx) }) }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		if p.alive.Err() != nil {
			return ErrForced
		}
		return fmt.Errorf("not done within %s, left behind", h.timeout)
	}
}

// protect turns a panic of run into an error and logs its stack.
func (p *Process) protect(name string, run func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			p.log.Error("panic", zap.String("in", name), zap.Any("value", value), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("panic: %v", value)
		}
	}()
	return run()
}

// Fail makes Run stop the process and return err among its errors. Call it and
// then Run if the start fails: the hooks that OnStop has added so far run as in
// any other stop.
func (p *Process) Fail(err error) {
	p.addFailure(err)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !closed(p.failed) {
		close(p.failed)
	}
}

func (p *Process) addFailure(err error) {
	p.log.Error("failure", zap.Error(err))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures = append(p.failures, err)
}

func (p *Process) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.failures...)
}
