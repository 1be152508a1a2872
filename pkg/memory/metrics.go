package memory

import "github.com/prometheus/client_golang/prometheus"

func (b *Budget) desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("achilles_memory_"+name, help, nil, prometheus.Labels{"use": b.use})
}

func (b *Budget) descs() (reserved, limit, refused, cut *prometheus.Desc) {
	return b.desc("reserved_bytes", "Memory that requests have reserved, by use."),
		b.desc("limit_bytes", "Memory that requests can reserve, by use."),
		b.desc("refused_total", "Reservations that found no memory in time and were answered with 503, by use."),
		b.desc("cut_total", "Transfers from or to slow clients that were cut off because others waited for their memory, by use.")
}

// Describe implements prometheus.Collector.
func (b *Budget) Describe(ch chan<- *prometheus.Desc) {
	reserved, limit, refused, cut := b.descs()
	for _, desc := range []*prometheus.Desc{reserved, limit, refused, cut} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (b *Budget) Collect(ch chan<- prometheus.Metric) {
	reserved, limit, refused, cut := b.descs()
	b.mu.Lock()
	defer b.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(reserved, prometheus.GaugeValue, float64(b.total-b.free))
	ch <- prometheus.MustNewConstMetric(limit, prometheus.GaugeValue, float64(b.total))
	ch <- prometheus.MustNewConstMetric(refused, prometheus.CounterValue, float64(b.refused))
	ch <- prometheus.MustNewConstMetric(cut, prometheus.CounterValue, float64(b.cut))
}
