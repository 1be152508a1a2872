package cache

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

var (
	connectionsDesc = prometheus.NewDesc("achilles_redis_connections",
		"Open connections to Redis, by state: idle, or in use.", []string{"state"}, nil)
	timeoutsDesc = prometheus.NewDesc("achilles_redis_pool_timeouts_total",
		"Commands that got no connection to Redis in time.", nil, nil)
)

// Collector returns the metrics of the pool of connections to Redis.
func Collector(client redis.UniversalClient) prometheus.Collector { return collector{client} }

type collector struct{ client redis.UniversalClient }

// Describe implements prometheus.Collector.
func (c collector) Describe(descs chan<- *prometheus.Desc) {
	descs <- connectionsDesc
	descs <- timeoutsDesc
}

// Collect implements prometheus.Collector.
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	stats := c.client.PoolStats()
	metrics <- prometheus.MustNewConstMetric(connectionsDesc, prometheus.GaugeValue, float64(stats.IdleConns), "idle")
	metrics <- prometheus.MustNewConstMetric(connectionsDesc, prometheus.GaugeValue, float64(stats.TotalConns-min(stats.IdleConns, stats.TotalConns)), "in_use")
	metrics <- prometheus.MustNewConstMetric(timeoutsDesc, prometheus.CounterValue, float64(stats.Timeouts))
}
