package tagfeed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

const (
	// batch bounds one transaction of the copy.
	batch        = 100
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 2 * time.Second
)

// Source is the feed; Client reads it over HTTP.
type Source interface {
	Changes(ctx context.Context, after uint64, limit int, wait time.Duration) (Changes, error)
	Snapshot(ctx context.Context) (Snapshot, error)
}

// Options are what a Follower needs beside its source and its copy.
type Options struct {
	// Wait is how long one read of a quiet feed lasts.
	Wait time.Duration
	// CatchUpTimeout bounds CatchUp.
	CatchUpTimeout time.Duration
	// Ready is called once there is a copy, even an old one.
	Ready func()
	Log   *zap.Logger
}

// Follower keeps the copy up to date. Any number of replicas may follow into
// one copy.
type Follower struct {
	source  Source
	copy    Copy
	options Options
	metrics followerMetrics

	// catching holds a token while a catch-up is under way.
	catching chan struct{}
	// failure is what the last step of Run ended with.
	failure atomic.Pointer[error]
	// caughtUp is when the last successful catch-up began, guarded by catching.
	caughtUp time.Time
}

type followerMetrics struct {
	position, lag, synced prometheus.Gauge
	failures              prometheus.Counter
}

// NewFollower returns a follower and registers its metrics.
func NewFollower(source Source, copied Copy, options Options, registerer prometheus.Registerer) (*Follower, error) {
	f := &Follower{source: source, copy: copied, options: options, catching: make(chan struct{}, 1), metrics: followerMetrics{
		position: gauge("position", "Position in the tag feed up to which the copy of the tags has come."),
		lag:      gauge("lag_changes", "Changes in the tag feed that the copy of the tags still lacks."),
		synced:   gauge("last_sync_timestamp_seconds", "Unix time at which the copy of the tags was last known to be complete."),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "achilles", Subsystem: "tag_feed", Name: "failures_total",
			Help: "Reads of the tag feed that failed.",
		}),
	}}
	for _, c := range []prometheus.Collector{f.metrics.position, f.metrics.lag, f.metrics.synced, f.metrics.failures} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("registering the metrics of the tag feed: %w", err)
		}
	}
	return f, nil
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "achilles", Subsystem: "tag_feed", Name: name, Help: help})
}

// Run follows the feed until ctx ends. A failure is logged once, and tried
// again with growing pauses until it is over.
func (f *Follower) Run(ctx context.Context) error {
	backoff, failing := firstBackoff, false
	for ctx.Err() == nil {
		began := time.Now()
		progress, err := f.step(ctx, f.options.Wait)
		f.failure.Store(&err)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.metrics.failures.Inc()
			if !failing {
				f.options.Log.Warn("the tag feed cannot be followed, trying on", zap.Error(err))
			}
			failing = true
			// Replicas that failed together must not come back in step.
			pause(ctx, backoff/2+rand.N(backoff/2)) // #nosec G404 -- jitter is no secret
			backoff = min(2*backoff, lastBackoff)
		case failing:
			f.options.Log.Info("the tag feed is followed again")
			backoff, failing = firstBackoff, false
		case (progress == none || progress == replaced) && time.Since(began) < firstBackoff:
			// A replica that drains does not let its readers wait, and a source
			// that contradicts itself must not keep this one busy.
			pause(ctx, firstBackoff)
		}
	}
	return nil
}

// Check tells why the feed cannot be followed now; nil when it can.
func (f *Follower) Check(context.Context) error {
	if err := f.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// CatchUp brings the copy up to date with every change that was committed
// before the call. When that cannot be done in time the error has the code
// Unavailable.
func (f *Follower) CatchUp(parent context.Context) error {
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
		return &errcode.Error{Code: errcode.Unavailable, RetryAfter: time.Second, Cause: err}
	}
	return nil
}

func (f *Follower) catchUp(ctx context.Context, called time.Time) error {
	if f.caughtUp.After(called) {
		return nil // somebody else's catch-up began after this call
	}
	began := time.Now()
	for {
		progress, err := f.step(ctx, 0)
		if err != nil {
			return err
		}
		if progress == last || progress == none {
			f.caughtUp = began
			return nil
		}
	}
}

// progress is what one step brought.
type progress int

const (
	some     progress = iota // and there may be more
	last                     // and the copy is complete
	none                     // the copy was complete before
	replaced                 // the copy is that of a snapshot, or another replica's work
)

// step reads the feed once and applies what it has.
func (f *Follower) step(ctx context.Context, wait time.Duration) (progress, error) {
	position, err := f.copy.Position(ctx)
	if err != nil {
		return some, err
	}
	if position.Epoch == "" {
		return replaced, f.startOver(ctx, position)
	}
	f.options.Ready()
	changes, err := f.source.Changes(ctx, position.Sequence, batch, wait)
	if err == nil && changes.Epoch != position.Epoch {
		err = ErrStartOver
	}
	if errors.Is(err, ErrStartOver) {
		return replaced, f.startOver(ctx, position)
	}
	if err != nil {
		return some, err
	}
	f.observe(position.Sequence, changes.Last)
	if len(changes.Changes) == 0 {
		return none, nil
	}
	if err := f.copy.Apply(ctx, changes); errors.Is(err, ErrStartOver) {
		// Another replica has replaced the copy meanwhile, or the feed has a gap.
		return replaced, f.startOver(ctx, position)
	} else if err != nil {
		return some, err
	}
	reached := changes.Changes[len(changes.Changes)-1].Sequence
	f.observe(reached, changes.Last)
	if reached < changes.Last {
		return some, nil
	}
	return last, nil
}

func (f *Follower) startOver(ctx context.Context, from Position) error {
	snapshot, err := f.source.Snapshot(ctx)
	if err != nil {
		return err
	}
	f.options.Log.Info("starting over from a snapshot of the tags",
		zap.Int("tags", len(snapshot.Tags)), zap.Uint64("position", snapshot.Sequence))
	if err := f.copy.Replace(ctx, from, snapshot); err != nil {
		return err
	}
	f.observe(snapshot.Sequence, snapshot.Sequence)
	return nil
}

func (f *Follower) observe(position, last uint64) {
	f.metrics.position.Set(float64(position))
	f.metrics.lag.Set(float64(last - min(position, last)))
	if position >= last {
		f.metrics.synced.SetToCurrentTime()
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
