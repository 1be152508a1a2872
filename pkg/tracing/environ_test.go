package tracing_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracetest"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

// variables sets environment variables for a test. HERE in a value is replaced.
func variables(t *testing.T, here string, all map[string]string) {
	t.Helper()
	for name, value := range all {
		t.Setenv(name, strings.ReplaceAll(value, "HERE", here))
	}
}

type environ = map[string]string

// Settings take precedence over the standard variables, whatever these say, except that
// OTEL_SDK_DISABLED turns tracing off.
func TestEnvironment(t *testing.T) {
	const here, other = "http://collector.example:4318", "http://other.example:4318"
	for about, c := range map[string]struct {
		config   func(*tracing.Config)
		set      environ
		endpoint string
		sampler  string // "" for the default
		ignored  string // the variable that is logged
	}{
		"nothing":         {},
		"endpoint":        {set: environ{"OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces"},
		"slash":           {set: environ{"OTEL_EXPORTER_OTLP_ENDPOINT": "HERE/"}, endpoint: here + "/v1/traces"},
		"path":            {set: environ{"OTEL_EXPORTER_OTLP_ENDPOINT": "HERE/otlp"}, endpoint: here + "/otlp/v1/traces"},
		"traces endpoint": {set: environ{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "HERE/v0.2/traces"}, endpoint: here + "/v0.2/traces"},
		"both":            {set: environ{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "HERE/x", "OTEL_EXPORTER_OTLP_ENDPOINT": other}, endpoint: here + "/x"},
		"setting":         {config: func(c *tracing.Config) { c.Endpoint = here }, set: environ{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": other, "OTEL_EXPORTER_OTLP_ENDPOINT": other}, endpoint: here + "/v1/traces"},
		"password":        {set: environ{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:hush@collector.example"}, endpoint: "http://me:xxxxx@collector.example/v1/traces"},
		"no scheme":       {set: environ{"OTEL_EXPORTER_OTLP_ENDPOINT": "hush.example:4318"}, ignored: "OTEL_EXPORTER_OTLP_ENDPOINT"},
		"no URL":          {set: environ{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "://hush"}, ignored: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"},
		"disabled":        {config: func(c *tracing.Config) { c.Endpoint = here }, set: environ{"OTEL_SDK_DISABLED": "TRUE"}},
		"not disabled":    {set: environ{"OTEL_SDK_DISABLED": "false", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces"},
		"none":            {set: environ{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}},
		"otlp":            {set: environ{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces"},
		"zipkin":          {set: environ{"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces", ignored: "OTEL_TRACES_EXPORTER"},
		"grpc":            {set: environ{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces", ignored: "OTEL_EXPORTER_OTLP_PROTOCOL"},
		"sampler":         {set: environ{"OTEL_TRACES_SAMPLER": "always_on", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces", sampler: "always_on"},
		"ratio":           {set: environ{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces", sampler: "traceidratio 0.25"},
		"no ratio":        {set: environ{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces", sampler: "traceidratio 1"},
		"wrong ratio":     {set: environ{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces", sampler: "traceidratio 1", ignored: "OTEL_TRACES_SAMPLER_ARG"},
		"unknown sampler": {set: environ{"OTEL_TRACES_SAMPLER": "xray", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces", ignored: "OTEL_TRACES_SAMPLER"},
		"own sampler":     {config: func(c *tracing.Config) { c.Sampler = "always_off" }, set: environ{"OTEL_TRACES_SAMPLER": "always_on", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces", sampler: "always_off"},
		"own ratio":       {config: func(c *tracing.Config) { c.SampleRatio = 0.5 }, set: environ{"OTEL_TRACES_SAMPLER": "always_on", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces", sampler: "parentbased_traceidratio 0.5"},
		"no queue":        {set: environ{"OTEL_BSP_MAX_QUEUE_SIZE": "-1", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces", ignored: "OTEL_BSP_MAX_QUEUE_SIZE"},
		"no batch":        {set: environ{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "0", "OTEL_EXPORTER_OTLP_ENDPOINT": "HERE"}, endpoint: here + "/v1/traces", ignored: "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"},
	} {
		t.Run(about, func(t *testing.T) {
			variables(t, here, c.set)
			cfg := tracing.Default()
			if c.config != nil {
				c.config(&cfg)
			}
			core, logs := observer.New(zapcore.DebugLevel)
			traces := tracing.New(settings.Fixed(cfg), "toy", "v1", zap.New(core))
			defer func() { require.NoError(t, traces.Close(context.Background())) }()
			want := tracing.About{Endpoint: c.endpoint}
			if c.endpoint != "" {
				want.Sampler = "parentbased_traceidratio 1"
			}
			if c.sampler != "" {
				want.Sampler = c.sampler
			}
			require.Equal(t, want, traces.About())
			require.Equal(t, want.Endpoint == "", traces.Tracer() == nil)
			var ignored []any
			for _, line := range logs.FilterMessage("an environment variable is ignored").All() {
				ignored = append(ignored, line.ContextMap()["variable"])
			}
			require.Equal(t, c.ignored != "", len(ignored) == 1, ignored)
			if c.ignored != "" {
				require.Equal(t, []any{c.ignored}, ignored)
			}
			for _, line := range logs.All() {
				require.NotContains(t, line.Message, "hush")
				for _, value := range line.ContextMap() {
					require.NotContains(t, value, "hush")
				}
			}
		})
	}
}

// Headers, compression and the resource are those of the standard variables.
func TestStandardVariables(t *testing.T) {
	collector := tracetest.New(t)
	variables(t, collector.URL, environ{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "HERE", "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20hush,X-Tenant=blog",
		"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_TIMEOUT": "60000",
		"OTEL_SERVICE_NAME": "blog", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.version=v9",
	})
	traces := tracing.New(settings.Fixed(tracing.Default()), "toy", "v1", zap.NewNop())
	_, span := traces.Tracer().Start(t.Context(), "request")
	span.End()
	require.NoError(t, traces.Close(t.Context()))
	require.Len(t, collector.Spans(), 1)
	require.Equal(t, "Bearer hush", collector.Header().Get("Authorization"))
	require.Equal(t, "blog", collector.Header().Get("X-Tenant"))
	require.Equal(t, "gzip", collector.Header().Get("Content-Encoding"))
	resource := collector.Spans()[0].Resource
	for key, want := range map[string]string{
		"service.name": "blog", "service.version": "v9", "deployment.environment.name": "test", "telemetry.sdk.language": "go",
	} {
		require.Equal(t, want, resource[key], key)
	}
}

// Parts of the resource that can't be read are left out, and logged.
func TestMalformedResource(t *testing.T) {
	collector := tracetest.New(t)
	variables(t, collector.URL, environ{"OTEL_EXPORTER_OTLP_ENDPOINT": "HERE", "OTEL_RESOURCE_ATTRIBUTES": "nonsense,team=blog"})
	core, logs := observer.New(zapcore.DebugLevel)
	traces := tracing.New(settings.Fixed(tracing.Default()), "toy", "v1", zap.New(core))
	_, span := traces.Tracer().Start(t.Context(), "request")
	span.End()
	require.NoError(t, traces.Close(t.Context()))
	require.Equal(t, "toy", collector.Spans()[0].Resource["service.name"])
	require.Equal(t, 1, logs.FilterMessageSnippet("OTEL_RESOURCE_ATTRIBUTES").Len(), "%v", logs.All())
}

// What OpenTelemetry has to say is logged, without the values of headers.
func TestLogTo(t *testing.T) {
	var text bytes.Buffer
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg"}), zapcore.AddSync(&text), zapcore.DebugLevel)
	tracing.LogTo(zap.New(core))
	t.Cleanup(func() { tracing.LogTo(zap.NewNop()) })
	variables(t, "", environ{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS": "hush,X-Token=%hu%sh,hush hush=1",
		"OTEL_EXPORTER_OTLP_TIMEOUT": "10s", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere.pem", "OTEL_TRACES_SAMPLER": "xray",
	})
	traces := tracing.New(settings.Fixed(tracing.Default()), "toy", "v1", zap.NewNop())
	require.NoError(t, traces.Close(t.Context()))
	require.Equal(t, `{"msg":"OpenTelemetry","detail":"read tls ca cert file","file":"/nowhere.pem","error":"open /nowhere.pem: no such file or directory"}
{"msg":"OpenTelemetry","detail":"parse headers","error":"missing '="}
{"msg":"OpenTelemetry","detail":"escape header value"}
{"msg":"OpenTelemetry","detail":"parse headers","error":"invalid header key"}
{"msg":"OpenTelemetry","detail":"parse duration","error":"strconv.Atoi: parsing \"10s\": invalid syntax"}
{"msg":"OpenTelemetry","error":"unsupported sampler: xray"}
`, text.String())
	text.Reset()
	otel.Handle(context.DeadlineExceeded)
	require.JSONEq(t, `{"msg":"OpenTelemetry","error":"context deadline exceeded"}`, text.String())
}
