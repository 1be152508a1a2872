package server_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracetest"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

// traced returns an engine that sends its spans to a collector.
func traced(t *testing.T) (collector *tracetest.Collector, logs *observer.ObservedLogs, do func(method, target string, header ...string), flush func()) {
	t.Helper()
	collector = tracetest.New(t)
	core, logs := observer.New(zapcore.DebugLevel)
	log := zap.New(core)
	traces := tracing.New(settings.Fixed(tracing.Config{Endpoint: collector.URL, SampleRatio: 1}), "toy", "v1", log)
	flush = func() { require.NoError(t, traces.Close(t.Context())) }
	engine, err := server.NewEngine(settings.Fixed(server.Default()), server.Deps{
		Log: log, Metrics: metrics.New(buildinfo.Info{}), Health: health.New(health.Default(), nil, log, nil), Tracer: traces.Tracer(),
	})
	require.NoError(t, err)
	engine.GET("/api/v1/tags/:id", func(c *gin.Context) {
		_, span := tracing.StartClient(c, "below") // handlers pass on gin's context
		span.End()
		c.Status(http.StatusNoContent)
	})
	engine.GET("/internal/v1/changes", func(c *gin.Context) { c.Status(http.StatusOK) })
	engine.GET("/broken", func(c *gin.Context) { responses.Error(c, errcode.Wrap(errcode.Unavailable, errors.New("hush-cause"))) })
	engine.GET("/panic", func(*gin.Context) { panic("hush-panic") })
	do = func(method, target string, header ...string) {
		request := httptest.NewRequest(method, target, nil)
		for i := 0; i < len(header); i += 2 {
			request.Header.Set(header[i], header[i+1])
		}
		engine.ServeHTTP(httptest.NewRecorder(), request)
	}
	return collector, logs, do, flush
}

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
	traceparent  = "00-" + callersTrace + "-" + callersSpan + "-01"
)

func TestSpanOfARequest(t *testing.T) {
	collector, logs, do, flush := traced(t)
	do("GET", "/api/v1/tags/7?token=hush-query", "Traceparent", traceparent, "User-Agent", "hush-agent", "Authorization", "hush-token")
	flush()
	spans := collector.Spans()
	require.Len(t, spans, 2)
	below, request := spans[0], spans[1]
	require.Equal(t, "below", below.Name)
	require.Equal(t, request.ID, below.Parent)
	require.Equal(t, "GET /api/v1/tags/:id", request.Name)
	require.Equal(t, "SPAN_KIND_SERVER", request.Kind.String())
	require.Equal(t, callersTrace, request.TraceID)
	require.Equal(t, callersSpan, request.Parent)
	require.False(t, request.Failed)
	require.Equal(t, map[string]any{
		"http.request.method": "GET", "http.route": "/api/v1/tags/:id", "http.response.status_code": int64(204),
		"url.scheme": "http", "client.address": "192.0.2.1",
	}, request.Attributes)
	require.Equal(t, callersTrace, logs.FilterMessage("request").All()[0].ContextMap()["trace_id"])
}

func TestSpansOfFailures(t *testing.T) {
	for target, want := range map[string]struct {
		name   string
		status int64
		failed bool
	}{
		"/broken": {"GET /broken", 503, true}, "/panic": {"GET /panic", 500, true},
		"/hush-path": {"GET", 404, false}, "/version": {"GET /version", 200, false},
	} {
		t.Run(target, func(t *testing.T) {
			collector, logs, do, flush := traced(t)
			do("GET", target)
			flush()
			spans := collector.Spans()
			require.Len(t, spans, 1)
			require.Equal(t, want.name, spans[0].Name)
			require.Equal(t, want.status, spans[0].Attributes["http.response.status_code"])
			require.Equal(t, want.failed, spans[0].Failed)
			require.Empty(t, spans[0].Parent)
			require.Equal(t, spans[0].TraceID, logs.FilterMessage("request").All()[0].ContextMap()["trace_id"])
			require.NotContains(t, fmt.Sprint(spans), "hush")
		})
	}
}

// Unknown methods must not create span names.
func TestSpanOfUnknownMethod(t *testing.T) {
	collector, _, do, flush := traced(t)
	do("BREW", "/version")
	flush()
	require.Len(t, collector.Spans(), 1)
	require.Equal(t, "HTTP", collector.Spans()[0].Name)
	require.Equal(t, "_OTHER", collector.Spans()[0].Attributes["http.request.method"])
}

// Probes, which aren't logged either, and long polls between services are too frequent
// to trace.
func TestUntracedRequests(t *testing.T) {
	collector, logs, do, flush := traced(t)
	do("GET", "/healthz", "Traceparent", traceparent)
	do("HEAD", "/readyz")
	do("GET", "/internal/v1/changes")
	do("GET", "/internal/v1/changes", "Traceparent", traceparent)
	flush()
	spans := collector.Spans()
	require.Len(t, spans, 1, "only requests with a parent span")
	require.Equal(t, callersSpan, spans[0].Parent)
	for i, entry := range logs.FilterMessage("request").All() {
		require.Equal(t, i == 1, entry.ContextMap()["trace_id"] != nil, "line %d", i)
	}
}
