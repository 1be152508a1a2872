package dbtest

import (
	"database/sql"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
)

// Schema describes the tables of a database independently of the dialect. It does not
// include the table of goose.
type Schema map[string]Table

// Table is one table of a Schema.
type Table struct {
	Columns []Column
	// Indexes are the indexes by name. The primary key is PRIMARY.
	Indexes     map[string]Index
	ForeignKeys []ForeignKey
}

// Column is one column of a Table.
type Column struct {
	Name, Type          string
	Nullable, Generated bool
	// Default is nil if there is none.
	Default *string
}

// Index is one index of a Table.
type Index struct {
	Unique  bool
	Columns []string
}

// ForeignKey is a reference from Column to another table.
type ForeignKey struct {
	Column, Table, Target, OnDelete string
}

// queries are the queries of a dialect. All except tables take the name of a table.
type queries struct{ tables, columns, indexes, foreignKeys string }

var sqliteQueries = queries{
	tables:  "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
	columns: `SELECT name, type, "notnull" = 0, hidden > 1, dflt_value FROM pragma_table_xinfo(?) ORDER BY cid`,
	indexes: `SELECT * FROM (SELECT 'PRIMARY', 1, name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk)
		UNION ALL SELECT i.name, i."unique", c.name FROM pragma_index_list(?1) i, pragma_index_info(i.name) c WHERE i.origin <> 'pk'`,
	foreignKeys: `SELECT "from", "table", "to", on_delete FROM pragma_foreign_key_list(?) ORDER BY "from", "table"`,
}

var mysqlQueries = queries{
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

// SameSchema fails the test unless the migrations create the same tables in both
// dialects: columns with types, nullability and defaults, keys and indexes. It skips
// the test if MariaDB is not installed.
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

// SchemaOf returns the schema of a database.
func SchemaOf(t testing.TB, db *database.DB) Schema {
	t.Helper()
	dialect := sqliteQueries
	if db.Dialect() == database.MySQL {
		dialect = mysqlQueries
	}
	var names []string
	each(t, db, dialect.tables, nil, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	})
	schema := Schema{}
	for _, name := range names {
		if !strings.HasSuffix(name, "_migration") {
			schema[name] = tableOf(t, db, dialect, name)
		}
	}
	return schema
}

func tableOf(t testing.TB, db *database.DB, dialect queries, name string) Table {
	t.Helper()
	table := Table{Indexes: map[string]Index{}}
	each(t, db, dialect.columns, []any{name}, func(rows *sql.Rows) error {
		var c Column
		err := rows.Scan(&c.Name, &c.Type, &c.Nullable, &c.Generated, &c.Default)
		c.Type, c.Default = sharedType(c.Type), sharedDefault(c.Default)
		table.Columns = append(table.Columns, c)
		return err
	})
	each(t, db, dialect.indexes, []any{name}, func(rows *sql.Rows) error {
		var index, column string
		var unique bool
		err := rows.Scan(&index, &unique, &column)
		table.Indexes[index] = Index{Unique: unique, Columns: append(table.Indexes[index].Columns, column)}
		return err
	})
	each(t, db, dialect.foreignKeys, []any{name}, func(rows *sql.Rows) error {
		var key ForeignKey
		err := rows.Scan(&key.Column, &key.Table, &key.Target, &key.OnDelete)
		table.ForeignKeys = append(table.ForeignKeys, key)
		return err
	})
	return table
}

// widths matches types whose widths are ignored, because SQLite has none: integers and
// times.
var widths = regexp.MustCompile(`^(\w*int|datetime)(\(\d+\))?( unsigned)?$`)

func sharedType(name string) string {
	name = widths.ReplaceAllString(strings.ToLower(name), "$1")
	switch name {
	case "bigint":
		return "integer" // required for SQLite's row id
	case "longtext":
		return "text"
	}
	return name
}

func sharedDefault(value *string) *string {
	if value == nil || *value == "NULL" { // MariaDB's default without a value
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
