package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"go.uber.org/zap"
)

const (
	dialTimeout = time.Second
	// sqlMode is MySQL 8's own default, so that a server that was set up
	// otherwise neither truncates values nor accepts zero dates.
	sqlMode = "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
)

// mysqlConnector makes connections that do not depend on how the server was
// set up: each begins with the same session.
type mysqlConnector struct {
	driver.Connector
	session string
}

// newMySQLConnector is for serving when timeout is positive: it then bounds
// statements, waits for locks and silent connections. Without one, long
// statements of a migration may run.
func newMySQLConnector(cfg Config, timeout time.Duration, log *zap.Logger) (*mysqlConnector, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName = cfg.Username, cfg.Password.Reveal(), cfg.DBName
	c.Net, c.Addr = "tcp", address(cfg.Host)
	if strings.HasPrefix(cfg.Host, "/") {
		c.Net, c.Addr = "unix", cfg.Host
	}
	if cfg.TLS != "false" {
		c.TLSConfig = cfg.TLS
	}
	c.Timeout = dialTimeout
	if timeout > 0 {
		// The context ends a statement first. This is for what has none: the
		// pool opens some connections on its own account.
		c.ReadTimeout, c.WriteTimeout = timeout+time.Second, timeout+time.Second
	}
	c.ParseTime, c.Loc = true, time.UTC
	c.ClientFoundRows = true   // an UPDATE that changes nothing still found its row
	c.InterpolateParams = true // one round trip instead of three
	c.RejectReadOnly = true    // after a failover, look for the new primary
	c.Logger = driverLog{log}
	if err := c.Apply(mysql.TimeTruncate(precision)); err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("the settings of the MySQL connection do not fit together: %w", err)
	}
	return &mysqlConnector{Connector: connector, session: session(timeout)}, nil
}

// isolation is what Snapshot promises, however the server was set up.
const isolation = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"

// session is the statement that a connection begins with. The comments make
// each server read its own variable only. With a limit the server itself ends a
// statement whose client has gone, and a transaction whose client has vanished
// without closing the connection (a lost node, a partition): its locks would
// hold up everybody else's writes. MySQL has only wait_timeout for the latter;
// the pool notices connections that the server has closed.
func session(timeout time.Duration) string {
	set := "SET NAMES utf8mb4 COLLATE utf8mb4_bin, time_zone = '+00:00', sql_mode = '" + sqlMode + "'"
	if timeout <= 0 {
		return set + ", lock_wait_timeout = 30 /*M!100101 , max_statement_time = 0 */ /*!80000 , max_execution_time = 0 */"
	}
	return set + fmt.Sprintf(
		", innodb_lock_wait_timeout = %d, lock_wait_timeout = %[1]d, wait_timeout = 90"+
			" /*M!100300 , idle_transaction_timeout = 5, max_statement_time = %.3[2]f */ /*!80000 , max_execution_time = %[3]d */",
		max(1, int(timeout/time.Second)), timeout.Seconds(), timeout.Milliseconds())
}

// Connect implements driver.Connector.
func (c *mysqlConnector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, &connectError{err}
	}
	conn, ok := raw.(mysqlDriverConn)
	if !ok {
		_ = raw.Close()
		return nil, fmt.Errorf("the MySQL driver's connection %T lacks a method that Achilles needs", raw)
	}
	for _, statement := range []string{c.session, isolation} {
		if _, err := conn.ExecContext(ctx, statement, nil); err != nil {
			_ = conn.Close()
			return nil, &connectError{fmt.Errorf("set up the session: %w", err)}
		}
	}
	return mysqlConn{conn}, nil
}

type mysqlDriverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.NamedValueChecker
	driver.SessionResetter
	driver.Validator
}

// mysqlConn makes COMMIT and ROLLBACK end with the transaction's context. The
// driver waits for a silent server without limit there.
type mysqlConn struct{ mysqlDriverConn }

// BeginTx implements driver.ConnBeginTx.
func (c mysqlConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if _, err := c.mysqlDriverConn.BeginTx(ctx, opts); err != nil {
		return nil, err
	}
	return mysqlTx{ctx: ctx, conn: c.mysqlDriverConn}, nil
}

// #nosec G118 -- a transaction lives as long as its context, by database/sql's contract.
type mysqlTx struct {
	ctx  context.Context
	conn driver.ExecerContext
}

// Commit implements driver.Tx.
func (t mysqlTx) Commit() error { return t.end("COMMIT") }

// Rollback implements driver.Tx. Where the context leaves no time to ask the
// server, the server does it itself as soon as the connection is closed.
func (t mysqlTx) Rollback() error { return t.end("ROLLBACK") }

func (t mysqlTx) end(statement string) error {
	_, err := t.conn.ExecContext(t.ctx, statement, nil)
	return discard(err)
}

// driverLog takes the driver's remarks on broken connections, whose errors the
// callers get anyway.
type driverLog struct{ log *zap.Logger }

func (l driverLog) Print(v ...any) {
	l.log.Debug("mysql driver", zap.String("remark", fmt.Sprint(v...)))
}

func openMySQL(cfg Config, timeout time.Duration, log *zap.Logger) (*sql.DB, error) {
	connector, err := newMySQLConnector(cfg, timeout, log)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}
