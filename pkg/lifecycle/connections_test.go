package lifecycle

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Before Shutdown, each connection is dealt with by what has arrived on it.
func TestSettle(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "done")
	})}
	var all connections
	tracked := all.track(srv, ln)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(tracked) }()
	dial := func(text string) net.Conn {
		conn, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = io.WriteString(conn, text)
		require.NoError(t, err)
		return conn
	}
	read := func(conn net.Conn) error {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		_, err := conn.Read(make([]byte, 1000))
		return err
	}
	const request = " HTTP/1.1\r\nHost: test\r\n\r\n"
	slow := dial("GET /slow" + request)
	<-entered
	silent := dial("GET /" + request)
	require.NoError(t, read(silent))
	fresh := dial("")
	half := dial("GET / HTTP/1.1\r\n")
	require.Eventually(t, func() bool {
		all.mu.Lock()
		defer all.mu.Unlock()
		return len(all.all) == 4
	}, 10*time.Second, time.Millisecond, "all are accepted")

	began := time.Now()
	all.settle(context.Background())
	require.InDelta(t, settleTimeout.Seconds(), time.Since(began).Seconds(), 0.5, "half a request is waited for, but not for ever")
	require.ErrorIs(t, read(silent), io.EOF)
	require.ErrorIs(t, read(fresh), io.EOF, "it had its time to speak")
	_, err = io.WriteString(half, "Host: test\r\n\r\n")
	require.NoError(t, err)
	require.NoError(t, read(half), "the server still serves")

	began = time.Now()
	all.settle(context.Background())
	require.Less(t, time.Since(began), settleTimeout/2, "a request in its handler is for Shutdown to wait for")
	close(release)
	require.NoError(t, read(slow))
	require.NoError(t, srv.Shutdown(context.Background()))
	require.ErrorIs(t, <-served, http.ErrServerClosed)
}
