package runner

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/scaffold/fields"
	"github.com/achilles-blog/achilles/test/e2e/load"
	"github.com/achilles-blog/achilles/test/e2e/report"
	"github.com/achilles-blog/achilles/test/process"
	"github.com/achilles-blog/achilles/test/services"
)

// The ledger of a resource is exact after a load on a real service, which knows of the
// resource only what services/services.yaml lists, and each kind of difference is detected.
func TestResourceLedger(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		program := process.Service(t, "tag")
		p := process.Ready(t, program, process.On(cfg))
		at := load.Endpoint{Addr: p.Addr(t), Host: "tags"}
		s := newSystem(nil, listed(), "", "", "achilles-e2e", current)
		resources := s.resources(func(component) load.Endpoint { return at })
		require.Equal(t, []load.Resource{{Name: "tag", Path: "/api/v1/tags", At: at, Fields: []fields.Field{
			{Name: "name", Type: fields.String, Size: 100, Unique: true}, {Name: "state", Type: fields.State},
		}}}, resources)

		written := load.Start(load.Config{
			Run: "run", Source: "here", Resources: resources, Mix: load.Mix{Resources: 3}, MaxDuration: time.Second, Think: time.Millisecond, Token: process.Token(), Repeat: true,
		})
		process.Await(t, "300 requests", func() bool { return written.Count().Requests >= 300 })
		result := written.Stop()
		require.Zero(t, result.Failed, result.Failures)
		require.GreaterOrEqual(t, 2*result.Posts, result.Requests*9/10)

		db := openAny(t, cfg)
		compare := func(db querier) report.Ledger {
			c := newComparison("run", map[string][]load.Result{"run": {result}}, loaded{})
			require.NoError(t, c.compareResource(t.Context(), db, resources[0]))
			return c.result
		}
		exact := compare(db)
		require.True(t, exact.Exact(), exact.Examples)
		require.Equal(t, report.Ledger{Sent: result.Posts, Acknowledged: result.Posts}, exact)

		const some, deleted = "(SELECT MIN(id) FROM (SELECT id FROM blog_tag WHERE is_deleted = 0) AS t)", "(SELECT MIN(id) FROM (SELECT id FROM blog_tag WHERE is_deleted = 1) AS t)"
		const copied = "INSERT INTO blog_tag (created_at, updated_at, name, state, is_deleted, revision) SELECT created_at, updated_at, "
		for _, c := range []struct {
			name, statement string
			change          func(*report.Ledger)
		}{
			{"lost", "DELETE FROM blog_tag WHERE id = " + some, func(l *report.Ledger) { l.Lost++ }},
			{"deleted by nobody", "UPDATE blog_tag SET is_deleted = 1 WHERE id = " + some, func(l *report.Ledger) { l.Lost++; l.FeedDiffers++ }},
			{"not deleted", "UPDATE blog_tag SET is_deleted = 0 WHERE id = " + deleted, func(l *report.Ledger) { l.Altered++; l.FeedDiffers++ }},
			{"twice", copied + "name, state, 1, 0 FROM blog_tag WHERE id = " + some, func(l *report.Ledger) { l.Duplicated++; l.FeedDiffers++ }},
			{"never sent", copied + "'run/here/tag0/1000000', state, 0, 0 FROM blog_tag WHERE id = " + some, func(l *report.Ledger) { l.Unexpected++ }},
			{"altered", "UPDATE blog_tag SET state = 0 WHERE id = " + some, func(l *report.Ledger) { l.Altered++ }},
			{"missing change", "DELETE FROM blog_tag_change WHERE sequence = 1", func(l *report.Ledger) { l.FeedDiffers += 2 }},
			{"change with a number too high", "UPDATE blog_tag_sequence SET value = value + 1", func(l *report.Ledger) { l.FeedDiffers++ }},
		} {
			t.Run(c.name, func(t *testing.T) {
				tx, err := db.BeginTx(t.Context(), nil)
				require.NoError(t, err)
				defer func() { require.NoError(t, tx.Rollback()) }()
				done, err := tx.ExecContext(t.Context(), c.statement)
				require.NoError(t, err)
				changed, err := done.RowsAffected()
				require.NoError(t, err)
				require.Equal(t, int64(1), changed, c.statement)
				found, want := compare(tx), exact
				c.change(&want)
				require.NotEmpty(t, found.Examples)
				found.Examples = nil
				require.Equal(t, want, found)
			})
		}
	})
}

// A field with the id of an object of the followed service refers to it.
func TestResourcesRefer(t *testing.T) {
	id := fields.Field{Name: "tag_id", Type: fields.Uint64}
	list := append(listed(), services.Service{Name: "comment", Follows: []string{"tag"}, Resources: []services.Resource{
		{Name: "comment", Fields: []fields.Field{id}}, {Name: "vote", Fields: []fields.Field{{Name: "comment_id", Type: fields.Uint64}}},
	}})
	all := newSystem(nil, list, "", "", "achilles-e2e", current).resources(func(component) load.Endpoint { return load.Endpoint{} })
	require.Len(t, all, 3)
	require.Equal(t, map[string]load.Resource{"tag_id": all[0]}, all[1].Refers)
	require.Nil(t, all[2].Refers)
}

// openAny opens the database of either kind.
func openAny(t *testing.T, cfg database.Config) *sql.DB {
	t.Helper()
	if cfg.DBType != database.SQLite {
		return open(t, cfg)
	}
	db, err := sql.Open("sqlite", cfg.DBName)
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// Rows without a name are those that were sent, as far as there are so many.
func TestResourceWithoutName(t *testing.T) {
	db, err := sql.Open("sqlite", ":memory:")
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	for _, statement := range []string{
		"CREATE TABLE blog_vote (id integer, is_deleted integer, revision integer, points integer, up integer, at text)",
		"CREATE TABLE blog_vote_change (sequence integer, vote_id integer)",
		"CREATE TABLE blog_vote_sequence (value integer)",
		"INSERT INTO blog_vote VALUES (1, 0, 2, -1, 1, ''), (2, 0, 1, 0, 0, ''), (3, 1, 1, 0, 0, ''), (4, 0, 1, 0, 0, '')",
		"INSERT INTO blog_vote_change VALUES (1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (6, 4)",
		"INSERT INTO blog_vote_sequence VALUES (6)",
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	votes := load.Resource{Name: "vote", Path: "/api/v1/votes", Fields: []fields.Field{{Name: "points", Type: fields.Int64}, {Name: "up", Type: fields.Bool}, {Name: "at", Type: fields.Time}}}
	compare := func(objects ...load.Object) report.Ledger {
		result := load.Result{Source: "here", Writers: map[string]*load.Writer{"vote0": {Objects: map[string][]load.Object{"vote": objects}}}}
		c := newComparison("run", map[string][]load.Result{"run": {result}}, loaded{})
		require.NoError(t, c.compareResource(t.Context(), db, votes))
		return c.result
	}
	sent := []load.Object{{ID: 1, Edits: load.Edits{Acknowledged: 1, Sent: 1}}, {ID: 2, Edits: load.Edits{Sent: 1}}, {ID: 3, Deleting: true}, {}}
	require.Equal(t, report.Ledger{Sent: 4, Acknowledged: 3, Unanswered: 1, Applied: 1}, compare(sent...))

	sent[0].Edits = load.Edits{Acknowledged: 2, Sent: 2}
	require.Equal(t, 1, compare(sent...).Altered, "an edit is lost")
	sent[2] = load.Object{ID: 3}
	require.Equal(t, 1, compare(sent...).Lost, "nobody has deleted it")
	require.Equal(t, 1, compare(sent[:3]...).Unexpected, "nobody has sent it")
}
