// Package tracetest provides a collector of traces for tests, for OTLP over HTTP.
package tracetest

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a received span. Its ids are in hex.
type Span struct {
	Name, TraceID, ID, Parent string
	Kind                      tracepb.Span_SpanKind
	Failed                    bool
	Attributes                map[string]any
	Resource                  map[string]any
}

// Collector stores the spans that are sent to its URL.
type Collector struct {
	*httptest.Server
	mu     sync.Mutex
	spans  []Span
	header http.Header
}

// New returns a collector, which is closed when the test ends.
func New(t testing.TB) *Collector {
	c := &Collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := read(r)
		var traces tracepb.TracesData
		if assert.NoError(t, err) && assert.Equal(t, "POST /v1/traces", r.Method+" "+r.URL.Path) &&
			assert.Equal(t, "application/x-protobuf", r.Header.Get("Content-Type")) && assert.NoError(t, proto.Unmarshal(body, &traces)) {
			c.add(&traces, r.Header)
		}
		w.WriteHeader(http.StatusOK)
	}))
	t.Cleanup(c.Close)
	return c
}

func read(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(r.Body)
	}
	unpacked, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(unpacked)
}

// Spans returns the received spans, in the order in which they ended.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans
}

// Header returns the header of the last request.
func (c *Collector) Header() http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.header
}

func (c *Collector) add(traces *tracepb.TracesData, header http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header = header
	for _, source := range traces.ResourceSpans {
		for _, scope := range source.ScopeSpans {
			for _, span := range scope.Spans {
				c.spans = append(c.spans, Span{
					Name: span.Name, TraceID: hex.EncodeToString(span.TraceId), ID: hex.EncodeToString(span.SpanId),
					Parent: hex.EncodeToString(span.ParentSpanId), Kind: span.Kind,
					Failed:     span.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
					Attributes: values(span.Attributes), Resource: values(source.Resource.Attributes),
				})
			}
		}
	}
}

func values(attributes []*commonpb.KeyValue) map[string]any {
	all := map[string]any{}
	for _, a := range attributes {
		switch value := a.Value.Value.(type) {
		case *commonpb.AnyValue_IntValue:
			all[a.Key] = value.IntValue
		default:
			all[a.Key] = a.Value.GetStringValue()
		}
	}
	return all
}
