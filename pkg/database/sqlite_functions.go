package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"unsafe"

	"modernc.org/libc"
	sqlite "modernc.org/sqlite/lib"
)

// handleFunction is the name of an SQL function that returns SQLite's handle of the
// connection, with which another thread can interrupt it. The driver doesn't offer
// the handle.
const handleFunction = "achilles_connection_handle"

// addFunction adds handleFunction to all connections that are opened from now on, by
// SQLite's interface for extensions that are linked into the program. SQLite ignores an
// extension that it has already.
func addFunction() error {
	thread := libc.NewTLS()
	defer thread.Close()
	extension := struct {
		init func(*libc.TLS, uintptr, uintptr, uintptr) int32
	}{initFunction}
	if code := sqlite.Xsqlite3_auto_extension(thread, pointer(&extension)); code != sqlite.SQLITE_OK {
		return fmt.Errorf("SQLite accepts no extension: error %d", code)
	}
	return nil
}

// initFunction implements the entry point of an extension.
func initFunction(thread *libc.TLS, db, _, _ uintptr) int32 {
	text, err := libc.CString(handleFunction)
	if err != nil {
		return sqlite.SQLITE_NOMEM
	}
	defer libc.Xfree(thread, text)
	function := struct {
		call func(*libc.TLS, uintptr, int32, uintptr)
	}{returnHandle}
	return sqlite.Xsqlite3_create_function(thread, db, text, 0, sqlite.SQLITE_UTF8|sqlite.SQLITE_DIRECTONLY, 0, pointer(&function), 0, 0)
}

// returnHandle implements handleFunction.
func returnHandle(thread *libc.TLS, call uintptr, _ int32, _ uintptr) {
	sqlite.Xsqlite3_result_int64(thread, call, sqlite.Sqlite3_int64(sqlite.Xsqlite3_context_db_handle(thread, call))) // #nosec G115 -- a pointer has at most 64 bits
}

// pointer returns the only field of a struct, a declared function, as translated C
// code holds it.
func pointer[T any](function *T) uintptr {
	return *(*uintptr)(unsafe.Pointer(function)) // #nosec G103 -- modernc.org/libc defines this representation
}

// handleOf returns SQLite's handle of the connection.
func handleOf(conn driver.QueryerContext) (handle uintptr, err error) {
	rows, err := conn.QueryContext(context.Background(), "SELECT "+handleFunction+"()", nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	value := make([]driver.Value, 1)
	if err := rows.Next(value); err != nil {
		return 0, err
	}
	number, ok := value[0].(int64)
	if !ok || number == 0 {
		return 0, fmt.Errorf("SQLite returned %v as the handle of a connection", value[0])
	}
	return uintptr(number), nil // #nosec G115 -- it was a pointer
}
