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
	// sqlMode is the default of MySQL 8. A server with another one might truncate
	// values or accept zero dates.
	sqlMode = "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
)

// mysqlConnector opens connections with the same session variables, whatever the
// defaults of the server are.
type mysqlConnector struct {
	driver.Connector
	session string
}

// newMySQLConnector returns a connector whose connections limit statements, lock
// waits and reads from the network to timeout. With 0, for migrations, there is
// no limit.
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
		// Statements end with their context before that. The pool opens some
		// connections without a context.
		c.ReadTimeout, c.WriteTimeout = timeout+time.Second, timeout+time.Second
	}
	c.ParseTime, c.Loc = true, time.UTC
	c.ClientFoundRows = true   // count the rows found, also by an UPDATE that changes nothing
	c.InterpolateParams = true // one round trip instead of three
	c.RejectReadOnly = true    // reconnect after a failover
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

// isolation is the level that Snapshot needs.
const isolation = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"

// session returns the first statement of a connection. Version comments select
// the variables of MySQL and of MariaDB. With a timeout the server itself cancels
// long statements, and rolls back transactions whose client was lost without closing
// the connection (a lost node, a partition), because their locks block other
// writes. MySQL has only wait_timeout for that; the pool notices connections that
// the server has closed.
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

// mysqlConn limits COMMIT and ROLLBACK by the transaction's context. The driver
// waits for the server without a limit.
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

// Rollback implements driver.Tx. If the context has ended, the server rolls back
// when the connection is closed.
func (t mysqlTx) Rollback() error { return t.end("ROLLBACK") }

func (t mysqlTx) end(statement string) error {
	_, err := t.conn.ExecContext(t.ctx, statement, nil)
	return discard(err)
}

// driverLog logs what the driver reports of broken connections at debug level: the
// callers get the errors.
type driverLog struct{ log *zap.Logger }

func (l driverLog) Print(v ...any) {
	l.log.Debug("mysql driver", zap.String("message", fmt.Sprint(v...)))
}

func openMySQL(cfg Config, timeout time.Duration, log *zap.Logger) (*sql.DB, error) {
	connector, err := newMySQLConnector(cfg, timeout, log)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}
