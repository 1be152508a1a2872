package server

import (
	"context"
	"regexp"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
)

const requestIDHeader = "X-Request-ID"

type requestIDKey struct{}

// RequestID returns the id of the request that ctx belongs to, "" outside of
// one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// requestID takes over the client's id, or makes one where there is none that
// is fit to be repeated in a header and a log.
func requestID() gin.HandlerFunc {
	fit := regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	return func(c *gin.Context) {
		id := c.GetHeader(requestIDHeader)
		if !fit.MatchString(id) {
			id = uuid.NewString()
		}
		c.Header(requestIDHeader, id)
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), requestIDKey{}, id))
		c.Next()
	}
}
