package dbtest

import (
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
)

// Plan is the execution plan of a statement.
type Plan struct {
	Statement string
	// Steps are the rows of EXPLAIN.
	Steps []string
	// FullScan is the step that reads a whole table or index, or "".
	FullScan string
}

// Indexed runs work and fails the test if one of its statements reads a whole table.
// The tables must have some thousands of rows and be analyzed: databases read small
// tables as a whole.
func Indexed(t testing.TB, db *database.DB, work func()) {
	t.Helper()
	plans := Plans(t, db, work)
	require.NotEmpty(t, plans)
	for _, plan := range plans {
		require.Empty(t, plan.FullScan, "%s\n%s", plan.Statement, strings.Join(plan.Steps, "\n"))
	}
}

// Analyze updates the statistics of the tables for the optimizer.
func Analyze(t testing.TB, db *database.DB, tables ...string) {
	t.Helper()
	statement := "ANALYZE "
	if db.Dialect() == database.MySQL {
		statement = "ANALYZE TABLE "
	}
	for _, name := range tables {
		_, err := db.SQL().ExecContext(t.Context(), statement+db.Table(name))
		require.NoError(t, err)
	}
}

// Plans runs work and returns the plans of its queries, updates and deletes through db.
func Plans(t testing.TB, db *database.DB, work func()) []Plan {
	t.Helper()
	explain := explainSQLite
	if db.Dialect() == database.MySQL {
		explain = explainMySQL
	}
	var plans []Plan
	for _, s := range record(t, db, work) {
		plan := explain(t, db, s)
		require.NotEmpty(t, plan.Steps, s.text)
		plan.Statement = fmt.Sprint(s.text, " ", s.values)
		plans = append(plans, plan)
	}
	return plans
}

// statement is a statement with separate values: a planner may treat literals
// differently.
type statement struct {
	text   string
	values []any
}

func record(t testing.TB, db *database.DB, work func()) (statements []statement) {
	t.Helper()
	recording := true
	callback := func(tx *gorm.DB) {
		if recording && tx.Statement.SQL.Len() > 0 {
			statements = append(statements, statement{tx.Statement.SQL.String(), slices.Clone(tx.Statement.Vars)})
		}
	}
	const name = "dbtest:record"
	callbacks := db.Gorm(t.Context()).Callback()
	for _, register := range []func(string, func(*gorm.DB)) error{
		callbacks.Query().After("gorm:query").Replace, callbacks.Row().After("gorm:row").Replace,
		callbacks.Update().After("gorm:update").Replace, callbacks.Delete().After("gorm:delete").Replace,
	} {
		require.NoError(t, register(name, callback))
	}
	db.OnQuery(func(query string, args []any) {
		if !strings.HasPrefix(query, "INSERT ") {
			statements = append(statements, statement{query, slices.Clone(args)})
		}
	})
	defer db.OnQuery(nil)
	work()
	recording = false
	return statements
}

func explainMySQL(t testing.TB, db *database.DB, s statement) (plan Plan) {
	t.Helper()
	each(t, db, "EXPLAIN "+s.text, s.values, func(rows *sql.Rows) error {
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		err = rows.Scan(into...)
		row, step := map[string]string{}, []string{}
		for i, column := range columns {
			row[column] = values[i].String
			step = append(step, column+": "+values[i].String)
		}
		plan.Steps = append(plan.Steps, strings.Join(step, ", "))
		if readsAll(row) {
			plan.FullScan = plan.Steps[len(plan.Steps)-1]
		}
		return err
	})
	return plan
}

// readsAll reports whether a step of MySQL reads a whole table or index. Only the number
// of rows shows whether an index is read as a whole or until the LIMIT is reached.
// "<derived2>" is the result of another step.
func readsAll(step map[string]string) bool {
	const page = 1000 // rows; more than any page, and less than the tables of tests
	if strings.HasPrefix(step["table"], "<") {
		return false
	}
	rows, err := strconv.Atoi(step["rows"])
	return step["type"] == "ALL" || step["type"] == "index" && (err != nil || rows > page)
}

var derived = regexp.MustCompile(`^(?:CO-ROUTINE|MATERIALIZE) (\S+)`)

func explainSQLite(t testing.TB, db *database.DB, s statement) (plan Plan) {
	t.Helper()
	var found []string
	each(t, db, "EXPLAIN QUERY PLAN "+s.text, s.values, func(rows *sql.Rows) error {
		var id, parent, unused int
		var step string
		err := rows.Scan(&id, &parent, &unused, &step)
		plan.Steps = append(plan.Steps, step)
		if result := derived.FindStringSubmatch(step); result != nil {
			found = append(found, result[1])
		}
		return err
	})
	for _, step := range plan.Steps {
		what, isScan := strings.CutPrefix(step, "SCAN ")
		table, _, _ := strings.Cut(what, " ")
		if isScan && what != "CONSTANT ROW" && !slices.Contains(found, table) {
			plan.FullScan = step
		}
	}
	return plan
}
