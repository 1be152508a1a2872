package server

import (
	"fmt"
	"net/http"
	"slices"
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
	cfg := cors.Config{
		AllowOrigins: origins,
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
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("origins %q: %w", origins, err)
	}
	handle := cors.New(cfg)
	all := slices.Contains(origins, "*")
	return func(c *gin.Context) {
		// What the answer says depends on the origin, also where there is none.
		c.Writer.Header().Add("Vary", "Origin")
		// The library would refuse other origins with a bare 403, also callers
		// that are no browsers. Without its headers browsers refuse by themselves.
		if all || slices.Contains(origins, c.GetHeader("Origin")) {
			handle(c)
		}
	}, nil
}
