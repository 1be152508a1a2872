// Package load sends requests in a closed or an open loop, and counts only responses that
// were verified.
package load

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// Worker sends one request at a time. Do returns a Status if the server did not answer as
// expected, and another error if the answer is wrong or there is none.
type Worker interface {
	Do() error
}

// Status is an unexpected status of a response.
type Status int

func (s Status) Error() string { return fmt.Sprintf("status %d", int(s)) }

// Result is the result of a run.
type Result struct {
	Requests   int // verified
	Failed     map[Status]int
	Elapsed    time.Duration
	Latencies  *hdrhistogram.Histogram // in microseconds, of verified requests
	Rejections *hdrhistogram.Histogram // in microseconds from when it was sent, of those in Failed
}

// Rate returns the verified requests per second.
func (r *Result) Rate() float64 { return float64(r.Requests) / r.Elapsed.Seconds() }

const maxLatency = time.Minute

func newResult() *Result {
	return &Result{Failed: map[Status]int{}, Latencies: newHistogram(), Rejections: newHistogram()}
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxLatency.Microseconds(), 3) }

// do has the worker send a request, which was due at a time.
func (r *Result) do(w Worker, due time.Time) error {
	sent := time.Now()
	err := w.Do()
	var status Status
	latencies, latency := r.Latencies, time.Since(due)
	switch {
	case errors.As(err, &status):
		r.Failed[status]++
		latencies, latency = r.Rejections, time.Since(sent)
	case err != nil:
		return err
	default:
		r.Requests++
	}
	return latencies.RecordValue(min(latency, maxLatency).Microseconds())
}

// Closed lets each worker send its next request when the last one was answered. The first
// error that isn't a Status ends the run.
func Closed(ctx context.Context, workers []Worker, length time.Duration) (*Result, error) {
	return run(ctx, workers, length, func(ctx context.Context, w Worker, r *Result) error {
		for ctx.Err() == nil {
			if err := r.do(w, time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// Open sends requests at a fixed rate per second, and measures the latency from when a
// request was due, so that a slow server can't hide what it delays.
func Open(ctx context.Context, workers []Worker, rate float64, length time.Duration) (*Result, error) {
	var sent atomic.Int64
	total := int64(rate * length.Seconds())
	start := time.Now()
	return run(ctx, workers, length, func(ctx context.Context, w Worker, r *Result) error {
		pause, err := newTimer()
		if err != nil {
			return err
		}
		defer pause.close()
		for n := sent.Add(1) - 1; n < total && ctx.Err() == nil; n = sent.Add(1) - 1 {
			due := start.Add(time.Duration(float64(n) / rate * float64(time.Second)))
			if err := pause.sleepUntil(due); err != nil {
				return err
			}
			if err := r.do(w, due); err != nil {
				return err
			}
		}
		return nil
	})
}

func run(ctx context.Context, workers []Worker, length time.Duration, work func(context.Context, Worker, *Result) error) (*Result, error) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	results := make([]*Result, len(workers))
	start := time.Now()
	all, ctx := errgroup.WithContext(ctx)
	for i, w := range workers {
		results[i] = newResult()
		all.Go(func() error { return work(ctx, w, results[i]) })
	}
	err := all.Wait()
	sum := newResult()
	sum.Elapsed = time.Since(start)
	for _, r := range results {
		sum.Requests += r.Requests
		sum.Latencies.Merge(r.Latencies)
		sum.Rejections.Merge(r.Rejections)
		for status, n := range r.Failed {
			sum.Failed[status] += n
		}
	}
	return sum, err
}
