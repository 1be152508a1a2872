package dbtest

import (
	"database/sql"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
)

// Schema is what the tables of a database look like, in words that both
// dialects share, so that those of two can be compared. Tables that keep the
// versions of migrations are left out.
type Schema map[string]Table

// Table is one table of a Schema.
type Table struct {
	Columns []Column
	// Indexes go by their names; the primary key is called PRIMARY.
	Indexes     map[string]Index
	ForeignKeys []ForeignKey
}

// Column is one column of a Table.
type Column struct {
	Name, Type          string
	Nullable, Generated bool
	// Default is nil where there is none.
	Default *string
}

// Index is one index of a Table.
type Index struct {
	Unique  bool
	Columns []string
}

// ForeignKey says that Column refers to another table.
type ForeignKey struct {
	Column, Table, Target, OnDelete string
}

// questions are queries that a dialect answers; all but tables take the name
// of a table.
type questions struct{ tables, columns, indexes, foreignKeys string }

var sqliteQuestions = questions{
	tables:  "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
	columns: `SELECT name, type, "notnull" = 0, hidden > 1, dflt_value FROM pragma_table_xinfo(?) ORDER BY cid`,
	indexes: `SELECT * FROM (SELECT 'PRIMARY', 1, name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk)
		UNION ALL SELECT i.name, i."unique", c.name FROM pragma_index_list(?1) i, pragma_index_info(i.name) c WHERE i.origin <> 'pk'`,
	foreignKeys: `SELECT "from", "table", "to", on_delete FROM pragma_foreign_key_list(?) ORDER BY "from", "table"`,
}

var mysqlQuestions = questions{
	tables: "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
	columns: `SELECT column_name, column_type, is_nullable = 'YES', extra LIKE '%GENERATED', column_default
		FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? ORDER BY ordinal_position`,
	indexes: `SELECT index_name, non_unique = 0, column_name
		FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = ? ORDER BY index_name, seq_in_index`,
	foreignKeys: `SELECT k.column_name, k.referenced_table_name, k.referenced_column_name, r.delete_rule
		FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r
		ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name
		WHERE k.table_schema = DATABASE() AND k.table_name = ? ORDER BY 1, 2`,
}

// SameSchema fails the test unless the migrations lead to the same tables on
// both dialects: columns with their types, nullability and defaults, keys and
// indexes. It skips the test without MariaDB.
func SameSchema(t testing.TB, m database.Migrations) {
	t.Helper()
	schemas := map[string]Schema{}
	for _, cfg := range []database.Config{SQLite(t), MySQL(t)} {
		db := Open(t, cfg)
		_, _, err := database.Migrate(t.Context(), db, m)
		require.NoError(t, err)
		schemas[cfg.DBType] = SchemaOf(t, db)
	}
	require.NotEmpty(t, schemas[database.MySQL])
	require.Equal(t, schemas[database.MySQL], schemas[database.SQLite])
}

// SchemaOf reads the schema of a database.
func SchemaOf(t testing.TB, db *database.DB) Schema {
	t.Helper()
	ask := sqliteQuestions
	if db.Dialect() == database.MySQL {
		ask = mysqlQuestions
	}
	var names []string
	each(t, db, ask.tables, nil, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	})
	schema := Schema{}
	for _, name := range names {
		if !strings.HasSuffix(name, "_migration") {
			schema[name] = tableOf(t, db, ask, name)
		}
	}
	return schema
}

func tableOf(t testing.TB, db *database.DB, ask questions, name string) Table {
	t.Helper()
	table := Table{Indexes: map[string]Index{}}
	each(t, db, ask.columns, []any{name}, func(rows *sql.Rows) error {
		var c Column
		err := rows.Scan(&c.Name, &c.Type, &c.Nullable, &c.Generated, &c.Default)
		c.Type, c.Default = sharedType(c.Type), sharedDefault(c.Default)
		table.Columns = append(table.Columns, c)
		return err
	})
	each(t, db, ask.indexes, []any{name}, func(rows *sql.Rows) error {
		var index, column string
		var unique bool
		err := rows.Scan(&index, &unique, &column)
		table.Indexes[index] = Index{Unique: unique, Columns: append(table.Indexes[index].Columns, column)}
		return err
	})
	each(t, db, ask.foreignKeys, []any{name}, func(rows *sql.Rows) error {
		var key ForeignKey
		err := rows.Scan(&key.Column, &key.Table, &key.Target, &key.OnDelete)
		table.ForeignKeys = append(table.ForeignKeys, key)
		return err
	})
	return table
}

// widths are what SQLite leaves out: those of integers and of times. The length
// of a varchar counts.
var widths = regexp.MustCompile(`^(\w*int|datetime)(\(\d+\))?( unsigned)?$`)

func sharedType(name string) string {
	name = widths.ReplaceAllString(strings.ToLower(name), "$1")
	switch name {
	case "bigint":
		return "integer" // SQLite's key of a row must be called so
	case "longtext":
		return "text"
	}
	return name
}

func sharedDefault(value *string) *string {
	if value == nil || *value == "NULL" { // MariaDB's word for none
		return nil
	}
	bare := strings.Trim(*value, "'")
	return &bare
}

func each(t testing.TB, db *database.DB, query string, args []any, row func(*sql.Rows) error) {
	t.Helper()
	rows, err := db.SQL().QueryContext(t.Context(), query, args...)
	require.NoError(t, err, query)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		require.NoError(t, row(rows), query)
	}
	require.NoError(t, rows.Err(), query)
}
