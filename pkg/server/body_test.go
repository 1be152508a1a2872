package server_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/server"
)

// A response does not wait for a body that nobody reads, and then the connection is
// closed.
func TestBodyThatNeverComes(t *testing.T) {
	cfg := server.Default()
	cfg.ReadTimeout, cfg.WriteTimeout = time.Hour, time.Hour
	released := make(chan struct{})
	f := start(t, cfg, func(e *gin.Engine) {
		e.GET("/large", func(c *gin.Context) {
			c.String(http.StatusOK, strings.Repeat("x", 1<<20))
			close(released)
		})
	})
	conn, err := net.Dial("tcp", f.addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, "GET /large HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Len(t, body, 1<<20)
	<-released
	_, err = reader.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

// A connection whose body was read is used again.
func TestConnectionAfterABody(t *testing.T) {
	f := start(t, server.Default(), func(e *gin.Engine) {
		e.POST("/echo", func(c *gin.Context) { _, _ = io.Copy(c.Writer, c.Request.Body) })
	})
	synctest.Test(t, func(t *testing.T) {
		conn, stop := piped(t, server.Default(), f.Engine)
		defer stop()
		reader := bufio.NewReader(conn)
		for range 2 {
			_, err := io.WriteString(conn, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
			require.NoError(t, err)
			response, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, "abc", string(body))
			time.Sleep(time.Minute) // longer than the client may take for an unread body
		}
	})
}
