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

// The links of a list have the address that a trusted proxy names, or else that of the
// request.
func TestAddressOfLinks(t *testing.T) {
	trusting := server.Default()
	trusting.TrustedProxies = []string{"192.0.2.0/24"} // that of httptest's requests
	two := trusting
	two.TrustedHops = 2
	for name, c := range map[string]struct {
		cfg    server.Config
		header []string
		want   string
	}{
		"trusted proxy":       {trusting, []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "blog.example", "X-Forwarded-Prefix", "/blog"}, "https://blog.example/blog/things"},
		"scheme alone":        {trusting, []string{"X-Forwarded-Proto", "HTTPS"}, "https://example.com/things"},
		"host alone":          {trusting, []string{"X-Forwarded-Host", "blog.example:8443"}, "http://blog.example:8443/things"},
		"nobody trusted":      {server.Default(), []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.example"}, "http://example.com/things"},
		"no header":           {trusting, nil, "http://example.com/things"},
		"another scheme":      {trusting, []string{"X-Forwarded-Proto", "javascript"}, "http://example.com/things"},
		"appended":            {trusting, []string{"X-Forwarded-Host", "evil.example, blog.example"}, "http://blog.example/things"},
		"appended twice":      {two, []string{"X-Forwarded-Host", "evil.example, blog.example, inner", "X-Forwarded-Proto", "https,http"}, "https://blog.example/things"},
		"appended by one":     {two, []string{"X-Forwarded-Host", "blog.example"}, "http://blog.example/things"},
		"no host":             {trusting, []string{"X-Forwarded-Host", `evil>; rel="next", <x`}, "/things"},
		"another header line": {trusting, []string{"X-Forwarded-Host", "a\tb"}, "/things"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, c.cfg, func(e *gin.Engine) {
				e.GET("/things", func(c *gin.Context) { responses.SetLinks(c, responses.Pager{Page: 1}) })
			})
			answer := f.do(http.MethodGet, "/things", "", c.header...)
			require.Equal(t, `<`+c.want+`>; rel="first"`, answer.Header.Get("Link"))
		})
	}
}
