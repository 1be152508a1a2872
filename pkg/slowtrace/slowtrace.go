// Package slowtrace keeps the execution trace of the last slow request. A flight recorder
// holds the last moments of what the Go runtime does (goroutines, system calls, garbage
// collection), and they are saved when a request was slow.
package slowtrace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/trace"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// windowSize is the size of the recorder's window in bytes. The recorder may exceed it by
	// what the runtime writes in about a second.
	windowSize = 4 << 20
	// maxTrace is the maximum size of a trace that is kept, in bytes.
	maxTrace = 16 << 20
	// keepInterval is the minimum time between two traces: many requests are slow at once.
	keepInterval = 10 * time.Second
	// before is how much of the time before a slow request its trace should have.
	before = time.Second
)

// Request describes a slow request.
type Request struct {
	Began      time.Time     `json:"began"`
	Duration   time.Duration `json:"-"`
	Method     string        `json:"method"`
	Route      string        `json:"route"`
	Status     int           `json:"status"`
	RequestID  string        `json:"request_id"`
	TraceID    string        `json:"trace_id,omitempty"`
	TraceBytes int           `json:"trace_bytes"`
}

// Recorder keeps the execution trace of the last slow request. Its methods are safe for
// concurrent use, and a nil Recorder records nothing.
type Recorder struct {
	after time.Duration
	log   *zap.Logger

	next atomic.Int64 // when a trace may be kept again, since began
	last atomic.Pointer[kept]

	began    time.Time
	mu       sync.Mutex
	recorder *trace.FlightRecorder // nil after Close
}

type kept struct {
	Request
	trace []byte
}

// Start records until Close. Requests that take longer than after are slow; 0 turns
// recording off, and the Recorder is nil. There can be one Recorder in a process.
func Start(after time.Duration, log *zap.Logger) (*Recorder, error) {
	if after == 0 {
		return nil, nil
	}
	recorder := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: after + before, MaxBytes: windowSize})
	if err := recorder.Start(); err != nil {
		return nil, fmt.Errorf("recording traces of slow requests: %w", err)
	}
	return &Recorder{after: after, log: log, began: time.Now(), recorder: recorder}, nil
}

// Slow reports whether a request that took so long is slow.
func (r *Recorder) Slow(took time.Duration) bool { return r != nil && took > r.after }

// Keep keeps the trace of a slow request that has just ended, in the background, unless
// another one was kept shortly before. It must be called in the goroutine of the request.
func (r *Recorder) Keep(ctx context.Context, request Request) {
	now, next := time.Since(r.began), r.next.Load()
	if int64(now) < next || !r.next.CompareAndSwap(next, int64(now+keepInterval)) {
		return
	}
	trace.Log(ctx, "slow request", request.RequestID) // marks it in the trace
	go r.keep(request)
}

func (r *Recorder) keep(request Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recorder == nil {
		return
	}
	var buffer bytes.Buffer
	if _, err := r.recorder.WriteTo(&bounded{&buffer}); err != nil {
		r.log.Warn("the trace of a slow request was not kept", zap.String("request_id", request.RequestID), zap.Error(err))
		return
	}
	request.TraceBytes = buffer.Len()
	r.last.Store(&kept{request, bytes.Clone(buffer.Bytes())})
	r.log.Info("a slow request: its trace is at /debug/slow of the admin port", zap.String("method", request.Method),
		zap.String("route", request.Route), zap.Duration("duration", request.Duration), zap.String("request_id", request.RequestID))
}

// bounded fails to write more than maxTrace.
type bounded struct{ *bytes.Buffer }

var errTooLong = errors.New("it is longer than 16 MiB")

func (b *bounded) Write(data []byte) (int, error) {
	if b.Len()+len(data) > maxTrace {
		return 0, errTooLong
	}
	return b.Buffer.Write(data)
}

// Last returns the last slow request whose trace was kept.
func (r *Recorder) Last() (Request, bool) {
	if r == nil {
		return Request{}, false
	}
	last := r.last.Load()
	if last == nil {
		return Request{}, false
	}
	return last.Request, true
}

// ServeHTTP answers with the trace of the last slow request, for go tool trace.
func (r *Recorder) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if r == nil {
		http.Error(w, "Traces of slow requests are off: set Server.SlowRequestTrace to a duration such as 1s.", http.StatusNotFound)
		return
	}
	last := r.last.Load()
	if last == nil {
		http.Error(w, fmt.Sprintf("No trace has been kept yet: a request must take longer than %s (Server.SlowRequestTrace).", r.after), http.StatusNotFound)
		return
	}
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="slow-%s.trace"`, last.Began.UTC().Format("20060102T150405Z")))
	header.Set("X-Request-ID", last.RequestID)
	_, _ = w.Write(last.trace)
}

// Close stops recording.
func (r *Recorder) Close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recorder != nil {
		r.recorder.Stop()
		r.recorder = nil
	}
}
