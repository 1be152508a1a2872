package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/responses"
)

// requestTimeout gives the request's context a deadline, and answers 504 where
// the handlers ended on it without an answer.
func requestTimeout(limit time.Duration) gin.HandlerFunc {
	return func(c *gin.Context) {
		ctx, cancel := context.WithTimeout(c.Request.Context(), limit)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		c.Next()
		// A status such as 204 is an answer, though gin has not written it yet.
		answered := c.Writer.Written() || c.Writer.Status() != http.StatusOK
		if !answered && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			responses.Error(c, ctx.Err())
		}
	}
}
