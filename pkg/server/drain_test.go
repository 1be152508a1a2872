package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// The parts of a service together, while its database is unavailable.
func TestServiceDuringDrain(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes seconds")
	}
	cfg := server.Default()
	cfg.Host, cfg.HTTPPort, cfg.DrainDelay = "127.0.0.1", 0, 4*time.Second // longer than a machine may stand still
	log, signals := zap.NewNop(), make(chan os.Signal, 2)
	process := lifecycle.New(cfg.Lifecycle(), signals, log)
	m := metrics.New(buildinfo.Get())
	m.TrackDraining(process.Draining())
	checks := health.Default()
	checks.CheckInterval = 10 * time.Millisecond
	h := health.New(checks, process.Draining(), log, m.Registry())
	checked := make(chan struct{}, 1000)
	h.Dependency("database", func(context.Context) error { checked <- struct{}{}; return errors.New("gone") })
	engine, err := server.NewEngine(settings.Fixed(cfg), server.Deps{Log: log, Metrics: m, Health: h, Info: buildinfo.Get()})
	require.NoError(t, err)
	started, release := make(chan struct{}), make(chan struct{})
	engine.POST("/slow", func(c *gin.Context) {
		close(started)
		<-release
		c.String(http.StatusCreated, "done")
	})
	ln, err := server.Listen(t.Context(), cfg)
	require.NoError(t, err)
	f := &fixture{metrics: m, addr: ln.Addr().String()}
	process.Serve("http", server.NewHTTPServer(cfg, engine, log), ln)
	process.Go("health", h.Run)
	result := make(chan error, 1)
	go func() { result <- process.Run() }()
	require.NoError(t, lifecycle.SelfCheck(t.Context(), server.LocalURL(ln.Addr(), "/healthz")))
	<-checked

	ask := func(path string) (status int, body string, closing bool) {
		_, reader := f.raw(t, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path))
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		data, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		_ = response.Body.Close()
		return response.StatusCode, string(data), response.Close
	}
	status, body, closing := ask("/readyz")
	require.Equal(t, 200, status, "a failing dependency does not make it unready")
	require.JSONEq(t, `{"status":"ready"}`, body)
	require.False(t, closing)
	require.Contains(t, f.exposition(), "achilles_draining 0\n")

	_, slowReader := f.raw(t, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	<-started
	signals <- syscall.SIGTERM
	<-process.Draining()
	status, body, closing = ask("/healthz")
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"status":"ok"}`, body)
	require.True(t, closing)
	status, body, closing = ask("/readyz")
	require.Equal(t, 503, status)
	require.JSONEq(t, `{"status":"draining"}`, body)
	require.True(t, closing)
	require.Contains(t, f.exposition(), "achilles_draining 1\n")
	close(release)
	response, err := http.ReadResponse(slowReader, nil)
	require.NoError(t, err)
	_ = response.Body.Close()
	require.Equal(t, 201, response.StatusCode)
	require.True(t, response.Close, "the request began before the drain")
	require.NoError(t, <-result)
}
