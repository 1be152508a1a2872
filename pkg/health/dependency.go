package health

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// dependency is what Run knows about one of them.
type dependency struct {
	name  string
	check func(ctx context.Context) error
	cfg   Config
	log   *zap.Logger

	mu     sync.Mutex
	err    error // of the last check
	at     time.Time
	up     bool // as strict mode judges it
	streak int  // results in a row that contradict up
}

func newDependency(name string, check func(ctx context.Context) error, cfg Config, log *zap.Logger) *dependency {
	return &dependency{name: name, check: check, cfg: cfg, log: log, err: notChecked}
}

// watch checks until ctx ends. A check that does not return is a failure each
// time its turn comes again, and no other is started next to it: at most one
// goroutine is ever left behind.
func (d *dependency) watch(ctx context.Context) {
	ticker := time.NewTicker(d.cfg.CheckInterval)
	defer ticker.Stop()
	var pending <-chan error
	for {
		if len(pending) > 0 {
			pending = nil // an answer that comes too late says nothing about now
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

// await records the check's result, and returns its channel if there is none
// in time.
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

// latest is the last result, unless it is too old to be believed.
func (d *dependency) latest() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current()
}

func (d *dependency) current() error {
	if !d.at.IsZero() && time.Since(d.at) > d.cfg.StaleAfter {
		return stale
	}
	return shown(d.err)
}

// judged is the strict view, with hysteresis. Stale results are failures at
// once: they have been missing for long enough.
func (d *dependency) judged() error {
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
