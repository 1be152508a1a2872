package server

import (
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// recovery logs a panic and answers 500. If the header has been sent, it closes the
// connection instead, so that the client notices that the response is incomplete.
func recovery(log *zap.Logger, m *metrics.Metrics) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			value := recover()
			if value == nil {
				return
			}
			if value == http.ErrAbortHandler { // compared like in net/http
				panic(value)
			}
			m.PanicRecovered()
			log.Error("panic",
				zap.String("value", fmt.Sprint(value)),
				zap.String("method", metrics.Method(c.Request.Method)),
				zap.String("route", metrics.Route(c.FullPath())),
				zap.String("request_id", RequestID(c.Request.Context())),
				zap.ByteString("stack", debug.Stack()),
			)
			if c.Writer.Written() {
				panic(http.ErrAbortHandler) // which net/http doesn't log
			}
			// Headers of the response that the handler could not complete.
			for _, name := range []string{"Content-Type", "Content-Length", "Content-Encoding", "ETag", "Link", "Location"} {
				c.Writer.Header().Del(name)
			}
			responses.Error(c, errcode.New(errcode.Internal))
		}()
		c.Next()
	}
}

// finalStatus returns the status of the response, or 500 if the handlers panicked and
// did not return.
func finalStatus(c *gin.Context, returned bool) int {
	if !returned {
		return http.StatusInternalServerError
	}
	return c.Writer.Status()
}
