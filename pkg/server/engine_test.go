package server_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func twoRoutes(e *gin.Engine) {
	e.GET("/api/v1/tags/:id", func(c *gin.Context) { c.String(http.StatusOK, "tag %s", c.Param("id")) })
	e.POST("/api/v1/tags", func(c *gin.Context) { c.Status(http.StatusCreated) })
	e.GET("/api/v1/tags", func(c *gin.Context) { c.String(http.StatusOK, "tags") })
}

func TestUnknownRouteAndWrongMethod(t *testing.T) {
	f := start(t, server.Default(), twoRoutes)
	for _, c := range []struct {
		method, path, language string
		status                 int
		code                   errcode.Code
		msg                    string
	}{
		{"GET", "/nothing", "en", 404, errcode.NotFound, "not found"},
		{"GET", "/api/v1/tags/", "zh", 404, errcode.NotFound, "找不到"}, // no redirect, and no empty id
		{"POST", "/api/v1//tags", "zh_Hant_TW", 404, errcode.NotFound, "找不到"},
		{"DELETE", "/api/v1/tags", "en", 405, errcode.MethodNotAllowed, "method not allowed"},
		{"PROPFIND", "/api/v1/tags", "zh_Hant_TW", 405, errcode.MethodNotAllowed, "不允許的請求方法"},
		{"OPTIONS", "/api/v1/tags", "zh", 405, errcode.MethodNotAllowed, "不允许的请求方法"},
		{"POST", "/healthz", "en", 405, errcode.MethodNotAllowed, "method not allowed"},
	} {
		answer := f.do(c.method, c.path, "", "locale", c.language)
		require.Equal(t, c.status, answer.StatusCode, "%s %s", c.method, c.path)
		problem := answer.problem(t)
		require.EqualValues(t, c.code, problem.Code)
		require.Equal(t, c.msg, problem.Msg)
		require.NotEmpty(t, answer.Header.Get("X-Request-ID"))
	}
	require.ElementsMatch(t, []string{"GET", "POST"}, strings.Split(f.do("PUT", "/api/v1/tags", "").Header.Get("Allow"), ", "))
	require.ElementsMatch(t, []string{"GET", "HEAD"}, strings.Split(f.do("PUT", "/readyz", "").Header.Get("Allow"), ", "))
}

// Request lines that net/http's client and mux would not pass.
func TestUnusualRequestLines(t *testing.T) {
	f := start(t, server.Default(), twoRoutes)
	for line, status := range map[string]int{
		"OPTIONS * HTTP/1.1":                                404,
		"CONNECT other.example:443 HTTP/1.1":                404,
		"GET http://other.example/api/v1/tags HTTP/1.1":     200,
		"GET /api/v1/tags/%2e%2e HTTP/1.1":                  200, // an id like any other
		"GET /%00 HTTP/1.1":                                 404,
		"GET //api/v1/tags HTTP/1.1":                        404,
		"get /api/v1/tags HTTP/1.1":                         405,
		"TRACE /api/v1/tags HTTP/1.1":                       405,
		strings.Repeat("M", 5000) + " /x HTTP/1.1":          404,
		"GET /" + strings.Repeat("p", 12<<10) + " HTTP/1.1": 404,
	} {
		_, reader := f.raw(t, line+"\r\nHost: test\r\nConnection: close\r\n\r\n")
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err, "%.60s", line)
		_ = response.Body.Close()
		require.Equal(t, status, response.StatusCode, "%.60s", line)
	}
}

func TestLabelValuesAreBounded(t *testing.T) {
	f := start(t, server.Default(), twoRoutes)
	f.do("GET", "/api/v1/tags/1", "")
	before := strings.Count(f.exposition(), "\n")
	f.do("GET", "/made-up", "")
	f.do("MADEUP", "/made-up", "")
	f.do("MADEUP", "/api/v1/tags", "")
	after := strings.Count(f.exposition(), "\n")
	for i := range 100 {
		f.do("GET", fmt.Sprintf("/made-up/%d", i), "")
		f.do("GET", fmt.Sprintf("/api/v1/tags/%d?x=%d", i, i), "")
		f.do(fmt.Sprintf("M%d", i), "/made-up", "")
		f.do(fmt.Sprintf("M%d", i), "/api/v1/tags", "")
	}
	text := f.exposition()
	require.Greater(t, after, before)
	require.Equal(t, after, strings.Count(text, "\n"))
	require.NotContains(t, strings.ToLower(text), "made")
	for _, line := range []string{
		`{method="GET",route="/api/v1/tags/:id",status="200"} 101`,
		`{method="GET",route="unmatched",status="404"} 101`,
		`{method="other",route="unmatched",status="404"} 101`,
		`{method="other",route="unmatched",status="405"} 101`,
	} {
		require.Contains(t, text, "achilles_http_requests_total"+line)
		require.Contains(t, text, "achilles_http_request_duration_seconds_count"+line)
	}
	require.Contains(t, text, "achilles_http_requests_in_flight 0")
}

func TestProbesAndVersion(t *testing.T) {
	f := start(t, server.Default(), nil)
	gate := f.health.Gate("schema")
	require.Equal(t, 200, f.do("GET", "/healthz", "").StatusCode)
	require.Equal(t, 503, f.do("GET", "/readyz", "").StatusCode)
	gate.Open()
	answer := f.do("GET", "/readyz", "")
	require.Equal(t, 200, answer.StatusCode)
	require.JSONEq(t, `{"status":"ready"}`, answer.body)
	require.JSONEq(t, `{"version":"v1.2.3","commit":"abc","build_time":"2026-01-02T03:04:05Z","go_version":"go1.26"}`, f.do("GET", "/version", "").body)
	// net/http omits the body of a HEAD response; httptest.ResponseRecorder doesn't.
	_, reader := f.raw(t, "HEAD /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodHead})
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode)
	require.EqualValues(t, len(`{"status":"ready"}`), response.ContentLength)
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/profile"} {
		require.Equal(t, 404, f.do("GET", path, "").StatusCode, "%s is for the admin port", path)
	}
}

// Probes cost nothing but their answer: no log line, no metrics, no limit.
func TestProbesAreCheap(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	limited := 0
	m := metrics.New(buildinfo.Get())
	engine, err := server.NewEngine(settings.Fixed(server.Default()), server.Deps{
		Log: zap.New(core), Metrics: m, Health: health.New(health.Default(), nil, zap.NewNop(), nil),
		LimitReads: func(*gin.Context) { limited++ },
	})
	require.NoError(t, err)
	cost := func(path string) float64 {
		request := httptest.NewRequest(http.MethodGet, path, nil)
		return testing.AllocsPerRun(100, func() {
			recorder := httptest.NewRecorder()
			engine.ServeHTTP(recorder, request)
			require.Equal(t, http.StatusOK, recorder.Code)
		})
	}
	require.Less(t, cost("/healthz"), 20.0, "allocations")
	require.Less(t, cost("/readyz"), 100.0, "allocations")
	require.Zero(t, logs.Len())
	require.Zero(t, limited)
	recorder := httptest.NewRecorder()
	m.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.NotContains(t, recorder.Body.String(), "healthz")

	cost("/version")
	require.Equal(t, 101, limited)
	for _, request := range [][2]string{{"GET", "/nowhere"}, {"POST", "/healthz"}, {"PROPFIND", "/version"}} {
		before := limited
		engine.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(request[0], request[1], nil))
		require.Equal(t, before+1, limited, "%s", request)
	}
}

func TestSecurityHeaders(t *testing.T) {
	f := start(t, server.Default(), func(e *gin.Engine) {
		e.GET("/page", func(c *gin.Context) {
			c.Header("Content-Security-Policy", "default-src 'self'")
			c.Status(http.StatusOK)
		})
		e.GET("/panic", func(*gin.Context) { panic("x") })
	})
	for _, path := range []string{"/version", "/nothing", "/panic", "/page"} {
		header := f.do("GET", path, "").Header
		require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
		require.Equal(t, "DENY", header.Get("X-Frame-Options"))
		require.Equal(t, "no-referrer", header.Get("Referrer-Policy"))
		require.Equal(t, "no-store", header.Get("Cache-Control"))
		want := "default-src 'none'; frame-ancestors 'none'"
		if path == "/page" {
			want = "default-src 'self'"
		}
		require.Equal(t, []string{want}, header.Values("Content-Security-Policy"))
	}
}

func TestInvalidConfig(t *testing.T) {
	cfg := server.Default()
	cfg.TrustedProxies = []string{"not an address"}
	_, err := server.NewEngine(settings.Fixed(cfg), server.Deps{})
	require.ErrorContains(t, err, "trusted proxies")
	cfg = server.Default()
	cfg.CORSAllowedOrigins = []string{"ftp://x"}
	_, err = server.NewEngine(settings.Fixed(cfg), server.Deps{})
	require.ErrorContains(t, err, "origins")
}

func TestCleartextHTTP2(t *testing.T) {
	f := start(t, server.Default(), twoRoutes)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://" + f.addr + "/api/v1/tags")
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0", response.Proto)
	text, _ := bufio.NewReader(response.Body).ReadString(0)
	_ = response.Body.Close()
	require.Equal(t, "tags", text)
}
