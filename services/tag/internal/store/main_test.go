package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/tag/internal/store"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
	"github.com/achilles-blog/achilles/services/tag/migrations"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const patience = 20 * time.Second

// open returns a migrated database and its store.
func open(t *testing.T, cfg database.Config) (*database.DB, *store.Store) {
	t.Helper()
	db := dbtest.Open(t, cfg)
	_, _, err := database.Migrate(t.Context(), db, migrations.All())
	require.NoError(t, err)
	return db, store.New(db, time.Hour)
}

func draft(name string, state tag.State) tag.Draft { return tag.Draft{Name: &name, State: &state} }

func create(t *testing.T, s *store.Store, name string) tag.Tag {
	t.Helper()
	created, _, err := s.Create(t.Context(), draft(name, tag.Enabled), idempotency.Key{})
	require.NoError(t, err)
	return created
}

func requireCode(t *testing.T, code errcode.Code, err error) {
	t.Helper()
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, code, coded.Code)
}

func exec(t *testing.T, db *database.DB, statement string, args ...any) {
	t.Helper()
	require.NoError(t, db.Gorm(t.Context()).Exec(statement, args...).Error)
}
