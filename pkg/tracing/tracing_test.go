package tracing_test

import (
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracetest"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

func TestMain(m *testing.M) {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OTEL_") {
			_ = os.Unsetenv(name)
		}
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, endpoint string, ratio float64) (*tracing.Tracing, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	traces := tracing.New(settings.Fixed(tracing.Config{Endpoint: endpoint, Sampler: "parentbased_traceidratio", SampleRatio: ratio}), "toy", "v1.2.3", zap.New(core))
	t.Cleanup(func() { require.NoError(t, traces.Close(context.Background())) })
	return traces, logs
}

func TestSpansArrive(t *testing.T) {
	collector := tracetest.New(t)
	traces, logs := start(t, collector.URL+"/", 1)
	ctx, request := traces.Tracer().Start(t.Context(), "request")
	_, call := tracing.StartClient(ctx, "call", attribute.String("to", "somebody"))
	call.End()
	request.End()
	require.NoError(t, traces.Close(t.Context()))

	spans := collector.Spans()
	require.Len(t, spans, 2)
	require.Equal(t, "call", spans[0].Name)
	require.Equal(t, "SPAN_KIND_CLIENT", spans[0].Kind.String())
	require.Equal(t, map[string]any{"to": "somebody"}, spans[0].Attributes)
	require.Equal(t, spans[1].ID, spans[0].Parent)
	require.Equal(t, "request", spans[1].Name)
	require.Equal(t, request.SpanContext().TraceID().String(), spans[1].TraceID)
	require.Empty(t, spans[1].Parent)
	host, err := os.Hostname()
	require.NoError(t, err)
	for key, want := range map[string]string{"service.name": "toy", "service.version": "v1.2.3", "service.instance.id": host} {
		require.Equal(t, want, spans[1].Resource[key], key)
	}
	require.Equal(t, 1, logs.Len(), "%v", logs.All())
	require.Equal(t, map[string]any{"to": collector.URL + "/v1/traces", "sampler": "parentbased_traceidratio 1"}, logs.All()[0].ContextMap())
}

func TestOff(t *testing.T) {
	traces, _ := start(t, "", 1)
	require.Nil(t, traces)
	require.Nil(t, traces.Tracer())
	ctx, span := tracing.StartClient(t.Context(), "call")
	require.Equal(t, t.Context(), ctx, "the context is unchanged")
	require.False(t, span.SpanContext().IsValid())
	span.End()
}

// Samplers with parentbased_ obey the decision of a parent span. The decision applies to all
// children.
func TestSampling(t *testing.T) {
	from := func(flags trace.TraceFlags) context.Context {
		return trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: flags, Remote: true,
		}))
	}
	for about, c := range map[string]struct {
		sampler string
		ratio   float64
		parent  context.Context
		want    bool
	}{
		"all": {"parentbased_traceidratio", 1, t.Context(), true}, "none": {"parentbased_traceidratio", 0, t.Context(), false},
		"sampled parent":         {"parentbased_traceidratio", 0, from(trace.FlagsSampled), true},
		"unsampled parent":       {"parentbased_traceidratio", 1, from(0), false},
		"on":                     {"parentbased_always_on", 0, t.Context(), true},
		"on, unsampled parent":   {"parentbased_always_on", 0, from(0), false},
		"off":                    {"parentbased_always_off", 1, t.Context(), false},
		"off, sampled parent":    {"parentbased_always_off", 1, from(trace.FlagsSampled), true},
		"always, without parent": {"always_on", 0, t.Context(), true},
		"always":                 {"always_on", 0, from(0), true},
		"never":                  {"always_off", 1, from(trace.FlagsSampled), false},
		"ratio, sampled parent":  {"traceidratio", 0, from(trace.FlagsSampled), false},
		"ratio, unsampled":       {"traceidratio", 1, from(0), true},
	} {
		t.Run(about, func(t *testing.T) {
			collector := tracetest.New(t)
			traces := tracing.New(settings.Fixed(tracing.Config{Endpoint: collector.URL, Sampler: c.sampler, SampleRatio: c.ratio}), "toy", "v1", zap.NewNop())
			ctx, sampled := traces.Tracer().Sample(c.parent)
			require.Equal(t, c.want, sampled)
			request := trace.SpanFromContext(ctx)
			if sampled {
				ctx, request = traces.Tracer().Start(ctx, "request")
			}
			_, call := tracing.StartClient(ctx, "call")
			call.End()
			require.Equal(t, sampled, request.IsRecording(), "ended by the wrong span")
			propagated := trace.SpanContextFromContext(ctx)
			require.True(t, propagated.IsValid())
			require.Equal(t, sampled, propagated.IsSampled())
			if parent := trace.SpanContextFromContext(c.parent); parent.IsValid() {
				require.Equal(t, parent.TraceID(), propagated.TraceID())
			}
			request.End()
			require.NoError(t, traces.Close(t.Context()))
			require.Len(t, collector.Spans(), map[bool]int{true: 2}[c.want])
		})
	}
}

// A ratio is met, also a small one, and another service with the same sampler would decide
// alike about the same trace.
func TestSampleRatio(t *testing.T) {
	for _, ratio := range []float64{0.002, 0.3} {
		traces, _ := start(t, gone(), ratio)
		sampler := sdktrace.TraceIDRatioBased(ratio)
		sampled, requests := 0, int(400/ratio)
		for range requests {
			ctx, traced := traces.Tracer().Sample(t.Context())
			if traced {
				sampled++
				ctx, _ = traces.Tracer().Start(ctx, "request")
			}
			decided := sampler.ShouldSample(sdktrace.SamplingParameters{TraceID: trace.SpanContextFromContext(ctx).TraceID()})
			require.Equal(t, traced, decided.Decision == sdktrace.RecordAndSample)
		}
		require.InDelta(t, 400, sampled, 120, "6 standard deviations")
	}
}

// hanging returns a collector that accepts requests and never answers, and the number
// of requests that wait for it.
func hanging(t *testing.T) (url string, waiting *atomic.Int32) {
	waiting = &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		waiting.Add(1)
		defer waiting.Add(-1)
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	return server.URL, waiting
}

func gone() string {
	server := httptest.NewServer(nil)
	defer server.Close()
	return server.URL
}

// patience is a deadline that only matters if the test fails.
const patience = time.Minute

// Whatever the collector does, creating spans doesn't block, Close is bounded and
// succeeds, and one line is logged.
func TestBadCollectors(t *testing.T) {
	// It is global. The default one can't be set again: it passes errors on to the one that was set first.
	defer otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { t.Errorf("error passed to the global handler: %v", err) }))
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, strings.Repeat("not a collector ", 1000), http.StatusNotFound)
	}))
	defer wrong.Close()
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer busy.Close()
	hole, err := net.Listen("tcp", "127.0.0.1:0") // accepts nothing
	require.NoError(t, err)
	defer func() { require.NoError(t, hole.Close()) }()
	hangs, waiting := hanging(t)
	for about, c := range map[string]struct{ url, want string }{
		"gone":    {gone(), "connection refused"},
		"wrong":   {wrong.URL, "/v1/traces: 404 Not Found"},
		"busy":    {busy.URL, "max retry time would elapse"},
		"hole":    {"http://" + hole.Addr().String(), "the last traces are lost"},
		"hanging": {hangs, "the last traces are lost"},
	} {
		t.Run(about, func(t *testing.T) {
			traces, logs := start(t, c.url, 1)
			began := time.Now()
			for range 10_000 { // several times the size of the queue
				_, span := traces.Tracer().Start(t.Context(), "request")
				span.End()
			}
			require.Less(t, time.Since(began), patience/2, "creating spans was blocked")
			began = time.Now()
			require.NoError(t, traces.Close(t.Context()))
			require.Less(t, time.Since(began), patience/2, "Close was blocked")
			require.Eventually(t, func() bool { return waiting.Load() == 0 }, patience, time.Millisecond, "a request is still in progress")
			require.Equal(t, 2, logs.Len(), "%v", logs.All())
			line := logs.All()[1]
			require.Equal(t, zapcore.WarnLevel, line.Level)
			require.Contains(t, line.Message+line.ContextMap()["error"].(string), c.want)
			require.Less(t, len(line.ContextMap()["error"].(string)), 1000)
		})
	}
}

func TestTransport(t *testing.T) {
	collector := tracetest.New(t)
	var header http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		if r.URL.Path == "/unavailable" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	transport := tracing.Transport{Transport: &http.Transport{}}
	client := http.Client{Transport: transport}
	defer client.CloseIdleConnections()
	get := func(ctx context.Context, url string) (string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		require.NoError(t, err)
		answer, err := client.Do(request)
		require.Empty(t, request.Header, "the request was modified")
		if err != nil {
			return "", err
		}
		return header.Get("Traceparent"), answer.Body.Close()
	}
	traces, _ := start(t, collector.URL, 1)
	ctx, parent := traces.Tracer().Start(t.Context(), "request")
	var received []string
	for _, path := range []string{"/fine?n=1", "/unavailable"} {
		traceparent, err := get(ctx, server.URL+path)
		require.NoError(t, err)
		received = append(received, traceparent)
	}
	_, err := get(ctx, gone())
	require.Error(t, err)
	traceparent, err := get(t.Context(), server.URL)
	require.NoError(t, err)
	require.Empty(t, traceparent, "a trace without a parent span")
	parent.End()
	require.NoError(t, traces.Close(t.Context()))

	spans := collector.Spans()
	require.Len(t, spans, 4)
	for i, span := range spans[:3] {
		require.Equal(t, "GET", span.Name)
		require.Equal(t, "SPAN_KIND_CLIENT", span.Kind.String())
		require.Equal(t, parent.SpanContext().SpanID().String(), span.Parent)
		require.Equal(t, i > 0, span.Failed)
		if i < 2 {
			require.Equal(t, "00-"+span.TraceID+"-"+span.ID+"-01", received[i])
		}
	}
	require.Equal(t, map[string]any{
		"http.request.method": "GET", "url.full": server.URL + "/fine?n=1", "server.address": "127.0.0.1", "http.response.status_code": int64(200),
	}, spans[0].Attributes)
	require.Equal(t, "503", spans[1].Attributes["error.type"])
}

func TestConfig(t *testing.T) {
	cfg := tracing.Default()
	require.NoError(t, settings.Validate(&cfg))
	require.Empty(t, cfg.Endpoint)
	for _, endpoint := range []string{"", "http://jaeger:4318", "https://collector.example/otlp/", "http://[::1]:4318"} {
		require.NoError(t, settings.Validate(&tracing.Config{Endpoint: endpoint}), endpoint)
	}
	for _, endpoint := range []string{
		"jaeger:4318", "grpc://jaeger:4317", "http://", "http://:4318", "http://jaeger:4318/v1/traces", "http://jaeger:4318/v1/traces/",
		"http://jaeger:4318?token=1", "http://me:secret@jaeger:4318", "http://jaeger:4318/#there", "/v1/traces", "http://jaeger:port",
	} {
		require.ErrorContains(t, settings.Validate(&tracing.Config{Endpoint: endpoint}), "http://jaeger:4318, without user, query or /v1/traces", endpoint)
	}
	for _, ratio := range []float64{-0.1, 1.1, math.NaN(), math.Inf(1)} {
		require.ErrorContains(t, settings.Validate(&tracing.Config{SampleRatio: ratio}), "from 0 to 1")
	}
	err := settings.Validate(&tracing.Config{Endpoint: "http://me:secret@jaeger:4318", SampleRatio: 2})
	require.NotContains(t, err.Error(), "secret")
	require.Len(t, strings.Split(err.Error(), "\n"), 2, "%s", err)
}
