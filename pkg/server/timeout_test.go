package server_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
)

func slow(e *gin.Engine) {
	e.GET("/silent", func(c *gin.Context) { <-c.Request.Context().Done() })
	e.GET("/gin", func(c *gin.Context) { <-c.Done() }) // the gin context is the request's too
	e.GET("/says so", func(c *gin.Context) {
		<-c.Request.Context().Done()
		responses.Error(c, c.Request.Context().Err())
	})
	e.GET("/late", func(c *gin.Context) { <-c.Done(); c.String(http.StatusOK, "late but complete") })
	e.DELETE("/late", func(c *gin.Context) { <-c.Done(); c.Status(http.StatusNoContent) })
	e.GET("/fast", func(c *gin.Context) {
		deadline, ok := c.Request.Context().Deadline()
		if ok && time.Until(deadline) > 0 {
			c.Status(http.StatusOK)
			return
		}
		c.Status(http.StatusTeapot)
	})
}

func shortTimeout() server.Config {
	cfg := server.Default()
	cfg.RequestTimeout = 50 * time.Millisecond
	return cfg
}

func TestRequestTimeout(t *testing.T) {
	f := start(t, shortTimeout(), slow)
	for _, path := range []string{"/silent", "/gin", "/says%20so"} {
		answer := f.do("GET", path, "", "locale", "en")
		require.Equal(t, 504, answer.StatusCode, path)
		problem := answer.problem(t)
		require.EqualValues(t, errcode.Timeout, problem.Code)
		require.Equal(t, "the request took too long to process", problem.Msg)
	}
	require.Equal(t, "late but complete", f.do("GET", "/late", "").body)
	require.Equal(t, 204, f.do("DELETE", "/late", "").StatusCode, "a response of the handler is kept")
	require.Equal(t, 200, start(t, server.Default(), slow).do("GET", "/fast", "").StatusCode)
	require.Contains(t, f.exposition(), `achilles_http_requests_total{method="GET",route="/silent",status="504"} 1`)
}

func TestConcurrentTimeouts(t *testing.T) {
	f := start(t, shortTimeout(), slow)
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			for _, path := range []string{"/silent", "/late", "/says%20so"} {
				f.do("GET", path, "")
			}
		})
	}
	clients.Wait()
	require.Contains(t, f.exposition(), `achilles_http_requests_total{method="GET",route="/silent",status="504"} 50`)
}
