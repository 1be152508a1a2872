package tracing

import (
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Transport creates a client span for each request whose context has a span, and
// propagates it to the server.
type Transport struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if !trace.SpanContextFromContext(request.Context()).IsValid() {
		return t.Transport.RoundTrip(request)
	}
	ctx, span := StartClient(request.Context(), request.Method,
		semconv.HTTPRequestMethodKey.String(request.Method), semconv.ServerAddress(request.URL.Hostname()),
		semconv.URLFull(request.URL.Redacted()))
	defer span.End()
	request = request.Clone(ctx) // RoundTrip must not modify the request
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(request.Header))
	response, err := t.Transport.RoundTrip(request)
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		return nil, err
	}
	span.SetAttributes(semconv.HTTPResponseStatusCode(response.StatusCode))
	if response.StatusCode >= http.StatusBadRequest {
		span.SetStatus(codes.Error, "")
		span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(response.StatusCode)))
	}
	return response, nil
}
