package server

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

// internalRoutes is the prefix of routes for other services, such as the long polls of
// the tag feed.
const internalRoutes = "/internal/"

// traceRequests creates a span for each request, as a child of the client's span if
// there is one. It does not trace internal routes without a parent span.
// Of the data that the client sent, it records only the method.
func traceRequests(tracer *tracing.Tracer) gin.HandlerFunc {
	return func(c *gin.Context) {
		ctx := c.Request.Context()
		if c.Request.Header["Traceparent"] != nil {
			ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(c.Request.Header))
		}
		route := c.FullPath()
		if strings.HasPrefix(route, internalRoutes) && !trace.SpanContextFromContext(ctx).IsValid() {
			return
		}
		ctx, sampled := tracer.Sample(ctx)
		if !sampled {
			c.Request = c.Request.WithContext(ctx)
			return
		}
		method, name := c.Request.Method, c.Request.Method
		if metrics.Method(method) != method {
			method, name = "_OTHER", "HTTP" // as in OpenTelemetry's semantic conventions
		}
		ctx, span := tracer.Start(ctx, strings.TrimSpace(name+" "+route), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			semconv.HTTPRequestMethodKey.String(method), semconv.URLScheme("http"), semconv.ClientAddress(clientAddress(c))))
		if route != "" {
			span.SetAttributes(semconv.HTTPRoute(route))
		}
		c.Request = c.Request.WithContext(ctx)
		returned := false
		defer func() { endSpan(span, finalStatus(c, returned)) }()
		c.Next()
		returned = true
	}
}

func endSpan(span trace.Span, status int) {
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= http.StatusInternalServerError {
		span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(status)))
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
