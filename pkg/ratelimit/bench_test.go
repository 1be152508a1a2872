package ratelimit_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func BenchmarkLocal(b *testing.B) { benchmark(b, nil) }

func BenchmarkRedis(b *testing.B) { benchmark(b, open(b, dbtest.NewRedis(b).Addr())) }

// benchmark measures the middleware with many clients.
func benchmark(b *testing.B, client redis.UniversalClient) {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/", ratelimit.New(ratelimit.Deps{Service: "bench", Redis: client}, settings.Fixed(ratelimit.Default())).ByMethod())
	var workers atomic.Int32
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		worker := workers.Add(1)
		for i := 0; pb.Next(); i++ {
			request, _ := http.NewRequest(http.MethodGet, "/", nil)
			request.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:80", worker, i>>8&0xff, i&0xff)
			engine.ServeHTTP(discard{}, request)
		}
	})
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
