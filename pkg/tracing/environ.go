package tracing

import (
	"net/url"
	"os"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
)

// Standard variables whose values matter here. The exporter and the SDK read the others by
// themselves: headers, certificates, timeouts, compression, batches and the resource.
const (
	sdkDisabled    = "OTEL_SDK_DISABLED"
	tracesExporter = "OTEL_TRACES_EXPORTER"
	baseEndpoint   = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	baseProtocol   = "OTEL_EXPORTER_OTLP_PROTOCOL"
	tracesProtocol = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	samplerName    = "OTEL_TRACES_SAMPLER"
	samplerArg     = "OTEL_TRACES_SAMPLER_ARG"
	batchSize      = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
	queueSize      = "OTEL_BSP_MAX_QUEUE_SIZE"
)

// environment reads standard variables. As their specification says, an invalid value is
// logged and counts as not set.
type environment struct{ log *zap.Logger }

func (e environment) get(name string) string { return strings.TrimSpace(os.Getenv(name)) }

func (e environment) ignore(name, why string) {
	e.log.Warn("an environment variable is ignored", zap.String("variable", name), zap.String("reason", why))
}

// endpoint returns the URL to which traces are sent, and the options with which the
// exporter sends them there; "" if traces are off.
func (e environment) endpoint(cfg Config) (string, []otlptracehttp.Option) {
	switch exporter := e.get(tracesExporter); {
	case strings.EqualFold(e.get(sdkDisabled), "true"):
		return "", nil
	case cfg.Endpoint != "":
		target := strings.TrimSuffix(cfg.Endpoint, "/") + tracesPath
		return target, []otlptracehttp.Option{otlptracehttp.WithEndpointURL(target)}
	case exporter == "none":
		return "", nil
	case exporter != "" && exporter != "otlp":
		e.ignore(tracesExporter, "traces can be sent by otlp only")
	}
	if target := e.url(tracesEndpoint); target != "" {
		return target, nil // the exporter reads it
	}
	if target := e.url(baseEndpoint); target != "" {
		return strings.TrimSuffix(target, "/") + tracesPath, nil
	}
	return "", nil
}

// url returns the URL in a variable, without its password.
func (e environment) url(name string) string {
	value := e.get(name)
	if value == "" {
		return ""
	}
	u, err := url.Parse(value)
	if err != nil || !isHTTP(u) {
		e.ignore(name, "it is not a URL such as http://jaeger:4318")
		return ""
	}
	for _, protocol := range []string{baseProtocol, tracesProtocol} {
		if e.get(protocol) == "grpc" {
			e.ignore(protocol, "traces are sent by http/protobuf, for which a collector has another port, such as 4318")
		}
	}
	return u.Redacted()
}

// sampler returns the sampler of the settings, or that of the variables if the settings are
// the defaults.
func (e environment) sampler(cfg Config) (name string, ratio float64) {
	switch {
	case cfg.Sampler != "":
		return cfg.Sampler, cfg.SampleRatio
	case cfg.SampleRatio != Default().SampleRatio:
		return defaultSampler, cfg.SampleRatio
	}
	name, ratio = strings.ToLower(e.get(samplerName)), Default().SampleRatio
	if name == "" {
		return defaultSampler, ratio
	}
	if _, found := newSampler(name, ratio); !found {
		e.ignore(samplerName, "it is not one of the samplers that Tracing.Sampler may have")
		return defaultSampler, ratio
	}
	if arg := e.get(samplerArg); arg != "" && strings.HasSuffix(name, traceIDRatio) {
		given, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(given >= 0 && given <= 1) {
			e.ignore(samplerArg, "it is not a number from 0 to 1")
			return name, ratio
		}
		ratio = given
	}
	return name, ratio
}

// batches returns the options without which the SDK would panic: it takes any number.
func (e environment) batches() []sdktrace.BatchSpanProcessorOption {
	var options []sdktrace.BatchSpanProcessorOption
	for _, name := range []string{queueSize, batchSize} {
		if size, err := strconv.Atoi(os.Getenv(name)); err == nil && size < 1 {
			e.ignore(name, "it is not a positive number")
			options = []sdktrace.BatchSpanProcessorOption{
				sdktrace.WithMaxQueueSize(sdktrace.DefaultMaxQueueSize), sdktrace.WithMaxExportBatchSize(sdktrace.DefaultMaxExportBatchSize),
			}
		}
	}
	return options
}
