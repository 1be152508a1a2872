// Package database is a service's own database: MySQL or MariaDB in
// production, SQLite embedded. It bounds every unit of work in time, tells by
// the errors what a caller can do about them, and migrates the schema.
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
	// precision is that of every time in the database.
	precision = time.Millisecond
	// busyWhileServing is how long SQLite itself waits for a lock; InTx tries
	// again until the unit of work runs out of time.
	busyWhileServing = 100 * time.Millisecond
)

// DB is an open database with its pool of connections.
type DB struct {
	cfg   Config
	log   *zap.Logger
	sql   *sql.DB
	gorm  *gorm.DB
	stats *stats
	// writer admits one writing transaction at a time where the database does;
	// waiting here is fair, and ends with the context. Nil for MySQL.
	writer chan struct{}
}

// Open makes the pool. With MySQL it does not connect: the server may come
// later, and go and return. With SQLite it creates the file, and an error says
// which path cannot be used.
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
		Logger:                 logger.Discard, // errors go to the caller; values must not reach a log
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

// Close closes the pool. Work that is under way fails.
func (db *DB) Close() error { return db.sql.Close() }

// Dialect is MySQL or SQLite.
func (db *DB) Dialect() string { return db.cfg.DBType }

// WithTimeout is the same database with another bound for each unit of work,
// for work of many statements. A MySQL server still holds each statement to
// Config.Timeout.
func (db *DB) WithTimeout(limit time.Duration) *DB {
	other := *db
	other.cfg.Timeout = limit
	return &other
}

// Table is the full name of a table in this database, for SQL written by hand:
// Table("tag") is blog_tag.
func (db *DB) Table(name string) string { return db.cfg.TablePrefix + name }

// SQL is the pool itself. Work on it is bounded by its context alone, and its
// errors are not classified.
func (db *DB) SQL() *sql.DB { return db.sql }

// Gorm is gorm bound to ctx and to nothing else; see SQL.
func (db *DB) Gorm(ctx context.Context) *gorm.DB { return db.gorm.WithContext(ctx) }

// Ping asks the server for a sign of life, as one unit of work.
func (db *DB) Ping(ctx context.Context) error {
	return db.unit(ctx, "ping", func(ctx context.Context) error { return db.sql.PingContext(ctx) })
}

// Read runs fn as one unit of work without a transaction; it is for a single
// query. It returns fn's error after Classify. The unit ends after
// Config.Timeout, with errcode.Unavailable; when ctx ends first, the error is
// context.Canceled or context.DeadlineExceeded.
func (db *DB) Read(ctx context.Context, fn func(db *gorm.DB) error) error {
	return db.unit(ctx, "read", func(ctx context.Context) error { return fn(db.Gorm(ctx)) })
}

// Snapshot is Read for several queries that must agree with each other, such as
// a page and its count: all see the same state of the data. Do not write in fn.
func (db *DB) Snapshot(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return db.unit(ctx, "snapshot", func(ctx context.Context) error {
		return db.Gorm(ctx).Transaction(fn, &sql.TxOptions{ReadOnly: true})
	})
}

// InTx runs fn in one transaction that writes, and commits it unless fn returns
// an error. Bound and errors are those of Read. When the transaction loses
// against another one (a deadlock, a lock not to be had) it is rolled back and
// fn runs again while there is time: fn must have no effect but through tx. Do
// not call InTx within fn.
//
// When the connection is lost during the commit the error is
// errcode.Unavailable too, and nobody knows whether the transaction counts.
func (db *DB) InTx(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return db.unit(ctx, "transaction", func(ctx context.Context) error {
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
			if err == nil || kindOf(err) != conflict || ctx.Err() != nil {
				return err
			}
			// Two that collided must not meet again in step.
			if !pause(ctx, 5*time.Millisecond+rand.N(20*time.Millisecond)) { // #nosec G404 -- jitter is no secret
				return err
			}
		}
	})
}

// unit bounds one unit of work, makes it a span of the request's trace, and
// says what its failure means.
func (db *DB) unit(parent context.Context, name string, work func(context.Context) error) error {
	ctx, span := tracing.StartClient(parent, "database "+name, semconv.DBSystemNameKey.String(db.cfg.DBType))
	defer span.End()
	ctx, cancel := context.WithTimeout(ctx, db.cfg.Timeout)
	defer cancel()
	err := outcome(parent, ctx, work(ctx))
	if failed(err) {
		span.SetStatus(codes.Error, "")
	}
	return err
}

func outcome(parent, unit context.Context, err error) error {
	var coded *errcode.Error
	switch {
	case err == nil, errors.As(err, &coded) && coded.Code != errcode.Unavailable, isSentinel(err):
		return err
	case parent.Err() != nil && brokenOff(err):
		return fmt.Errorf("%w: %v", parent.Err(), err) // not a 503: the caller ran out of time, or left
	case unit.Err() != nil && brokenOff(err) && coded == nil:
		return unavailableError(err)
	}
	return Classify(err)
}

// brokenOff is true of the errors that a statement has when its context ends:
// the drivers close the connection, or the server ends the statement.
func brokenOff(err error) bool {
	switch kindOf(err) {
	case unavailable, conflict, interrupted:
		return true
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sql.ErrTxDone)
}

// pause waits for d and returns true, or false as soon as ctx has ended.
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
