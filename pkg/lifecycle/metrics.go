package lifecycle

import "github.com/prometheus/client_golang/prometheus"

var (
	openDesc = prometheus.NewDesc("achilles_http_connections",
		"Open connections, by server.", []string{"server"}, nil)
	limitDesc = prometheus.NewDesc("achilles_http_connections_limit",
		"Maximum number of open connections, by server; 0 for none.", []string{"server"}, nil)
	closedDesc = prometheus.NewDesc("achilles_http_connections_closed_total",
		"Connections closed because of the maximum, by server and reason: idle or slow for a new connection, or http2 for one too many of that protocol.",
		[]string{"server", "reason"}, nil)
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

// Describe implements prometheus.Collector.
func (p *Process) Describe(ch chan<- *prometheus.Desc) {
	ch <- openDesc
	ch <- limitDesc
	ch <- closedDesc
}

// Collect implements prometheus.Collector. It collects the numbers of connections.
func (p *Process) Collect(ch chan<- prometheus.Metric) {
	p.mu.Lock()
	all := p.counted
	p.mu.Unlock()
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
