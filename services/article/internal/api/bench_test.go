package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/logging"
	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// BenchmarkGetArticle measures what the service adds to a read: the connection, the
// middleware, the handler and the encoding, without the database. Its client allocates
// nothing. "gin" answers the same bytes by gin alone.
func BenchmarkGetArticle(b *testing.B) {
	gin.SetMode(gin.ReleaseMode)
	b.Run("gin", func(b *testing.B) {
		engine := gin.New()
		body := []byte(strings.Repeat("x", 2000))
		engine.GET("/api/v1/articles/:id", func(c *gin.Context) { c.Data(http.StatusOK, "application/json; charset=utf-8", body) })
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		srv := &http.Server{Handler: engine, ReadHeaderTimeout: time.Minute}
		b.Cleanup(func() { _ = srv.Close() })
		go func() { _ = srv.Serve(listener) }()
		measureGet(b, listener.Addr().String())
	})
	b.Run("service", func(b *testing.B) { measureGet(b, serveConstant(b)) })
}

// constant is a store that has one article.
type constant struct{ article.Store }

var text = strings.Repeat("Rolling restarts\n\n", 100)

func (constant) Get(context.Context, uint64) (*article.Shared, error) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return article.NewShared(article.Article{
		ID: 1, Title: "Rolling restarts", Desc: "What happens", Content: text, State: article.Enabled, Revision: 1,
		Tags:      []article.Tag{{ID: 1, Name: "one", State: article.Enabled}, {ID: 2, Name: "two", State: article.Enabled}},
		CreatedAt: at, CreatedBy: "demo", UpdatedAt: at, UpdatedBy: "demo",
	}, false), nil
}

// serveConstant serves one article as a process does, and returns its address.
func serveConstant(b *testing.B) string {
	b.Helper()
	log, err := logging.New(logging.Default(), true, io.Discard)
	require.NoError(b, err)
	m := metrics.New(buildinfo.Info{})
	limited := ratelimit.Default()
	limited.ReadPerSecond, limited.ReadBurst = 100_000, 100_000
	limits := ratelimit.New(ratelimit.Deps{
		Service: "article", Registerer: m.Registry(), Principal: func(c *gin.Context) string { return auth.PrincipalOf(c).AppKey },
	}, settings.Fixed(limited))
	keySet, err := auth.OpenKeySet(auth.Default())
	require.NoError(b, err)
	engine, err := server.NewEngine(settings.Fixed(server.Default()), server.Deps{
		Log: log.With(zap.String("service", "article")), Metrics: m, Health: health.New(health.Default(), nil, zap.NewNop(), nil), Client: limits.Client,
	})
	require.NoError(b, err)
	(&api.API{
		Access:   []gin.HandlerFunc{auth.Authenticate(keySet), limits.ByMethod(), auth.RejectInvalidToken()},
		Articles: article.NewService(constant{}, nil, mebibyte),
		Bodies:   requests.NewBodies(memory.New(memory.Config{Use: "request_bodies", Total: 60 * mebibyte}), mebibyte, limits.Client),
		Memory:   responses.NewMemory(memory.New(memory.Config{Use: "responses", Total: 40 * mebibyte}), limits.Client),
	}).Register(engine)
	signals, ended := make(chan os.Signal, 1), make(chan error, 1)
	process := lifecycle.New(lifecycle.Config{ShutdownTimeout: patience, MaxConnections: 1000}, signals, zap.NewNop())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	process.Serve("http", server.NewHTTPServer(server.Default(), engine, zap.NewNop()), listener)
	go func() { ended <- process.Run() }()
	b.Cleanup(func() {
		signals <- os.Interrupt
		require.NoError(b, <-ended)
		require.NoError(b, log.Close())
	})
	return listener.Addr().String()
}

// measureGet reads the article over one connection for each CPU.
func measureGet(b *testing.B, addr string) {
	b.Helper()
	b.ReportAllocs()
	request := []byte("GET /api/v1/articles/1 HTTP/1.1\r\nHost: bench\r\n\r\n")
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		reader := bufio.NewReader(conn)
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			if err := skipResponse(reader); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func skipResponse(reader *bufio.Reader) error {
	length := 0
	for line := 0; ; line++ {
		text, err := reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if line == 0 && string(text) != "HTTP/1.1 200 OK\r\n" {
			return fmt.Errorf("got %q", text)
		}
		if len(text) == 2 {
			_, err := reader.Discard(length)
			return err
		}
		const name = "Content-Length: "
		if len(text) > len(name) && string(text[:len(name)]) == name {
			for _, digit := range text[len(name) : len(text)-2] {
				length = 10*length + int(digit-'0')
			}
		}
	}
}
