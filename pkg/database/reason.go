package database

import (
	"database/sql/driver"
	"errors"
	"fmt"

	gosqlite "github.com/glebarez/go-sqlite"
	"github.com/go-sql-driver/mysql"
	sqlite "modernc.org/sqlite/lib"

	"github.com/achilles-blog/achilles/pkg/health"
)

// WithReason adds to a driver's error or ErrReadOnly the health.Reason that /readyz
// shows: what is wrong and the error number, but no address and no account. It returns
// any other error unchanged.
func WithReason(err error) error {
	var reason health.Reason
	var fromMySQL *mysql.MySQLError
	var fromSQLite *gosqlite.Error
	var text string
	switch {
	case err == nil, errors.As(err, &reason):
		return err
	case errors.As(err, &fromMySQL):
		text = fmt.Sprintf("%s (MySQL error %d)", mysqlReason(fromMySQL.Number), fromMySQL.Number)
	case errors.As(err, &fromSQLite):
		text = fmt.Sprintf("%s (SQLite error %d)", sqliteReason(fromSQLite.Code()), fromSQLite.Code())
	case errors.Is(err, ErrReadOnly):
		text = "reachable, but read-only"
	case errors.Is(err, mysql.ErrNoTLS):
		text = "TLS: the server does not support it"
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn):
		text = "connection lost"
	default:
		return err
	}
	return health.WithReason(health.Reason(text), err)
}

func mysqlReason(number uint16) string {
	switch number {
	case 1044, 1045, 1129, 1130, 1142, 1143, 1227, 1370, 1698:
		return "access denied"
	case 1049:
		return "no such database"
	case 1040, 1203, 1226:
		return "too many connections"
	case 1290, 1792, 1836:
		return "read-only"
	case 1047, 1053, 1927:
		return "server not ready or shutting down"
	case 1015, 1021, 1030, 1037, 1041, 1114, 1135, 1180:
		return "server out of resources"
	}
	return "failing"
}

func sqliteReason(code int) string {
	const primary = 0xff
	switch code & primary {
	case sqlite.SQLITE_READONLY:
		return "read-only"
	case sqlite.SQLITE_FULL:
		return "disk full"
	case sqlite.SQLITE_CANTOPEN, sqlite.SQLITE_PERM:
		return "cannot open the file"
	case sqlite.SQLITE_IOERR:
		return "disk error"
	case sqlite.SQLITE_CORRUPT, sqlite.SQLITE_NOTADB:
		return "file damaged"
	case sqlite.SQLITE_BUSY, sqlite.SQLITE_LOCKED:
		return "locked"
	}
	return "failing"
}
