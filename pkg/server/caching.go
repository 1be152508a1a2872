package server

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/responses"
)

// caching sets Cache-Control on responses to reads. Anonymous responses may be kept by
// shared caches, such as a CDN, for Config.SharedMaxAge. Responses to requests with
// credentials, even empty or invalid ones, may only be kept by the client, which must
// revalidate them.
func caching(cfg Config) (gin.HandlerFunc, error) {
	shared := cfg.SharedMaxAge
	public := responses.SharedCaching(shared)
	return func(c *gin.Context) {
		if c.Request.Method != http.MethodGet && c.Request.Method != http.MethodHead {
			return
		}
		if hasCredentials(c.Request.Header) {
			responses.AllowCaching(c, "private, no-cache", 0)
		} else {
			responses.AllowCaching(c, public, shared)
		}
	}, nil
}

func hasCredentials(header http.Header) bool {
	return header["Authorization"] != nil || header["Token"] != nil
}
