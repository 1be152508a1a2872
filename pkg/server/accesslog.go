package server

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/metrics"
)

// accessLog writes one line per request, without anything the client sent but
// its method and its id: paths, queries and bodies may hold secrets.
func accessLog(log *zap.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		begin, returned := time.Now(), false
		defer func() {
			status := outcome(c, returned)
			line := log.Check(accessLevel(c.FullPath(), status), "request")
			if line == nil {
				return
			}
			fields := []zap.Field{
				zap.String("method", metrics.Method(c.Request.Method)),
				zap.String("route", metrics.Route(c.FullPath())),
				zap.Int("status", status),
				zap.Duration("duration", time.Since(begin)),
				zap.Int("bytes", max(c.Writer.Size(), 0)),
				zap.String("client", c.ClientIP()),
				zap.String("request_id", RequestID(c.Request.Context())),
			}
			if span := trace.SpanContextFromContext(c.Request.Context()); span.IsValid() {
				fields = append(fields, zap.Stringer("trace_id", span.TraceID()))
			}
			line.Write(append(fields, problems(c, status)...)...)
		}()
		c.Next()
		returned = true
	}
}

func accessLevel(route string, status int) zapcore.Level {
	switch {
	case isProbe(route):
		return zapcore.DebugLevel
	case status >= http.StatusInternalServerError:
		return zapcore.ErrorLevel
	default:
		return zapcore.InfoLevel
	}
}

// problems are the code of the answer and, where the fault is the service's,
// the causes. The errors of a client's mistakes may quote what it sent.
func problems(c *gin.Context, status int) []zap.Field {
	var fields []zap.Field
	var texts []string
	for _, problem := range c.Errors {
		var coded *errcode.Error
		if errors.As(problem.Err, &coded) && len(fields) == 0 {
			fields = append(fields, zap.Int("code", int(coded.Code)))
		}
		texts = append(texts, problem.Error())
	}
	if status >= http.StatusInternalServerError && len(texts) > 0 {
		fields = append(fields, zap.String("error", strings.Join(texts, "; ")))
	}
	return fields
}
