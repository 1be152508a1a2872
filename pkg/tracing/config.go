package tracing

import (
	"net/url"
	"strings"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// tracesPath is the path of OTLP traces relative to the base URL of a collector.
const tracesPath = "/v1/traces"

// Config is the settings section Tracing.
type Config struct {
	Endpoint    string  `mapstructure:"Endpoint" usage:"URL of a collector for OTLP over HTTP, such as http://jaeger:4318; empty: no tracing"`
	SampleRatio float64 `mapstructure:"SampleRatio" usage:"fraction of requests to trace, from 0 to 1; the decision of a parent span takes precedence" validate:"min=0,max=1" allowed:"a number from 0 to 1, such as 0.1"`
}

// Default returns the defaults: no tracing, and every request once Endpoint is set.
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
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" &&
		!strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), tracesPath)
}
