package database

import (
	"context"
	"database/sql"
	"fmt"

	"gorm.io/gorm"
)

// SkipIDs makes each table skip its next n ids, which rows that a backup lacks may have had.
// tables are without their prefix. The account needs the right to alter them.
func (db *DB) SkipIDs(ctx context.Context, n uint64, tables ...string) error {
	for _, table := range tables {
		err := db.InTx(ctx, func(tx *gorm.DB) error { return db.skipIDs(tx, n, db.Table(table)) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) skipIDs(tx *gorm.DB, n uint64, table string) error {
	last := "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = ?"
	if db.Dialect() == MySQL {
		// MySQL 8 may show an AUTO_INCREMENT that is a day old.
		last = "SELECT GREATEST((SELECT COALESCE(MAX(id), 0) FROM " + table + "), " +
			"(SELECT COALESCE(MAX(auto_increment), 1) - 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?))"
	}
	var id uint64
	if err := db.QueryIn(tx, last, []any{table}, func(rows *sql.Rows) error { return rows.Scan(&id) }); err != nil {
		return err
	}
	if db.Dialect() == MySQL {
		_, err := db.Exec(tx, fmt.Sprintf("ALTER TABLE %s AUTO_INCREMENT = %d", table, id+n+1))
		return err
	}
	if _, err := db.Exec(tx, "DELETE FROM sqlite_sequence WHERE name = ?", table); err != nil {
		return err
	}
	_, err := db.Exec(tx, "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", table, id+n)
	return err
}

// RaiseRevisions adds n to the column revision of all rows of the tables that have one, so that
// no row gets a revision again that it had in changes which a backup lacks. Writes wait
// meanwhile.
func (db *DB) RaiseRevisions(ctx context.Context, n uint64, tables ...string) error {
	return db.InTx(ctx, func(tx *gorm.DB) error {
		for _, table := range tables {
			if _, err := db.Exec(tx, "UPDATE "+db.Table(table)+" SET revision = revision + ? WHERE revision > 0", n); err != nil {
				return err
			}
		}
		return nil
	})
}
