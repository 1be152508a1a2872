package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/server"
)

func TestReadHeaderTimeout(t *testing.T) {
	cfg := server.Default()
	cfg.ReadHeaderTimeout = 200 * time.Millisecond
	f := start(t, cfg, twoRoutes)
	c, reader := f.raw(t, "GET /api/v1/tags HTTP/1.1\r\n")
	go func() { // a byte now and then
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(c, "X-%d: y\r\n", i); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	_, err := reader.ReadByte()
	require.Error(t, err, "the connection is closed without a response")
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "closed by the server, not by the test's deadline")
	_ = c.Close()
	require.Zero(t, f.logs.FilterMessage("request").Len())
}

func TestReadTimeout(t *testing.T) {
	cfg := server.Default()
	cfg.ReadHeaderTimeout, cfg.ReadTimeout = patience, 300*time.Millisecond
	read := make(chan error, 1)
	f := start(t, cfg, func(e *gin.Engine) {
		e.POST("/", func(c *gin.Context) {
			_, err := io.ReadAll(c.Request.Body)
			read <- err
			c.Status(http.StatusRequestTimeout)
		})
	})
	c, reader := f.raw(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
	go func() {
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err, "the error response can still be sent")
	_ = response.Body.Close()
	require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
	require.True(t, response.Close)
	require.ErrorContains(t, <-read, "timeout")
	_ = c.Close()
}

func TestIdleConnectionIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := server.Default()
		here, stop := piped(t, cfg, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		defer stop()
		reader := bufio.NewReader(here)
		for range 3 {
			_, err := fmt.Fprint(here, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			require.NoError(t, err)
			response, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			_ = response.Body.Close()
			time.Sleep(cfg.IdleTimeout - time.Second) // the other timeouts must not count here
		}
		begin := time.Now()
		_, err := reader.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, time.Second, time.Since(begin))
	})
	require.Equal(t, 620*time.Second, server.Default().IdleTimeout)
}

// piped serves handler on one connection, without the network, so that time may be that
// of synctest. stop ends the server.
func piped(t *testing.T, cfg server.Config, handler http.Handler) (client net.Conn, stop func()) {
	t.Helper()
	client, served := net.Pipe()
	ln := &single{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	ln.conn <- served
	srv := server.NewHTTPServer(cfg, handler, zap.NewNop())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	return client, func() {
		_ = client.Close()
		_ = srv.Close()
		require.ErrorIs(t, <-ended, http.ErrServerClosed)
	}
}

// single is a listener that accepts one connection.
type single struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (s *single) Accept() (net.Conn, error) {
	select {
	case c := <-s.conn:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *single) Close() error   { close(s.closed); return nil }
func (s *single) Addr() net.Addr { return &net.TCPAddr{} }

func TestHeaderTooLarge(t *testing.T) {
	f := start(t, server.Default(), twoRoutes)
	_, reader := f.raw(t, "GET /api/v1/tags HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("y", 14<<10)+"\r\nConnection: close\r\n\r\n")
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	_ = response.Body.Close()
	require.Equal(t, 200, response.StatusCode)

	_, reader = f.raw(t, "GET /api/v1/tags HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("y", 21<<10)+"\r\n\r\n")
	response, err = http.ReadResponse(reader, nil)
	require.NoError(t, err)
	_ = response.Body.Close()
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, response.StatusCode)
}

func TestServersLogThroughZap(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	for _, srv := range []*http.Server{
		server.NewHTTPServer(server.Default(), nil, zap.New(core)),
		server.NewAdminServer(nil, zap.New(core)),
	} {
		srv.ErrorLog.Print("http: oops")
		require.NotZero(t, srv.ReadHeaderTimeout)
		require.NotZero(t, srv.IdleTimeout)
	}
	require.Equal(t, 2, logs.FilterMessage("http: oops").FilterLevelExact(zapcore.WarnLevel).Len())
	require.Zero(t, server.NewAdminServer(nil, zap.NewNop()).WriteTimeout, "profiles may take long")
}

func TestListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port

	cfg := server.Default()
	cfg.Host, cfg.AdminHost, cfg.HTTPPort, cfg.AdminPort = "127.0.0.1", "127.0.0.1", port, port
	_, err = server.Listen(t.Context(), cfg)
	require.EqualError(t, err, fmt.Sprintf("port %d is in use by another program; stop it, or choose another port with --server.httpport", port))
	_, err = server.ListenAdmin(t.Context(), cfg)
	require.ErrorContains(t, err, "--server.adminport")

	cfg.Host, cfg.HTTPPort = "192.0.2.1", 0
	_, err = server.Listen(t.Context(), cfg)
	require.ErrorContains(t, err, "--server.host")

	cfg.AdminPort = 0
	ln, err := server.ListenAdmin(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, ln.Close())
}

func TestLocalURL(t *testing.T) {
	for addr, want := range map[string]string{
		"0.0.0.0:80":     "http://127.0.0.1:80/healthz",
		"[::]:80":        "http://127.0.0.1:80/healthz",
		"127.0.0.1:8080": "http://127.0.0.1:8080/healthz",
		"[fd00::1]:80":   "http://[fd00::1]:80/healthz",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		require.NoError(t, err)
		require.Equal(t, want, server.LocalURL(tcp, "/healthz"))
	}
}
