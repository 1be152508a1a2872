package lifecycle

import (
	"bytes"
	"context"
	"errors"
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
	"golang.org/x/net/http2"
)

// headerTimeout is longer than the machine is likely to be suspended: a header that the
// server reads too slowly is cut, too.
const headerTimeout = 5 * time.Second

// slowly runs a test in parallel, and skips it in short mode.
func slowly(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short waits for no timeouts")
	}
	t.Parallel()
}

// impatient returns a server with short timeouts, for HTTP/1 and HTTP/2.
func impatient() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: http.HandlerFunc(path), Protocols: protocols,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: time.Minute, IdleTimeout: time.Hour,
	}
}

// speakAfter opens connections that send their first byte after a silence of about
// the timeout of headers, and returns the errors of their requests.
func speakAfter(addr string, ask func(net.Conn) error) (failed []error) {
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	for i := range 100 {
		all.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				time.Sleep(headerTimeout - 10*time.Millisecond + time.Duration(i)*time.Millisecond)
				err = ask(conn)
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
			}
		})
	}
	all.Wait()
	return failed
}

func askHTTP1(conn net.Conn) error {
	answer, err := exchange(conn, "GET /first"+request+"GET /second HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
	if err == nil && (!strings.Contains(answer, "/first") || !strings.Contains(answer, "/second")) {
		err = errors.New(answer)
	}
	return err
}

// askHTTP2 sends the preface in two parts, and waits for the server's SETTINGS.
func askHTTP2(conn net.Conn) error {
	for _, part := range []string{clientPreface[:1], clientPreface[1:]} {
		if _, err := io.WriteString(conn, part); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	frame, err := framer.ReadFrame()
	if err == nil && frame.Header().Type != http2.FrameSettings {
		err = fmt.Errorf("got %v", frame)
	}
	return err
}

// exchange sends text and returns what the server sends until it closes conn.
func exchange(conn net.Conn, text string) (string, error) {
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

func TestSilentNewConnectionIsServed(t *testing.T) {
	slowly(t)
	s := track(t, impatient())
	s.start()
	for name, ask := range map[string]func(net.Conn) error{"HTTP/1": askHTTP1, "HTTP/2": askHTTP2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, speakAfter(s.ln.Addr().String(), ask))
		})
	}
}

// Negative control: the same clients and net/http alone.
func TestSilentNewConnectionFailsUntracked(t *testing.T) {
	slowly(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := impatient()
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	require.NotEmpty(t, speakAfter(ln.Addr().String(), askHTTP1))
}

// The header's clock begins with its first byte, on new and used connections.
func TestSlowHeaderIsCut(t *testing.T) {
	slowly(t)
	s := track(t, impatient())
	s.start()
	for name, text := range map[string]string{
		"one byte": "G", "three bytes": "GET", "half a header": "GET / HTTP/1.1\r\n", "half a preface": "PRI ",
	} {
		for _, used := range []bool{false, true} {
			if used && name == "half a preface" {
				continue
			}
			t.Run(fmt.Sprintf("%s, used %t", name, used), func(t *testing.T) {
				t.Parallel()
				c := s.dial(t, "")
				if used {
					c.send(t, "GET /before"+request)
					c.requireAnswer(t, "/before")
				}
				time.Sleep(headerTimeout + time.Second)
				c.send(t, text)
				begin := time.Now()
				answer, err := io.ReadAll(c.answers) // net/http answers 400 on some
				require.NotContains(t, string(answer), "200")
				require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "cut by the server, not by the test's deadline")
				require.GreaterOrEqual(t, time.Since(begin), headerTimeout/2)
			})
		}
	}
}

// The header of the second request is read with the first request, so that its body
// arrives first.
func TestSlowBodyAfterAHeaderThatWasReadAhead(t *testing.T) {
	slowly(t)
	srv := impatient()
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	s := track(t, srv)
	s.start()
	c := s.dial(t, "GET /"+request+"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\n")
	c.requireAnswer(t, "")
	for _, part := range []string{"ab", "cd"} {
		time.Sleep(headerTimeout + time.Second)
		c.send(t, part)
	}
	c.requireAnswer(t, "abcd")
}

func TestSilentNewConnectionIsClosedWhenIdle(t *testing.T) {
	srv := impatient()
	srv.IdleTimeout = 200 * time.Millisecond
	s := track(t, srv)
	s.start()
	begin := time.Now()
	s.dial(t, "").requireClosed(t)
	require.GreaterOrEqual(t, time.Since(begin), srv.IdleTimeout)
}

// A request that has arrived on a silent connection is answered; the others are closed,
// without the wait of net/http for new ones.
func TestDrainOfSilentConnections(t *testing.T) {
	s := track(t, impatient())
	s.start()
	silent, late := s.dial(t, ""), s.dial(t, "")
	require.Eventually(t, func() bool { return s.idle() == 2 }, time.Minute, time.Millisecond)
	time.Sleep(newConnGrace)
	s.stopAccepting(t)
	// The server does not run while the request arrives.
	s.mu.Lock()
	late.send(t, "GET /late"+request)
	s.mu.Unlock()
	begin := time.Now()
	s.drain(context.Background())
	require.NoError(t, s.Shutdown(context.Background()))
	require.Less(t, time.Since(begin), 5*time.Second, "net/http waits that long for new connections")
	late.requireAnswer(t, "/late")
	silent.requireClosed(t)
}

func TestFrames(t *testing.T) {
	var stream bytes.Buffer
	stream.WriteString(clientPreface)
	framer := http2.NewFramer(&stream, nil)
	framer.AllowIllegalWrites = true
	type end struct {
		at       int
		complete bool
	}
	ends := []end{{stream.Len(), true}}
	add := func(complete bool, err error) {
		require.NoError(t, err)
		ends = append(ends, end{stream.Len(), complete})
	}
	add(true, framer.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 20}))
	add(true, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("abc"), EndHeaders: true}))
	add(true, framer.WriteData(1, true, make([]byte, 70000)))
	add(false, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: []byte("abc")}))
	add(false, framer.WriteContinuation(3, false, nil))
	add(true, framer.WriteContinuation(3, true, []byte("d")))
	add(true, framer.WritePing(false, [8]byte{}))

	for _, step := range []int{1, 2, 7, 24, 1000, stream.Len()} {
		var f frames
		complete := map[int]bool{}
		for at := 0; at < stream.Len(); {
			next := min(at+step, stream.Len())
			f.arrive(stream.Bytes()[at:next])
			at = next
			complete[at] = f.complete()
			require.Equal(t, at >= len(clientPreface), f.http2())
		}
		for _, end := range ends {
			if got, ok := complete[end.at]; ok {
				require.Equal(t, end.complete, got, "%d bytes at a time, after %d", step, end.at)
				delete(complete, end.at)
			}
		}
		for at, got := range complete {
			require.Equal(t, at < len(clientPreface), got, "%d bytes at a time, after %d", step, at)
		}
	}
	for _, text := range []string{"GET / HTTP/1.1\r\n", "PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n", "POST"} {
		var f frames
		f.arrive([]byte(text))
		require.False(t, f.http2(), text)
	}
}
