package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestCaching(t *testing.T) {
	cfg := server.Default()
	f := start(t, cfg, func(engine *gin.Engine) {
		handle := func(c *gin.Context) { responses.Object(c, responses.ETag{Version: "1"}, responses.Empty{}, nil) }
		engine.GET("/thing", handle)
		engine.HEAD("/thing", handle)
		engine.POST("/thing", handle)
	})
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		anonymous := f.do(method, "/thing", "")
		require.Equal(t, "public, max-age=0, s-maxage=10", anonymous.Header.Get("Cache-Control"))
		require.NotEmpty(t, anonymous.Header.Get("ETag"))
		for _, name := range []string{"Authorization", "token"} {
			for _, credential := range []string{"Bearer x", "x", ""} {
				authenticated := f.do(method, "/thing", "", name, credential)
				require.Equal(t, "private, no-cache", authenticated.Header.Get("Cache-Control"), "%s: %q", name, credential)
			}
			vary := strings.ToLower(strings.Join(anonymous.Header.Values("Vary"), ","))
			require.Contains(t, vary, strings.ToLower(name), "a shared cache must not serve an authenticated response to anonymous clients")
		}
	}
	require.Equal(t, "no-store", f.do(http.MethodPost, "/thing", "").Header.Get("Cache-Control"))
	require.Equal(t, "no-store", f.do(http.MethodGet, "/nothing", "").Header.Get("Cache-Control"))
	require.Equal(t, "no-store", f.do(http.MethodDelete, "/thing", "").Header.Get("Cache-Control"))

	cfg.SharedMaxAge = 0
	f = start(t, cfg, func(engine *gin.Engine) {
		engine.GET("/thing", func(c *gin.Context) { responses.Object(c, responses.ETag{Version: "1"}, responses.Empty{}, nil) })
	})
	require.Equal(t, "public, no-cache", f.do(http.MethodGet, "/thing", "").Header.Get("Cache-Control"))
}

func TestSharedMaxAge(t *testing.T) {
	for _, wrong := range []time.Duration{-time.Second, 1500 * time.Millisecond} {
		cfg := server.Default()
		cfg.SharedMaxAge = wrong
		require.ErrorContains(t, settings.Validate(&cfg), "SharedMaxAge")
	}
}
