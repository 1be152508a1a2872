package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
)

const patience = time.Minute

func TestMain(m *testing.M) {
	// net/http waits half a second when it closes a connection during a request.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// fixture is an engine on a real server.
type fixture struct {
	*gin.Engine
	metrics *metrics.Metrics
	health  *health.Health
	logs    *observer.ObservedLogs
	addr    string
}

// start serves an engine with the routes that add adds to it.
func start(t *testing.T, cfg server.Config, add func(*gin.Engine)) *fixture {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	log := zap.New(core)
	info := buildinfo.Info{Version: "v1.2.3", Commit: "abc", BuildTime: "2026-01-02T03:04:05Z", GoVersion: "go1.26"}
	f := &fixture{metrics: metrics.New(info), health: health.New(health.Default(), nil, zap.NewNop(), nil), logs: logs}
	engine, err := server.NewEngine(settings.Fixed(cfg), server.Deps{
		Log: log, Metrics: f.metrics, Health: f.health, Info: info, AppKey: func(c *gin.Context) string { return c.GetString("app key") },
	})
	require.NoError(t, err)
	if add != nil {
		add(engine)
	}
	f.Engine = engine
	cfg.Host, cfg.HTTPPort = "127.0.0.1", 0
	ln, err := server.Listen(t.Context(), cfg)
	require.NoError(t, err)
	srv := server.NewHTTPServer(cfg, engine, log)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	f.addr = ln.Addr().String()
	return f
}

type result struct {
	*http.Response
	body string
}

func (r result) problem(t *testing.T) responses.Problem {
	t.Helper()
	require.Equal(t, "application/json; charset=utf-8", r.Header.Get("Content-Type"), r.body)
	var problem responses.Problem
	require.NoError(t, json.Unmarshal([]byte(r.body), &problem), r.body)
	return problem
}

// do sends a request to the engine. headers are pairs of names and values.
func (f *fixture) do(method, target, body string, headers ...string) result {
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	f.ServeHTTP(recorder, request)
	return result{recorder.Result(), recorder.Body.String()}
}

// access returns the only line of the access log, and its fields.
func (f *fixture) access(t *testing.T) (observer.LoggedEntry, map[string]any) {
	t.Helper()
	require.Eventually(t, func() bool { return f.logs.FilterMessage("request").Len() > 0 }, patience, time.Millisecond)
	entries := f.logs.FilterMessage("request").All()
	require.Len(t, entries, 1)
	return entries[0], entries[0].ContextMap()
}

// exposition returns the metrics in the format of Prometheus.
func (f *fixture) exposition() string {
	recorder := httptest.NewRecorder()
	f.metrics.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return recorder.Body.String()
}

// raw sends text on a new connection.
func (f *fixture) raw(t *testing.T, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", f.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprint(c, text)
	require.NoError(t, err)
	return c, bufio.NewReader(c)
}

func textOf(logs *observer.ObservedLogs) string {
	var text strings.Builder
	for _, e := range logs.All() {
		fmt.Fprintln(&text, e.Level, e.Message, e.ContextMap())
	}
	return text.String()
}
