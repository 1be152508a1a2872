package server_test

import (
	"errors"
	"fmt"
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

func TestBodyLimit(t *testing.T) {
	cfg := server.Default()
	cfg.MaxBodyBytes = 10
	reached := false
	f := start(t, cfg, func(e *gin.Engine) {
		e.POST("/", func(c *gin.Context) {
			reached = true
			body, err := io.ReadAll(c.Request.Body)
			if err != nil {
				responses.Error(c, err)
				return
			}
			c.String(http.StatusOK, string(body))
		})
	})
	exact := f.do("POST", "/", "0123456789")
	require.Equal(t, 200, exact.StatusCode)
	require.Equal(t, "0123456789", exact.body)

	reached = false
	declared := f.do("POST", "/", "0123456789a", "locale", "en")
	require.Equal(t, 413, declared.StatusCode)
	require.EqualValues(t, errcode.TooLarge, declared.problem(t).Code)
	require.Equal(t, "request body too large", declared.problem(t).Msg)
	require.False(t, reached, "rejected before it was read")

	_, reader := f.raw(t, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n6789ab\r\n0\r\n\r\n")
	chunked, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	_ = chunked.Body.Close()
	require.Equal(t, 413, chunked.StatusCode)
	require.True(t, reached)

	// The response arrives although the body was never sent.
	_, reader = f.raw(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n")
	endless, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	_ = endless.Body.Close()
	require.Equal(t, 413, endless.StatusCode)
}

func TestDefaultBodyLimit(t *testing.T) {
	f := start(t, server.Default(), func(e *gin.Engine) {
		e.POST("/", func(c *gin.Context) {
			_, err := io.Copy(io.Discard, c.Request.Body)
			c.String(http.StatusOK, fmt.Sprint(errors.As(err, new(*http.MaxBytesError))))
		})
	})
	require.Equal(t, "false", f.do("POST", "/", strings.Repeat("x", 1<<20)).body)
	require.Equal(t, 413, f.do("POST", "/", strings.Repeat("x", 1<<20+1)).StatusCode)
}
