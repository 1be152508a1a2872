package database

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"gorm.io/gorm"
)

const startedKey = "achilles:started"

// stats measures the statements of gorm and logs slow ones without their values.
type stats struct {
	log     *zap.Logger
	slow    time.Duration
	seconds *prometheus.HistogramVec
}

func newStats(log *zap.Logger, slow time.Duration) *stats {
	return &stats{log: log, slow: slow, seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "achilles_database_query_duration_seconds",
		Help:    "Time that statements took at the database, by operation and status.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
	}, []string{"operation", "status"})}
}

// Register adds the metrics of the pool and of the statements to reg.
func (db *DB) Register(reg prometheus.Registerer) error {
	name := filepath.Base(db.cfg.DBName)
	return errors.Join(
		reg.Register(collectors.NewDBStatsCollector(db.sql, name)),
		reg.Register(db.stats.seconds),
	)
}

// observe registers callbacks around each operation of gorm.
func (s *stats) observe(db *gorm.DB) error {
	c := db.Callback()
	before, after := "achilles:begin_timing", "achilles:end_timing"
	return errors.Join(
		c.Create().Before("*").Register(before, begin), c.Create().After("*").Register(after, s.end("create")),
		c.Query().Before("*").Register(before, begin), c.Query().After("*").Register(after, s.end("query")),
		c.Update().Before("*").Register(before, begin), c.Update().After("*").Register(after, s.end("update")),
		c.Delete().Before("*").Register(before, begin), c.Delete().After("*").Register(after, s.end("delete")),
		c.Row().Before("*").Register(before, begin), c.Row().After("*").Register(after, s.end("row")),
		c.Raw().Before("*").Register(before, begin), c.Raw().After("*").Register(after, s.end("raw")),
	)
}

func begin(db *gorm.DB) { db.InstanceSet(startedKey, time.Now()) }

func (s *stats) end(operation string) func(*gorm.DB) {
	return func(db *gorm.DB) {
		value, _ := db.InstanceGet(startedKey)
		started, ok := value.(time.Time)
		if !ok {
			return
		}
		took, status := time.Since(started), "ok"
		if db.Error != nil && !errors.Is(db.Error, gorm.ErrRecordNotFound) {
			status = "error"
		}
		s.seconds.WithLabelValues(operation, status).Observe(took.Seconds())
		if took >= s.slow {
			s.log.Warn("slow query", zap.String("sql", db.Statement.SQL.String()),
				zap.Duration("duration", took), zap.Int64("rows", db.RowsAffected), zap.String("status", status))
		}
	}
}
