package database_test

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// Exec, Insert and QueryIn belong to the transaction, and their errors have its classes.
func TestStatementsOfATransaction(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		names := func(tx *gorm.DB) (found []string) {
			require.NoError(t, db.QueryIn(tx, "SELECT name FROM "+db.Table("note")+" WHERE id > ? ORDER BY id", []any{0}, func(rows *sql.Rows) error {
				found = append(found, "")
				return rows.Scan(&found[len(found)-1])
			}))
			return found
		}
		undone := errors.New("undone")
		for _, end := range []error{undone, nil} {
			require.Equal(t, end, db.InTx(t.Context(), func(tx *gorm.DB) error {
				first, err := db.Insert(tx, "note", []string{"name", "body"}, "a", "")
				require.NoError(t, err)
				require.Positive(t, first)
				_, err = db.Insert(tx, "note", []string{"id", "name", "body"}, first+5, "b' --", "", first+6, "c", "")
				require.NoError(t, err)
				result, err := db.Exec(tx, "UPDATE "+db.Table("note")+" SET name = ? WHERE id = ?", "d", first+6)
				require.NoError(t, err)
				rows, err := result.RowsAffected()
				require.NoError(t, err)
				require.EqualValues(t, 1, rows)
				require.Equal(t, []string{"a", "b' --", "d"}, names(tx))
				return end
			}))
		}
		require.EqualValues(t, 3, count(t, db))
		require.ErrorIs(t, db.InTx(t.Context(), func(tx *gorm.DB) error {
			_, err := db.Insert(tx, "note", []string{"name", "body"}, "d", "")
			return err
		}), database.ErrDuplicate)
	})
}
