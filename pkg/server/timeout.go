package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/responses"
)

// requestTimeout sets the deadline of the request's context, and the time until which
// its response may be written. It answers 504 if the deadline passed and the handlers
// have not answered.
func requestTimeout(limit, write time.Duration) gin.HandlerFunc {
	return func(c *gin.Context) {
		responses.WriteUntil(c, time.Now().Add(write))
		ctx, cancel := context.WithTimeout(c.Request.Context(), limit)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		c.Next()
		// gin has not written a status without a body, such as 204, yet.
		answered := c.Writer.Written() || c.Writer.Status() != http.StatusOK
		if !answered && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			responses.Error(c, ctx.Err())
		}
	}
}
