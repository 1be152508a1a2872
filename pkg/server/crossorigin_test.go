package server_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func corsHeaders(answer result) []string {
	var names []string
	for name := range answer.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			names = append(names, name)
		}
	}
	return names
}

func TestCORSIsDisabledByDefault(t *testing.T) {
	f := start(t, server.Default(), twoRoutes)
	preflight := f.do("OPTIONS", "/api/v1/tags", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
	require.Equal(t, 405, preflight.StatusCode)
	require.Empty(t, corsHeaders(preflight))
	simple := f.do("GET", "/api/v1/tags", "", "Origin", "https://evil.example")
	require.Equal(t, 200, simple.StatusCode)
	require.Empty(t, corsHeaders(simple))
}

func TestCORSWithOrigins(t *testing.T) {
	cfg := server.Default()
	cfg.CORSAllowedOrigins = []string{"https://blog.example", "http://localhost:3000"}
	f := start(t, cfg, twoRoutes)

	for _, origin := range cfg.CORSAllowedOrigins {
		preflight := f.do("OPTIONS", "/api/v1/tags", "", "Origin", origin,
			"Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "content-type,locale")
		require.Equal(t, 204, preflight.StatusCode)
		require.Empty(t, preflight.body)
		require.Equal(t, origin, preflight.Header.Get("Access-Control-Allow-Origin"))
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			require.Contains(t, preflight.Header.Get("Access-Control-Allow-Methods"), method)
		}
		for _, name := range []string{"Content-Type", "Locale", "Authorization"} {
			require.Contains(t, preflight.Header.Get("Access-Control-Allow-Headers"), name)
		}
		require.Equal(t, "3600", preflight.Header.Get("Access-Control-Max-Age"))
		require.Empty(t, preflight.Header.Get("Access-Control-Allow-Credentials"))
		require.Contains(t, preflight.Header.Values("Vary"), "Origin")
	}

	answer := f.do("GET", "/nothing", "", "Origin", "https://blog.example")
	require.Equal(t, 404, answer.StatusCode)
	require.Equal(t, "https://blog.example", answer.Header.Get("Access-Control-Allow-Origin"), "the page can read error responses too")
	require.Contains(t, answer.Header.Get("Access-Control-Expose-Headers"), "X-Request-Id")

	for _, origin := range []string{"https://evil.example", "https://blog.example.evil.example", "http://blog.example", "null", ""} {
		preflight := f.do("OPTIONS", "/api/v1/tags", "", "Origin", origin, "Access-Control-Request-Method", "POST")
		require.Equal(t, 405, preflight.StatusCode, origin)
		require.Empty(t, corsHeaders(preflight), origin)
		simple := f.do("GET", "/api/v1/tags", "", "Origin", origin)
		require.Equal(t, 200, simple.StatusCode, "a client that is not a browser")
		require.Empty(t, corsHeaders(simple), origin)
		require.Contains(t, simple.Header.Values("Vary"), "Origin")
	}
}

func TestCORSForAll(t *testing.T) {
	cfg := server.Default()
	cfg.CORSAllowedOrigins = []string{"*"}
	f := start(t, cfg, twoRoutes)
	answer := f.do("GET", "/api/v1/tags", "", "Origin", "https://any.example")
	require.Equal(t, "*", answer.Header.Get("Access-Control-Allow-Origin"))
	require.Empty(t, answer.Header.Get("Access-Control-Allow-Credentials"))
}

func TestCORSForAllPorts(t *testing.T) {
	cfg := server.Default()
	cfg.CORSAllowedOrigins = []string{"http://localhost:*", "http://127.0.0.1:*"}
	require.NoError(t, settings.Validate(&cfg))
	f := start(t, cfg, twoRoutes)
	for origin, allowed := range map[string]bool{
		"http://localhost": true, "http://localhost:5173": true, "http://127.0.0.1:3000": true,
		"https://localhost:5173": false, "http://localhost.evil.example": false, "http://localhostile:80": false, "": false,
	} {
		preflight := f.do("OPTIONS", "/api/v1/tags", "", "Origin", origin, "Access-Control-Request-Method", "POST")
		require.Equal(t, allowed, preflight.StatusCode == 204, origin)
		answer := f.do("GET", "/api/v1/tags", "", "Origin", origin)
		if allowed {
			require.Equal(t, origin, answer.Header.Get("Access-Control-Allow-Origin"))
		} else {
			require.Empty(t, corsHeaders(answer), origin)
		}
	}
}

// Browsers' tracing and the headers of the API work by default, and the lists are settings.
func TestCORSHeaders(t *testing.T) {
	cfg := server.Default()
	cfg.CORSAllowedOrigins = []string{"https://blog.example"}
	f := start(t, cfg, twoRoutes)
	preflight := f.do("OPTIONS", "/api/v1/tags", "", "Origin", "https://blog.example", "Access-Control-Request-Method", "PUT")
	allowed := strings.ToLower(preflight.Header.Get("Access-Control-Allow-Headers"))
	for _, name := range []string{"traceparent", "tracestate", "baggage", "x-requested-with", "idempotency-key", "if-match", "token", "locale", "range", "if-range"} {
		require.Contains(t, strings.Split(allowed, ","), name)
	}
	exposed := strings.ToLower(f.do("GET", "/api/v1/tags", "", "Origin", "https://blog.example").Header.Get("Access-Control-Expose-Headers"))
	for _, name := range []string{"etag", "link", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id", "x-ignored-fields", "location", "accept-ranges", "content-disposition", "content-range"} {
		require.Contains(t, strings.Split(exposed, ","), name)
	}

	cfg.CORSAllowedHeaders, cfg.CORSExposedHeaders = []string{"X-One"}, []string{"X-Two"}
	f = start(t, cfg, twoRoutes)
	preflight = f.do("OPTIONS", "/api/v1/tags", "", "Origin", "https://blog.example", "Access-Control-Request-Method", "PUT")
	require.Equal(t, "X-One", preflight.Header.Get("Access-Control-Allow-Headers"))
	require.Equal(t, "X-Two", f.do("GET", "/api/v1/tags", "", "Origin", "https://blog.example").Header.Get("Access-Control-Expose-Headers"))
}
