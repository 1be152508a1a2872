package server_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestMaxRequests(t *testing.T) {
	cfg := server.Default()
	cfg.MaxRequests = 2
	entered, release := make(chan struct{}), make(chan struct{})
	f := start(t, cfg, func(e *gin.Engine) {
		e.GET("/slow", func(c *gin.Context) {
			entered <- struct{}{}
			<-release
			c.Status(http.StatusNoContent)
		})
		e.GET("/fast", func(c *gin.Context) { c.Status(http.StatusNoContent) })
		e.GET("/panic", func(*gin.Context) { panic("boom") })
	})
	for range 3 { // a panic frees its slot
		require.Equal(t, 500, f.do("GET", "/panic", "").StatusCode)
	}
	var running sync.WaitGroup
	for range cfg.MaxRequests {
		running.Go(func() { require.Equal(t, 204, f.do("GET", "/slow", "").StatusCode) })
		<-entered
	}
	for _, path := range []string{"/fast", "/version", "/nowhere"} {
		answer := f.do("GET", path, "")
		require.Equal(t, 503, answer.StatusCode, path)
		require.EqualValues(t, errcode.Unavailable, answer.problem(t).Code)
		require.Equal(t, "1", answer.Header.Get("Retry-After"))
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		require.Equal(t, 200, f.do("GET", path, "").StatusCode, path)
	}
	close(release)
	running.Wait()
	require.Equal(t, 204, f.do("GET", "/fast", "").StatusCode)
}

// Two clients can't take all slots, and each gets back those that it gives back.
func TestMaxRequestsOfAClient(t *testing.T) {
	cfg := server.Default()
	cfg.MaxRequests = 8
	engine, err := server.NewEngine(settings.Fixed(cfg), server.Deps{
		Log: zap.NewNop(), Metrics: metrics.New(buildinfo.Info{}), Health: health.New(health.Default(), nil, zap.NewNop(), nil),
		Client: func(c *gin.Context) string { return c.Request.RemoteAddr },
	})
	require.NoError(t, err)
	entered, release := make(chan struct{}), make(chan struct{})
	engine.GET("/slow", func(c *gin.Context) {
		entered <- struct{}{}
		<-release
		c.Status(http.StatusNoContent)
	})
	get := func(client, path string) int {
		request, recorder := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
		request.RemoteAddr = client
		engine.ServeHTTP(recorder, request)
		return recorder.Code
	}
	var running sync.WaitGroup
	for _, client := range []string{"192.0.2.1:1", "192.0.2.2:1"} {
		for range 2 {
			running.Go(func() { require.Equal(t, 204, get(client, "/slow")) })
			<-entered
		}
		require.Equal(t, 503, get(client, "/version"))
	}
	require.Equal(t, 200, get("192.0.2.3:1", "/version"))
	close(release)
	running.Wait()
	require.Equal(t, 200, get("192.0.2.1:1", "/version"))
}
