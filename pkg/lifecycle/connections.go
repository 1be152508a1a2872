package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// drain checks the connections at most drainChecks times, drainInterval apart,
	// which takes a second. A count, unlike a deadline, is not used up while the
	// machine is suspended.
	drainInterval = 2 * time.Millisecond
	drainChecks   = 500
	// newConnGrace is how long a new connection on which nothing has arrived is
	// not idle: its client is about to send a request.
	newConnGrace = 500 * time.Millisecond
)

// connections are the open connections of a server. http.Server.Shutdown closes
// an idle connection even if a request has arrived on it but was not read yet, and
// drops requests that are read later. Therefore drain closes the idle connections
// and waits until all requests that have arrived have begun, before Shutdown.
type connections struct {
	read func(fd int, into []byte) (int, error)
	mu   sync.Mutex
	open map[*conn]http.ConnState
}

// conn is a connection that reports whether it is idle.
type conn struct {
	*net.TCPConn
	raw      syscall.RawConn
	read     func(fd int, into []byte) (int, error)
	accepted time.Time
	// pending is the read in progress. The server has one at a time.
	pending struct {
		into []byte
		n    int
		err  error
	}
	// used is set by the first read. Only Read accesses it, so it needs no lock.
	used bool
	// received reports whether anything was read since the connection was last idle.
	received atomic.Bool
	// waiting reports whether the server waits for the first byte of a request.
	// It is cleared before bytes are read from the kernel, so at any time either the
	// kernel holds the bytes that have arrived, or waiting is false.
	waiting atomic.Bool
	// begun reports whether the request has reached the handler.
	begun, http2 atomic.Bool
}

// Read implements net.Conn.
func (c *conn) Read(into []byte) (int, error) {
	c.pending.into = into
	err := c.raw.Read(c.take)
	if err == nil {
		err = c.pending.err
	}
	c.pending.into = nil
	if err == nil || errors.Is(err, io.EOF) {
		return c.pending.n, err
	}
	// net/http checks Op.
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	return 0, &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// take reads from the kernel. It returns false if nothing has arrived; then the
// runtime calls it again when something has.
func (c *conn) take(fd uintptr) bool {
	c.waiting.Store(false)
	n, err := c.read(int(fd), c.pending.into)
	for errors.Is(err, syscall.EINTR) {
		n, err = c.read(int(fd), c.pending.into)
	}
	if errors.Is(err, syscall.EAGAIN) {
		c.waiting.Store(!c.received.Load())
		return false
	}
	c.pending.n, c.pending.err = max(n, 0), nil
	switch {
	case err != nil:
		c.pending.err = os.NewSyscallError("read", err)
	case n == 0 && len(c.pending.into) > 0:
		c.pending.err = io.EOF
	case n > 0:
		c.arrived(c.pending.into[:n])
	}
	return true
}

func (c *conn) arrived(data []byte) {
	if !c.used {
		c.http2.Store(bytes.HasPrefix(data, []byte("PRI ")))
	}
	c.used = true
	c.received.Store(true)
}

// idle reports whether nothing of a request has arrived. It must ask the kernel
// before it looks at waiting: bytes that the kernel no longer holds have cleared it.
func (c *conn) idle() bool {
	return !c.unread() && c.waiting.Load()
}

func (c *conn) closeIfIdle() bool {
	if !c.idle() {
		return false
	}
	// The machine may have been suspended since the first check.
	if !c.idle() {
		return false
	}
	_ = c.Close()
	return true
}

// unread reports whether the kernel holds bytes that were not read yet.
func (c *conn) unread() bool {
	n := 0
	err := c.raw.Control(func(fd uintptr) { // raw.Read would wait for the server's Read
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && n > 0
}

// connKey is the context key of a request's connection.
type connKey struct{}

// track registers the connections of srv, and returns the listener that srv must
// serve.
func (cs *connections) track(srv *http.Server, ln net.Listener) net.Listener {
	cs.read = syscall.Read
	cs.open = map[*conn]http.ConnState{}
	others := srv.ConnState
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		if others != nil {
			others(c, state)
		}
		if tracked, ok := c.(*conn); ok {
			cs.note(tracked, state)
		}
	}
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	handler := srv.Handler
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*conn); ok {
			c.begun.Store(true)
		}
		handler.ServeHTTP(w, r)
	})
	return listener{ln, cs}
}

type listener struct {
	net.Listener
	connections *connections
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if tcp, ok := accepted.(*net.TCPConn); ok && err == nil {
		return l.connections.add(tcp)
	}
	return accepted, err
}

func (cs *connections) add(tcp *net.TCPConn) (net.Conn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{TCPConn: tcp, raw: raw, read: cs.read, accepted: time.Now()}
	cs.note(c, http.StateNew)
	return c, nil
}

func (cs *connections) note(c *conn, state http.ConnState) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	switch state {
	case http.StateClosed, http.StateHijacked:
		delete(cs.open, c)
		return
	case http.StateIdle:
		c.received.Store(false)
		c.waiting.Store(false) // the server may hold bytes that it has read ahead
		c.begun.Store(false)
	}
	cs.open[c] = state
}

// drain closes the idle connections and waits until the server has begun every
// request that has arrived, for drainChecks at most. It must be called after the
// listener was closed.
func (cs *connections) drain(ctx context.Context) {
	for range drainChecks {
		if !cs.closeIdle() {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(drainInterval):
		}
	}
}

// closeIdle closes the idle connections and reports whether it must be called
// again. It ignores HTTP/2 connections: Shutdown sends GOAWAY on them.
func (cs *connections) closeIdle() (again bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c, state := range cs.open {
		switch {
		case c.begun.Load(), c.http2.Load():
		case state == http.StateNew && time.Since(c.accepted) < newConnGrace:
			again = true
		case c.closeIfIdle():
			delete(cs.open, c)
		default:
			again = true
		}
	}
	return again
}
