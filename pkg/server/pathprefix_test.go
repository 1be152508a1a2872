package server_test

import (
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
)

// The address of a created object has the prefix that a trusted proxy names, or the
// configured one.
func TestPathPrefix(t *testing.T) {
	trusting := server.Default()
	trusting.TrustedProxies = []string{"192.0.2.0/24"} // that of httptest's requests
	configured := server.Default()
	configured.PathPrefix = "/shop"
	for name, c := range map[string]struct {
		cfg          server.Config
		header, want string
	}{
		"trusted proxy":         {trusting, "/blog", "/blog/things/1"},
		"two elements":          {trusting, "/a/blog-1", "/a/blog-1/things/1"},
		"no header":             {trusting, "", "/things/1"},
		"another host":          {trusting, "//evil.example", "/things/1"},
		"a scheme":              {trusting, "https://evil.example", "/things/1"},
		"two headers in one":    {trusting, "/a\r\nSet-Cookie: x", "/things/1"},
		"slash at the end":      {trusting, "/blog/", "/things/1"},
		"upwards":               {trusting, "/blog/../admin", "/things/1"},
		"a dot":                 {trusting, "/.", "/things/1"},
		"dots in a name":        {trusting, "/blog.v1..2", "/blog.v1..2/things/1"},
		"nobody trusted":        {server.Default(), "/blog", "/things/1"},
		"configured":            {configured, "", "/shop/things/1"},
		"configured, untrusted": {configured, "/blog", "/shop/things/1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, c.cfg, func(e *gin.Engine) {
				e.POST("/things", func(c *gin.Context) { responses.Created(c, "/things/1", responses.ETag{Version: "1"}, 1, false, nil) })
			})
			answer := f.do(http.MethodPost, "/things", "", "X-Forwarded-Prefix", c.header)
			require.Equal(t, 201, answer.StatusCode)
			require.Equal(t, c.want, answer.Header.Get("Location"))
		})
	}
}
