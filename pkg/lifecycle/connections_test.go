package lifecycle

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	request = " HTTP/1.1\r\nHost: test\r\n\r\n"
	checks  = 20 // enough to close an idle connection
)

// server serves handler on tracked connections.
type server struct {
	*http.Server
	connections
	ln       net.Listener
	accepted atomic.Int64 // connections that the kernel has handed over
	served   chan error
	hold     atomic.Bool // see limited
}

// counting counts the connections that it accepts.
type counting struct {
	net.Listener
	accepted *atomic.Int64
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.accepted.Add(1)
	}
	return conn, err
}

// newServer returns a server that is not started yet.
func newServer(t *testing.T, handler http.HandlerFunc) *server {
	t.Helper()
	return track(t, &http.Server{ReadHeaderTimeout: time.Minute, Handler: handler})
}

func track(t *testing.T, srv *http.Server) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &server{Server: srv, served: make(chan error, 1)}
	s.ln = s.track(s.Server, counting{ln, &s.accepted})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (s *server) start() { go func() { s.served <- s.Serve(s.ln) }() }

// stopAccepting returns when every connection is registered.
func (s *server) stopAccepting(t *testing.T) {
	t.Helper()
	require.NoError(t, s.ln.Close())
	require.ErrorIs(t, <-s.served, net.ErrClosed)
}

// idle returns the number of idle connections.
func (s *server) idle() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, state := range s.open {
		if state != http.StateActive && !c.begun.Load() && c.idle() {
			n++
		}
	}
	return n
}

func (s *server) dial(t *testing.T, text string) *client {
	t.Helper()
	return s.dialFrom(t, "127.0.0.1", text)
}

// dialFrom opens a connection from an address of the loopback network.
func (s *server) dialFrom(t *testing.T, address, text string) *client {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := dialer.Dial("tcp", s.ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	c := &client{conn, bufio.NewReader(conn)}
	c.send(t, text)
	return c
}

type client struct {
	net.Conn
	answers *bufio.Reader
}

func (c *client) send(t *testing.T, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
}

// receive returns the body of the next answer.
func (c *client) receive() (string, error) {
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func (c *client) requireAnswer(t *testing.T, want string) {
	t.Helper()
	got, err := c.receive()
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func (c *client) requireClosed(t *testing.T) {
	t.Helper()
	_, err := c.answers.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

func path(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }

func TestDrainConnections(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-release
		}
		path(w, r)
	})
	s.start()
	slow := s.dial(t, "GET /slow"+request)
	<-entered
	used := s.dial(t, "GET /used"+request)
	used.requireAnswer(t, "/used")
	fresh := s.dial(t, "")
	half := s.dial(t, "GET /half HTTP/1.1\r\n")
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) == 4
	}, time.Minute, time.Millisecond, "all connections are accepted")
	s.stopAccepting(t)

	s.drain(context.Background())
	used.requireClosed(t)
	fresh.requireClosed(t)
	half.send(t, "Host: test\r\n\r\n")
	half.requireAnswer(t, "/half")

	close(release)
	slow.requireAnswer(t, "/slow")
	require.NoError(t, s.Shutdown(context.Background()))
}

func TestDrainDoesNotWaitForHandlers(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	s := newServer(t, func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	})
	s.start()
	slow := s.dial(t, "GET /slow"+request)
	<-entered
	s.stopAccepting(t)
	require.False(t, s.closeIdle())
	close(release)
	slow.requireAnswer(t, "")
}

// The server has read the request from the kernel, but Read has not returned yet.
func TestDrainSeesARequestThatIsBeingRead(t *testing.T) {
	for name, before := range map[string][]string{"new connection": nil, "used connection": {"/before"}} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, path)
			reads, taken, release := 0, make(chan struct{}), make(chan struct{})
			s.read = func(fd int, into []byte) (int, error) {
				n, err := syscall.Read(fd, into)
				if n > 0 {
					if reads++; reads == len(before)+1 {
						close(taken)
						<-release
					}
				}
				return n, err
			}
			s.start()
			c := s.dial(t, "")
			for _, path := range before {
				c.send(t, "GET "+path+request)
				c.requireAnswer(t, path)
			}
			require.Eventually(t, func() bool { return s.idle() == 1 }, time.Minute, time.Millisecond)
			finish := sync.OnceFunc(func() { close(release) })
			defer finish()
			c.send(t, "GET /last"+request)
			<-taken
			s.stopAccepting(t)
			time.Sleep(newConnGrace) // a younger connection is never closed
			for range checks {
				require.Zero(t, s.idle()) // Close would wait for the read
				require.True(t, s.closeIdle())
			}
			finish()
			s.drain(context.Background())
			c.requireAnswer(t, "/last")
		})
	}
}

// The second request is in the server's buffer while the first is answered.
func TestDrainSeesARequestThatWasReadAhead(t *testing.T) {
	s := newServer(t, path)
	note, again := s.ConnState, make(chan bool, checks)
	s.ConnState = func(c net.Conn, state http.ConnState) {
		note(c, state)
		for len(again) < checks && state == http.StateIdle {
			again <- s.closeIdle()
		}
	}
	s.start()
	c := s.dial(t, "GET /first"+request+"GET /second"+request)
	c.requireAnswer(t, "/first")
	c.requireAnswer(t, "/second")
	for range checks {
		require.True(t, <-again)
	}
}

// Reads of a tracked connection fail like those of net.TCPConn.
func TestReadErrors(t *testing.T) {
	accept := func(t *testing.T) (*conn, *net.TCPConn) {
		t.Helper()
		s := newServer(t, path)
		dialled, err := net.Dial("tcp", s.ln.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = dialled.Close() })
		accepted, err := s.ln.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { _ = accepted.Close() })
		return accepted.(*conn), dialled.(*net.TCPConn)
	}
	read := func(c net.Conn) error {
		n, err := c.Read(make([]byte, 10))
		require.Zero(t, n)
		return err
	}
	t.Run("end", func(t *testing.T) {
		c, client := accept(t)
		require.NoError(t, client.Close())
		require.Equal(t, io.EOF, read(c))
	})
	for name, provoke := range map[string]func(c *conn, client *net.TCPConn) error{
		"reset":    func(_ *conn, client *net.TCPConn) error { _ = client.SetLinger(0); return client.Close() },
		"closed":   func(c *conn, _ *net.TCPConn) error { return c.Close() },
		"deadline": func(c *conn, _ *net.TCPConn) error { return c.TCPConn.SetReadDeadline(time.Unix(1, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			c, client := accept(t)
			require.NoError(t, provoke(c, client))
			got, want := read(c), read(c.TCPConn)
			if name == "reset" { // it is reported once
				require.ErrorIs(t, got, syscall.ECONNRESET)
				want = &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: got.(*net.OpError).Err}
			}
			require.Equal(t, want, got)
		})
	}
}
