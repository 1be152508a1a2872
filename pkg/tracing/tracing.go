// Package tracing makes spans of what a service does and sends them to a
// collector, beside the requests and never in their way. There is no global
// provider: who answers requests is given a tracer, and whatever works for a
// request finds it in the context.
package tracing

import (
	"context"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

const (
	// scope names the maker of the spans in them.
	scope = "github.com/achilles-blog/achilles/pkg/tracing"
	// sendTimeout bounds the delivery of one batch, flushTimeout that of all
	// that are left at the end.
	sendTimeout  = 5 * time.Second
	flushTimeout = time.Second
)

// Tracing sends the spans of one service to its collector.
type Tracing struct {
	provider *sdktrace.TracerProvider
	sender   *sender
}

// New returns what traces the service of the given name and version, or nil
// when the configuration has no endpoint. It does not look for the collector,
// which may come later, and go and return.
func New(cfg Config, service, version string, log *zap.Logger) *Tracing {
	if cfg.Endpoint == "" {
		return nil
	}
	sender := newSender(cfg.Endpoint, log)
	host, _ := os.Hostname() // in Kubernetes the pod's name
	return &Tracing{sender: sender, provider: sdktrace.NewTracerProvider(
		// Spans wait in a queue of bounded length; what it cannot hold is lost.
		sdktrace.WithBatcher(otlptrace.NewUnstarted(sender), sdktrace.WithExportTimeout(sendTimeout)),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.SampleRatio))),
		sdktrace.WithResource(resource.NewSchemaless(
			semconv.ServiceName(service), semconv.ServiceVersion(version), semconv.ServiceInstanceID(host))),
	)}
}

// Tracer begins the spans of requests; nil when nothing is traced.
func (t *Tracing) Tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer(scope)
}

// Close sends what has not been sent yet, for as long as flushTimeout and ctx
// allow. Traces that are lost are no failure of the service's stop.
func (t *Tracing) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.sender.log.Warn("the last traces are lost: the collector did not take them in time", zap.Error(err))
	}
	t.sender.close()
	return nil
}

// StartClient begins the span of a call to another system, below the span in
// ctx. Where none is recorded there the one that it returns does nothing.
func StartClient(ctx context.Context, name string, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, trace.SpanFromContext(context.Background())
	}
	return parent.TracerProvider().Tracer(scope).Start(ctx, name,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
}
