package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/tag/internal/store"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// No statement of the service scans a table. If few tags were deleted, the planner
// could choose to scan the primary key until the page is full. Here the conditions
// are selective enough for their indexes.
func TestNoFullScan(t *testing.T) {
	for about, like := range map[string]func(i int) (deleted, state int){
		"some deleted": func(i int) (int, int) { return i % 3 / 2, i % 2 },
		"most deleted": func(i int) (int, int) { return min(1, i%20), i / 20 % 2 },
	} {
		t.Run(about, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, cfg database.Config) {
				db, s := open(t, cfg)
				fill(t, db, 4000, like)
				dbtest.Indexed(t, db, func() { everyStatement(t, s) })
			})
		})
	}
}

// everyStatement runs every statement of the store.
func everyStatement(t *testing.T, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	const existing = 60
	name, enabled, disabled := "tag 60", tag.Enabled, tag.Disabled
	for _, filter := range []tag.Filter{{}, {State: &enabled}, {State: &disabled}, {Name: &name}, {Name: &name, State: &enabled}} {
		for _, page := range []tag.Page{{Limit: 10}, {Offset: 100, Limit: 100}} {
			_, err := s.List(ctx, filter, page)
			require.NoError(t, err)
		}
	}
	for _, after := range []uint64{0, 2000, 3999, 4000} {
		_, err := s.Changes(ctx, after, 100)
		require.NoError(t, err)
	}
	_, err := s.Snapshot(ctx)
	require.NoError(t, err)
	_, err = s.Get(ctx, existing)
	require.NoError(t, err)
	_, _, err = s.Create(ctx, draft("with a key", tag.Enabled), withKey("key"))
	require.NoError(t, err)
	_, err = s.Update(ctx, existing, draft("new name", tag.Disabled), nil)
	require.NoError(t, err)
	require.NoError(t, s.Delete(ctx, existing, "", nil))
	for _, days := range []int{3, 2} { // removes none, then some
		_, err = s.Trim(ctx, time.Now().AddDate(0, 0, -days), 1000)
		require.NoError(t, err)
	}
}

// fill writes n tags with a change each. The changes are one minute apart; the last
// one is made now.
func fill(t *testing.T, db *database.DB, n int, like func(i int) (deleted, state int)) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	tags, changes := "INSERT INTO "+db.Table("tag")+" (id, created_at, updated_at, name, state, is_deleted) VALUES ",
		"INSERT INTO "+db.Table("tag_change")+" (sequence, created_at, tag_id, kind, name, state) VALUES "
	for from := 1; from <= n; from += 500 {
		var tagRows, changeRows []string
		var tagValues, changeValues []any
		for i := from; i < min(from+500, n+1); i++ {
			at := now.Add(time.Duration(i-n) * time.Minute)
			deleted, state := like(i)
			tagRows, tagValues = append(tagRows, "(?, ?, ?, ?, ?, ?)"), append(tagValues, i, at, at, fmt.Sprintf("tag %d", i), state, deleted)
			changeRows, changeValues = append(changeRows, "(?, ?, ?, 'put', 'x', 1)"), append(changeValues, i, at, i)
		}
		for statement, values := range map[string][]any{tags + strings.Join(tagRows, ", "): tagValues, changes + strings.Join(changeRows, ", "): changeValues} {
			_, err := db.SQL().ExecContext(t.Context(), statement, values...)
			require.NoError(t, err)
		}
	}
	exec(t, db, "UPDATE "+db.Table("tag_sequence")+" SET value = ?", n)
	_, err := store.New(db, 0).Recount(t.Context())
	require.NoError(t, err)
	if db.Dialect() == database.MySQL { // SQLite plans without statistics, as in production
		dbtest.Analyze(t, db, "tag", "tag_change", "tag_sequence")
	}
}
