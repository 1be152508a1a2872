// Package lifecycle runs the servers and workers of a process, and stops them on
// a signal without failing a request: drain, shutdown, and stop hooks, in order
// and each with a timeout.
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

// A pod's grace period must exceed Config.DrainDelay + Config.ShutdownTimeout +
// workerTimeout + lastAnswerTimeout + the timeouts of all hooks.
const (
	// workerTimeout is how long the stop waits for the workers.
	workerTimeout = 5 * time.Second
	// lastAnswerTimeout is how long requests have to answer after their contexts
	// were cancelled at the end of Config.ShutdownTimeout.
	lastAnswerTimeout = time.Second
)

// ErrForced is returned by Process.Run if a second signal ended the stop early.
var ErrForced = errors.New("ended by a second signal before the stop was complete")

// Config holds the timeouts of the stop.
type Config struct {
	// DrainDelay is how long the process continues to serve after the signal,
	// while every response closes its connection. It must be longer than the
	// removal of the endpoint takes to reach every proxy.
	DrainDelay time.Duration
	// ShutdownTimeout is how long requests may take to finish after DrainDelay.
	// It should be at least 5 s: http.Server.Shutdown waits that long for a new
	// connection that has not sent anything.
	ShutdownTimeout time.Duration
	// MaxConnections is the maximum number of connections of each server that Serve
	// serves; 0 for none. At the maximum the connection that is idle longest is closed
	// for a new one. One in http2Share may be HTTP/2.
	MaxConnections int
}

const (
	// maxAdminConnections is the maximum of a server that ServeAdmin serves.
	maxAdminConnections = 32
	// http2Share bounds the number of requests on HTTP/2 connections, each of which has
	// many of them.
	http2Share = 32
)

// Process is one run of a service. Its methods may be called from any goroutine;
// Run must be called once.
type Process struct {
	cfg     Config
	signals <-chan os.Signal
	log     *zap.Logger

	draining  chan struct{}
	drainOnce sync.Once
	failed    chan struct{} // closed at the first failure
	replaced  chan struct{} // closed by HandOver
	released  chan struct{} // closed when the servers may accept connections

	// workers is cancelled after the last request, and requests when ShutdownTimeout
	// has passed. alive is their parent; a second signal cancels it.
	workers, requests, alive         context.Context
	stopWorkers, cutRequestsOff, end context.CancelFunc

	mu        sync.Mutex
	failures  []error
	servers   []*served
	running   []*worker
	hooks     []hook
	counted   []counted      // the connections of all servers
	listeners []net.Listener // of all servers
	shared    bool           // see ShareListeners
	commands  map[os.Signal]func()
	phases    []phase // of the stop, so far
}

type served struct {
	name        string
	srv         *http.Server
	ln          net.Listener
	connections connections
	done        chan struct{} // closed when Serve has returned
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

// New returns a Process that stops at the first value received from signals; see
// Notify.
func New(cfg Config, signals <-chan os.Signal, log *zap.Logger) *Process {
	p := &Process{
		cfg: cfg, signals: signals, log: log,
		draining: make(chan struct{}), failed: make(chan struct{}), replaced: make(chan struct{}), released: make(chan struct{}),
		commands: map[os.Signal]func(){},
	}
	close(p.released)
	p.alive, p.end = context.WithCancel(context.Background())
	p.workers, p.stopWorkers = context.WithCancel(p.alive)
	p.requests, p.cutRequestsOff = context.WithCancel(p.alive)
	return p
}

// Draining returns a channel that is closed when the stop begins. Long polls end
// then, and the readiness check fails.
func (p *Process) Draining() <-chan struct{} { return p.draining }

// Serve serves srv on ln until the stop has drained it. While the process
// drains, responses have the header "Connection: close". Serve sets
// srv.ConnContext and srv.BaseContext, and wraps srv.Handler and srv.ConnState.
// The contexts of requests are not cancelled by the signal, but when
// ShutdownTimeout has passed.
func (p *Process) Serve(name string, srv *http.Server, ln net.Listener) {
	handler := srv.Handler
	if handler == nil {
		handler = http.NotFoundHandler()
	}
	srv.Handler = closeWhenDraining(p.draining, handler)
	srv.BaseContext = func(net.Listener) context.Context { return p.requests }
	s := &served{name: name, srv: srv, done: make(chan struct{})}
	s.connections.limit, s.connections.limitHTTP2 = p.cfg.MaxConnections, (p.cfg.MaxConnections+http2Share-1)/http2Share
	s.ln = s.connections.track(srv, ln)
	p.mu.Lock()
	p.servers = append(p.servers, s)
	p.mu.Unlock()
	p.count(name, &s.connections)
	released := p.add(s.ln)
	go func() {
		defer close(s.done)
		p.startServer(name, srv, s.ln, released)
	}()
}

// ServeAdmin serves metrics and profiles during the stop as well: it adds a stop
// hook that shuts srv down, and waits at most a second for its requests. While the
// process drains, responses have the header "Connection: close".
func (p *Process) ServeAdmin(name string, srv *http.Server, ln net.Listener) {
	srv.Handler = closeWhenDraining(p.draining, srv.Handler)
	p.OnStop(name, 2*lastAnswerTimeout, func(context.Context) error {
		if p.shutdownWithin(srv, lastAnswerTimeout) != nil {
			_ = srv.Close()
		}
		return nil
	})
	bounded := &connections{limit: maxAdminConnections, limitHTTP2: maxAdminConnections}
	ln = bounded.track(srv, ln)
	p.count(name, bounded)
	go p.startServer(name, srv, ln, p.add(ln))
}

// startServer serves after released was closed.
func (p *Process) startServer(name string, srv *http.Server, ln net.Listener, released <-chan struct{}) {
	select {
	case <-released:
	case <-p.draining:
		_ = ln.Close()
		return
	}
	err := srv.Serve(ln)
	closing := errors.Is(err, net.ErrClosed) && closed(p.draining)
	if !closing && !errors.Is(err, http.ErrServerClosed) {
		p.Fail(fmt.Errorf("%s: serving %s: %w", name, ln.Addr(), err))
	}
}

// Go runs a worker in its own goroutine. Its context is cancelled after the last
// request. If the worker returns an error before that, or panics, the process
// stops, and Run returns the error. A worker may return nil at any time.
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
			// Cancelling the context may cause any error.
			p.log.Warn("worker ended with an error after it was told to stop", zap.String("worker", name), zap.Error(err))
		}
	}()
}

// OnStop adds a hook that Run calls after the last request and the last worker
// have ended. Like deferred calls, hooks run in the reverse order of their
// addition. The context of a hook ends after timeout; then Run calls the next hook
// without waiting for it, and returns an error that names it.
func (p *Process) OnStop(name string, timeout time.Duration, stop func(ctx context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hooks = append(p.hooks, hook{name, timeout, stop})
}

// Run waits for a signal that stops the process, for HandOver, or for a failure, and then stops the process: it closes
// Draining, serves for DrainDelay, shuts the servers down within ShutdownTimeout,
// cancels the workers, and runs the stop hooks. It returns all failures, joined,
// or nil if no failure began the stop and all of it succeeded. After a second signal
// it returns ErrForced at once, unless that follows the first within RepeatInterval.
func (p *Process) Run() error {
	defer p.end()
	signalled := p.awaitStop()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.stop()
	}()
	for {
		select {
		case <-stopped:
			p.logStopped()
			return p.err()
		case sig := <-p.signals:
			if !p.stops(sig) {
				continue
			}
			// After a failure or HandOver, the first signal is an ordinary request to
			// stop and must not cut off requests.
			if signalled.IsZero() {
				signalled = time.Now()
			}
			if time.Since(signalled) < RepeatInterval {
				p.log.Info("stopping already", zap.Stringer("signal", sig))
				continue
			}
			p.log.Warn("second signal: ending at once", zap.Stringer("signal", sig))
			return ErrForced
		}
	}
}

// awaitStop returns when the stop has to begin, with the time of the signal that asked
// for it, if it was one.
func (p *Process) awaitStop() (signalled time.Time) {
	for {
		select {
		case sig := <-p.signals:
			if !p.stops(sig) {
				continue
			}
			signalled = time.Now()
			p.beginDrain() // before anything that may block, such as a log
			p.log.Info("stopping", zap.Stringer("signal", sig))
			if failpoint.Enabled(failpoint.ExitOnSignal) {
				os.Exit(0)
			}
			return signalled
		case <-p.replaced:
			p.beginDrain()
			p.log.Info("stopping: another process serves from now on")
			return time.Time{}
		case <-p.failed:
			p.log.Error("stopping after a failure", zap.Error(p.err()))
			return time.Time{}
		}
	}
}

func (p *Process) beginDrain() { p.drainOnce.Do(func() { close(p.draining) }) }

func (p *Process) stop() {
	p.beginDrain()
	if failpoint.Enabled(failpoint.DisableKeepAlives) {
		p.disableKeepAlives()
	}
	p.releaseListeners()
	p.during("drain", p.drain)
	p.during("requests", p.shutdownServers)
	p.stopWorkers()
	p.during("workers", p.awaitWorkers)
	p.during("hooks", p.runHooks)
	p.cutRequestsOff()
}

func (p *Process) drain() {
	if !p.serving() || errors.Is(p.err(), errNotUp) {
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
	return len(p.servers) > 0 && closed(p.released)
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
	// The time of the drain does not count.
	ctx, cancel := context.WithTimeout(p.alive, p.cfg.ShutdownTimeout)
	defer cancel()
	// Shutdown drops requests that have arrived but not begun.
	_ = s.ln.Close()
	<-s.done
	s.connections.drain(ctx)
	err := s.srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		p.addFailure(fmt.Errorf("%s: requests were still running %s after the drain and were cut off; "+
			"raise the shutdown timeout or shorten the requests", s.name, p.cfg.ShutdownTimeout))
		// Handlers that watch their context can still answer, and end before
		// the database is closed.
		p.cutRequestsOff()
		if p.shutdownWithin(s.srv, lastAnswerTimeout) != nil {
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
	limit := time.After(workerTimeout)
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
			p.addFailure(fmt.Errorf("worker %s did not end within %s", w.name, workerTimeout))
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
		began := time.Now()
		if err := p.runHook(h); err != nil {
			p.addFailure(fmt.Errorf("stopping %s: %w", h.name, err))
		}
		p.log.Info("stop hook ended", zap.String("name", h.name), zap.Duration("took", time.Since(began)))
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
		return fmt.Errorf("not done within %s", h.timeout)
	}
}

// protect calls run, and returns a panic as an error after logging its stack.
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
