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
	"strings"
	"sync"
	"time"

	"github.com/glebarez/sqlite"
	"github.com/gofrs/flock"
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

// The names of operations.
const (
	opPing        = "ping"
	opTransaction = "transaction"
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
	claim  *flock.Flock // nil unless Claim was called
	// pool is the generation of MySQL connections. Nil for SQLite.
	pool *generation
	// bulkheads divide the connections; reads is set by Expensive and ForWrites.
	bulkheads *bulkheads
	reads     workload
	// prepared has the *sql.Stmt of each query of Query on MySQL.
	prepared *sync.Map
}

// Open returns a database with its pool of connections. It does not connect to a
// MySQL server, which may be unavailable at any time. It creates a SQLite file, or
// returns an error that names the path.
func Open(cfg Config, log *zap.Logger) (*DB, error) {
	if err := settings.Validate(&cfg); err != nil {
		return nil, err
	}
	db := &DB{
		cfg: cfg, log: log, stats: newStats(log, cfg.Timeout/3),
		bulkheads: newBulkheads(cfg.MaxOpenConns), prepared: &sync.Map{},
	}
	var dialector gorm.Dialector
	var err error
	switch cfg.DBType {
	case SQLite:
		db.writer = make(chan struct{}, 1)
		db.sql, err = openSQLite(cfg, busyWhileServing)
		dialector = &sqlite.Dialector{Conn: db.sql}
	default:
		session := servingSession(cfg.Timeout)
		db.pool = session.pool
		db.sql, err = openMySQL(cfg, session, log)
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
func (db *DB) Close() error {
	err := db.sql.Close()
	if db.claim != nil {
		err = errors.Join(err, db.claim.Unlock())
	}
	return err
}

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

// Timeout returns the timeout of an operation.
func (db *DB) Timeout() time.Duration { return db.cfg.Timeout }

// Table returns the name of a table with its prefix, for SQL written by hand:
// Table("tag") is blog_tag.
func (db *DB) Table(name string) string { return db.cfg.TablePrefix + name }

// Indexed is like Table, with an index that the planner must use, unless that is "". A
// planner may prefer to scan the table, which reads all of it, and to sort what it has read.
func (db *DB) Indexed(table, index string) string {
	switch {
	case index == "":
		return db.Table(table)
	case db.Dialect() == SQLite:
		return db.Table(table) + " INDEXED BY " + db.Table(index)
	default:
		return db.Table(table) + " FORCE INDEX (" + db.Table(index) + ")"
	}
}

// SQL returns the pool. Work on it has no timeout of its own, and its errors are
// not classified.
func (db *DB) SQL() *sql.DB { return db.sql }

// Gorm returns gorm with ctx. The restrictions of SQL apply.
func (db *DB) Gorm(ctx context.Context) *gorm.DB { return db.gorm.WithContext(ctx) }

// Ping checks the connection to the server, as one operation.
func (db *DB) Ping(ctx context.Context) error {
	return db.run(ctx, opPing, func(ctx context.Context) error { return db.sql.PingContext(ctx) })
}

// Writable returns an error that wraps ErrReadOnly if the server rejects writes. Then
// the pool connects anew, because reads from a former primary may be stale.
func (db *DB) Writable(ctx context.Context) error {
	if db.Dialect() == SQLite {
		return db.Ping(ctx)
	}
	var readOnly bool
	// The variable read_only is a number, or a word in newer versions of MariaDB. In those,
	// tx_read_only has another name, and the old one is deprecated.
	query := "SELECT @@GLOBAL.read_only NOT IN ('0', 'OFF') OR @@GLOBAL.innodb_read_only" +
		" /*M!100300 OR EXISTS (SELECT 1 FROM information_schema.GLOBAL_VARIABLES" +
		" WHERE VARIABLE_NAME IN ('TX_READ_ONLY', 'TRANSACTION_READ_ONLY') AND VARIABLE_VALUE = 'ON') */" +
		" /*!80000 OR @@GLOBAL.transaction_read_only */"
	err := db.Read(ctx, func(tx *gorm.DB) error { return tx.Raw(query).Scan(&readOnly).Error })
	if err == nil && readOnly {
		db.pool.drop()
		return ErrReadOnly
	}
	return err
}

// Read runs fn as one operation without a transaction: several queries in it may see
// different states. It returns fn's error after Classify. After Config.Timeout the error is
// errcode.Unavailable; if ctx ends earlier, it is the error of ctx.
func (db *DB) Read(ctx context.Context, fn func(db *gorm.DB) error) error {
	return db.run(ctx, "read", func(ctx context.Context) error { return fn(db.Gorm(ctx)) })
}

// Query runs a single query as Read does, without gorm, and calls scan for each row. MySQL
// prepares it once for each connection, so there should be few different queries; see
// In.
func (db *DB) Query(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	return db.run(ctx, "read", func(ctx context.Context) error {
		return db.stats.measure(ctx, "query", query, args, func() (int64, error) {
			rows, err := db.queryRows(ctx, query, args)
			if err != nil {
				return 0, err
			}
			return scanAll(rows, scan)
		})
	})
}

// scanAll calls scan for each row, and closes the rows.
func scanAll(rows *sql.Rows, scan func(*sql.Rows) error) (n int64, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for ; rows.Next(); n++ {
		if err := scan(rows); err != nil {
			return n, err
		}
	}
	return n, rows.Err()
}

func (db *DB) queryRows(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	if db.Dialect() == SQLite { // its prepared statements can't be interrupted
		return db.sql.QueryContext(ctx, query, args...)
	}
	prepared, found := db.prepared.Load(query)
	if !found {
		statement, err := db.sql.PrepareContext(ctx, query)
		if err != nil {
			return nil, err
		}
		if prepared, found = db.prepared.LoadOrStore(query, statement); found {
			_ = statement.Close()
		}
	}
	return prepared.(*sql.Stmt).QueryContext(ctx, args...)
}

// In returns the parameters of a list for IN, and their values. It repeats the last key
// until their number is a power of two, so that there are few different queries. There must
// be a key.
func In[K any](keys []K) (marks string, values []any) {
	size := 1
	for size < len(keys) {
		size *= 2
	}
	values = make([]any, size)
	for i := range values {
		values[i] = keys[min(i, len(keys)-1)]
	}
	return strings.Repeat(", ?", size)[2:], values
}

// Snapshot is like Read, for several queries that must see the same state of the
// data, such as a page and its count. fn must not write.
func (db *DB) Snapshot(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return db.run(ctx, "snapshot", func(ctx context.Context) error {
		return db.Gorm(ctx).Transaction(fn, &sql.TxOptions{ReadOnly: true})
	})
}

// LongSnapshot is like Snapshot, for many short queries between which the caller does something
// else, such as writing to a client that may be slow. limit is its timeout; each query is still
// limited to Config.Timeout. While it runs, the server keeps all former versions of rows that
// change.
func (db *DB) LongSnapshot(ctx context.Context, limit time.Duration, fn func(tx *gorm.DB) error) error {
	return db.WithTimeout(limit).run(ctx, "long snapshot", func(ctx context.Context) error {
		return db.Gorm(ctx).Connection(func(conn *gorm.DB) error {
			if db.Dialect() == MySQL {
				if err := conn.Exec(idleTransactions(limit)).Error; err != nil {
					return err
				}
				defer resetIdleTransactions(ctx, conn, maxIdleTransaction(db.Timeout()))
			}
			return conn.Transaction(fn, &sql.TxOptions{ReadOnly: true})
		})
	})
}

// InTx runs fn in a transaction that writes, and commits it unless fn returns an
// error. Timeout and errors are those of Read. After a deadlock or another conflict
// with a concurrent transaction, also one that fn reports by ErrRetry, it rolls back and
// runs fn again until the timeout, so fn must have no side effects outside tx. fn must not call InTx.
//
// If the connection is lost during the commit, the error is errcode.Unavailable,
// and the transaction may have been committed or not.
func (db *DB) InTx(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return db.run(ctx, opTransaction, func(ctx context.Context) error {
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

// run runs one operation within its bulkhead, with its timeout and a span in the request's trace, and
// classifies its error.
func (db *DB) run(parent context.Context, name string, operation func(context.Context) error) error {
	ctx, span := tracing.StartClient(parent, "database "+name, semconv.DBSystemNameKey.String(db.cfg.DBType))
	defer span.End()
	ctx, cancel := context.WithTimeout(ctx, db.cfg.Timeout)
	defer cancel()
	err := operationError(parent, ctx, db.bulkheads.run(ctx, name, db.reads, operation))
	db.dropReadOnly(err)
	if failed(err) {
		span.SetStatus(codes.Error, "")
	}
	return err
}

// dropReadOnly makes the pool connect anew after a write that the server has rejected
// as read-only: another server may be the primary now.
func (db *DB) dropReadOnly(err error) {
	if db.pool != nil && errors.Is(err, ErrReadOnly) && db.pool.drop() {
		db.log.Warn("the database server is read-only: connecting anew", zap.Error(err))
	}
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
		return errcode.NewUnavailable(err)
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
