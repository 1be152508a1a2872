package server

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// accessLog logs one line per request, with the address of the client and, if it is
// authenticated, its app key. Of the data that the client sent, it logs only the method and
// the request id: paths, queries and bodies may contain secrets.
func accessLog(log *zap.Logger, appKey func(*gin.Context) string) gin.HandlerFunc {
	if appKey == nil {
		appKey = func(*gin.Context) string { return "" }
	}
	return func(c *gin.Context) {
		begin, returned := time.Now(), false
		defer func() {
			status := finalStatus(c, returned)
			line := log.Check(accessLevel(c, status), "request")
			if line == nil {
				return
			}
			fields := []zap.Field{
				zap.String("method", metrics.Method(c.Request.Method)),
				zap.String("route", metrics.Route(c.FullPath())),
				zap.Int("status", status),
				zap.Duration("duration", time.Since(begin)),
				zap.Int("bytes", max(c.Writer.Size(), 0)),
				zap.String("client", clientAddress(c)),
				zap.String("request_id", RequestID(c.Request.Context())),
			}
			if key := appKey(c); key != "" {
				fields = append(fields, zap.String("app_key", key))
			}
			if span := trace.SpanContextFromContext(c.Request.Context()); span.IsValid() {
				fields = append(fields, zap.Stringer("trace_id", span.TraceID()))
			}
			line.Write(append(fields, errorFields(c, status)...)...)
		}()
		c.Next()
		returned = true
	}
}

// clientAddress returns the address of the client, which forwarded has put into
// RemoteAddr, without its port.
func clientAddress(c *gin.Context) string {
	host, _, err := net.SplitHostPort(c.Request.RemoteAddr)
	if err != nil {
		return "" // a Unix socket
	}
	return host
}

// accessLevel returns the level of a request's line. That of a limit that clients reach is no
// error of the service, and clients must not be able to fill the log with errors.
func accessLevel(c *gin.Context, status int) zapcore.Level {
	if status < http.StatusInternalServerError {
		return zapcore.InfoLevel
	}
	for _, problem := range c.Errors {
		if coded, ok := errors.AsType[*errcode.Error](problem.Err); ok && coded.Busy {
			return zapcore.WarnLevel
		}
	}
	return zapcore.ErrorLevel
}

// errorFields returns the code of the response, why the client did not get all of it,
// and, for status 500 and above, the causes. The causes of other errors may quote data
// from the client.
func errorFields(c *gin.Context, status int) []zap.Field {
	var fields []zap.Field
	var texts []string
	for _, problem := range c.Errors {
		var coded *errcode.Error
		if errors.As(problem.Err, &coded) && len(fields) == 0 {
			fields = append(fields, zap.Int("code", int(coded.Code)))
		}
		if errors.Is(problem.Err, responses.ErrIncomplete) {
			fields = append(fields, zap.NamedError("incomplete", problem.Err))
		}
		texts = append(texts, problem.Error())
	}
	if status >= http.StatusInternalServerError && len(texts) > 0 {
		fields = append(fields, zap.String("error", strings.Join(texts, "; ")))
	}
	return fields
}
