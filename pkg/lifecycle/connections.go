package lifecycle

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
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
//
// At most limit connections are open at a time; see makeRoom.
type connections struct {
	read func(fd int, into []byte) (int, error)
	// limit is the maximum number of connections; 0 for none. limitHTTP2 is that of
	// HTTP/2 connections, each of which can have many requests.
	limit, limitHTTP2 int
	// idleTimeout and headerTimeout are those of the server; 0 for none.
	idleTimeout, headerTimeout time.Duration

	mu    sync.Mutex
	open  map[*conn]http.ConnState
	peers map[netip.Prefix]*peer
	http2 int
	// closed counts the connections closed for others, by reason.
	closed struct{ idle, slow, http2 int }
}

// connKey is the context key of a request's connection.
type connKey struct{}

// track registers the connections of srv, and returns the listener that srv must
// serve.
func (cs *connections) track(srv *http.Server, ln net.Listener) net.Listener {
	cs.read = syscall.Read
	cs.open, cs.peers = map[*conn]http.ConnState{}, map[netip.Prefix]*peer{}
	cs.idleTimeout = cmp.Or(srv.IdleTimeout, srv.ReadTimeout)
	cs.headerTimeout = cmp.Or(srv.ReadHeaderTimeout, srv.ReadTimeout)
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
			defer cs.end(c, cs.begin(c, r))
			if c.http2.Load() {
				w = &trackedWriter{w, c}
			}
		}
		handler.ServeHTTP(w, r)
	})
	return &listener{Listener: ln, connections: cs, closing: make(chan struct{})}
}

type listener struct {
	net.Listener
	connections *connections
	closeOnce   sync.Once
	closing     chan struct{}
}

// Accept implements net.Listener. After Close it still returns a connection that waits
// for others to be closed: its client would lose its request.
func (l *listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if tcp, ok := accepted.(*net.TCPConn); ok && err == nil {
		l.connections.awaitRoom(l.closing)
		return l.connections.add(tcp)
	}
	return accepted, err
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.closeOnce.Do(func() { close(l.closing) })
	return l.Listener.Close()
}

func (cs *connections) add(tcp *net.TCPConn) (net.Conn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{TCPConn: tcp, all: cs, raw: raw, read: cs.read, accepted: time.Now()}
	c.take = c.takePending
	if cs.idleTimeout > 0 {
		if err := tcp.SetReadDeadline(c.accepted.Add(cs.idleTimeout)); err != nil {
			return nil, err
		}
	}
	cs.note(c, http.StateNew)
	return c, nil
}

func (cs *connections) note(c *conn, state http.ConnState) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	old, known := cs.open[c]
	switch state {
	case http.StateClosed, http.StateHijacked:
		cs.remove(c)
		return
	case http.StateNew:
		if known { // by add, before net/http
			return
		}
	case http.StateIdle:
		c.begun.Store(false)
		if !c.http2.Load() { // else the server may wait for the next frame already
			c.requests, c.bodies = 0, 0
			c.partialSince.Store(0)
			c.received.Store(false)
			c.waiting.Store(false) // the server may hold bytes that it has read ahead
		}
	}
	if !known && state != http.StateNew {
		return // closed and removed already
	}
	cs.open[c] = state
	if !known {
		c.peer = cs.join(c.RemoteAddr())
	}
	if state != http.StateActive && (!known || old == http.StateActive) {
		c.unusedSince = time.Now()
	}
}

// remove is called by whoever closes the connection, and by net/http.
func (cs *connections) remove(c *conn) {
	if _, known := cs.open[c]; !known {
		return
	}
	delete(cs.open, c)
	cs.leave(c.peer)
	if c.http2.Load() {
		cs.http2--
	}
}

// awaitReading counts a response of an HTTP/2 connection that is written from now on or,
// with -1, not any more.
func (cs *connections) awaitReading(c *conn, n int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.writes == 0 {
		c.writesSince = time.Now()
	}
	c.writes += n
}

// begin is called when a request reaches the handler, and end when it leaves it. It
// returns the body of the request, nil if there is none.
func (cs *connections) begin(c *conn, r *http.Request) *trackedBody {
	c.begin()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.requests == 0 {
		c.begunAt = time.Now()
	}
	c.requests++
	if r.ContentLength == 0 {
		return nil
	}
	body := &trackedBody{ReadCloser: r.Body, conn: c}
	r.Body = body
	return body
}

// end counts a request that has ended. net/http reads what is left of a body before it
// goes on with an HTTP/1 connection: until then the body is awaited.
func (cs *connections) end(c *conn, body *trackedBody) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if body != nil && !body.ended && !c.http2.Load() {
		c.bodies++
		return
	}
	c.requests--
}

func (cs *connections) awaitBody(c *conn, n int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.bodies += n
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
			cs.remove(c)
		default:
			again = true
		}
	}
	return again
}
