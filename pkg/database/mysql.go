package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	"go.uber.org/zap"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tlsfiles"
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
	pool    *generation
}

// generation is the number of times that the pool has dropped its connections. A
// connection of an earlier generation is closed as soon as nobody uses it.
type generation struct {
	current atomic.Int64

	mu   sync.Mutex
	last time.Time
}

// dropInterval keeps a server that stays read-only from being reconnected to at every
// failed write.
const dropInterval = time.Second

// drop begins a new generation, unless the current one is younger than dropInterval.
// It reports whether it did.
func (g *generation) drop() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.Sub(g.last) >= dropInterval {
		g.last = now
		g.current.Add(1)
		return true
	}
	return false
}

// session is what a connection begins with.
type session struct {
	// timeout limits reads from the network; 0 means no limit.
	timeout time.Duration
	// statement sets the variables of the session.
	statement string
	// pool is the generation of the connections.
	pool *generation
}

// newMySQLConnector returns a connector whose connections have the session.
func newMySQLConnector(cfg Config, s session, log *zap.Logger) (*mysqlConnector, error) {
	c := mysql.NewConfig()
	c.User, c.DBName = cfg.Username, cfg.DBName
	c.Net, c.Addr = "tcp", address(cfg.Host)
	if strings.HasPrefix(cfg.Host, "/") {
		c.Net, c.Addr = "unix", cfg.Host
	}
	c.AllowFallbackToPlaintext = cfg.TLS == "preferred"
	c.Timeout = dialTimeout
	if s.timeout > 0 {
		// Statements end with their context before that. The pool opens some
		// connections without a context.
		c.ReadTimeout, c.WriteTimeout = s.timeout+time.Second, s.timeout+time.Second
	}
	c.ParseTime, c.Loc = true, time.UTC
	c.ClientFoundRows = true   // count the rows found, also by an UPDATE that changes nothing
	c.InterpolateParams = true // one round trip instead of three
	c.Logger = driverLog{log}
	secrets := newCredentials(cfg, log)
	if err := secrets.check(); err != nil {
		return nil, err
	}
	if err := c.Apply(mysql.TimeTruncate(precision), mysql.BeforeConnect(secrets.set)); err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("the settings of the MySQL connection do not fit together: %w", err)
	}
	return &mysqlConnector{Connector: connector, session: s.statement, pool: s.pool}, nil
}

// isolation is the level that Snapshot needs.
const isolation = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"

// credentials reads the password and the certificates again for each connection,
// because their files may change.
type credentials struct {
	password   *settings.SecretFile
	files      *tlsfiles.Files // nil without TLS
	serverName string
	log        *zap.Logger
}

func newCredentials(cfg Config, log *zap.Logger) *credentials {
	c := &credentials{password: settings.NewSecretFile(cfg.PasswordFile, cfg.Password), log: log}
	if cfg.TLS != "false" {
		c.files = tlsfiles.New(cfg.tlsFiles())
		c.serverName, _, _ = net.SplitHostPort(address(cfg.Host))
	}
	return c
}

// check returns an error if the files of TLS can't be used.
func (c *credentials) check() error {
	if c.files == nil {
		return nil
	}
	if _, err := c.files.Client(c.serverName); err != nil {
		return fmt.Errorf("TLS to the MySQL server: %w; check Database.CAFile, Database.CertFile and Database.KeyFile", err)
	}
	return nil
}

// set sets what one connection is opened with. It uses the last usable content of a
// file that can't be read now.
func (c *credentials) set(_ context.Context, conn *mysql.Config) (err error) {
	password, err := c.password.Read()
	if err != nil {
		c.log.Warn("the password of the database is not read again", zap.Error(err))
	}
	conn.Passwd = password.Reveal()
	if c.files == nil {
		return nil
	}
	if conn.TLS, err = c.files.Client(c.serverName); err != nil {
		c.log.Warn("the certificates for the database are not read again", zap.Error(err))
	}
	return nil
}

// variables are those of every session. Version comments select the variables of
// MySQL and of MariaDB.
//
// By default, the optimizer looks up each value of a list for IN twice: once to estimate how
// many rows it has, and then to read them. With eq_range_index_dive_limit = 2 it estimates
// lists by the statistics of the index. GROUP_CONCAT cuts its result off at
// group_concat_max_len, in MySQL after 1024 bytes by default.
const variables = "SET NAMES utf8mb4 COLLATE utf8mb4_bin, time_zone = '+00:00', sql_mode = '" + sqlMode + "'" +
	", eq_range_index_dive_limit = 2, group_concat_max_len = 1048576"

// servingSession limits statements and lock waits to timeout. The server itself
// cancels long statements, and rolls back transactions whose client was lost without
// closing the connection (a lost node, a partition), because their locks block other
// writes. MySQL has only wait_timeout for that; the pool notices connections that
// the server has closed. From 11.6.2 on, MariaDB would by default refuse to change a row that
// has changed since the transaction's first query, such as a counter; what depends on
// earlier values is read with a lock.
func servingSession(timeout time.Duration) session {
	return session{timeout: timeout, pool: &generation{}, statement: variables + fmt.Sprintf(
		", innodb_lock_wait_timeout = %d, lock_wait_timeout = %[1]d, wait_timeout = 90"+
			" /*M!100300 , idle_transaction_timeout = %[4]d, max_statement_time = %.3[2]f */ /*!80000 , max_execution_time = %[3]d */ /*M!110602 , innodb_snapshot_isolation = OFF */",
		max(1, int(timeout/time.Second)), timeout.Seconds(), timeout.Milliseconds(), int(maxIdleTransaction(timeout)/time.Second))}
}

// maxIdleTransaction returns the time after which MariaDB ends a transaction whose client sends
// nothing, for operations that end after timeout.
func maxIdleTransaction(timeout time.Duration) time.Duration { return max(5*time.Second, timeout) }

// idleTransactions returns the statement that sets this time for a session.
func idleTransactions(limit time.Duration) string {
	return fmt.Sprintf("SET @idle_transactions = 0 /*M!100300 , idle_transaction_timeout = %d */", max(1, int(limit.Round(time.Second)/time.Second)))
}

// resetIdleTransactions sets the time of a session back, or closes its connection if that fails.
func resetIdleTransactions(ctx context.Context, conn *gorm.DB, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if conn.WithContext(ctx).Exec(idleTransactions(limit)).Error == nil {
		return
	}
	if raw, ok := conn.Statement.ConnPool.(*sql.Conn); ok {
		_ = raw.Raw(func(any) error { return driver.ErrBadConn })
	}
}

// migrationSession doesn't limit statements. The server ends the session, and with it
// the lock of the migration, when no statement has arrived for the time idle.
func migrationSession(idle time.Duration) session {
	return session{pool: &generation{}, statement: variables + fmt.Sprintf(
		", lock_wait_timeout = 30, wait_timeout = %d /*M!100101 , max_statement_time = 0 */ /*!80000 , max_execution_time = 0 */",
		max(1, int(idle/time.Second)))}
}

// Connect implements driver.Connector.
func (c *mysqlConnector) Connect(ctx context.Context) (driver.Conn, error) {
	opened := c.pool.current.Load()
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
	return mysqlConn{conn, c.pool, opened}, nil
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
type mysqlConn struct {
	mysqlDriverConn
	pool   *generation
	opened int64
}

// ResetSession implements driver.SessionResetter, for a connection that is about to be
// used again.
func (c mysqlConn) ResetSession(ctx context.Context) error {
	if c.opened != c.pool.current.Load() {
		return driver.ErrBadConn
	}
	return c.mysqlDriverConn.ResetSession(ctx)
}

// IsValid implements driver.Validator, for a connection that goes back to the pool.
func (c mysqlConn) IsValid() bool {
	return c.opened == c.pool.current.Load() && c.mysqlDriverConn.IsValid()
}

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

func openMySQL(cfg Config, s session, log *zap.Logger) (*sql.DB, error) {
	connector, err := newMySQLConnector(cfg, s, log)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}
