package tracing

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// tracesPath is where every collector takes traces, below its base URL.
const tracesPath = "/v1/traces"

// Config is the section Tracing.
type Config struct {
	Endpoint    string  `mapstructure:"Endpoint" usage:"collector that gets the traces by OTLP over HTTP, such as http://jaeger:4318; empty: no tracing"`
	SampleRatio float64 `mapstructure:"SampleRatio" usage:"share of the requests that is traced, from 0 to 1; a caller's own decision goes before it"`
}

// Default traces nothing until there is an endpoint, and then everything.
func Default() Config { return Config{SampleRatio: 1} }

// Validate reports every value that cannot be used.
func (c Config) Validate() error {
	var errs []error
	if u, err := url.Parse(c.Endpoint); c.Endpoint != "" && (err != nil || !isBase(u)) {
		shown := c.Endpoint
		if err == nil {
			shown = u.Redacted()
		}
		errs = append(errs, settings.Invalid("Endpoint", shown,
			"the collector's base URL, such as http://jaeger:4318, without user, query or "+tracesPath+" (which is added); or empty for no tracing"))
	}
	if !(c.SampleRatio >= 0 && c.SampleRatio <= 1) { // so that NaN is none either
		errs = append(errs, settings.Invalid("SampleRatio", fmt.Sprint(c.SampleRatio), "a number from 0 to 1, such as 0.1"))
	}
	return errors.Join(errs...)
}

func isBase(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" &&
		!strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), tracesPath)
}
