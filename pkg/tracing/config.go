package tracing

import (
	"fmt"
	"net/url"
	"strings"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// tracesPath is the path of OTLP traces relative to the base URL of a collector.
const tracesPath = "/v1/traces"

// Config is the settings section Tracing. What it leaves open is taken from the standard
// environment variables that begin with OTEL_.
type Config struct {
	Endpoint    string  `mapstructure:"Endpoint" usage:"base URL of a collector for OTLP over HTTP, such as http://jaeger:4318; empty: as OTEL_EXPORTER_OTLP_ENDPOINT says, or no tracing"`
	Sampler     string  `mapstructure:"Sampler" usage:"which requests are traced: always_on, always_off, traceidratio, or one of them with parentbased_ before it, which obeys the client's decision; empty: as OTEL_TRACES_SAMPLER says unless SampleRatio is set, or parentbased_traceidratio" validate:"omitempty,oneof=always_on always_off traceidratio parentbased_always_on parentbased_always_off parentbased_traceidratio" allowed:"always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio or empty"`
	SampleRatio float64 `mapstructure:"SampleRatio" usage:"fraction of requests that the samplers with traceidratio trace, from 0 to 1" live:"true" validate:"min=0,max=1" allowed:"a number from 0 to 1, such as 0.1"`
}

// defaultSampler obeys the decision of a parent span, and else that of SampleRatio.
const defaultSampler = parentBased + traceIDRatio

// Default returns the defaults: no tracing, and every request once there is an endpoint.
func Default() Config { return Config{SampleRatio: 1} }

// Validate returns an error if Endpoint is invalid.
func (c Config) Validate() error {
	if u, err := url.Parse(c.Endpoint); c.Endpoint != "" && (err != nil || !isBase(u)) {
		shown := c.Endpoint
		if err == nil {
			shown = u.Redacted()
		}
		return settings.Invalid("Endpoint", shown,
			"the collector's base URL, such as http://jaeger:4318, without user, query or "+tracesPath+" (which is added); or empty for no tracing")
	}
	return nil
}

func isBase(u *url.URL) bool {
	return isHTTP(u) && u.User == nil && u.RawQuery == "" && u.Fragment == "" && !strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), tracesPath)
}

func isHTTP(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

// The names of samplers, as in OTEL_TRACES_SAMPLER.
const (
	parentBased  = "parentbased_"
	alwaysOn     = "always_on"
	alwaysOff    = "always_off"
	traceIDRatio = "traceidratio"
)

// describe returns the name of a sampler with its ratio, if it has one.
func describe(name string, ratio float64) string {
	if strings.HasSuffix(name, traceIDRatio) {
		return fmt.Sprintf("%s %g", name, ratio)
	}
	return name
}

// newSampler returns the sampler with a name, or false if there is none.
func newSampler(name string, ratio float64) (sampler sdktrace.Sampler, found bool) {
	root, based := strings.CutPrefix(name, parentBased)
	switch root {
	case alwaysOn:
		sampler = sdktrace.AlwaysSample()
	case alwaysOff:
		sampler = sdktrace.NeverSample()
	case traceIDRatio:
		sampler = sdktrace.TraceIDRatioBased(ratio)
	default:
		return nil, false
	}
	if based {
		sampler = sdktrace.ParentBased(sampler)
	}
	return sampler, true
}
