package lifecycle

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is a connection that reports whether it waits for its client. Its timeout for the
// header of a request begins with the first byte: until then the connection is idle.
// net/http begins that of the first request when it accepts the connection, so that a
// client which sends at the end of that time gets 400 or a reset.
type conn struct {
	*net.TCPConn
	all      *connections
	raw      syscall.RawConn
	read     func(fd int, into []byte) (int, error)
	accepted time.Time

	// all.mu guards these. unusedSince is when it was last without a request. begunAt is
	// when the first of the requests in progress began, of which bodies is the number
	// whose bodies are awaited.
	peer             *peer
	unusedSince      time.Time
	begunAt          time.Time
	requests, bodies int
	// writes is the number of responses that are written, if it is HTTP/2, and
	// writesSince is when it was last 0.
	writes      int
	writesSince time.Time

	// take is the method takePending, made once. pending is the read in progress: the
	// server has one at a time.
	take    func(fd uintptr) bool
	pending struct {
		into []byte
		n    int
		err  error
	}
	// used is set by the first read. It needs no lock: net/http begins to use the
	// connection in several goroutines only after that.
	used   bool
	frames frames
	// received reports whether anything was read since the connection was last idle.
	received atomic.Bool
	// waiting reports whether the server waits for the first byte of a request, or, with
	// HTTP/2, of a frame.
	// It is cleared before bytes are read from the kernel, so at any time either the
	// kernel holds the bytes that have arrived, or waiting is false.
	waiting atomic.Bool
	// These are times by age, or 0. starvedSince is when the server began to wait for bytes
	// of any kind. partialSince is when a part of a header, or of an HTTP/2 frame, had
	// arrived and the rest had not. writingSince is when the write in progress began: the
	// kernel takes what is written at once, unless the client doesn't read.
	starvedSince, partialSince, writingSince atomic.Int64
	// begun reports whether the request has reached the handler.
	begun, http2 atomic.Bool
}

// Read implements net.Conn.
func (c *conn) Read(into []byte) (int, error) {
	begins := !c.received.Load() && !c.http2.Load()
	c.pending.into = into
	err := c.raw.Read(c.take)
	if err == nil {
		err = c.pending.err
	}
	c.pending.into = nil
	if err == nil && begins && c.received.Load() {
		err = c.limitHeader()
	}
	if err == nil && c.frames.http2() && !c.http2.Load() {
		c.http2.Store(true)
		if err = c.all.admitHTTP2(); err != nil {
			_ = c.Close() // net/http reads on after an error
		}
	}
	if err == nil || errors.Is(err, io.EOF) {
		return c.pending.n, err
	}
	op, ok := err.(*net.OpError) // new for each call, so it may be changed
	if !ok {
		op = &net.OpError{Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
	}
	op.Op = "read" // net/http checks it
	return 0, op
}

// Write implements net.Conn.
func (c *conn) Write(data []byte) (int, error) {
	c.writingSince.Store(c.age())
	defer c.writingSince.Store(0)
	return c.TCPConn.Write(data)
}

// limitHeader sets the deadline for the rest of a header whose first bytes have
// arrived. net/http removes it from HTTP/2 connections after their preface.
func (c *conn) limitHeader() error {
	if c.all.headerTimeout <= 0 {
		return nil
	}
	return c.TCPConn.SetReadDeadline(time.Now().Add(c.all.headerTimeout))
}

// SetReadDeadline implements net.Conn. It does nothing until the first byte has
// arrived: a new connection has the deadline of an idle one.
func (c *conn) SetReadDeadline(deadline time.Time) error {
	if !c.used {
		return nil
	}
	return c.TCPConn.SetReadDeadline(deadline)
}

// takePending reads from the kernel. It returns false if nothing has arrived; then the
// runtime calls it again when something has.
func (c *conn) takePending(fd uintptr) bool {
	c.waiting.Store(false)
	c.starvedSince.Store(0)
	n, err := c.read(int(fd), c.pending.into)
	for errors.Is(err, syscall.EINTR) {
		n, err = c.read(int(fd), c.pending.into)
	}
	if errors.Is(err, syscall.EAGAIN) {
		c.await()
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

// await is called when nothing more has arrived.
func (c *conn) await() {
	http2 := c.http2.Load()
	complete := http2 && c.frames.complete() || !http2 && !c.received.Load()
	c.waiting.Store(complete)
	switch {
	case complete:
		c.partialSince.Store(0)
	case !c.begun.Load() || http2:
		c.partialSince.CompareAndSwap(0, c.age())
	}
	c.starvedSince.Store(c.age())
}

// begin is called when a request reaches the handler. If the server has read its header
// ahead, the bytes that arrive next are its body, not the beginning of a header.
func (c *conn) begin() {
	c.begun.Store(true)
	if !c.http2.Load() {
		c.received.Store(true)
		c.partialSince.Store(0)
	}
}

func (c *conn) arrived(data []byte) {
	if !c.used {
		c.used = true
	}
	c.received.Store(true)
	c.frames.arrive(data)
}

// idle reports whether nothing of a request has arrived. It must ask the kernel
// before it looks at waiting: bytes that the kernel no longer holds have cleared it.
func (c *conn) idle() bool {
	return !c.unread() && c.waiting.Load()
}

func (c *conn) closeIfIdle() bool { return c.closeIf(c.idle) }

// closeIf closes the connection if the condition is true, twice: the machine may have
// been suspended since the first check.
func (c *conn) closeIf(condition func() bool) bool {
	for range 2 {
		if !condition() {
			return false
		}
	}
	_ = c.Close()
	return true
}

// abandoned reports whether the server waits for the rest of something whose first part
// has arrived. Like idle, it must ask the kernel first.
func (c *conn) abandoned() bool {
	return !c.unread() && c.starvedFor() > 0
}

// starvedFor returns how long the server has waited for bytes of any kind, or 0.
func (c *conn) starvedFor() time.Duration {
	since := c.starvedSince.Load()
	if since == 0 {
		return 0
	}
	return max(1, time.Duration(c.age()-since))
}

// age returns the time since the connection was accepted, in nanoseconds and at least 1.
func (c *conn) age() int64 { return max(1, int64(time.Since(c.accepted))) }

// at returns the time at an age.
func (c *conn) at(age int64) time.Time { return c.accepted.Add(time.Duration(age)) }

// unread reports whether the kernel holds bytes that were not read yet.
func (c *conn) unread() bool {
	n := 0
	err := c.raw.Control(func(fd uintptr) { // raw.Read would wait for the server's Read
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && n > 0
}

// trackedBody is the body of a request whose connection counts who waits for it.
type trackedBody struct {
	io.ReadCloser
	conn  *conn
	ended bool
}

// Read implements io.Reader.
func (b *trackedBody) Read(p []byte) (int, error) {
	b.conn.all.awaitBody(b.conn, 1)
	defer b.conn.all.awaitBody(b.conn, -1)
	n, err := b.ReadCloser.Read(p)
	b.ended = err != nil
	return n, err
}

// trackedWriter writes a response to an HTTP/2 connection, which counts who waits for the
// client to read it.
type trackedWriter struct {
	http.ResponseWriter
	conn *conn
}

// Write implements http.ResponseWriter.
func (w *trackedWriter) Write(p []byte) (int, error) {
	w.conn.all.awaitReading(w.conn, 1)
	defer w.conn.all.awaitReading(w.conn, -1)
	return w.ResponseWriter.Write(p)
}

// Unwrap is used by http.ResponseController.
func (w *trackedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
