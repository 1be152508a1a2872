// Package metrics provides the Prometheus metrics of a service. Their names begin with
// achilles_, and their units are Prometheus' base units.
package metrics

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
)

// Metrics are the metrics of a process, in their own registry.
type Metrics struct {
	info     buildinfo.Info
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	panics   prometheus.Counter
	children sync.Map // of child by labels
}

// labels are those of the metrics of requests.
type labels struct {
	method, route string
	status        int
}

// child has the metrics of requests with the same labels.
type child struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

// New returns the metrics of every service: build, Go runtime, process and HTTP.
func New(info buildinfo.Info) *Metrics {
	names := []string{"method", "route", "status"}
	m := &Metrics{
		info:     info,
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "achilles_http_requests_total",
			Help: "Completed HTTP requests, by method, route template and status.",
		}, names),
		duration: prometheus.NewHistogramVec(Latency(prometheus.HistogramOpts{
			Name:    "achilles_http_request_duration_seconds",
			Help:    "Duration of HTTP requests from the header to the end of the handler, by method, route template and status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
		}), names),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "achilles_http_requests_in_flight",
			Help: "HTTP requests in progress.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "achilles_http_panics_total",
			Help: "Panics of HTTP handlers.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "achilles_build_info",
		Help: "Labels describe the running build; the value is always 1.",
		ConstLabels: prometheus.Labels{
			"version": info.Version, "commit": info.Commit, "build_time": info.BuildTime, "go_version": info.GoVersion,
		},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.duration, m.inFlight, m.panics, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Registry returns the registry, for the metrics of other packages.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler returns the handler that Prometheus scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, Registry: m.registry})
}

// TrackDraining registers the gauge achilles_draining, which is 1 after draining is
// closed. It must not be called twice.
func (m *Metrics) TrackDraining(draining <-chan struct{}) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "achilles_draining",
		Help: "1 if the process is draining before it stops, otherwise 0.",
	}, func() float64 {
		select {
		case <-draining:
			return 1
		default:
			return 0
		}
	}))
}

// RequestStarted records the start of a request. RequestDone must follow.
func (m *Metrics) RequestStarted() { m.inFlight.Inc() }

// RequestDone records the end of a request, whose span is in ctx. route is the route
// template, or empty if no route matched.
func (m *Metrics) RequestDone(ctx context.Context, method, route string, status int, elapsed time.Duration) {
	m.inFlight.Dec()
	of := m.child(labels{Method(method), Route(route), status})
	of.requests.Inc()
	Observe(ctx, of.duration, elapsed)
}

// child returns the metrics with these labels, which it finds by them only once.
func (m *Metrics) child(of labels) child {
	if known, found := m.children.Load(of); found {
		return known.(child)
	}
	values := []string{of.method, of.route, strconv.Itoa(of.status)}
	made := child{m.requests.WithLabelValues(values...), m.duration.WithLabelValues(values...)}
	m.children.Store(of, made)
	return made
}

// PanicRecovered records a panic of a handler.
func (m *Metrics) PanicRecovered() { m.panics.Inc() }

// Method returns the label of a method. It is "other" for non-standard methods, which
// would make the number of labels unbounded.
func Method(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return method
	default:
		return "other"
	}
}

// Route returns the label of a route template, or "unmatched" if it is empty.
func Route(template string) string {
	if template == "" {
		return "unmatched"
	}
	return template
}
