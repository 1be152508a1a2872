package lifecycle

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"
)

const (
	// roomInterval is the time between two attempts to close a connection for one
	// that waits.
	roomInterval = 5 * time.Millisecond
	// responseGrace is longer than it takes to write the last response of an HTTP/2
	// connection that has become idle.
	responseGrace = 500 * time.Millisecond
	// firstGrace is how long a new connection is not taken for idle, as long as its
	// client has no more than its share: it is about to send its first request. It is
	// short, because so many connections can be new at a time.
	firstGrace = 100 * time.Millisecond
	// slowGrace is how long a client may take to send a header, a frame, or a body, or
	// may read nothing of a response, while others wait for its connection.
	slowGrace = 2 * time.Second
	// excessPause is how long a client with more connections than its share, such as a
	// proxy, may pause while it sends a body.
	excessPause = 100 * time.Millisecond
	// admission is how long a new HTTP/2 connection waits until another can be closed.
	admission = time.Second
	// fairShare is the divisor of a limit that gives the number of connections up to
	// which a client is like any other.
	fairShare = 16
	// clientBits is the length of the prefix of the IPv6 addresses of a client.
	clientBits = 64
)

var errTooManyHTTP2 = errors.New("too many HTTP/2 connections")

// peer is the connections of an IPv4 address, or of an IPv6 network.
type peer struct {
	prefix      netip.Prefix
	connections int
}

// join counts a connection of the address.
func (cs *connections) join(addr net.Addr) *peer {
	var prefix netip.Prefix
	if tcp, ok := addr.(*net.TCPAddr); ok {
		ip := tcp.AddrPort().Addr().Unmap()
		prefix, _ = ip.Prefix(min(clientBits, ip.BitLen()))
	}
	c := cs.peers[prefix]
	if c == nil {
		c = &peer{prefix: prefix}
		cs.peers[prefix] = c
	}
	c.connections++
	return c
}

func (cs *connections) leave(c *peer) {
	if c.connections--; c.connections == 0 {
		delete(cs.peers, c.prefix)
	}
}

// awaitRoom returns when there is room for another connection, or when closing is
// closed.
func (cs *connections) awaitRoom(closing <-chan struct{}) {
	for !cs.makeRoom() {
		select {
		case <-closing:
			return
		case <-time.After(roomInterval):
		}
	}
}

// makeRoom reports whether there is room for another connection. At the limit it closes
// one that waits for its client: the one that is idle longest, or else one whose client
// takes longer than slowGrace to send the rest of something, or to read. Clients with
// more connections than their share lose theirs first, and have less time to send. While
// no connection waits for its client, new ones wait in the kernel's queue.
func (cs *connections) makeRoom() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.limit <= 0 || len(cs.open) < cs.limit || cs.closeOne(func(*conn) bool { return true }, cs.limit/fairShare)
}

// admitHTTP2 counts a connection that turns out to be HTTP/2. If there are too many, it
// waits shortly for one that can be closed, and returns an error if there is none.
func (cs *connections) admitHTTP2() error {
	cs.mu.Lock()
	cs.http2++ // until it is closed
	cs.mu.Unlock()
	for end := time.Now().Add(admission); !cs.makeRoomHTTP2(); time.Sleep(roomInterval) {
		if time.Now().After(end) {
			cs.mu.Lock()
			defer cs.mu.Unlock()
			cs.closed.http2++
			return errTooManyHTTP2
		}
	}
	return nil
}

func (cs *connections) makeRoomHTTP2() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	isHTTP2 := func(c *conn) bool { return c.http2.Load() }
	return cs.limitHTTP2 <= 0 || cs.http2 <= cs.limitHTTP2 || cs.closeOne(isHTTP2, cs.limitHTTP2/fairShare)
}

// closeOne closes a connection among those that match, and reports whether there was
// one. The caller must hold mu.
func (cs *connections) closeOne(match func(*conn) bool, share int) bool {
	var first candidate
	excess := 0 // of the client with most connections among those that pause within a body
	for c, state := range cs.open {
		if !match(c) {
			continue
		}
		other, ok := c.candidate(state, share)
		if !ok && other.pause > 0 {
			excess = max(excess, other.excess)
		}
		if ok && other.before(first) && other.check() {
			first = other
		}
	}
	if first.excess == 0 && excess > 0 {
		return false // others don't lose connections because of this client
	}
	if first.conn == nil || !first.conn.closeIf(first.check) {
		return false
	}
	if first.idle {
		cs.closed.idle++
	} else {
		cs.closed.slow++
	}
	cs.remove(first.conn)
	return true
}

// candidate is a connection that may be closed for another one.
type candidate struct {
	wait
	conn *conn
	// excess is the number of the client's connections if it is above its share.
	excess int
}

// before reports whether c is to be closed rather than other.
func (c candidate) before(other candidate) bool {
	switch {
	case other.conn == nil:
		return true
	case c.excess != other.excess:
		return c.excess > other.excess
	case c.idle != other.idle:
		return c.idle
	default:
		return c.since.Before(other.since)
	}
}

// candidate returns c as a candidate, if the server seems to wait for its client, and
// reports whether the client has had enough time; check tells surely whether it waits. The
// caller must hold all.mu.
func (c *conn) candidate(state http.ConnState, share int) (candidate, bool) {
	w, ok := c.wait(state)
	if !ok {
		return candidate{}, false
	}
	grace, excess := w.grace, 0
	if c.peer.connections > share {
		grace, excess = w.excessGrace, c.peer.connections
	}
	waited := time.Since(w.since)
	return candidate{w, c, excess}, waited >= w.grace || waited >= grace && c.starvedFor() >= w.pause
}

// wait is a time for which a connection's server has waited for its client.
type wait struct {
	since time.Time
	idle  bool
	check func() bool
	// grace is how long the client may take. A client above its share may take
	// excessGrace, and then pause since the last byte.
	grace, excessGrace, pause time.Duration
}

// wait returns what the server seems to wait for, if it does. The caller must hold
// all.mu.
func (c *conn) wait(state http.ConnState) (wait, bool) {
	partial, writing := c.partialSince.Load(), c.writingSince.Load()
	switch {
	case writing != 0:
		return wait{since: c.at(writing), check: func() bool { return c.writingSince.Load() == writing }, grace: slowGrace, excessGrace: slowGrace}, true
	case c.starvedFor() == 0:
		return wait{}, false
	case c.writes > 0 && c.writes+c.bodies >= c.requests:
		return wait{since: c.writesSince, check: c.abandoned, grace: slowGrace, excessGrace: slowGrace}, true
	case state == http.StateActive && (c.bodies == 0 || c.bodies < c.requests):
		return wait{}, false
	case state == http.StateActive:
		return wait{since: c.begunAt, check: c.abandoned, grace: slowGrace, pause: excessPause}, true
	case partial != 0:
		return wait{since: c.at(partial), check: c.abandoned, grace: slowGrace}, true
	case state == http.StateNew && !c.received.Load():
		return wait{since: c.accepted, idle: true, check: c.idle, grace: firstGrace}, true
	case c.http2.Load() && !c.begunAt.IsZero(): // its last response may not be written yet
		return wait{since: c.unusedSince, idle: true, check: c.idle, grace: responseGrace, excessGrace: responseGrace / 10}, true
	default:
		return wait{since: c.unusedSince, idle: true, check: c.idle}, true
	}
}
