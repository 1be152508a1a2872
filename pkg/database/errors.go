package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"

	gosqlite "github.com/glebarez/go-sqlite"
	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"
	sqlite "modernc.org/sqlite/lib"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Errors that Classify returns for a driver's error, which they wrap.
var (
	ErrDuplicate  = errors.New("a row with this key exists already")
	ErrForeignKey = errors.New("a referenced row is missing, or the row is still referenced")
	ErrNotFound   = errors.New("no such row")
)

// ErrReadOnly is wrapped by the error of a write that the server rejects because it
// is read-only, as a former primary is after a failover.
var ErrReadOnly = errors.New("the database server rejects writes")

// ErrRetry makes InTx run its function again: a concurrent transaction has changed what
// the function has read.
var ErrRetry = errors.New("a concurrent transaction has changed a row")

// Classify converts an error of gorm or of a driver by its number:
//
//   - to ErrDuplicate, ErrForeignKey or ErrNotFound;
//   - to an errcode.NewUnavailable, if the database cannot do the work now but may be
//     able to later: it is unreachable, overloaded, shutting down, full, or did not give a
//     lock;
//   - to an errcode.NewReadOnly that wraps ErrReadOnly, if it rejects writes.
//
// It returns any other error unchanged, also nil, a context's error and an
// *errcode.Error. Classify is idempotent.
func Classify(err error) error {
	var coded *errcode.Error
	switch {
	case err == nil, errors.As(err, &coded), isSentinel(err):
		return err
	case errors.Is(err, gorm.ErrRecordNotFound), errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	switch classOf(err) {
	case duplicate:
		return fmt.Errorf("%w: %w", ErrDuplicate, err)
	case foreignKey:
		return fmt.Errorf("%w: %w", ErrForeignKey, err)
	case readOnly:
		return errcode.NewReadOnly(fmt.Errorf("%w: %w", ErrReadOnly, err))
	case unavailable, conflict, interrupted:
		return errcode.NewUnavailable(err)
	}
	return err
}

func isSentinel(err error) bool {
	return errors.Is(err, ErrDuplicate) || errors.Is(err, ErrForeignKey) || errors.Is(err, ErrNotFound)
}

// failed reports whether err is a failure of the database, and not an error such
// as ErrNotFound or one that the function of the operation returned.
func failed(err error) bool {
	var coded *errcode.Error
	var fromMySQL *mysql.MySQLError
	var fromSQLite *gosqlite.Error
	switch {
	case isSentinel(err):
		return false
	case errors.As(err, &coded):
		return coded.Code == errcode.Unavailable || coded.Code == errcode.ReadOnly
	}
	return errors.As(err, &fromMySQL) || errors.As(err, &fromSQLite) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// errorClass is what a driver's error means for the caller.
type errorClass int

const (
	other       errorClass = iota
	duplicate              // a row with this key exists
	foreignKey             // a referenced row is missing, or the row is still referenced
	unavailable            // the database cannot serve now
	readOnly               // the database serves reads only
	conflict               // the transaction failed because of another one; retry it
	interrupted            // the statement was cancelled
)

func classOf(err error) errorClass {
	var fromMySQL *mysql.MySQLError
	var fromSQLite *gosqlite.Error
	var connecting *connectError
	var network net.Error
	switch {
	case errors.Is(err, ErrRetry):
		return conflict
	// No connection means unavailable, whatever the reason: a wrong password may
	// be about to change, too.
	case errors.As(err, &connecting):
		return unavailable
	case errors.As(err, &fromMySQL):
		return mysqlClass(fromMySQL.Number)
	case errors.As(err, &fromSQLite):
		return sqliteClass(fromSQLite.Code())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return other
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone),
		errors.As(err, &network):
		return unavailable
	}
	return other
}

// mysqlClass returns the class of an error number of MySQL or MariaDB.
func mysqlClass(number uint16) errorClass {
	switch number {
	case 1022, 1062, 1586: // duplicate key, duplicate entry (with the key's name)
		return duplicate
	case 1216, 1217, 1451, 1452: // child or parent row
		return foreignKey
	case 1213, 1205, 1020, 3101: // deadlock, lock wait, row changed since read, rolled back by the cluster
		return conflict
	case 1290, 1792, 1836: // option --read-only, read-only transaction, read-only mode
		return readOnly
	case 1317, 1969, 3024: // interrupted, max_statement_time, max_execution_time
		return interrupted
	case
		1040, 1203, 1226, // too many connections: of all, of the user, above a quota
		1044, 1045, 1049, 1129, 1130, 1698, // account or host refused, no such database
		1047, 1053, 1927, 4031, // cluster not ready, shutting down, killed, disconnected as idle
		1159, 1161, 1158, 1160, // reading from or writing to the network
		1015, 1021, 1030, 1037, 1041, 1114, 1135, 1180: // locks, disk, memory, table or threads exhausted, commit failed
		return unavailable
	}
	return other
}

// sqliteClass returns the class of an extended result code of SQLite.
func sqliteClass(code int) errorClass {
	switch code {
	case sqlite.SQLITE_CONSTRAINT_UNIQUE, sqlite.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite.SQLITE_CONSTRAINT_ROWID:
		return duplicate
	case sqlite.SQLITE_CONSTRAINT_FOREIGNKEY:
		return foreignKey
	}
	const primary = 0xff
	switch code & primary {
	case sqlite.SQLITE_BUSY, sqlite.SQLITE_LOCKED:
		return conflict
	case sqlite.SQLITE_INTERRUPT:
		return interrupted
	case sqlite.SQLITE_READONLY:
		return readOnly
	case sqlite.SQLITE_IOERR, sqlite.SQLITE_FULL, sqlite.SQLITE_CANTOPEN,
		sqlite.SQLITE_NOMEM, sqlite.SQLITE_PROTOCOL:
		return unavailable
	}
	return other
}

// connectError is a failure to get a new connection.
type connectError struct{ cause error }

func (e *connectError) Error() string { return "connect to the database: " + e.cause.Error() }
func (e *connectError) Unwrap() error { return e.cause }

// discard makes the pool close the connection after a failed COMMIT or ROLLBACK:
// it may still be in the transaction.
func discard(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", driver.ErrBadConn, err)
}
