package tracing

import (
	"context"
	"encoding/binary"
	"math/rand/v2"

	"go.opentelemetry.io/otel/trace"
)

// newSpan returns random ids. All bits of the second half of the trace id are random,
// because samplers decide by them.
func newSpan() trace.SpanContext {
	var ids trace.SpanContextConfig
	binary.NativeEndian.PutUint64(ids.TraceID[:8], rand.Uint64()|1) // #nosec G404 -- ids of traces are no secret; not zero
	binary.NativeEndian.PutUint64(ids.TraceID[8:], rand.Uint64())   // #nosec G404
	ids.SpanID = newSpanID()
	return trace.NewSpanContext(ids)
}

func newSpanID() (id trace.SpanID) {
	binary.NativeEndian.PutUint64(id[:], rand.Uint64()|1) // #nosec G404
	return id
}

// sampledKey is the key of the ids for a span without a parent, for which the sampler has
// decided: other services with the same sampler decide alike.
type sampledKey struct{}

// idGenerator is an sdktrace.IDGenerator.
type idGenerator struct{}

// NewIDs returns the ids of a span without a parent.
func (idGenerator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	span, found := ctx.Value(sampledKey{}).(trace.SpanContext)
	if !found {
		span = newSpan()
	}
	return span.TraceID(), span.SpanID()
}

// NewSpanID returns the id of a span in a trace.
func (idGenerator) NewSpanID(context.Context, trace.TraceID) trace.SpanID { return newSpanID() }
