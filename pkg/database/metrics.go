package database

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/metrics"
)

const startedKey = "achilles:started"

// stats measures statements and logs slow ones without their values.
type stats struct {
	log     *zap.Logger
	slow    time.Duration
	seconds *prometheus.HistogramVec
	onQuery func(query string, args []any) // may be nil
}

// OnQuery registers a function that is called before each statement of Query, QueryIn,
// Exec and Insert, for tests. It must be called before db is used, and
// replaces the last one. gorm's callbacks see all other statements.
func (db *DB) OnQuery(fn func(query string, args []any)) { db.stats.onQuery = fn }

func newStats(log *zap.Logger, slow time.Duration) *stats {
	return &stats{log: log, slow: slow, seconds: prometheus.NewHistogramVec(metrics.Latency(prometheus.HistogramOpts{
		Name:    "achilles_database_query_duration_seconds",
		Help:    "Time that statements took at the database, by operation and status.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
	}), []string{"operation", "status"})}
}

// Register adds the metrics of the pool and of the statements to reg.
func (db *DB) Register(reg prometheus.Registerer) error {
	name := filepath.Base(db.cfg.DBName)
	return errors.Join(
		reg.Register(collectors.NewDBStatsCollector(db.sql, name)),
		reg.Register(db.stats.seconds),
		reg.Register(db.bulkheads.rejected),
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
		s.record(db.Statement.Context, operation, db.Statement.SQL.String(), started, db.RowsAffected, db.Error)
	}
}

// measure runs a statement that gorm doesn't run. run returns the number of rows.
func (s *stats) measure(ctx context.Context, operation, statement string, args []any, run func() (rows int64, err error)) error {
	if s.onQuery != nil {
		s.onQuery(statement, args)
	}
	started := time.Now()
	rows, err := run()
	s.record(ctx, operation, statement, started, rows, err)
	return err
}

func (s *stats) record(ctx context.Context, operation, query string, started time.Time, rows int64, err error) {
	took, status := time.Since(started), "ok"
	if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		status = "error"
	}
	metrics.Observe(ctx, s.seconds.WithLabelValues(operation, status), took)
	if took >= s.slow {
		s.log.Warn("slow query", zap.String("sql", query),
			zap.Duration("duration", took), zap.Int64("rows", rows), zap.String("status", status))
	}
}
