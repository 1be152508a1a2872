package server_test

import (
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/server"
)

func TestMeasure(t *testing.T) {
	var f *fixture
	during := ""
	f = start(t, server.Default(), func(e *gin.Engine) {
		e.DELETE("/api/v1/tags/:id", func(c *gin.Context) {
			during = f.exposition()
			c.Status(http.StatusNoContent)
		})
	})
	f.do("DELETE", "/api/v1/tags/1", "")
	require.Contains(t, during, "achilles_http_requests_in_flight 1\n")
	text := f.exposition()
	require.Contains(t, text, "achilles_http_requests_in_flight 0\n")
	require.Contains(t, text, `achilles_http_requests_total{method="DELETE",route="/api/v1/tags/:id",status="204"} 1`)
	require.Contains(t, text, `achilles_http_request_duration_seconds_count{method="DELETE",route="/api/v1/tags/:id",status="204"} 1`)
}
