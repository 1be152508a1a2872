package dbtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
)

// Counted returns the configuration of a new database for RoundTrips: on a server of its own,
// with a single connection, because a second one would be set up by further statements.
func Counted(t testing.TB) database.Config {
	t.Helper()
	cfg := NewMySQL(t).Config(t)
	cfg.MaxOpenConns, cfg.MaxIdleConns = 1, 1
	return cfg
}

// RoundTrips runs work and returns the number of statements that the server got meanwhile from
// the connection of db, which must be a database of Counted. Those of others don't count, such
// as the end of a connection that has created the database.
func RoundTrips(t testing.TB, db *database.DB, work func()) int64 {
	t.Helper()
	before := questions(t, db)
	work()
	return questions(t, db) - before - 1
}

// questions returns the number of statements that the server has got from the connection, this
// one included.
func questions(t testing.TB, db *database.DB) (n int64) {
	t.Helper()
	var name string
	require.NoError(t, db.SQL().QueryRowContext(t.Context(), "SHOW SESSION STATUS LIKE 'Questions'").Scan(&name, &n))
	return n
}
