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
	// drainInterval is the time between two looks at the connections, and
	// drainLooks how many there are at most: a second's worth. They are counted,
	// and not timed, so that a machine that stands still takes none away.
	drainInterval = 2 * time.Millisecond
	drainLooks    = 500
	// newConnGrace is how long a new connection may be silent until it counts
	// as idle: whoever opens one is about to send a request.
	newConnGrace = 500 * time.Millisecond
)

// connections are the open connections of one server. http.Server.Shutdown
// closes idle connections whether or not a request waits on them unread, and
// drops each request that it reads from then on. So the idle connections are
// closed, and the requests that have arrived are begun, before it is called.
type connections struct {
	read func(fd int, into []byte) (int, error)
	mu   sync.Mutex
	open map[*conn]http.ConnState
}

// conn is a connection that knows whether anything has arrived on it.
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
	// spoke reports whether anything was read; it belongs to the reader.
	// received reports whether anything was since the connection was last idle.
	spoke    bool
	received atomic.Bool
	// waiting reports whether the server waits for the first byte of a request.
	// It is cleared before bytes are taken from the kernel: at every moment either the
	// kernel holds what has arrived, or waiting is false.
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
	// net/http recognises failed reads by Op.
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	return 0, &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// take reads what the kernel holds. It reports false if that is nothing; the
// runtime calls it again when something has arrived.
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
	if !c.spoke {
		c.http2.Store(bytes.HasPrefix(data, []byte("PRI ")))
	}
	c.spoke = true
	c.received.Store(true)
}

// idle reports whether nothing of a request has arrived. The kernel is asked first:
// what it no longer holds has cleared waiting before.
func (c *conn) idle() bool {
	return !c.unread() && c.waiting.Load()
}

func (c *conn) closeIfIdle() bool {
	if !c.idle() {
		return false
	}
	// The machine may have stood still since: the last thing before Close is a look.
	if !c.idle() {
		return false
	}
	_ = c.Close()
	return true
}

// unread reports whether the kernel holds bytes that nobody has read.
func (c *conn) unread() bool {
	n := 0
	err := c.raw.Control(func(fd uintptr) { // Read would wait for the server's own
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && n > 0
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// track makes the connections of srv known, and returns the listener to serve.
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
		c.waiting.Store(false) // until the server has looked for what it has read ahead
		c.begun.Store(false)
	}
	cs.open[c] = state
}

// drain closes the idle connections and waits, for drainLooks at most, until
// the server has begun every request that has arrived. It must be called when
// no connection is accepted any more.
func (cs *connections) drain(ctx context.Context) {
	for range drainLooks {
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

// closeIdle closes the idle connections and reports whether it has to be called
// again. HTTP/2 connections are left to Shutdown, which sends GOAWAY.
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
