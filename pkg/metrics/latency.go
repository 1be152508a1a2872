package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

const (
	// bucketFactor is the maximum ratio of two neighbouring buckets of a native histogram.
	bucketFactor = 1.1
	// maxBuckets is the maximum number of their buckets, from 1 µs to 20 s.
	maxBuckets = 160
	// resetInterval is the minimum time between two resets because of maxBuckets.
	resetInterval = time.Hour
)

// Latency returns the options of a histogram of latencies, which is a native histogram
// beside the classic one with opts.Buckets: Prometheus scrapes that which it is configured
// for.
func Latency(opts prometheus.HistogramOpts) prometheus.HistogramOpts {
	opts.NativeHistogramBucketFactor = bucketFactor
	opts.NativeHistogramMaxBucketNumber = maxBuckets
	opts.NativeHistogramMinResetDuration = resetInterval
	return opts
}

// Observe adds a latency to a histogram. If the span in ctx is recorded, the id of its trace
// becomes an exemplar.
func Observe(ctx context.Context, histogram prometheus.Observer, elapsed time.Duration) {
	span := trace.SpanContextFromContext(ctx)
	exemplars, ok := histogram.(prometheus.ExemplarObserver)
	if !ok || !span.IsSampled() {
		histogram.Observe(elapsed.Seconds())
		return
	}
	exemplars.ObserveWithExemplar(elapsed.Seconds(), prometheus.Labels{"trace_id": span.TraceID().String()})
}
