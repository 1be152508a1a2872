package server

import (
	"regexp"

	"github.com/gin-gonic/gin"
)

const servedByHeader = "X-Served-By"

// servedBy names the instance in every answer, so that a client can tell the
// replicas of a service apart.
func servedBy(name string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if name != "" {
			c.Header(servedByHeader, name)
		}
	}
}

// fitServedBy tells whether a name can stand in a header; those of pods can.
func fitServedBy(name string) bool {
	return regexp.MustCompile(`^[A-Za-z0-9._-]{0,253}$`).MatchString(name)
}
