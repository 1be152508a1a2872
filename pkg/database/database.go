// Package database opens and migrates the database of a service: MySQL, MariaDB,
// or embedded SQLite. Every operation has a timeout, and errors are classified by
// what a caller can do about them.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/glebarez/sqlite"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.uber.org/zap"
	"gorm.io/driver/mysql"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

const (
	// precision is the precision of times in the database.
	precision = time.Millisecond
	// busyWhileServing is how long SQLite itself waits for a lock. InTx retries
	// until the timeout of the operation.
	busyWhileServing = 100 * time.Millisecond
)

// DB is an open database with its pool of connections.
type DB struct {
	cfg   Config
	log   *zap.Logger
	sql   *sql.DB
	gorm  *gorm.DB
	stats *stats
	// writer holds one value while a transaction writes to SQLite, which allows
	// one at a time. Unlike SQLite's lock, it is fair and respects the context. Nil
	// for MySQL.
	writer chan struct{}
}

// Open returns a database with its pool of connections. It does not connect to a
// MySQL server, which may be unavailable at any time. It creates a SQLite file, or
// returns an error that names the path.
func Open(cfg Config, log *zap.Logger) (*DB, error) {
	if err := settings.Validate(&cfg); err != nil {
		return nil, err
	}
	db := &DB{cfg: cfg, log: log, stats: newStats(log, cfg.Timeout/3)}
	var dialector gorm.Dialector
	var err error
	switch cfg.DBType {
	case SQLite:
		db.writer = make(chan struct{}, 1)
		db.sql, err = openSQLite(cfg, busyWhileServing)
		dialector = &sqlite.Dialector{Conn: db.sql}
	default:
		db.sql, err = openMySQL(cfg, cfg.Timeout, log)
		dialector = mysql.New(mysql.Config{Conn: db.sql, SkipInitializeWithVersion: true})
	}
	if err != nil {
		return nil, err
	}
	db.sql.SetMaxOpenConns(cfg.MaxOpenConns)
	db.sql.SetMaxIdleConns(cfg.MaxIdleConns)
	db.sql.SetConnMaxLifetime(cfg.ConnMaxLifetime)
	db.sql.SetConnMaxIdleTime(cfg.ConnMaxIdleTime)
	db.gorm, err = gorm.Open(dialector, &gorm.Config{
		NamingStrategy:         schema.NamingStrategy{TablePrefix: cfg.TablePrefix, SingularTable: true, IdentifierMaxLength: 64},
		Logger:                 logger.Discard, // callers get the errors, and values must not be logged
		NowFunc:                func() time.Time { return time.Now().UTC().Truncate(precision) },
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
	})
	if err == nil {
		err = db.stats.observe(db.gorm)
	}
	if err != nil {
		return nil, errors.Join(err, db.sql.Close())
	}
	return db, nil
}

// Close closes the pool. Work in progress fails.
func (db *DB) Close() error { return db.sql.Close() }

// Dialect returns MySQL or SQLite.
func (db *DB) Dialect() string { return db.cfg.DBType }

// WithTimeout returns the same database with another timeout for operations, for
// those of many statements. On MySQL each statement is still limited to
// Config.Timeout.
func (db *DB) WithTimeout(limit time.Duration) *DB {
	other := *db
	other.cfg.Timeout = limit
	return &other
}

// Table returns the name of a table with its prefix, for SQL written by hand:
// Table("tag") is blog_tag.
func (db *DB) Table(name string) string { return db.cfg.TablePrefix + name }

// SQL returns the pool. Work on it has no timeout of its own, and its errors are
// not classified.
func (db *DB) SQL() *sql.DB { return db.sql }

// Gorm returns gorm with ctx. The restrictions of SQL apply.
func (db *DB) Gorm(ctx context.Context) *gorm.DB { return db.gorm.WithContext(ctx) }

// Ping checks the connection to the server, as one operation.
func (db *DB) Ping(ctx context.Context) error {
	return db.run(ctx, "ping", func(ctx context.Context) error { return db.sql.PingContext(ctx) })
}

// Read runs fn as one operation without a transaction, for a single query. It
// returns fn's error after Classify. After Config.Timeout the error is
// errcode.Unavailable; if ctx ends earlier, it is the error of ctx.
func (db *DB) Read(ctx context.Context, fn func(db *gorm.DB) error) error {
	return db.run(ctx, "read", func(ctx context.Context) error { return fn(db.Gorm(ctx)) })
}

// Snapshot is like Read, for several queries that must see the same state of the
// data, such as a page and its count. fn must not write.
func (db *DB) Snapshot(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return db.run(ctx, "snapshot", func(ctx context.Context) error {
		return db.Gorm(ctx).Transaction(fn, &sql.TxOptions{ReadOnly: true})
	})
}

// InTx runs fn in a transaction that writes, and commits it unless fn returns an
// error. Timeout and errors are those of Read. After a deadlock or another conflict
// with a concurrent transaction it rolls back and runs fn again until the timeout,
// so fn must have no side effects outside tx. fn must not call InTx.
//
// If the connection is lost during the commit, the error is errcode.Unavailable,
// and the transaction may have been committed or not.
func (db *DB) InTx(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return db.run(ctx, "transaction", func(ctx context.Context) error {
		if db.writer != nil {
			select {
			case db.writer <- struct{}{}:
				defer func() { <-db.writer }()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for {
			err := db.Gorm(ctx).Transaction(fn)
			if err == nil || classOf(err) != conflict || ctx.Err() != nil {
				return err
			}
			// Random, so that the same transactions do not conflict again.
			if !pause(ctx, 5*time.Millisecond+rand.N(20*time.Millisecond)) { // #nosec G404 -- jitter is no secret
				return err
			}
		}
	})
}

// run runs one operation with its timeout and a span in the request's trace, and
// classifies its error.
func (db *DB) run(parent context.Context, name string, operation func(context.Context) error) error {
	ctx, span := tracing.StartClient(parent, "database "+name, semconv.DBSystemNameKey.String(db.cfg.DBType))
	defer span.End()
	ctx, cancel := context.WithTimeout(ctx, db.cfg.Timeout)
	defer cancel()
	err := operationError(parent, ctx, operation(ctx))
	if failed(err) {
		span.SetStatus(codes.Error, "")
	}
	return err
}

// operationError classifies the error of an operation. ctx is its context, which
// ends with parent, the context of the request, or after the timeout.
func operationError(parent, ctx context.Context, err error) error {
	var coded *errcode.Error
	switch {
	case err == nil, errors.As(err, &coded) && coded.Code != errcode.Unavailable, isSentinel(err):
		return err
	case parent.Err() != nil && isInterruption(err):
		return fmt.Errorf("%w: %v", parent.Err(), err) // the request ended: not a 503
	case ctx.Err() != nil && isInterruption(err) && coded == nil:
		return unavailableError(err)
	}
	return Classify(err)
}

// isInterruption reports whether err is what a statement returns when its context
// ends: the driver closes the connection, or the server cancels the statement.
func isInterruption(err error) bool {
	switch classOf(err) {
	case unavailable, conflict, interrupted:
		return true
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sql.ErrTxDone)
}

// pause waits for d and returns true. It returns false as soon as ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
