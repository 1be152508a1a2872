package server_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/logging"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// BenchmarkEngine measures a read with the whole middleware, as in production, beside
// that of gin alone with the same answer.
func BenchmarkEngine(b *testing.B) {
	b.Run("gin", func(b *testing.B) {
		gin.SetMode(gin.ReleaseMode)
		engine := gin.New()
		engine.GET("/api/v1/things/:id", func(c *gin.Context) { c.Data(http.StatusOK, "application/json; charset=utf-8", benchBody) })
		measureReads(b, engine)
	})
	b.Run("plain", func(b *testing.B) { measureReads(b, benchEngine(b, tracing.Config{}, nil)) })
	b.Run("unsampled", func(b *testing.B) {
		measureReads(b, benchEngine(b, tracing.Config{Endpoint: "http://127.0.0.1:1"}, nil))
	})
	redisAddr := dbtest.NewRedis(b).Addr()
	b.Run("redis", func(b *testing.B) {
		client := redis.NewClient(&redis.Options{Addr: redisAddr})
		b.Cleanup(func() { _ = client.Close() })
		measureReads(b, benchEngine(b, tracing.Config{}, client))
	})
}

var benchBody = []byte(`{"code":0,"msg":"成功","data":{"id":1}}`)

// benchEngine returns an engine like that of a service, with limits that are not
// reached.
func benchEngine(b *testing.B, traces tracing.Config, client redis.UniversalClient) http.Handler {
	b.Helper()
	log, err := logging.New(logging.Default(), true, io.Discard)
	require.NoError(b, err)
	b.Cleanup(func() { _ = log.Close() })
	traced := tracing.New(settings.Fixed(traces), "thing", "v1", zap.NewNop())
	b.Cleanup(func() { _ = traced.Close(context.WithoutCancel(b.Context())) })
	m := metrics.New(buildinfo.Info{})
	limits := ratelimit.Default()
	limits.ReadPerSecond, limits.ReadBurst = 100_000, 100_000
	limiter := ratelimit.New(ratelimit.Deps{
		Service: "thing", Redis: client, Registerer: m.Registry(),
		Principal: func(c *gin.Context) string { return auth.PrincipalOf(c).AppKey },
	}, settings.Fixed(limits))
	engine, err := server.NewEngine(settings.Fixed(server.Default()), server.Deps{
		Log: log.With(zap.String("service", "thing")), Metrics: m, Health: health.New(health.Default(), nil, zap.NewNop(), nil), Tracer: traced.Tracer(),
	})
	require.NoError(b, err)
	keys, err := auth.OpenKeySet(auth.Default())
	require.NoError(b, err)
	engine.GET("/api/v1/things/:id", auth.Authenticate(keys), limiter.ByMethod(), auth.RejectInvalidToken(), func(c *gin.Context) {
		responses.Object(c, responses.ETag{Version: "1"}, struct {
			ID int `json:"id"`
		}{1}, nil)
	})
	return engine
}

func measureReads(b *testing.B, engine http.Handler) {
	b.Helper()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		w := &discarding{header: http.Header{}}
		for pb.Next() {
			request, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, "/api/v1/things/1", nil)
			request.RemoteAddr = "198.51.100.1:4000"
			request.Header = http.Header{"Accept-Encoding": {"gzip"}, "Accept": {"*/*"}, "User-Agent": {"bench/1"}}
			w.status = 0
			clear(w.header)
			engine.ServeHTTP(w, request)
			if w.status != http.StatusOK {
				b.Fatalf("status is %d", w.status)
			}
		}
	})
}

// discarding is a response that nobody reads.
type discarding struct {
	header http.Header
	status int
}

func (d *discarding) Header() http.Header         { return d.header }
func (d *discarding) Write(b []byte) (int, error) { return len(b), nil }
func (d *discarding) WriteHeader(status int)      { d.status = status }
