package server_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
)

func logged(e *gin.Engine) {
	e.POST("/api/v1/tags/:id", func(c *gin.Context) {
		_, _ = io.Copy(io.Discard, c.Request.Body)
		c.String(http.StatusCreated, "hello")
	})
	e.GET("/broken", func(c *gin.Context) {
		responses.Error(c, errcode.Wrap(errcode.Unavailable, errors.New("no route to the database")))
	})
	e.GET("/mistake", func(c *gin.Context) {
		responses.Error(c, errcode.Wrap(errcode.InvalidParams, errors.New("quoting hush-quoted")))
	})
}

func TestAccessLog(t *testing.T) {
	f := start(t, server.Default(), logged)
	f.do("POST", "/api/v1/tags/hush-path?token=hush-query", "hush-body",
		"Authorization", "Bearer hush-token", "Cookie", "hush-cookie", "User-Agent", "hush-agent", "X-Forwarded-For", "6.6.6.6", "X-Request-ID", "id-1")
	entry, fields := f.access(t)
	require.Equal(t, "info", entry.Level.String())
	require.NotZero(t, fields["duration"])
	delete(fields, "duration")
	require.Equal(t, map[string]any{
		"method": "POST", "route": "/api/v1/tags/:id", "status": int64(201), "bytes": int64(5),
		"client":     "192.0.2.1", // the peer: no proxy is trusted
		"request_id": "id-1",
	}, fields)
	require.NotContains(t, textOf(f.logs), "hush")
}

// The app key of an authenticated client is known only after the middleware of the routes.
func TestAccessLogOfAuthenticatedClients(t *testing.T) {
	f := start(t, server.Default(), func(e *gin.Engine) {
		e.GET("/authenticated", func(c *gin.Context) { c.Set("app key", "blog") })
	})
	f.do("GET", "/authenticated", "")
	_, fields := f.access(t)
	require.Equal(t, "blog", fields["app_key"])
	require.Equal(t, "192.0.2.1", fields["client"])
}

func TestAccessLogOfFailures(t *testing.T) {
	for path, want := range map[string]struct {
		level string
		code  errcode.Code
		err   any
	}{
		"/broken":  {"error", errcode.Unavailable, "10000014 temporarily unavailable, try again later: no route to the database"},
		"/mistake": {"info", errcode.InvalidParams, nil}, // what the client sent may be quoted in it
		"/hush":    {"info", errcode.NotFound, nil},
	} {
		f := start(t, server.Default(), logged)
		f.do("GET", path, "")
		entry, fields := f.access(t)
		require.Equal(t, want.level, entry.Level.String(), path)
		require.EqualValues(t, want.code, fields["code"], path)
		require.Equal(t, want.err, fields["error"], path)
		require.NotContains(t, textOf(f.logs), "hush", path)
	}
}

func TestClientAddressBehindATrustedProxy(t *testing.T) {
	cfg := server.Default()
	cfg.TrustedProxies = []string{"192.0.2.0/24"}
	f := start(t, cfg, nil)
	f.do("GET", "/version", "", "X-Forwarded-For", "6.6.6.6, 203.0.113.9")
	_, fields := f.access(t)
	require.Equal(t, "203.0.113.9", fields["client"], "the address added by the proxy, not the one sent by the client")
}

// A client that closes its connection is not an error of the service.
func TestAccessLogOfIncompleteResponses(t *testing.T) {
	wait := make(chan struct{})
	f := start(t, server.Default(), func(e *gin.Engine) {
		e.GET("/large", func(c *gin.Context) {
			<-wait
			responses.OK(c, strings.Repeat("x", 32<<20), nil)
		})
	})
	conn, _ := f.raw(t, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, conn.Close())
	close(wait)
	entry, fields := f.access(t)
	require.Equal(t, "info", entry.Level.String())
	require.Contains(t, fields["incomplete"], "the response is incomplete: ")
}
