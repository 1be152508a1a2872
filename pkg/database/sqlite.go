package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	gosqlite "github.com/glebarez/go-sqlite"
	"modernc.org/libc"
	sqlite "modernc.org/sqlite/lib"
)

// sqliteCache is the size in KiB of the page cache of each connection. It is outside of
// the memory that Go limits; the kernel caches the file as well.
const sqliteCache = 512

// openSQLite opens the file, and creates it if it doesn't exist. It doesn't create its
// folder: a mistyped path would be a new database. busy is how long SQLite waits for a
// lock of another connection. This wait cannot be interrupted, so it must be short
// while serving.
func openSQLite(cfg Config, busy time.Duration) (*sql.DB, error) {
	path := cfg.DBName
	if err := createFile(path); err != nil {
		return nil, err
	}
	query := url.Values{
		"_txlock": {"immediate"}, // a transaction that writes after it has read may fail
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()), "foreign_keys(1)", fmt.Sprintf("cache_size(-%d)", sqliteCache)},
	}
	if err := addFunction(); err != nil {
		return nil, err
	}
	db := sql.OpenDB(sqliteConnector{dsn: path + "?" + query.Encode()})
	if err := useWAL(db); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("the database file %s cannot be used: %w; make it and its folder writable, or choose another with Database.DBName", path, err)
	}
	return db, nil
}

// createFile creates an empty file, which is an empty database, that only its owner can
// read. SQLite gives the files beside it the same mode.
func createFile(path string) error {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s of the database file %s does not exist; create it, or choose another with Database.DBName", dir, path)
	case err == nil && !info.IsDir(), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("the database file %s can't be in %s, which is no folder; choose another with Database.DBName", path, dir)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600) // #nosec G304 -- the user names the file
	if err != nil {
		return fmt.Errorf("the database file %s cannot be opened: %w; make it and its folder accessible, or choose another with Database.DBName", path, err)
	}
	return file.Close()
}

// useWAL sets the journal mode of the file, in which readers and a writer don't
// block each other. Busy timeouts don't apply to this statement.
func useWAL(db *sql.DB) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for {
		_, err := db.ExecContext(ctx, "PRAGMA journal_mode = WAL")
		if err == nil || classOf(err) != conflict || !pause(ctx, 10*time.Millisecond) {
			return err
		}
	}
}

// sqliteConnector opens connections on which a context interrupts statements, and
// which store times in UTC. The driver does neither.
type sqliteConnector struct{ dsn string }

// Driver implements driver.Connector.
func (c sqliteConnector) Driver() driver.Driver { return &gosqlite.Driver{} }

// Connect implements driver.Connector.
func (c sqliteConnector) Connect(context.Context) (driver.Conn, error) {
	raw, err := c.Driver().Open(c.dsn)
	if err != nil {
		return nil, &connectError{err}
	}
	conn, ok := raw.(sqliteDriverConn)
	if !ok {
		_ = raw.Close()
		return nil, fmt.Errorf("the SQLite driver's connection %T lacks a method that Achilles needs", raw)
	}
	handle, err := handleOf(conn)
	if err != nil {
		_ = raw.Close()
		return nil, &connectError{err}
	}
	return sqliteConn{sqliteDriverConn: conn, handle: handle}, nil
}

type sqliteDriverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
}

type sqliteConn struct {
	sqliteDriverConn
	handle uintptr
}

// ExecContext implements driver.ExecerContext. The driver gets no context: it would
// report success for a statement that it did not begin.
func (c sqliteConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stop := c.interruptAtEnd(ctx)
	defer stop()
	result, err := c.sqliteDriverConn.ExecContext(context.WithoutCancel(ctx), query, inUTC(args))
	return result, endedBy(ctx, err)
}

// QueryContext implements driver.QueryerContext. SQLite runs a query while its
// rows are read, so the context can interrupt it until the rows are closed.
func (c sqliteConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stop := c.interruptAtEnd(ctx)
	raw, err := c.sqliteDriverConn.QueryContext(context.WithoutCancel(ctx), query, inUTC(args))
	if err != nil {
		stop()
		return nil, endedBy(ctx, err)
	}
	rows, ok := raw.(sqliteDriverRows)
	if !ok {
		stop()
		_ = raw.Close()
		return nil, fmt.Errorf("the SQLite driver's rows %T lack a method that Achilles needs", raw)
	}
	return &sqliteRows{sqliteDriverRows: rows, ctx: ctx, stop: stop}, nil
}

// BeginTx implements driver.ConnBeginTx.
func (c sqliteConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := c.sqliteDriverConn.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return sqliteTx{tx}, nil
}

type sqliteTx struct{ driver.Tx }

// Commit implements driver.Tx.
func (t sqliteTx) Commit() error { return discard(t.Tx.Commit()) }

// Rollback implements driver.Tx.
func (t sqliteTx) Rollback() error { return discard(t.Tx.Rollback()) }

// interruptAtEnd interrupts the connection after ctx has ended, repeatedly until
// stop is called: an interrupt before the statement begins has no effect. There is
// no interrupt after stop has returned.
func (c sqliteConn) interruptAtEnd(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	stopped, finished := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		select {
		case <-stopped:
			return
		case <-ctx.Done():
		}
		for {
			c.interrupt()
			select {
			case <-stopped:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() {
		close(stopped)
		<-finished
	}
}

func (c sqliteConn) interrupt() {
	thread := libc.NewTLS()
	defer thread.Close()
	sqlite.Xsqlite3_interrupt(thread, c.handle)
}

type sqliteDriverRows interface {
	driver.Rows
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeLength
	driver.RowsColumnTypeNullable
	driver.RowsColumnTypePrecisionScale
	driver.RowsColumnTypeScanType
}

type sqliteRows struct {
	sqliteDriverRows
	ctx  context.Context
	stop func()
}

// Next implements driver.Rows.
func (r *sqliteRows) Next(dest []driver.Value) error {
	return endedBy(r.ctx, r.sqliteDriverRows.Next(dest))
}

// Close implements driver.Rows.
func (r *sqliteRows) Close() error {
	r.stop()
	return endedBy(r.ctx, r.sqliteDriverRows.Close())
}

// endedBy replaces the error of an interrupt by the context's error.
func endedBy(ctx context.Context, err error) error {
	if err != nil && classOf(err) == interrupted && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// inUTC converts times to UTC with the precision of the database, as MySQL's
// driver does. SQLite stores them as text, which then sorts like the times.
func inUTC(args []driver.NamedValue) []driver.NamedValue {
	for i := range args {
		if t, ok := args[i].Value.(time.Time); ok {
			args[i].Value = t.UTC().Truncate(precision)
		}
	}
	return args
}
