package tracing

import (
	"errors"
	"net/url"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.uber.org/zap"
)

// LogTo makes OpenTelemetry log to log. It applies to the whole process, because
// OpenTelemetry has one logger and one handler of errors, which write plain text to standard
// error.
func LogTo(log *zap.Logger) {
	otel.SetLogger(logr.New(sink{log}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("OpenTelemetry", zap.Error(err)) }))
}

// sink is a logr.LogSink. It logs no values, which may be those of headers with
// credentials, other than names of files.
type sink struct{ log *zap.Logger }

// warnings is the level of OpenTelemetry's warnings. Higher ones are less important.
const warnings = 1

func (sink) Init(logr.RuntimeInfo)            {}
func (sink) Enabled(level int) bool           { return level <= warnings }
func (s sink) WithValues(...any) logr.LogSink { return s }
func (s sink) WithName(string) logr.LogSink   { return s }

func (s sink) Info(_ int, message string, values ...any) { s.Error(nil, message, values...) }

func (s sink) Error(err error, message string, values ...any) {
	fields := []zap.Field{zap.String("detail", message)}
	for i := 0; i+1 < len(values); i += 2 {
		if values[i] == "file" {
			fields = append(fields, zap.Any("file", values[i+1]))
		}
	}
	var escape url.EscapeError
	var malformed *url.Error
	if err != nil && !errors.As(err, &escape) && !errors.As(err, &malformed) { // they quote the value
		fields = append(fields, zap.Error(err))
	}
	s.log.Warn("OpenTelemetry", fields...)
}
