package dbtest

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
)

// Deadlocks returns the number of deadlocks that the server has had. It is 0 for servers that
// don't count them as MariaDB does. The server should be one of NewMySQL, which no other test
// uses.
func Deadlocks(t testing.TB, db *database.DB) (n int) {
	t.Helper()
	if db.Dialect() != database.MySQL {
		return 0
	}
	var name string
	err := db.SQL().QueryRowContext(t.Context(), "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").Scan(&name, &n)
	if !errors.Is(err, sql.ErrNoRows) {
		require.NoError(t, err)
	}
	return n
}
