package server

import (
	"context"
	"regexp"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
)

const requestIDHeader = "X-Request-ID"

type requestIDKey struct{}

// RequestID returns the id of the request in ctx, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// requestID takes the request id from the client, or generates one if it is missing or
// not safe for headers and logs.
func requestID() gin.HandlerFunc {
	valid := regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	return func(c *gin.Context) {
		id := c.GetHeader(requestIDHeader)
		if !valid.MatchString(id) {
			id = uuid.NewString()
		}
		c.Header(requestIDHeader, id)
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), requestIDKey{}, id))
		c.Next()
	}
}
