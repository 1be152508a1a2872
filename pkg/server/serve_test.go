package server_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/server"
)

func TestSlowHeaderIsCut(t *testing.T) {
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
	begin := time.Now()
	_, err := reader.ReadByte()
	require.Error(t, err, "no answer, a closed connection")
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server closed it, not the test's deadline")
	require.Less(t, time.Since(begin), 5*time.Second)
	_ = c.Close()
	require.Zero(t, f.logs.FilterMessage("request").Len())
}

func TestSlowBodyIsCut(t *testing.T) {
	cfg := server.Default()
	cfg.ReadHeaderTimeout, cfg.ReadTimeout = 100*time.Millisecond, 300*time.Millisecond
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
	begin := time.Now()
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err, "the refusal can still be sent")
	_ = response.Body.Close()
	require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
	require.True(t, response.Close)
	require.ErrorContains(t, <-read, "timeout")
	require.Less(t, time.Since(begin), 5*time.Second)
	_ = c.Close()
}

func TestIdleConnectionIsKept(t *testing.T) {
	cfg := server.Default()
	cfg.ReadTimeout, cfg.ReadHeaderTimeout = 50*time.Millisecond, 50*time.Millisecond
	f := start(t, cfg, twoRoutes)
	const request = "GET /api/v1/tags HTTP/1.1\r\nHost: x\r\n\r\n"
	c, reader := f.raw(t, request)
	for range 2 {
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		time.Sleep(150 * time.Millisecond) // longer than the read timeouts, which must not count here
		_, err = fmt.Fprint(c, request)
		require.NoError(t, err)
	}
	require.Equal(t, 620*time.Second, server.NewHTTPServer(server.Default(), nil, zap.NewNop()).IdleTimeout)
}

func TestHeaderTooLarge(t *testing.T) {
	f := start(t, server.Default(), twoRoutes)
	_, reader := f.raw(t, "GET /api/v1/tags HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("y", 60<<10)+"\r\nConnection: close\r\n\r\n")
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	_ = response.Body.Close()
	require.Equal(t, 200, response.StatusCode)

	_, reader = f.raw(t, "GET /api/v1/tags HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("y", 69<<10)+"\r\n\r\n")
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
	require.Zero(t, server.NewAdminServer(nil, zap.NewNop()).WriteTimeout, "profiles take as long as asked to")
}

func TestListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port

	cfg := server.Default()
	cfg.Host, cfg.AdminHost, cfg.HTTPPort, cfg.AdminPort = "127.0.0.1", "127.0.0.1", port, port
	_, err = server.Listen(t.Context(), cfg)
	require.EqualError(t, err, fmt.Sprintf("port %d is taken by another program; end it, or choose another port with --server.httpport", port))
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
