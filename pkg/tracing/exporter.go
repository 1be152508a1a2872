package tracing

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"
)

const (
	// reportInterval is the minimum interval between warnings about the collector.
	reportInterval = time.Minute
	// maxResponse is the maximum size of a response of the collector, in bytes.
	maxResponse = 64 << 10
	// maxReport is the maximum length of an error in the log, in bytes. Those of the exporter
	// contain the response of the collector.
	maxReport = 500
)

// client is the client of the standard exporter, whose errors it logs instead of
// returning them, because the SDK passes them to a global handler each time.
type client struct {
	otlptrace.Client
	log      *zap.Logger
	reported time.Time
	closed   context.Context
	close    context.CancelFunc
}

func newClient(options []otlptracehttp.Option, log *zap.Logger) *client {
	c := &client{Client: otlptracehttp.NewClient(append(options, otlptracehttp.WithMaxResponseSize(maxResponse))...), log: log}
	c.closed, c.close = context.WithCancel(context.Background())
	return c
}

// UploadTraces implements otlptrace.Client. It is not called concurrently.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	err := c.Client.UploadTraces(ctx, spans)
	if err != nil && c.closed.Err() == nil && time.Since(c.reported) >= reportInterval {
		c.reported = time.Now()
		text := err.Error()
		c.log.Warn("traces are lost, requests are not affected: check that the endpoint is a collector for OTLP over HTTP",
			zap.String("error", strings.ToValidUTF8(text[:min(len(text), maxReport)], "")))
	}
	return nil
}

// Stop implements otlptrace.Client: it cancels the upload in progress. The SDK calls it
// only after all uploads.
func (c *client) Stop(ctx context.Context) error {
	c.close()
	return c.Client.Stop(ctx)
}
