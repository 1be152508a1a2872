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

// Plan is how a database goes about a statement.
type Plan struct {
	Statement string
	// Steps are what EXPLAIN says, a line each.
	Steps []string
	// FullScan is the step that reads a whole table or index; "" for none.
	FullScan string
}

// Indexed runs work and fails the test when one of its statements reads a whole
// table. Fill the tables first, with some thousands of rows, and Analyze them:
// a small table is rightly read as a whole.
func Indexed(t testing.TB, db *database.DB, work func()) {
	t.Helper()
	plans := Plans(t, db, work)
	require.NotEmpty(t, plans)
	for _, plan := range plans {
		require.Empty(t, plan.FullScan, "%s\n%s", plan.Statement, strings.Join(plan.Steps, "\n"))
	}
}

// Analyze tells the optimizer what the tables of the given names hold.
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

// Plans runs work and explains each statement that it reads, updates or deletes
// with through db.
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

// statement keeps its values apart as they were sent: in the text a planner
// might treat them otherwise.
type statement struct {
	text   string
	values []any
}

func record(t testing.TB, db *database.DB, work func()) (statements []statement) {
	t.Helper()
	recording := true
	note := func(tx *gorm.DB) {
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
		require.NoError(t, register(name, note))
	}
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

// readsAll judges a step of MySQL's. An index that is read in its order until
// the LIMIT has enough is told from one that is read as a whole by the number of
// rows alone. "<derived2>" is no table but what another step has found.
func readsAll(step map[string]string) bool {
	const page = 1000 // rows; larger than any, and smaller than tests' tables
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
		if isScan && !slices.Contains(found, table) {
			plan.FullScan = step
		}
	}
	return plan
}
