package lifecycle

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// settleTimeout bounds the wait for requests that have arrived and have not
	// been read yet.
	settleTimeout = time.Second
	// firstRequest is how long a new connection may be silent until it counts
	// as idle: whoever opens one is about to speak.
	firstRequest = 500 * time.Millisecond
)

// connections are those of one server. http.Server.Shutdown closes idle ones
// whether or not a request waits on them unread, and drops what it reads from
// then on: harmless on an idle machine, where nothing waits, and a request
// closed without an answer on a busy one. So they are settled before.
type connections struct {
	mu  sync.Mutex
	all map[*conn]http.ConnState
}

// conn knows how far the server is with what arrives on it.
type conn struct {
	*net.TCPConn
	opened time.Time
	read   bool // anything at all; used by its reader alone
	http2  atomic.Bool
	// Since the connection was last idle, spoke says that something was read,
	// begun that it has reached the handler. A request that is Active to
	// net/http and not begun is one that Shutdown would still drop.
	spoke, begun atomic.Bool
	silent       bool // when settle last looked; used by it alone
}

// Read implements net.Conn.
func (c *conn) Read(into []byte) (int, error) {
	n, err := c.TCPConn.Read(into)
	if n > 0 {
		if !c.read {
			c.read = true
			c.http2.Store(bytes.HasPrefix(into[:n], []byte("PRI ")))
		}
		c.spoke.Store(true)
	}
	return n, err
}

// waiting tells whether something has arrived that nobody has read.
func (c *conn) waiting() bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	arrived := 0
	err = raw.Control(func(fd uintptr) { // Read would wait for the server's own
		arrived, _, _ = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && arrived > 0
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// track makes the connections of srv known, and returns the listener to serve.
func (cs *connections) track(srv *http.Server, ln net.Listener) net.Listener {
	cs.all = map[*conn]http.ConnState{}
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
	return listener{ln}
}

type listener struct{ net.Listener }

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if tcp, ok := accepted.(*net.TCPConn); ok && err == nil {
		return &conn{TCPConn: tcp, opened: time.Now()}, nil
	}
	return accepted, err
}

func (cs *connections) note(c *conn, state http.ConnState) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	switch state {
	case http.StateClosed, http.StateHijacked:
		delete(cs.all, c)
	case http.StateIdle:
		c.spoke.Store(false)
		c.begun.Store(false)
		cs.all[c] = state
	default:
		cs.all[c] = state
	}
}

// settle closes the connections that are silent and waits, for settleTimeout at
// most, until the server has begun every request that has arrived.
func (cs *connections) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for cs.closeSilent() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// closeSilent closes what was silent the last time as well: between the two
// looks, what had just been read has become known. It tells whether to look
// again. HTTP/2 is left to Shutdown, which says goodbye to each client by GOAWAY.
func (cs *connections) closeSilent() (again bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c, state := range cs.all {
		switch {
		case c.begun.Load(), c.http2.Load():
			continue
		case state == http.StateActive, c.spoke.Load(), c.waiting(), state == http.StateNew && time.Since(c.opened) < firstRequest:
			c.silent = false
		case !c.silent:
			c.silent = true
		default:
			_ = c.Close()
			delete(cs.all, c)
			continue
		}
		again = true
	}
	return again
}
