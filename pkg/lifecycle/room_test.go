package lifecycle

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each of these keeps the server waiting.
var unfinished = map[string]string{
	"first byte":    "",
	"header":        "GET / HTTP/1.1\r\nHos",
	"body":          "POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: 500\r\n\r\n",
	"part of body":  "POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: 500\r\n\r\n1",
	"unread body":   "POST /ignore HTTP/1.1\r\nHost: test\r\nContent-Length: 500\r\n\r\n",
	"chunk":         "POST /read HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n",
	"second header": first + "GET",
	"preface":       clientPreface[:10],
	"frame":         clientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00",
}

const first = "GET /first" + request

// begin opens a connection from the address and sends text. If that begins with the
// request first, its response arrives before the rest is sent.
func (s *server) begin(t *testing.T, address, text string) *client {
	t.Helper()
	rest, again := strings.CutPrefix(text, first)
	if !again {
		return s.dialFrom(t, address, text)
	}
	c := s.dialFrom(t, address, first)
	c.requireAnswer(t, "/first")
	c.send(t, rest)
	return c
}

// awaitOpen returns when n connections are open, all of which wait for their clients
// or are in a handler.
func (s *server) awaitOpen(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c, state := range s.open {
			if _, waits := c.candidate(state, 0); !waits && c.requests == 0 {
				return false
			}
		}
		return len(s.open) == n
	}, time.Minute, time.Millisecond)
}

// ask sends a request from the address over a new connection and checks the response.
func (s *server) ask(t *testing.T, address, path string) {
	t.Helper()
	c := s.dialFrom(t, address, "GET "+path+request)
	c.requireAnswer(t, path)
	_ = c.Close()
}

// A client that has more connections than its share keeps nobody waiting, whatever it
// leaves unfinished, and loses its own connections only.
func TestRoomFromTheClientWithMost(t *testing.T) {
	for name, text := range unfinished {
		t.Run(name, func(t *testing.T) {
			s, entered, release := limited(t, 32, 32)
			other := s.dialFrom(t, "127.0.0.2", "GET /used"+request) // idle longest
			other.requireAnswer(t, "/used")
			busy := s.dialFrom(t, "127.0.0.3", "GET /slow"+request)
			<-entered
			for range 30 {
				s.begin(t, "127.0.0.9", text)
			}
			s.awaitOpen(t, 32)
			for i := range 50 {
				s.ask(t, fmt.Sprintf("127.0.0.%d", 10+i), "/x")
				s.begin(t, "127.0.0.9", text) // more from the same client
			}
			other.send(t, "GET /again"+request)
			other.requireAnswer(t, "/again")
			release()
			busy.requireAnswer(t, "/slow")
		})
	}
}

// Clients within their share have time to go on, but not for ever, and bytes that
// trickle in don't prolong it.
func TestRoomFromSlowClients(t *testing.T) {
	slowly(t)
	for name, text := range unfinished {
		if text == "" {
			continue // idle
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, _ := limited(t, 32, 32)
			clients := make([]*client, 32)
			for i := range clients {
				clients[i] = s.begin(t, fmt.Sprintf("127.0.1.%d", i/2+1), text)
			}
			s.awaitOpen(t, 32)
			newest := time.Now() // all wait since then at the latest
			s.mu.Lock()
			oldest := newest
			for c, state := range s.open {
				if waits, _ := c.candidate(state, 0); waits.since.Before(oldest) {
					oldest = waits.since
				}
			}
			s.mu.Unlock()
			if strings.Contains(name, "header") || strings.Contains(name, "body") {
				defer trickle(clients)()
			}
			s.ask(t, "127.0.2.1", "/x")
			require.Greater(t, time.Since(oldest), slowGrace)
			require.Equal(t, 1, s.closedForRoom())
		})
	}
}

// trickle sends a byte on each connection now and then, until stop is called.
func trickle(clients []*client) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for !closed(end) {
			for _, c := range clients {
				_, _ = io.WriteString(c, "x")
			}
			time.Sleep(slowGrace / 10)
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// Clients that hold as many connections as they get don't keep others out.
func TestRoomUnderAFlood(t *testing.T) {
	for name, text := range unfinished {
		t.Run(name, func(t *testing.T) {
			s, _, _ := limited(t, 480, 50) // as many end their pauses faster than new ones come
			var all sync.WaitGroup
			end := make(chan struct{})
			defer all.Wait()
			defer close(end)
			for range 4 {
				all.Go(func() {
					for !closed(end) {
						dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
						c, err := dialer.Dial("tcp", s.ln.Addr().String())
						if err != nil {
							continue
						}
						_, _ = io.WriteString(c, text)
						time.Sleep(time.Millisecond)
						defer func() { _ = c.Close() }()
					}
				})
			}
			for i := range 100 {
				s.ask(t, "127.0.0.1", fmt.Sprintf("/%d", i))
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			require.LessOrEqual(t, len(s.open), s.limit)
		})
	}
}

// Uploads that go on, and requests in progress, are never closed.
func TestRoomSparesTheBusy(t *testing.T) {
	s, entered, release := limited(t, 2, 0)
	busy := []*client{
		s.dial(t, "GET /slow"+request),
		s.dial(t, "POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n12345"),
	}
	<-entered
	<-entered
	waiting := s.dial(t, "GET /waiting"+request)
	require.Eventually(t, func() bool { return s.accepted.Load() == 3 }, time.Minute, time.Millisecond)
	require.False(t, s.makeRoom())
	release()
	waiting.requireAnswer(t, "/waiting")
	for _, c := range busy {
		c.requireAnswer(t, "/slow")
	}
}

// A client has time to send the first request of a connection, also if all others are
// in the middle of something.
func TestRoomSparesANewConnection(t *testing.T) {
	s, entered, release := limited(t, 2, 0)
	busy := s.dial(t, "GET /slow"+request)
	<-entered
	start := time.Now()
	fresh := s.dial(t, "")
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.closeOne(func(c *conn) bool { return c.requests == 0 }, 2)
	}, time.Minute, time.Millisecond)
	require.GreaterOrEqual(t, time.Since(start), firstGrace)
	fresh.requireClosed(t)
	release()
	busy.requireAnswer(t, "/slow")
}

// A client that reads nothing of a response keeps nobody waiting for longer than
// slowGrace, also while it pipelines small requests.
func TestRoomFromClientsThatDoNotRead(t *testing.T) {
	slowly(t)
	for name, requests := range map[string]string{
		"large response":  "GET /large" + request,
		"small responses": strings.Repeat("GET /x"+request, 200_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, _ := limited(t, 2, 0)
			for range 2 {
				unread := s.dial(t, "")
				go func() { _, _ = io.WriteString(unread, requests) }()
			}
			require.Eventually(t, func() bool { return s.writing() == 2 }, time.Minute, time.Millisecond)
			s.ask(t, "127.0.0.2", "/y")
			require.Equal(t, 1, s.closedForRoom())
		})
	}
}

// Nor does one that keeps the windows of its HTTP/2 streams closed.
func TestRoomFromClosedWindows(t *testing.T) {
	slowly(t)
	s, entered, release := limited(t, 100, 2)
	unread, busy := s.dialHTTP2(t), s.dialHTTP2(t)
	for stream := uint32(1); stream < 5; stream += 2 {
		unread.get(t, stream, "/large")
	}
	busy.get(t, 1, "/large")
	busy.get(t, 3, "/slow")
	<-entered
	require.Eventually(t, func() bool {
		return s.sum(func(c *conn) int { return c.writes }) == 3
	}, time.Minute, time.Millisecond)
	time.Sleep(slowGrace) // as long as the client may take
	next := s.dialHTTP2(t)
	next.get(t, 1, "/next")
	answer, err := next.await(1)
	require.NoError(t, err)
	require.Equal(t, "/next", answer)
	_, err = io.Copy(io.Discard, unread.answers)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is closed")
	require.Equal(t, 1, s.closedForRoom())
	release()
}

// sum returns the sum of a number of each connection.
func (s *server) sum(number func(*conn) int) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		n += number(c)
	}
	return n
}

// writing returns the number of connections whose clients have not read for a while.
func (s *server) writing() int {
	return s.sum(func(c *conn) int {
		if since := c.writingSince.Load(); since != 0 && time.Since(c.at(since)) > slowGrace/4 {
			return 1
		}
		return 0
	})
}

// A stream whose body doesn't come keeps no HTTP/2 connection open; one in progress does.
func TestRoomForHTTP2(t *testing.T) {
	s, entered, release := limited(t, 100, 2)
	stalled, busy := s.dialHTTP2(t), s.dialHTTP2(t)
	stalled.post(t, 1, "/read")
	busy.post(t, 1, "/read")
	busy.get(t, 3, "/slow")
	<-entered
	require.Eventually(t, func() bool {
		return s.sum(func(c *conn) int { return c.bodies }) == 2
	}, time.Minute, time.Millisecond)
	for range 3 {
		next := s.dialHTTP2(t)
		next.get(t, 1, "/next")
		answer, err := next.await(1)
		require.NoError(t, err)
		require.Equal(t, "/next", answer)
		require.NoError(t, next.Close())
		require.Eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.http2 == 1
		}, time.Minute, time.Millisecond)
	}
	_, err := stalled.await(1)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is closed")
	require.Error(t, err)
	release()
	answer, err := busy.await(3)
	require.NoError(t, err)
	require.Equal(t, "/slow", answer)
}

// post begins a request whose body does not come.
func (c *h2) post(t *testing.T, stream uint32, path string) {
	t.Helper()
	c.open(t, stream, http.MethodPost, path, false)
}

func TestPeers(t *testing.T) {
	cs := connections{}
	cs.track(&http.Server{}, nil)
	for _, one := range [][]string{
		{"192.0.2.1", "::ffff:192.0.2.1"},
		{"192.0.2.2"},
		{"2001:db8::1", "2001:db8::ffff:1"},
		{"2001:db8:0:1::1"},
	} {
		first := cs.join(&net.TCPAddr{IP: net.ParseIP(one[0])})
		require.Equal(t, 1, first.connections, strings.Join(one, " "))
		for _, same := range one[1:] {
			require.Same(t, first, cs.join(&net.TCPAddr{IP: net.ParseIP(same)}))
		}
	}
	require.Len(t, cs.peers, 4)
	for _, p := range cs.peers {
		for range p.connections {
			cs.leave(p)
		}
	}
	require.Empty(t, cs.peers)
}
