package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-contrib/cors"
	"github.com/gin-gonic/gin"
)

// crossOrigin allows pages of the configured origins to call the API without
// credentials. Without origins it does nothing, and browsers block cross-origin calls.
func crossOrigin(from Config) (gin.HandlerFunc, error) {
	origins := from.CORSAllowedOrigins
	if len(origins) == 0 {
		return func(*gin.Context) {}, nil
	}
	for _, origin := range origins {
		if origin != "*" && !validOrigin(origin) {
			return nil, fmt.Errorf("origins %q: %s is not an origin", origins, origin)
		}
	}
	cfg := cors.Config{
		AllowOriginFunc: func(origin string) bool { return allowsOrigin(origins, origin) },
		AllowMethods: []string{
			http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		},
		AllowHeaders:  from.CORSAllowedHeaders,
		ExposeHeaders: from.CORSExposedHeaders,
		MaxAge:        time.Hour,
	}
	if slices.Contains(origins, "*") {
		cfg.AllowOriginFunc, cfg.AllowAllOrigins = nil, true
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("origins %q: %w", origins, err)
	}
	handle := cors.New(cfg)
	return func(c *gin.Context) {
		// The response depends on the header, even if the request has none.
		c.Writer.Header().Add("Vary", "Origin")
		// For other origins the library would answer 403, even to clients that are
		// not browsers. Without its headers browsers block the response themselves.
		if cfg.AllowAllOrigins || allowsOrigin(origins, c.GetHeader("Origin")) {
			handle(c)
		}
	}, nil
}

// allowsOrigin reports whether origin is in allowed. An element that ends with ":*"
// allows all ports of its host.
func allowsOrigin(allowed []string, origin string) bool {
	return slices.ContainsFunc(allowed, func(pattern string) bool {
		host, all := strings.CutSuffix(pattern, anyPort)
		if !all {
			return origin == pattern
		}
		rest, found := strings.CutPrefix(origin, host)
		return found && (rest == "" || rest[0] == ':')
	})
}
