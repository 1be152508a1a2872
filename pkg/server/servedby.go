package server

import (
	"regexp"

	"github.com/gin-gonic/gin"
)

const servedByHeader = "X-Served-By"

// servedBy sets X-Served-By, which tells replicas apart.
func servedBy(name string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if name != "" {
			c.Header(servedByHeader, name)
		}
	}
}

// validServedBy reports whether the name is valid in a header. Names of pods are.
func validServedBy(name string) bool {
	return regexp.MustCompile(`^[A-Za-z0-9._-]{0,253}$`).MatchString(name)
}
