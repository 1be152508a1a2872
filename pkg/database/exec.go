package database

import (
	"database/sql"
	"strings"

	"gorm.io/gorm"
)

// Exec executes a statement in a transaction of InTx without gorm, whose reflection costs
// more than most statements. The error is not classified: InTx does that.
func (db *DB) Exec(tx *gorm.DB, statement string, args ...any) (sql.Result, error) {
	return db.exec(tx, "raw", statement, args)
}

// Insert inserts rows without gorm. values has one value for each column, row after row;
// table is without its prefix; created_at and updated_at must be among the columns if the
// table has them. It returns the id of the row if there is only one. The error is not
// classified.
func (db *DB) Insert(tx *gorm.DB, table string, columns []string, values ...any) (id uint64, err error) {
	row := ", (?" + strings.Repeat(", ?", len(columns)-1) + ")"
	statement := "INSERT INTO " + db.Table(table) + " (`" + strings.Join(columns, "`, `") + "`) VALUES " +
		strings.Repeat(row, len(values)/len(columns))[2:]
	result, err := db.exec(tx, "create", statement, values)
	if err != nil {
		return 0, err
	}
	last, err := result.LastInsertId()
	return uint64(last), err // #nosec G115 -- ids are positive
}

// QueryIn runs a query without gorm in a transaction of InTx, or in the function of Read,
// and calls scan for each row. The error is not classified.
func (db *DB) QueryIn(tx *gorm.DB, query string, args []any, scan func(*sql.Rows) error) error {
	return db.stats.measure(tx.Statement.Context, "query", query, args, func() (int64, error) {
		rows, err := tx.Statement.ConnPool.QueryContext(tx.Statement.Context, query, args...)
		if err != nil {
			return 0, err
		}
		return scanAll(rows, scan)
	})
}

func (db *DB) exec(tx *gorm.DB, operation, statement string, args []any) (result sql.Result, err error) {
	err = db.stats.measure(tx.Statement.Context, operation, statement, args, func() (int64, error) {
		if result, err = tx.Statement.ConnPool.ExecContext(tx.Statement.Context, statement, args...); err != nil {
			return 0, err
		}
		return result.RowsAffected()
	})
	return result, err
}
