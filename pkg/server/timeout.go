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
func requestTimeout(cfg Config) (gin.HandlerFunc, error) {
	return func(c *gin.Context) {
		responses.WriteUntil(c, time.Now().Add(cfg.WriteTimeout))
		c.Set(untimed{}, c.Request.Context())
		ctx, cancel := context.WithTimeout(c.Request.Context(), cfg.RequestTimeout)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		c.Next()
		// gin has not written a status without a body, such as 204, yet.
		answered := c.Writer.Written() || c.Writer.Status() != http.StatusOK
		if !answered && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			responses.Error(c, ctx.Err())
		}
	}, nil
}

// untimed is the key of the request's context without the deadline.
type untimed struct{}

// TransferMargin is how long the response to a request with Transfer may take after its
// timeout.
const TransferMargin = 3 * time.Second

// Transfer gives requests that send or receive a file another timeout than
// Config.RequestTimeout, also for reading the body. It must run after the middleware of
// NewEngine.
func Transfer(limit time.Duration) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Set(waitsKey{}, true)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), limit)
		defer cancel()
		if parent, ok := c.Get(untimed{}); ok {
			defer context.AfterFunc(parent.(context.Context), cancel)() // the client has gone
		}
		c.Request = c.Request.WithContext(ctx)
		end := time.Now().Add(limit)
		connection := http.NewResponseController(c.Writer)
		_ = connection.SetReadDeadline(end)
		_ = connection.SetWriteDeadline(end.Add(TransferMargin))
		responses.WriteUntil(c, end.Add(TransferMargin))
		c.Next()
	}
}
