package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"time"

	gosqlite "github.com/glebarez/go-sqlite"
	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"
	sqlite "modernc.org/sqlite/lib"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// What the database says about the data. The driver's error stays in the
// chain.
var (
	ErrDuplicate  = errors.New("a row with this key exists already")
	ErrForeignKey = errors.New("a row that is referred to is missing, or a row is still referred to")
	ErrNotFound   = errors.New("no such row")
)

// retryAfter is what a client is told when the database cannot answer now.
const retryAfter = time.Second

// Classify translates an error of gorm or of a driver, by its number and never
// by its text:
//
//   - into ErrDuplicate, ErrForeignKey or ErrNotFound;
//   - into an *errcode.Error of the code errcode.Unavailable, with RetryAfter,
//     when the database cannot do this work now but may later: unreachable,
//     overloaded, shutting down, read-only, full, or a lock not to be had.
//
// Any other error, nil, a context's error and an *errcode.Error come back as
// they are. Classifying twice changes nothing.
func Classify(err error) error {
	var coded *errcode.Error
	switch {
	case err == nil, errors.As(err, &coded), isSentinel(err):
		return err
	case errors.Is(err, gorm.ErrRecordNotFound), errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	switch kindOf(err) {
	case duplicate:
		return fmt.Errorf("%w: %w", ErrDuplicate, err)
	case foreignKey:
		return fmt.Errorf("%w: %w", ErrForeignKey, err)
	case unavailable, conflict, interrupted:
		return unavailableError(err)
	}
	return err
}

func unavailableError(cause error) error {
	return &errcode.Error{Code: errcode.Unavailable, RetryAfter: retryAfter, Cause: cause}
}

func isSentinel(err error) bool {
	return errors.Is(err, ErrDuplicate) || errors.Is(err, ErrForeignKey) || errors.Is(err, ErrNotFound)
}

// failed tells a unit of work that the database could not do from one whose
// answer is no, or that its caller gave up for a reason of its own.
func failed(err error) bool {
	var coded *errcode.Error
	var fromMySQL *mysql.MySQLError
	var fromSQLite *gosqlite.Error
	switch {
	case isSentinel(err):
		return false
	case errors.As(err, &coded):
		return coded.Code == errcode.Unavailable
	}
	return errors.As(err, &fromMySQL) || errors.As(err, &fromSQLite) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// kind is what an error of a driver means for the one who asked.
type kind int

const (
	other       kind = iota
	duplicate        // the data is there already
	foreignKey       // the data refers to nothing, or something refers to it
	unavailable      // the database cannot work now
	conflict         // the transaction lost against another one: worth another try
	interrupted      // the statement was ended before it was done
)

func kindOf(err error) kind {
	var fromMySQL *mysql.MySQLError
	var fromSQLite *gosqlite.Error
	var connecting *connectError
	var network net.Error
	switch {
	// A connection that cannot be had is unavailable whatever the reason: the
	// account's password may be about to change, too.
	case errors.As(err, &connecting):
		return unavailable
	case errors.As(err, &fromMySQL):
		return mysqlKind(fromMySQL.Number)
	case errors.As(err, &fromSQLite):
		return sqliteKind(fromSQLite.Code())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return other
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone),
		errors.As(err, &network):
		return unavailable
	}
	return other
}

// mysqlKind knows the numbers of MySQL and MariaDB.
func mysqlKind(number uint16) kind {
	switch number {
	case 1022, 1062, 1586: // duplicate key, duplicate entry (with the key's name)
		return duplicate
	case 1216, 1217, 1451, 1452: // child or parent row
		return foreignKey
	case 1213, 1205, 1020, 3101: // deadlock, lock wait, row changed since read, rolled back by the cluster
		return conflict
	case 1317, 1969, 3024: // interrupted, max_statement_time, max_execution_time
		return interrupted
	case
		1040, 1203, 1226, // too many connections: of all, of the user, above a quota
		1044, 1045, 1049, 1129, 1130, 1698, // account or host refused, no such database
		1047, 1053, 1927, 4031, // cluster not ready, shutting down, killed, disconnected as idle
		1159, 1161, 1158, 1160, // reading from or writing to the network
		1290, 1792, 1836, // read-only
		1015, 1021, 1030, 1037, 1041, 1114, 1135, 1180: // locks, disk, memory, table or threads exhausted, commit failed
		return unavailable
	}
	return other
}

// sqliteKind knows SQLite's extended result codes.
func sqliteKind(code int) kind {
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
	case sqlite.SQLITE_READONLY, sqlite.SQLITE_IOERR, sqlite.SQLITE_FULL, sqlite.SQLITE_CANTOPEN,
		sqlite.SQLITE_NOMEM, sqlite.SQLITE_PROTOCOL:
		return unavailable
	}
	return other
}

// connectError is a failure to get a new connection.
type connectError struct{ cause error }

func (e *connectError) Error() string { return "connect to the database: " + e.cause.Error() }
func (e *connectError) Unwrap() error { return e.cause }

// discard makes the pool close the connection on which a transaction did not
// end as it should have, rather than hand it, perhaps still within that
// transaction, to the next one.
func discard(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", driver.ErrBadConn, err)
}
