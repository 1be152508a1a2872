package server

import (
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"

	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/slowtrace"
)

// measure records the metrics of requests, and keeps the execution trace of slow ones.
func measure(m *metrics.Metrics, slow *slowtrace.Recorder) gin.HandlerFunc {
	return func(c *gin.Context) {
		begin, returned := time.Now(), false
		m.RequestStarted()
		defer func() {
			took, status := time.Since(begin), finalStatus(c, returned)
			m.RequestDone(c.Request.Context(), c.Request.Method, c.FullPath(), status, took)
			if slow.Slow(took) && !waits(c) {
				keepTrace(slow, c, begin, took, status)
			}
		}()
		c.Next()
		returned = true
	}
}

func keepTrace(slow *slowtrace.Recorder, c *gin.Context, begin time.Time, took time.Duration, status int) {
	ctx := c.Request.Context()
	request := slowtrace.Request{
		Began: begin, Duration: took, Method: metrics.Method(c.Request.Method), Route: metrics.Route(c.FullPath()), Status: status, RequestID: RequestID(ctx),
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		request.TraceID = span.TraceID().String()
	}
	slow.Keep(ctx, request)
}

// waitsKey is the key of a request that takes long for a good reason.
type waitsKey struct{}

// waits reports whether a request takes long for a good reason: it waits for a change, or
// transfers a file at the speed of its client.
func waits(c *gin.Context) bool {
	_, waits := c.Get(waitsKey{})
	return waits || strings.HasPrefix(c.FullPath(), internalRoutes)
}
