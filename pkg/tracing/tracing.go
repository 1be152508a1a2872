// Package tracing creates spans and sends them to a collector, without delaying
// requests. There is no global provider: the HTTP server gets a tracer, and code that
// works for a request finds the span in its context.
package tracing

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
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
	// scope is the instrumentation scope of the spans.
	scope = "github.com/achilles-blog/achilles/pkg/tracing"
	// sendTimeout is the timeout for one batch, flushTimeout the timeout for all
	// remaining batches in Close.
	sendTimeout  = 5 * time.Second
	flushTimeout = time.Second
)

// Tracing sends the spans of one service to its collector.
type Tracing struct {
	provider *sdktrace.TracerProvider
	sender   *sender
	ratio    float64
}

// New returns the tracing of a service, or nil if there is no endpoint. It does not
// connect to the collector, which may be unavailable at any time.
func New(cfg Config, service, version string, log *zap.Logger) *Tracing {
	if cfg.Endpoint == "" {
		return nil
	}
	sender := newSender(cfg.Endpoint, log)
	host, _ := os.Hostname() // the pod name in Kubernetes
	return &Tracing{ratio: cfg.SampleRatio, sender: sender, provider: sdktrace.NewTracerProvider(
		// The queue is bounded. Spans that do not fit are dropped.
		sdktrace.WithBatcher(otlptrace.NewUnstarted(sender), sdktrace.WithExportTimeout(sendTimeout)),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())), // Tracer.Sample has decided
		sdktrace.WithResource(resource.NewSchemaless(
			semconv.ServiceName(service), semconv.ServiceVersion(version), semconv.ServiceInstanceID(host))),
	)}
}

// Tracer returns the tracer for requests, or nil if t is nil.
func (t *Tracing) Tracer() *Tracer {
	if t == nil {
		return nil
	}
	return &Tracer{t.provider.Tracer(scope), t.ratio}
}

// Tracer creates the spans of requests.
type Tracer struct {
	trace.Tracer
	ratio float64
}

// Sample reports whether a request is traced: if its parent in ctx is, and without a
// parent at random. Call Start only if it is. Otherwise the returned context has the
// ids of a span that is not traced, for the log and other services.
func (t *Tracer) Sample(ctx context.Context) (context.Context, bool) {
	if parent := trace.SpanContextFromContext(ctx); parent.IsValid() {
		return ctx, parent.IsSampled()
	}
	if rand.Float64() < t.ratio { // #nosec G404 -- ids of traces are no secret
		return ctx, true
	}
	var ids trace.SpanContextConfig
	binary.NativeEndian.PutUint64(ids.TraceID[:8], rand.Uint64())   // #nosec G404
	binary.NativeEndian.PutUint64(ids.TraceID[8:], rand.Uint64()|1) // #nosec G404 -- not zero
	binary.NativeEndian.PutUint64(ids.SpanID[:], rand.Uint64()|1)   // #nosec G404
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(ids)), false
}

// Close sends the remaining spans until flushTimeout or the end of ctx. It logs lost
// spans and returns no error for them.
func (t *Tracing) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.sender.log.Warn("the last traces are lost: the collector did not accept them in time", zap.Error(err))
	}
	t.sender.close()
	return nil
}

// StartClient starts a client span as a child of the span in ctx. If that is not
// recording, it returns a span that does nothing.
func StartClient(ctx context.Context, name string, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, trace.SpanFromContext(context.Background())
	}
	return parent.TracerProvider().Tracer(scope).Start(ctx, name,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
}
