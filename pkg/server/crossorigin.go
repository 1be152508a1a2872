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

// crossOrigin lets pages of the given origins call the API, without
// credentials. With no origins it adds nothing, and browsers keep the door
// closed.
func crossOrigin(origins []string) (gin.HandlerFunc, error) {
	if len(origins) == 0 {
		return func(*gin.Context) {}, nil
	}
	for _, origin := range origins {
		if origin != "*" && !validOrigin(origin) {
			return nil, fmt.Errorf("origins %q: %s is none", origins, origin)
		}
	}
	cfg := cors.Config{
		AllowOriginFunc: func(origin string) bool { return allowsOrigin(origins, origin) },
		AllowMethods: []string{
			http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		},
		AllowHeaders: []string{
			"Content-Type", "Authorization", "Token", "Locale", "Idempotency-Key", "If-Match", "If-None-Match", requestIDHeader,
		},
		ExposeHeaders: []string{
			"Location", "Retry-After", "ETag", "Idempotency-Replayed", "RateLimit", "RateLimit-Policy", "WWW-Authenticate", requestIDHeader,
		},
		MaxAge: time.Hour,
	}
	if slices.Contains(origins, "*") {
		cfg.AllowOriginFunc, cfg.AllowAllOrigins = nil, true
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("origins %q: %w", origins, err)
	}
	handle := cors.New(cfg)
	return func(c *gin.Context) {
		// What the answer says depends on the origin, also where there is none.
		c.Writer.Header().Add("Vary", "Origin")
		// The library would refuse other origins with a bare 403, also callers
		// that are no browsers. Without its headers browsers refuse by themselves.
		if cfg.AllowAllOrigins || allowsOrigin(origins, c.GetHeader("Origin")) {
			handle(c)
		}
	}, nil
}

// allowsOrigin reports whether origin is one of allowed, of which one that ends
// with ":*" stands for all ports of its host.
func allowsOrigin(allowed []string, origin string) bool {
	return slices.ContainsFunc(allowed, func(each string) bool {
		host, all := strings.CutSuffix(each, anyPort)
		if !all {
			return origin == each
		}
		rest, found := strings.CutPrefix(origin, host)
		return found && (rest == "" || rest[0] == ':')
	})
}
