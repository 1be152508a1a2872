package metrics_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/achilles-blog/achilles/pkg/metrics"
)

func traced(t *testing.T, id byte, flags trace.TraceFlags) context.Context {
	return trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{id}, SpanID: trace.SpanID{id}, TraceFlags: flags,
	}))
}

// A trace that is sent is an exemplar of its latency, for scrapers that understand
// OpenMetrics. One that is not sent would lead nowhere.
func TestExemplars(t *testing.T) {
	m := metrics.New(build())
	for _, ctx := range []context.Context{traced(t, 0xaa, trace.FlagsSampled), traced(t, 0xbb, 0), t.Context()} {
		m.RequestStarted()
		m.RequestDone(ctx, http.MethodGet, "/api/v1/tags", http.StatusOK, 30*time.Millisecond)
	}
	scrape := func(accept string) string {
		recorder := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		request.Header.Set("Accept", accept)
		m.Handler().ServeHTTP(recorder, request)
		return recorder.Body.String()
	}
	const bucket = `achilles_http_request_duration_seconds_bucket{method="GET",route="/api/v1/tags",status="200",le="0.05"} 3`
	text := scrape("application/openmetrics-text; version=1.0.0")
	require.Contains(t, text, bucket+` # {trace_id="aa000000000000000000000000000000"} 0.03 `)
	require.NotContains(t, text, "bb00000000")
	require.Contains(t, scrape("text/plain"), bucket+"\n")
}

func histogram(t *testing.T, m *metrics.Metrics) *dto.Histogram {
	t.Helper()
	families, err := m.Registry().Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "achilles_http_request_duration_seconds" {
			return family.GetMetric()[0].GetHistogram()
		}
	}
	t.Fatal("no such histogram")
	return nil
}

// The native histogram is beside the classic one. Whatever latencies there are, its number
// of buckets is bounded.
func TestNativeHistogram(t *testing.T) {
	m := metrics.New(build())
	observe := func(elapsed time.Duration) {
		m.RequestStarted()
		m.RequestDone(t.Context(), http.MethodGet, "/api/v1/tags", http.StatusOK, elapsed)
	}
	observe(30 * time.Millisecond)
	observe(31 * time.Millisecond)
	observe(60 * time.Millisecond)
	both := histogram(t, m)
	require.Len(t, both.GetBucket(), 14)
	require.EqualValues(t, 3, both.GetSampleCount())
	require.EqualValues(t, 3, both.GetSchema(), "buckets of 2^(1/8), 9% apart")
	require.NotEmpty(t, both.GetPositiveSpan())

	for range 100_000 {
		observe(time.Duration(rand.ExpFloat64() * rand.ExpFloat64() * float64(10*time.Second)))
		observe(time.Duration(rand.Int64N(int64(time.Microsecond))))
	}
	buckets := 0
	for _, span := range histogram(t, m).GetPositiveSpan() {
		buckets += int(span.GetLength())
	}
	require.LessOrEqual(t, buckets, 160)
}

// Observe works with any observer.
func TestObserveWithoutExemplars(t *testing.T) {
	registry := prometheus.NewRegistry()
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "x_seconds", Help: "x."})
	registry.MustRegister(summary)
	metrics.Observe(traced(t, 1, trace.FlagsSampled), summary, time.Second)
	families, err := registry.Gather()
	require.NoError(t, err)
	require.True(t, strings.Contains(families[0].String(), "sample_sum:1"), families[0].String())
}

func BenchmarkRequestDone(b *testing.B) {
	m := metrics.New(build())
	for b.Loop() {
		m.RequestStarted()
		m.RequestDone(b.Context(), http.MethodGet, "/api/v1/tags", http.StatusOK, time.Duration(1000+rand.IntN(5000))*time.Microsecond)
	}
}
