package server

import (
	"maps"
	"net/http"

	"github.com/gin-gonic/gin"
)

// securityHeaders sets the security headers for an API. Handlers that serve pages can
// override them.
func securityHeaders() gin.HandlerFunc {
	headers := http.Header{
		"X-Content-Type-Options":  {"nosniff"},
		"X-Frame-Options":         {"DENY"},
		"Referrer-Policy":         {"no-referrer"},
		"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
		"Cache-Control":           {"no-store"},
	}
	// All responses share the values, which Set and Add don't change.
	return func(c *gin.Context) { maps.Copy(c.Writer.Header(), headers) }
}
