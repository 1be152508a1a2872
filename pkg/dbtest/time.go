package dbtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
)

// Within fails the test unless work takes less than limit. It repeats work for up to a
// minute while it takes longer, because the machine may stall.
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
		require.Less(t, time.Since(began), generous, "it took %s, and never less than %s", took, limit)
	}
}

// Hold executes the statement in a transaction and keeps its locks until release. The
// server does not end the transaction when it is idle.
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
			require.NoError(t, tx.Exec("UNLOCK TABLES").Error) // if the statement locked any
		}
		require.NoError(t, tx.Rollback().Error)
	}
}
