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

// recovery turns a panic into an answer of 500 and one line in the log. A panic
// after the header was sent cuts the connection instead: a client must not take
// half an answer for a whole one.
func recovery(log *zap.Logger, m *metrics.Metrics) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			value := recover()
			if value == nil {
				return
			}
			if value == http.ErrAbortHandler { // as net/http compares it
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
				panic(http.ErrAbortHandler) // net/http keeps silent about this one
			}
			// What the handler said of the answer it did not come to give.
			for _, name := range []string{"Content-Type", "Content-Length", "Content-Encoding", "ETag", "Location"} {
				c.Writer.Header().Del(name)
			}
			responses.Error(c, errcode.New(errcode.Internal))
		}()
		c.Next()
	}
}

// outcome is the status that stands for what became of a request: a panic is
// on its way to the recovery, or to the connection's end, when the handlers
// have not returned.
func outcome(c *gin.Context, returned bool) int {
	if !returned {
		return http.StatusInternalServerError
	}
	return c.Writer.Status()
}
