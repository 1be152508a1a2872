package lifecycle

import (
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// limited returns a started server whose requests to /slow end with release.
func limited(t *testing.T, limit, limitHTTP2 int) (s *server, entered chan struct{}, release func()) {
	t.Helper()
	entered, ended := make(chan struct{}, 100), make(chan struct{})
	release = sync.OnceFunc(func() { close(ended) })
	srv := impatient()
	srv.ReadHeaderTimeout, srv.Handler = time.Minute, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			entered <- struct{}{}
			<-ended
		case "/read":
			_, _ = io.Copy(io.Discard, r.Body)
		case "/large":
			_, _ = w.Write(make([]byte, 64<<20))
		}
		path(w, r)
	})
	s = track(t, srv)
	s.limit, s.limitHTTP2 = limit, limitHTTP2
	s.read = func(fd int, into []byte) (int, error) {
		if s.hold.Load() {
			return -1, syscall.EAGAIN
		}
		return syscall.Read(fd, into)
	}
	t.Cleanup(release)
	s.start()
	return s, entered, release
}

// used returns a connection that is idle after a request.
func (s *server) used(t *testing.T) *client {
	t.Helper()
	c := s.dial(t, "GET /used"+request)
	c.requireAnswer(t, "/used")
	return c
}

func (s *server) awaitIdle(t *testing.T, want int) {
	t.Helper()
	require.Eventually(t, func() bool { return s.idle() == want }, time.Minute, time.Millisecond)
}

func (s *server) closedForRoom() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed.idle + s.closed.slow
}

func TestLimitClosesTheLongestIdle(t *testing.T) {
	s, entered, release := limited(t, 4, 0)
	slow := s.dial(t, "GET /slow"+request) // older than the others, and never idle
	<-entered
	first := s.used(t)
	silent := s.dial(t, "")
	s.awaitIdle(t, 2)
	last := s.used(t)
	s.awaitIdle(t, 3)
	first.send(t, "GET /again"+request) // so silent is idle longest now
	first.requireAnswer(t, "/again")
	s.awaitIdle(t, 3)

	s.used(t)
	silent.requireClosed(t)
	s.awaitIdle(t, 3)
	s.used(t)
	last.requireClosed(t)
	s.awaitIdle(t, 3)
	s.used(t)
	first.requireClosed(t)
	require.Equal(t, 3, s.closedForRoom())
	release()
	slow.requireAnswer(t, "/slow")
}

func TestNoLimitClosesNothing(t *testing.T) {
	s, _, _ := limited(t, 0, 0)
	first := s.used(t)
	for range 20 {
		s.used(t)
	}
	first.send(t, "GET /again"+request)
	first.requireAnswer(t, "/again")
	require.Zero(t, s.closedForRoom())
}

// A connection whose request is in the kernel's buffer is not idle.
func TestLimitSparesARequestThatHasArrived(t *testing.T) {
	s, _, _ := limited(t, 2, 0)
	arrived := s.used(t)
	second := s.used(t)
	s.awaitIdle(t, 2)
	s.hold.Store(true)
	arrived.send(t, "GET /arrived HTTP/1.1\r\n")
	s.awaitIdle(t, 1)
	third := s.dial(t, "")
	second.requireClosed(t)
	s.hold.Store(false)
	arrived.send(t, "Host: test\r\n\r\n")
	arrived.requireAnswer(t, "/arrived")
	third.send(t, "GET /third"+request)
	third.requireAnswer(t, "/third")
}

// The second request was read with the first one.
func TestLimitSparesARequestThatWasReadAhead(t *testing.T) {
	s, entered, release := limited(t, 2, 0)
	c := s.dial(t, "GET /used"+request+"GET /slow"+request)
	c.requireAnswer(t, "/used")
	<-entered
	for range 5 {
		s.used(t)
		s.awaitIdle(t, 1)
	}
	release()
	c.requireAnswer(t, "/slow")
}

func TestConnectionWaitsWhileNoneIsIdle(t *testing.T) {
	s, entered, release := limited(t, 2, 0)
	busy := []*client{s.dial(t, "GET /slow"+request), s.dial(t, "GET /slow"+request)}
	<-entered
	<-entered
	waiting := s.dial(t, "GET /waiting"+request)
	time.Sleep(10 * roomInterval) // it would have been answered
	require.NoError(t, waiting.SetReadDeadline(time.Now()))
	_, err := waiting.Read(make([]byte, 1))
	require.Error(t, err)
	require.NoError(t, waiting.SetReadDeadline(time.Now().Add(time.Minute)))
	release()
	waiting.requireAnswer(t, "/waiting")
	for _, c := range busy {
		c.requireAnswer(t, "/slow")
	}
}

// The drain answers a connection that waits for room.
func TestDrainServesTheWaitingConnection(t *testing.T) {
	s, entered, release := limited(t, 1, 0)
	s.dial(t, "GET /slow"+request)
	<-entered
	waiting := s.dial(t, "GET /waiting"+request)
	require.Eventually(t, func() bool { return s.accepted.Load() == 2 }, time.Minute, time.Millisecond)
	require.False(t, s.makeRoom())
	s.stopAccepting(t)
	waiting.requireAnswer(t, "/waiting")
	release()
}

// h2 is an HTTP/2 connection whose server settings have arrived.
type h2 struct {
	*client
	*http2.Framer
}

func (s *server) dialHTTP2(t *testing.T) *h2 {
	t.Helper()
	c := s.dial(t, clientPreface)
	framer := http2.NewFramer(c.Conn, c.answers)
	require.NoError(t, framer.WriteSettings())
	return &h2{c, framer}
}

func (c *h2) get(t *testing.T, stream uint32, path string) {
	t.Helper()
	c.open(t, stream, http.MethodGet, path, true)
}

func (c *h2) open(t *testing.T, stream uint32, method, path string, end bool) {
	t.Helper()
	var block strings.Builder
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", method}, {":scheme", "http"}, {":authority", "test"}, {":path", path}} {
		require.NoError(t, encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: []byte(block.String()), EndHeaders: true, EndStream: end,
	}))
}

// await returns the data of the response on stream.
func (c *h2) await(stream uint32) (string, error) {
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return "", err
		}
		if data, ok := frame.(*http2.DataFrame); ok && data.StreamID == stream && len(data.Data()) > 0 {
			return string(data.Data()), nil
		}
	}
}

func TestLimitOfHTTP2(t *testing.T) {
	s, entered, release := limited(t, 100, 2)
	busy, idle := s.dialHTTP2(t), s.dialHTTP2(t)
	busy.get(t, 1, "/slow")
	<-entered
	idle.get(t, 1, "/x")
	answer, err := idle.await(1)
	require.NoError(t, err)
	require.Equal(t, "/x", answer)
	s.awaitIdle(t, 1)
	time.Sleep(responseGrace)

	third := s.dialHTTP2(t)
	_, err = idle.await(3)
	require.Error(t, err, "the idle connection is closed for the third one")
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	third.get(t, 1, "/slow")
	<-entered

	fourth := s.dialHTTP2(t) // while none is idle
	_, err = io.Copy(io.Discard, fourth.answers)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Equal(t, 1, s.closedForRoom())
	require.Equal(t, 1, s.closed.http2)
	s.used(t) // HTTP/1 is not affected
	release()
	for _, c := range []*h2{busy, third} {
		answer, err := c.await(1)
		require.NoError(t, err)
		require.Equal(t, "/slow", answer)
	}
	_ = busy.Close()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.http2 == 1
	}, time.Minute, time.Millisecond)
}

func TestAdminConnectionsAreBounded(t *testing.T) {
	p := New(Config{}, nil, zap.NewNop())
	srv := impatient()
	s := &server{Server: srv}
	var err error
	s.ln, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.ServeAdmin("admin", srv, s.ln)
	for range 2 * maxAdminConnections {
		s.used(t)
	}
	bounded := p.counted[0].connections
	bounded.mu.Lock()
	require.LessOrEqual(t, len(bounded.open), maxAdminConnections)
	require.GreaterOrEqual(t, bounded.closed.idle, maxAdminConnections)
	bounded.mu.Unlock()
	p.runHooks()
}

func TestConnectionMetrics(t *testing.T) {
	p := New(Config{MaxConnections: 64}, nil, zap.NewNop())
	cs := &connections{limit: 64, open: map[*conn]http.ConnState{{}: http.StateIdle}}
	cs.closed.idle, cs.closed.slow, cs.closed.http2 = 3, 1, 2
	p.count("http", cs)
	require.NoError(t, testutil.CollectAndCompare(prometheus.Collector(p), strings.NewReader(`
# HELP achilles_http_connections Open connections, by server.
# TYPE achilles_http_connections gauge
achilles_http_connections{server="http"} 1
# HELP achilles_http_connections_closed_total Connections closed because of the maximum, by server and reason: idle or slow for a new connection, or http2 for one too many of that protocol.
# TYPE achilles_http_connections_closed_total counter
achilles_http_connections_closed_total{reason="http2",server="http"} 2
achilles_http_connections_closed_total{reason="idle",server="http"} 3
achilles_http_connections_closed_total{reason="slow",server="http"} 1
# HELP achilles_http_connections_limit Maximum number of open connections, by server; 0 for none.
# TYPE achilles_http_connections_limit gauge
achilles_http_connections_limit{server="http"} 64
`)))
}
