package ratelimit_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	proxy   = "192.0.2.100" // trusted
	direct  = "198.51.100.1:4000"
	things  = "/api/v1/things"
	appKey  = "X-Test-App" // stands for a token
	waiting = time.Minute
)

// replica is an engine like that of a service, with limited and unlimited routes.
type replica struct {
	*gin.Engine
	metrics *metrics.Metrics
	logs    *observer.ObservedLogs
	limiter *ratelimit.Limiter
}

func newReplica(t testing.TB, cfg ratelimit.Config, deps ratelimit.Deps) *replica {
	t.Helper()
	require.NoError(t, settings.Validate(&cfg))
	core, logs := observer.New(zapcore.InfoLevel)
	r := &replica{metrics: metrics.New(buildinfo.Get()), logs: logs}
	config := server.Default()
	config.TrustedProxies = []string{proxy}
	engine, err := server.NewEngine(settings.Fixed(config), server.Deps{
		Log: zap.NewNop(), Metrics: r.metrics, Health: health.New(health.Default(), nil, zap.NewNop(), nil),
	})
	require.NoError(t, err)
	r.Engine = engine
	deps.Log, deps.Registerer = zap.New(core), r.metrics.Registry()
	deps.Principal = func(c *gin.Context) string { return c.GetHeader(appKey) }
	if deps.Service == "" {
		deps.Service = "thing"
	}
	r.limiter = ratelimit.New(deps, settings.Fixed(cfg))
	register(engine, r.limiter)
	return r
}

// settle waits until the replica has told Redis about all requests.
func (r *replica) settle(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool { return !r.limiter.Reporting() }, waiting, time.Millisecond)
}

func register(engine *gin.Engine, limiter *ratelimit.Limiter) {
	done := func(c *gin.Context) { responses.Object(c, responses.ETag{Version: "1"}, responses.Empty{}, nil) }
	api := engine.Group(things, limiter.ByMethod())
	api.Match([]string{http.MethodGet, http.MethodHead, http.MethodPost}, "", done)
	api.Match([]string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete}, "/:id", done)
	engine.POST("/auth", limiter.Auth(), done)
	engine.GET("/internal/v1/changes", done)
	engine.NoRoute(limiter.Read(), func(c *gin.Context) { responses.Error(c, errcode.New(errcode.NotFound)) })
	engine.NoMethod(limiter.Read(), func(c *gin.Context) { responses.Error(c, errcode.New(errcode.MethodNotAllowed)) })
}

// do sends a request from an address. headers are pairs of names and values.
func (r *replica) do(from, method, target string, headers ...string) *http.Response {
	return r.doWithin(context.Background(), from, method, target, headers...)
}

func (r *replica) doWithin(ctx context.Context, from, method, target string, headers ...string) *http.Response {
	request := httptest.NewRequestWithContext(ctx, method, target, nil)
	request.RemoteAddr = from
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	r.ServeHTTP(recorder, request)
	return recorder.Result()
}

// allowed reports whether the request was allowed.
func allowed(t testing.TB, answer *http.Response) bool {
	t.Helper()
	if answer.StatusCode != http.StatusTooManyRequests {
		require.Equal(t, http.StatusOK, answer.StatusCode)
		return true
	}
	return false
}

func problem(t *testing.T, answer *http.Response) responses.Problem {
	t.Helper()
	var problem responses.Problem
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&problem))
	return problem
}

// exposition returns the metrics in the format of Prometheus.
func (r *replica) exposition() string {
	recorder := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return recorder.Body.String()
}

func (r *replica) local() bool {
	return strings.Contains(r.exposition(), "\nachilles_rate_limit_local 1\n")
}

// field is the grammar of both headers (RFC 9651), with one item.
var field = regexp.MustCompile(`^"([a-z]+)";([a-z])=(\d+);([a-z])=(\d+)$`)

// state parses the header RateLimit.
func state(t testing.TB, header http.Header) (class string, remaining, after int) {
	t.Helper()
	parts := field.FindStringSubmatch(header.Get("RateLimit"))
	require.NotNil(t, parts, "RateLimit: %q", header.Get("RateLimit"))
	require.Equal(t, []string{"r", "t"}, []string{parts[2], parts[4]})
	remaining, err := strconv.Atoi(parts[3])
	require.NoError(t, err)
	after, err = strconv.Atoi(parts[5])
	require.NoError(t, err)
	policy := field.FindStringSubmatch(header.Get("RateLimit-Policy"))
	require.NotNil(t, policy, "RateLimit-Policy: %q", header.Get("RateLimit-Policy"))
	require.Equal(t, []string{parts[1], "q", "w"}, []string{policy[1], policy[2], policy[4]})
	return parts[1], remaining, after
}

// connection sends raw requests.
type connection struct {
	net.Conn
	answers *bufio.Reader
}

// listen serves the replica and returns a function that connects to it.
func (r *replica) listen(t *testing.T) func() connection {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	httpServer, done := server.NewHTTPServer(server.Default(), r.Engine, zap.NewNop()), make(chan struct{})
	go func() { defer close(done); _ = httpServer.Serve(listener) }()
	t.Cleanup(func() { _ = httpServer.Close(); <-done })
	return func() connection {
		c, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(waiting)))
		return connection{c, bufio.NewReader(c)}
	}
}

func (c connection) send(t *testing.T, line string) http.Header {
	t.Helper()
	_, err := fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: blog.example\r\nContent-Length: 0\r\n\r\n", line)
	require.NoError(t, err)
	method, _, _ := strings.Cut(line, " ")
	answer, err := http.ReadResponse(c.answers, &http.Request{Method: method})
	require.NoError(t, err, line)
	require.NoError(t, answer.Body.Close())
	return answer.Header
}
