package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/tag/internal/store"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// Nothing that serves reads a whole table. Where hardly any tag is deleted a
// planner may walk along the primary key until the page is full, and rightly
// so; here the conditions admit few enough for their indexes to be used.
func TestPlans(t *testing.T) {
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

func everyStatement(t *testing.T, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	const living = 60
	name, enabled, disabled := "tag 60", tag.Enabled, tag.Disabled
	for _, filter := range []tag.Filter{{}, {State: &enabled}, {State: &disabled}, {Name: &name}, {Name: &name, State: &enabled}} {
		for _, page := range []tag.Page{{Limit: 10}, {Offset: 100, Limit: 100}} {
			_, _, err := s.List(ctx, filter, page)
			require.NoError(t, err)
		}
	}
	for _, after := range []uint64{0, 2000, 3999, 4000} {
		_, err := s.Changes(ctx, after, 100)
		require.NoError(t, err)
	}
	_, err := s.Snapshot(ctx)
	require.NoError(t, err)
	_, err = s.Get(ctx, living)
	require.NoError(t, err)
	_, err = s.Create(underKey(t, "key"), draft("under a key", tag.Enabled))
	require.NoError(t, err)
	_, err = s.Update(ctx, living, draft("new name", tag.Disabled), nil)
	require.NoError(t, err)
	require.NoError(t, s.Delete(ctx, living, "", nil))
	for _, days := range []int{3, 2} { // none so old, some, and the rest of them
		_, err = s.Trim(ctx, time.Now().AddDate(0, 0, -days), 1000)
		require.NoError(t, err)
	}
}

// fill writes n tags, and a change for each: one a minute until now.
func fill(t *testing.T, db *database.DB, n int, like func(i int) (deleted, state int)) {
	t.Helper()
	var tags, changes []map[string]any
	now := time.Now().UTC()
	for i := 1; i <= n; i++ {
		at := now.Add(time.Duration(i-n) * time.Minute)
		deleted, state := like(i)
		tags = append(tags, map[string]any{
			"id": i, "created_at": at, "updated_at": at, "name": fmt.Sprintf("tag %d", i), "state": state, "is_deleted": deleted,
		})
		changes = append(changes, map[string]any{"sequence": i, "created_at": at, "tag_id": i, "kind": "put", "name": "x", "state": 1})
	}
	require.NoError(t, db.Gorm(t.Context()).Table(db.Table("tag")).CreateInBatches(tags, 500).Error)
	require.NoError(t, db.Gorm(t.Context()).Table(db.Table("tag_change")).CreateInBatches(changes, 500).Error)
	exec(t, db, "UPDATE "+db.Table("tag_sequence")+" SET value = ?", n)
	if db.Dialect() == database.MySQL { // SQLite plans without statistics, as in production
		dbtest.Analyze(t, db, "tag", "tag_change", "tag_sequence")
	}
}
