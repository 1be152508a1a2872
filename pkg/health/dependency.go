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
	last   failure
	at     time.Time
	up     bool           // in strict mode
	streak int            // consecutive results that contradict up
	logged map[error]bool // reasons that were logged since the last check that passed

	upDesc, failingDesc *prometheus.Desc
}

func newDependency(name string, check func(ctx context.Context) error, cfg Config, log *zap.Logger) *dependency {
	label := prometheus.Labels{"dependency": name}
	return &dependency{
		name: name, check: check, cfg: cfg, log: log, err: notChecked, logged: map[error]bool{},
		upDesc: prometheus.NewDesc("achilles_dependency_up",
			"Whether the last check of the dependency passed (1) or not (0).", nil, label),
		failingDesc: prometheus.NewDesc("achilles_dependency_failing",
			"1 while the dependency fails, with the reason that /readyz shows.", []string{"reason"}, label),
	}
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
	d.last.note(err)
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

// logChange logs each reason of an outage once, and its end.
func (d *dependency) logChange(err error) {
	switch reason := reasonOf(err); {
	case err == nil && d.err != nil:
		d.log.Info("dependency up", zap.String("dependency", d.name))
		clear(d.logged)
	case err != nil && !d.logged[reason]:
		d.log.Warn("dependency down", zap.String("dependency", d.name), zap.String("reason", reason.Error()), zap.Error(err))
		d.logged[reason] = true
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

// Describe implements prometheus.Collector.
func (d *dependency) Describe(descs chan<- *prometheus.Desc) {
	descs <- d.upDesc
	descs <- d.failingDesc
}

// Collect implements prometheus.Collector.
func (d *dependency) Collect(metrics chan<- prometheus.Metric) {
	err := d.latest()
	if err == nil {
		metrics <- prometheus.MustNewConstMetric(d.upDesc, prometheus.GaugeValue, 1)
		return
	}
	metrics <- prometheus.MustNewConstMetric(d.upDesc, prometheus.GaugeValue, 0)
	metrics <- prometheus.MustNewConstMetric(d.failingDesc, prometheus.GaugeValue, 1, err.Error())
}

func (d *dependency) state() Check {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Check{Name: d.name, Result: result(d.current()), Checked: d.at, Error: d.last.err, Failed: d.last.at}
}
