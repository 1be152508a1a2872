package dbtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
)

// Within fails the test unless work takes less than limit. Work must be
// repeatable, and is repeated while it takes longer: on a machine that stood
// still it is fast the next time, and one that is too slow never is.
func Within(t testing.TB, limit time.Duration, work func()) {
	t.Helper()
	began := time.Now()
	for {
		start := time.Now()
		work()
		took := time.Since(start)
		if took < limit {
			return
		}
		require.Less(t, time.Since(began), generous, "it took %s the last time, and never less than %s", took, limit)
	}
}

// Hold begins a transaction, runs the statement in it and keeps its locks until
// release. A server does not end it for being idle.
func Hold(t testing.TB, db *database.DB, statement string) (release func()) {
	t.Helper()
	tx := db.Gorm(t.Context()).Begin()
	require.NoError(t, tx.Error)
	if db.Dialect() == database.MySQL {
		require.NoError(t, tx.Exec("SET SESSION /*M!100300 idle_transaction_timeout = 0, */ wait_timeout = 3600").Error)
	}
	require.NoError(t, tx.Exec(statement).Error)
	return func() {
		if db.Dialect() == database.MySQL {
			require.NoError(t, tx.Exec("UNLOCK TABLES").Error) // in case they were
		}
		require.NoError(t, tx.Rollback().Error)
	}
}
