package health

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// dependency is the state of one dependency.
type dependency struct {
	name  string
	check func(ctx context.Context) error
	cfg   Config
	log   *zap.Logger

	mu     sync.Mutex
	err    error // of the last check
	at     time.Time
	up     bool // in strict mode
	streak int  // consecutive results that contradict up
}

func newDependency(name string, check func(ctx context.Context) error, cfg Config, log *zap.Logger) *dependency {
	return &dependency{name: name, check: check, cfg: cfg, log: log, err: notChecked}
}

// watch checks until ctx ends. While a check does not return, each interval counts
// as a failure and starts no other check, so that at most one goroutine leaks.
func (d *dependency) watch(ctx context.Context) {
	ticker := time.NewTicker(d.cfg.CheckInterval)
	defer ticker.Stop()
	var pending <-chan error
	for {
		if len(pending) > 0 {
			pending = nil // a late result is outdated
		}
		if pending == nil {
			pending = d.start(ctx)
			pending = d.await(ctx, pending)
		} else {
			d.record(context.DeadlineExceeded)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (d *dependency) start(ctx context.Context) <-chan error {
	result := make(chan error, 1)
	ctx, cancel := context.WithTimeout(ctx, d.cfg.CheckTimeout)
	go func() {
		defer cancel()
		result <- d.protected(ctx)
	}()
	return result
}

// await records the result of the check. If there is none within CheckTimeout, it
// returns the channel on which the result will arrive.
func (d *dependency) await(ctx context.Context, pending <-chan error) <-chan error {
	limit := time.NewTimer(d.cfg.CheckTimeout)
	defer limit.Stop()
	select {
	case err := <-pending:
		if ctx.Err() == nil {
			d.record(err)
		}
		return nil
	case <-limit.C:
		d.record(context.DeadlineExceeded)
	case <-ctx.Done():
	}
	return pending
}

func (d *dependency) protected(ctx context.Context) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("the check panicked: %v", value)
		}
	}()
	return d.check(ctx)
}

func (d *dependency) record(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.logChange(err)
	d.err, d.at = err, time.Now()
	if (err == nil) == d.up {
		d.streak = 0
		return
	}
	d.streak++
	needed := d.cfg.FailAfter
	if !d.up {
		needed = d.cfg.PassAfter
	}
	if d.streak >= needed {
		d.up, d.streak = !d.up, 0
	}
}

func (d *dependency) logChange(err error) {
	switch {
	case err == nil && d.err != nil:
		d.log.Info("dependency up", zap.String("dependency", d.name))
	case err != nil && (d.err == nil || d.at.IsZero()):
		d.log.Warn("dependency down", zap.String("dependency", d.name), zap.Error(err))
	}
}

// latest returns the last result, or stale if it is older than StaleAfter.
func (d *dependency) latest() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current()
}

func (d *dependency) current() error {
	if !d.at.IsZero() && time.Since(d.at) > d.cfg.StaleAfter {
		return stale
	}
	return reasonOf(d.err)
}

// strict returns the result for strict mode, with hysteresis. Stale results fail
// at once.
func (d *dependency) strict() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	current := d.current()
	switch {
	case current == stale:
		return stale
	case d.up:
		return nil
	case current == nil:
		return Reason("recovering")
	default:
		return current
	}
}

func (d *dependency) gauge() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "achilles_dependency_up",
		Help:        "Whether the last check of the dependency passed (1) or not (0).",
		ConstLabels: prometheus.Labels{"dependency": d.name},
	}, func() float64 {
		if d.latest() != nil {
			return 0
		}
		return 1
	})
}
