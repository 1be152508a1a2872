// Package follow keeps a read model up to date with the feed of changes of another service.
package follow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

const (
	batchSize  = 100
	minBackoff = 100 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// ErrStartOver means that the changes do not follow the offset of the read model,
// which must be replaced by a snapshot.
var ErrStartOver = errors.New("the changes do not follow the offset of the read model")

// Snapshot has all objects as of an offset.
type Snapshot interface {
	// At returns the offset.
	At() changefeed.Offset
}

// Source is a feed with entries of the type E. Client implements it over HTTP.
type Source[E changefeed.Entry, S Snapshot] interface {
	// Changes returns at most limit changes after an offset. If there are none, it waits up
	// to wait. It returns ErrStartOver if the feed no longer has all of them.
	Changes(ctx context.Context, after changefeed.Offset, limit int, wait time.Duration) (changefeed.Changes[E], error)
	// Snapshot returns every object.
	Snapshot(ctx context.Context) (S, error)
}

// ReadModel stores objects and the offset of the last change that was applied to them, whose
// epoch is empty until the first snapshot is loaded. Each method is one transaction: a
// change takes effect exactly once, even if several replicas apply it or one
// crashes.
type ReadModel[E changefeed.Entry, S Snapshot] interface {
	// Offset returns the current offset.
	Offset(ctx context.Context) (changefeed.Offset, error)
	// Apply applies the changes after the current offset and skips the others.
	// It returns ErrStartOver if the epoch differs or a change is missing.
	Apply(ctx context.Context, changes changefeed.Changes[E]) error
	// Replace replaces all objects by the snapshot if the current offset is from.
	// Otherwise it does nothing: another replica was faster.
	Replace(ctx context.Context, from changefeed.Offset, snapshot S) error
}

// Options configure a Follower.
type Options struct {
	// Name names the feed in metrics and in the log, such as "tag".
	Name string
	// Wait is the duration of a long poll.
	Wait time.Duration
	// CatchUpTimeout is the maximum duration of CatchUp.
	CatchUpTimeout time.Duration
	// Ready is called when the read model has been loaded, even if it is stale.
	Ready func()
	Log   *zap.Logger
}

// Follower keeps the read model up to date. Several replicas may share one read
// model.
type Follower[E changefeed.Entry, S Snapshot] struct {
	source    Source[E, S]
	readModel ReadModel[E, S]
	options   Options
	metrics   followerMetrics

	// catching is a semaphore held by catchUp.
	catching chan struct{}
	// failure is the result of the last step of Run.
	failure atomic.Pointer[error]
	// caughtUp is the start of the last successful catchUp, guarded by catching.
	caughtUp time.Time
}

type followerMetrics struct {
	offset, lag, synced prometheus.Gauge
	failures            prometheus.Counter
}

// NewFollower returns a follower and registers its metrics.
func NewFollower[E changefeed.Entry, S Snapshot](source Source[E, S], readModel ReadModel[E, S], options Options, registerer prometheus.Registerer) (*Follower[E, S], error) {
	name := options.Name
	gauge := func(metric, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "achilles", Subsystem: name + "_feed", Name: metric, Help: help})
	}
	f := &Follower[E, S]{source: source, readModel: readModel, options: options, catching: make(chan struct{}, 1), metrics: followerMetrics{
		offset: gauge("offset", "Sequence of the last change applied to the "+name+" read model."),
		lag:    gauge("lag_changes", "Changes in the "+name+" feed not yet applied to the "+name+" read model."),
		synced: gauge("last_sync_timestamp_seconds", "Unix time at which the "+name+" read model was last known to be complete."),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "achilles", Subsystem: name + "_feed", Name: "failures_total",
			Help: "Failed reads of the " + name + " feed.",
		}),
	}}
	for _, c := range []prometheus.Collector{f.metrics.offset, f.metrics.lag, f.metrics.synced, f.metrics.failures} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("registering the metrics of the %s feed: %w", name, err)
		}
	}
	return f, nil
}

// Run follows the feed until ctx ends, and then returns nil. After a failure it
// retries with exponential backoff. Only the first of consecutive failures is
// logged.
func (f *Follower[E, S]) Run(ctx context.Context) error {
	backoff, failing := minBackoff, false
	for ctx.Err() == nil {
		began := time.Now()
		progress, err := f.step(ctx, f.options.Wait)
		f.failure.Store(&err)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.metrics.failures.Inc()
			if !failing {
				f.options.Log.Warn("reading the "+f.options.Name+" feed failed, retrying", zap.Error(err))
			}
			failing = true
			// With jitter, replicas that fail at the same time don't retry at the same time.
			pause(ctx, backoff/2+rand.N(backoff/2)) // #nosec G404 -- jitter is no secret
			backoff = min(2*backoff, maxBackoff)
		case failing:
			f.options.Log.Info("reading the " + f.options.Name + " feed succeeded again")
			backoff, failing = minBackoff, false
		case (progress == unchanged || progress == replaced) && time.Since(began) < minBackoff:
			// Avoid a busy loop: a draining service returns at once, and a
			// broken source may too.
			pause(ctx, minBackoff)
		}
	}
	return nil
}

// Check returns the error of the last read of the feed by Run.
func (f *Follower[E, S]) Check(context.Context) error {
	if err := f.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// CatchUp applies every change that was committed before the call. Its error has
// the code errcode.Unavailable, or is the context's.
func (f *Follower[E, S]) CatchUp(parent context.Context) error {
	called := time.Now()
	ctx, cancel := context.WithTimeout(parent, f.options.CatchUpTimeout)
	defer cancel()
	var err error
	select {
	case f.catching <- struct{}{}:
		err = f.catchUp(ctx, called)
		<-f.catching
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil && parent.Err() != nil {
		return parent.Err()
	}
	if err != nil {
		return errcode.NewUnavailable(err)
	}
	return nil
}

func (f *Follower[E, S]) catchUp(ctx context.Context, called time.Time) error {
	if f.caughtUp.After(called) {
		return nil // another catch-up began after this call
	}
	began := time.Now()
	for {
		progress, err := f.step(ctx, 0)
		if err != nil {
			return err
		}
		if progress == complete || progress == unchanged {
			f.caughtUp = began
			return nil
		}
	}
}

// progress is the result of a step.
type progress int

const (
	partial   progress = iota // there may be more changes
	complete                  // the last change was applied
	unchanged                 // there was no new change
	replaced                  // the read model was replaced by a snapshot, here or by another replica
)

// step reads one batch of the feed and applies it.
func (f *Follower[E, S]) step(ctx context.Context, wait time.Duration) (progress, error) {
	offset, err := f.readModel.Offset(ctx)
	if err != nil {
		return partial, err
	}
	if offset.Epoch == "" {
		return replaced, f.startOver(ctx, offset)
	}
	f.options.Ready()
	changes, err := f.source.Changes(ctx, offset, batchSize, wait)
	if err == nil && changes.Epoch != offset.Epoch {
		err = ErrStartOver
	}
	if errors.Is(err, ErrStartOver) {
		return replaced, f.startOver(ctx, offset)
	}
	if err != nil {
		return partial, err
	}
	f.observe(offset.Sequence, changes.Last)
	if len(changes.Changes) == 0 {
		return unchanged, nil
	}
	if err := f.readModel.Apply(ctx, changes); errors.Is(err, ErrStartOver) {
		// Another replica replaced the read model, or a change is missing.
		return replaced, f.startOver(ctx, offset)
	} else if err != nil {
		return partial, err
	}
	applied := changes.Changes[len(changes.Changes)-1].Number()
	f.observe(applied, changes.Last)
	if applied < changes.Last {
		return partial, nil
	}
	return complete, nil
}

func (f *Follower[E, S]) startOver(ctx context.Context, from changefeed.Offset) error {
	snapshot, err := f.source.Snapshot(ctx)
	if err != nil {
		return err
	}
	at := snapshot.At()
	f.options.Log.Info("replacing the "+f.options.Name+" read model by a snapshot", zap.Uint64("offset", at.Sequence))
	if err := f.readModel.Replace(ctx, from, snapshot); err != nil {
		return err
	}
	f.observe(at.Sequence, at.Sequence)
	return nil
}

func (f *Follower[E, S]) observe(offset, last uint64) {
	f.metrics.offset.Set(float64(offset))
	f.metrics.lag.Set(float64(last - min(offset, last)))
	if offset >= last {
		f.metrics.synced.SetToCurrentTime()
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
