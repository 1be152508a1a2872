package database_test

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// The rows after a restore have ids above those that were lost, whether the table is empty, or its
// last rows have been deleted.
func TestSkipIDs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := dbtest.Open(t, cfg)
		exec := func(statement string) sql.Result {
			t.Helper()
			result, err := db.SQL().ExecContext(t.Context(), statement)
			require.NoError(t, err)
			return result
		}
		id := map[string]string{database.MySQL: "bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY", database.SQLite: "integer NOT NULL PRIMARY KEY AUTOINCREMENT"}[db.Dialect()]
		exec("CREATE TABLE blog_a (id " + id + ", n int)")
		exec("CREATE TABLE blog_b (id " + id + ", n int)")
		next := func(table string) int64 {
			t.Helper()
			id, err := exec("INSERT INTO " + table + " (n) VALUES (1)").LastInsertId()
			require.NoError(t, err)
			return id
		}
		require.NoError(t, db.SkipIDs(t.Context(), 100, "a", "b"))
		require.EqualValues(t, 101, next("blog_a"))
		require.NoError(t, db.SkipIDs(t.Context(), 1000, "a"))
		require.EqualValues(t, 1102, next("blog_a"))
		exec("DELETE FROM blog_a")
		require.NoError(t, db.SkipIDs(t.Context(), 1000, "a"))
		require.EqualValues(t, 2103, next("blog_a"))
		require.EqualValues(t, 101, next("blog_b"))
		if db.Dialect() == database.MySQL {
			require.ErrorContains(t, db.SkipIDs(t.Context(), 1, "c"), "blog_c")
		}
	})
}

func TestRaiseRevisions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := dbtest.Open(t, cfg)
		for _, statement := range []string{"CREATE TABLE blog_a (revision bigint)", "INSERT INTO blog_a VALUES (0), (1), (7)", "CREATE TABLE blog_b (n int)"} {
			_, err := db.SQL().ExecContext(t.Context(), statement)
			require.NoError(t, err)
		}
		revisions := func() (found []int) {
			require.NoError(t, db.Gorm(t.Context()).Raw("SELECT revision FROM blog_a ORDER BY 1").Scan(&found).Error)
			return found
		}
		require.NoError(t, db.RaiseRevisions(t.Context(), 10, "a"))
		require.Equal(t, []int{0, 11, 17}, revisions())
		require.Error(t, db.RaiseRevisions(t.Context(), 10, "a", "b"))
		require.Equal(t, []int{0, 11, 17}, revisions(), "all or none")
	})
}
