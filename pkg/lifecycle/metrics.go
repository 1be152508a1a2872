package lifecycle

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

var (
	openDesc = prometheus.NewDesc("achilles_http_connections",
		"Open connections, by server.", []string{"server"}, nil)
	limitDesc = prometheus.NewDesc("achilles_http_connections_limit",
		"Maximum number of open connections, by server; 0 for none.", []string{"server"}, nil)
	closedDesc = prometheus.NewDesc("achilles_http_connections_closed_total",
		"Connections closed because of the maximum, by server and reason: idle or slow for a new connection, or http2 for one too many of that protocol.",
		[]string{"server", "reason"}, nil)
	stopDesc = prometheus.NewDesc("achilles_stop_seconds",
		"Seconds that the phases of the stop have taken so far: drain, requests, workers and hooks; none before the stop.", []string{"phase"}, nil)
)

// counted is the connections of a server of that name.
type counted struct {
	name string
	*connections
}

func (p *Process) count(name string, cs *connections) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counted = append(p.counted, counted{name, cs})
}

// phase is a part of the stop.
type phase struct {
	name         string
	began, ended time.Time // ended is zero while it lasts
}

// took returns how long the phase has taken so far.
func (ph phase) took() time.Duration {
	if ph.ended.IsZero() {
		return time.Since(ph.began)
	}
	return ph.ended.Sub(ph.began)
}

// during runs a phase of the stop, and records how long it takes.
func (p *Process) during(name string, run func()) {
	p.mu.Lock()
	n := len(p.phases)
	p.phases = append(p.phases, phase{name: name, began: time.Now()})
	p.mu.Unlock()
	run()
	p.mu.Lock()
	p.phases[n].ended = time.Now()
	p.mu.Unlock()
}

// logStopped logs how long the stop and its phases have taken.
func (p *Process) logStopped() {
	var fields []zap.Field
	for _, ph := range p.stopPhases() {
		fields = append(fields, zap.Duration(ph.name, ph.took()))
	}
	p.log.Info("stopped", fields...)
}

func (p *Process) stopPhases() []phase {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.phases)
}

// Describe implements prometheus.Collector.
func (p *Process) Describe(ch chan<- *prometheus.Desc) {
	ch <- openDesc
	ch <- limitDesc
	ch <- closedDesc
	ch <- stopDesc
}

// Collect implements prometheus.Collector. It collects the numbers of connections, and
// how long the stop takes.
func (p *Process) Collect(ch chan<- prometheus.Metric) {
	p.mu.Lock()
	all := p.counted
	p.mu.Unlock()
	for _, ph := range p.stopPhases() {
		ch <- prometheus.MustNewConstMetric(stopDesc, prometheus.GaugeValue, ph.took().Seconds(), ph.name)
	}
	for _, cs := range all {
		cs.mu.Lock()
		open, closed := len(cs.open), cs.closed
		cs.mu.Unlock()
		ch <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(open), cs.name)
		ch <- prometheus.MustNewConstMetric(limitDesc, prometheus.GaugeValue, float64(cs.limit), cs.name)
		ch <- prometheus.MustNewConstMetric(closedDesc, prometheus.CounterValue, float64(closed.idle), cs.name, "idle")
		ch <- prometheus.MustNewConstMetric(closedDesc, prometheus.CounterValue, float64(closed.slow), cs.name, "slow")
		ch <- prometheus.MustNewConstMetric(closedDesc, prometheus.CounterValue, float64(closed.http2), cs.name, "http2")
	}
}
