package service_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/service"
)

// A client that has many addresses in one network has one share of the memory.
func TestOneClientHasOneShare(t *testing.T) {
	cfg := config(t)
	cfg.Server.TrustedProxies = []string{"127.0.0.1"}
	require.NoError(t, service.Migrate(t.Context(), cfg, migrations, io.Discard))
	share := memory.ClientShare(cfg.Server.MaxResponseMemory)
	reserved, release := make(chan struct{}), make(chan struct{})
	r := run(t, command.Run[service.Config]{Config: cfg}, func(s *service.Service) {
		reserve := func(bytes int64, then func()) gin.HandlerFunc {
			return func(c *gin.Context) {
				reserved, err := s.Responses.Reserve(c, bytes)
				if err != nil {
					responses.Error(c, err)
					return
				}
				defer reserved.Release()
				then()
			}
		}
		s.Engine.GET("/half", reserve(share, func() { close(reserved); <-release }))
		s.Engine.GET("/some", reserve(1<<20, func() {}))
	})
	defer r.stop(t)
	require.Eventually(t, func() bool { status, _ := get(t, r.url+"/readyz"); return status == http.StatusOK }, patience, time.Millisecond)
	from := func(address, path string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+path, nil)
		require.NoError(t, err)
		request.Header.Set("X-Forwarded-For", address)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	ended := make(chan int)
	go func() { ended <- from("2001:db8::1", "/half") }()
	<-reserved
	require.Equal(t, http.StatusServiceUnavailable, from("2001:db8::2:2", "/some"), "the same /64")
	require.Equal(t, http.StatusOK, from("2001:db8:0:1::1", "/some"))
	require.Equal(t, http.StatusOK, from("192.0.2.1", "/some"))
	close(release)
	require.Equal(t, http.StatusOK, <-ended)
	require.Equal(t, http.StatusOK, from("2001:db8::2:2", "/some"))
}
