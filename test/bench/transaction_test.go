package bench_test

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/bench/corpus"
	"github.com/achilles-blog/achilles/test/bench/load"
	"github.com/achilles-blog/achilles/test/process"
)

// recordedPosts is the number of transactions that are recorded. Their tags and
// counters differ, as those of the requests to the service do.
const recordedPosts = 64

// transaction is the statements of the service's own transaction of a POST of an article.
// They are from the log of the database server, so they are always the current ones.
type transaction struct {
	statements []string
	id         *regexp.Regexp // of the article that the statements created
}

var insertsArticle = regexp.MustCompile(`(?i)^INSERT INTO .?` + articleTable + `.? `)

// replayer is a worker that sends transactions over database/sql, in random order.
type replayer struct {
	conn         *sql.Conn
	transactions []transaction
}

// Do implements load.Worker.
func (w *replayer) Do() error {
	ctx, id := context.Background(), ""
	chosen := w.transactions[rand.N(len(w.transactions))] // #nosec G404 -- no secret
	for _, statement := range chosen.statements {
		if id != "" {
			statement = chosen.id.ReplaceAllLiteralString(statement, id)
		}
		result, err := w.conn.ExecContext(ctx, statement)
		if failure := (*mysql.MySQLError)(nil); errors.As(err, &failure) && failure.Number == 1213 { // a deadlock
			return load.Status(failure.Number)
		}
		if err != nil {
			return errors.Join(err, errors.New("the statement was "+statement[:min(len(statement), 200)]))
		}
		if insertsArticle.MatchString(statement) {
			created, err := result.LastInsertId()
			if err != nil {
				return err
			}
			id = strconv.FormatInt(created, 10)
		}
	}
	return nil
}

// recordTransactions returns the transactions of POSTs of random articles.
func (d *dataset) recordTransactions(t *testing.T) []transaction {
	t.Helper()
	set := func(statement string) {
		_, err := d.db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	set("SET GLOBAL log_output = 'TABLE'")
	set("SET GLOBAL general_log = ON")
	var ids []uint64
	for next := randomIDs(d.articles); len(ids) < recordedPosts; {
		a := corpus.New(next())
		answer, err := process.Ask("POST", "http://"+d.addr+"/api/v1/articles", map[string]any{
			"title": a.Title, "desc": a.Desc, "content": a.Content, "tag_ids": a.TagIDs,
		})
		require.NoError(t, err)
		require.NotZero(t, answer.ID(), "%s", answer.Body)
		ids = append(ids, answer.ID())
	}
	set("SET GLOBAL general_log = OFF")
	all := d.logged(t)
	require.Len(t, all, len(ids))
	recorded := make([]transaction, len(ids))
	for i, statements := range all {
		recorded[i] = transaction{statements, regexp.MustCompile(`\b` + strconv.FormatUint(ids[i], 10) + `\b`)}
	}
	return recorded
}

// logged returns the statements of each transaction that created an article from the
// server's log.
func (d *dataset) logged(t *testing.T) [][]string {
	t.Helper()
	rows, err := d.db.QueryContext(t.Context(), "SELECT thread_id, argument FROM mysql.general_log WHERE command_type IN ('Query', 'Execute') ORDER BY event_time")
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	byThread, found := map[int][]string{}, [][]string(nil)
	for rows.Next() {
		var thread int
		var statement string
		require.NoError(t, rows.Scan(&thread, &statement))
		if strings.EqualFold(statement, "START TRANSACTION") || strings.EqualFold(statement, "BEGIN") {
			byThread[thread] = nil
		}
		byThread[thread] = append(byThread[thread], statement)
		if strings.EqualFold(statement, "COMMIT") && slices.ContainsFunc(byThread[thread], insertsArticle.MatchString) {
			found = append(found, byThread[thread])
		}
	}
	require.NoError(t, rows.Err())
	require.NotEmpty(t, found, "the log has no transaction that inserts into %s", articleTable)
	return found
}

// bareTransactions returns n workers. They are closed at the end of the test.
func (d *dataset) bareTransactions(t *testing.T, n int) []load.Worker {
	t.Helper()
	recorded := d.recordTransactions(t)
	workers := make([]load.Worker, n)
	for i := range workers {
		conn, err := d.db.Conn(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		workers[i] = &replayer{conn, recorded}
	}
	return workers
}
