package dbtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
)

// RoundTrips runs work and returns the number of statements that the server got meanwhile.
// db must be on a server of NewMySQL that nothing else uses.
func RoundTrips(t testing.TB, db *database.DB, work func()) int64 {
	t.Helper()
	before := questions(t, db)
	work()
	return questions(t, db) - before - 1
}

// questions returns the number of statements that the server has got, this one included.
func questions(t testing.TB, db *database.DB) (n int64) {
	t.Helper()
	var name string
	require.NoError(t, db.SQL().QueryRowContext(t.Context(), "SHOW GLOBAL STATUS LIKE 'Questions'").Scan(&name, &n))
	return n
}
