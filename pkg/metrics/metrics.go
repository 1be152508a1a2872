// Package metrics counts and times what a service does, for Prometheus. Every
// name begins with achilles_; units are Prometheus' base units.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
)

// Metrics is the set of one process, in a registry of its own.
type Metrics struct {
	info     buildinfo.Info
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	panics   prometheus.Counter
}

// New returns the metrics that every service has: build, Go runtime, process
// and HTTP.
func New(info buildinfo.Info) *Metrics {
	labels := []string{"method", "route", "status"}
	m := &Metrics{
		info:     info,
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "achilles_http_requests_total",
			Help: "HTTP requests answered, by method, route template and status.",
		}, labels),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "achilles_http_request_duration_seconds",
			Help:    "Time from the request's header to the end of its handler, by method, route template and status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
		}, labels),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "achilles_http_requests_in_flight",
			Help: "HTTP requests being handled.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "achilles_http_panics_total",
			Help: "Panics of HTTP handlers.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "achilles_build_info",
		Help: "The running build in its labels; always 1.",
		ConstLabels: prometheus.Labels{
			"version": info.Version, "commit": info.Commit, "build_time": info.BuildTime, "go_version": info.GoVersion,
		},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.duration, m.inFlight, m.panics, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Registry is where other packages register what they measure.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler serves the metrics to Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, Registry: m.registry})
}

// TrackDraining adds the gauge achilles_draining, 1 once draining is closed.
// Call it once.
func (m *Metrics) TrackDraining(draining <-chan struct{}) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "achilles_draining",
		Help: "Whether the process is draining before its end (1) or not (0).",
	}, func() float64 {
		select {
		case <-draining:
			return 1
		default:
			return 0
		}
	}))
}

// RequestStarted counts a request in; RequestDone has to follow.
func (m *Metrics) RequestStarted() { m.inFlight.Inc() }

// RequestDone counts a request out. route is its template, never its path;
// empty for a request that no route matched.
func (m *Metrics) RequestDone(method, route string, status int, elapsed time.Duration) {
	m.inFlight.Dec()
	labels := []string{Method(method), Route(route), strconv.Itoa(status)}
	m.requests.WithLabelValues(labels...).Inc()
	m.duration.WithLabelValues(labels...).Observe(elapsed.Seconds())
}

// PanicRecovered counts a panic of a handler.
func (m *Metrics) PanicRecovered() { m.panics.Inc() }

// Method is the method as a label: a client may send any word, so all but the
// standard ones are "other".
func Method(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return method
	default:
		return "other"
	}
}

// Route is the route template as a label; "unmatched" without one.
func Route(template string) string {
	if template == "" {
		return "unmatched"
	}
	return template
}
