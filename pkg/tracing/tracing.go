// Package tracing creates spans and sends them to a collector, without delaying
// requests. There is no global provider: the HTTP server gets a tracer, and code that
// works for a request finds the span in its context.
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

	"github.com/achilles-blog/achilles/pkg/settings"
)

const (
	// scope is the instrumentation scope of the spans.
	scope = "github.com/achilles-blog/achilles/pkg/tracing"
	// flushTimeout is the timeout for all remaining batches in Close.
	flushTimeout = time.Second
)

// Tracing sends the spans of one service to its collector.
type Tracing struct {
	provider *sdktrace.TracerProvider
	client   *client
	target   string
	sampler  settings.Value[sampler]
}

// sampler decides which requests are traced.
type sampler struct {
	sdktrace.Sampler
	about string
}

// About describes a Tracing for people.
type About struct {
	// Endpoint is where traces are sent, or "" if there are none.
	Endpoint string
	// Sampler decides which requests are traced.
	Sampler string
}

// New returns the tracing of a service, or nil if neither cfg nor the environment has an
// endpoint. It does not connect to the collector, which may be unavailable at any time.
func New(cfg *settings.Live[Config], service, version string, log *zap.Logger) *Tracing {
	env := environment{log}
	target, options := env.endpoint(cfg.Now())
	if target == "" {
		return nil
	}
	t := &Tracing{client: newClient(options, log), target: target, sampler: settings.Map(cfg, func(c Config) sampler {
		name, ratio := env.sampler(c)
		made, _ := newSampler(name, ratio)
		return sampler{made, describe(name, ratio)}
	})}
	t.provider = sdktrace.NewTracerProvider(
		// The queue is bounded. Spans that do not fit are dropped.
		sdktrace.WithBatcher(otlptrace.NewUnstarted(t.client), env.batches()...),
		sdktrace.WithSampler(sdktrace.AlwaysSample()), // Tracer.Sample has decided
		sdktrace.WithIDGenerator(idGenerator{}),
		sdktrace.WithResource(newResource(service, version, log)),
	)
	log.Info("traces are sent", zap.String("to", target), zap.String("sampler", t.sampler.In(context.Background()).about))
	return t
}

// newResource describes the service. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take
// precedence.
func newResource(service, version string, log *zap.Logger) *resource.Resource {
	host, _ := os.Hostname() // the pod name in Kubernetes
	described, err := resource.New(context.Background(), resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceVersion(version), semconv.ServiceInstanceID(host)),
		resource.WithFromEnv())
	if err != nil {
		log.Warn("traces lack attributes of OTEL_RESOURCE_ATTRIBUTES: write it as name=value,name=value", zap.Error(err))
	}
	return described
}

// About returns what t does, also if t is nil.
func (t *Tracing) About() About {
	if t == nil {
		return About{}
	}
	return About{t.target, t.sampler.In(context.Background()).about}
}

// Tracer returns the tracer for requests, or nil if t is nil.
func (t *Tracing) Tracer() *Tracer {
	if t == nil {
		return nil
	}
	return &Tracer{t.provider.Tracer(scope), t.sampler}
}

// Tracer creates the spans of requests.
type Tracer struct {
	trace.Tracer
	sampler settings.Value[sampler]
}

// Sample reports whether a request is traced, which depends on the sampler and, for most
// samplers, on its parent in ctx. Call Start only if it is. Otherwise the returned context
// has the ids of a span that is not traced, for the log and other services.
func (t *Tracer) Sample(ctx context.Context) (context.Context, bool) {
	span := trace.SpanContextFromContext(ctx)
	root := !span.IsValid()
	if root {
		span = newSpan()
	}
	decided := t.sampler.In(ctx).ShouldSample(sdktrace.SamplingParameters{ParentContext: ctx, TraceID: span.TraceID()})
	switch {
	case decided.Decision != sdktrace.RecordAndSample:
		return trace.ContextWithSpanContext(ctx, span.WithTraceFlags(0)), false
	case root:
		return context.WithValue(ctx, sampledKey{}, span), true
	}
	return ctx, true
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
		t.client.log.Warn("the last traces are lost: the collector did not accept them in time", zap.Error(err))
	}
	return t.client.Stop(context.WithoutCancel(ctx))
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
