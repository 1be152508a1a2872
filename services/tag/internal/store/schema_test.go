package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
	"github.com/achilles-blog/achilles/services/tag/migrations"
)

func TestDialectsHaveTheSameSchema(t *testing.T) {
	dbtest.SameSchema(t, migrations.All())

	db, _ := open(t, dbtest.SQLite(t))
	schema := dbtest.SchemaOf(t, db)
	tags := schema["blog_tag"]
	text, zero, one := "", "0", "1"
	require.Equal(t, []dbtest.Column{
		{Name: "id", Type: "integer"},
		{Name: "created_at", Type: "datetime"},
		{Name: "created_by", Type: "varchar(64)", Default: &text},
		{Name: "updated_at", Type: "datetime"},
		{Name: "updated_by", Type: "varchar(64)", Default: &text},
		{Name: "is_deleted", Type: "tinyint", Default: &zero},
		{Name: "name", Type: "varchar(100)"},
		{Name: "state", Type: "tinyint", Default: &one},
		{Name: "revision", Type: "integer", Default: &one},
		{Name: "active_name", Type: "varchar(100)", Nullable: true, Generated: true},
	}, tags.Columns)
	require.Equal(t, dbtest.Index{Unique: true, Columns: []string{"id"}}, tags.Indexes["PRIMARY"])
	require.Equal(t, dbtest.Index{Unique: true, Columns: []string{"active_name"}}, tags.Indexes["blog_tag_active_name"])
	require.GreaterOrEqual(t, len(schema), 4)
}

func TestTablePrefix(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		cfg.TablePrefix = "other_"
		db, s := open(t, cfg)
		created := create(t, s, "a")
		_, err := s.Get(t.Context(), created.ID)
		require.NoError(t, err)
		require.NoError(t, s.Delete(t.Context(), created.ID, "", nil))
		found, err := s.Changes(t.Context(), 0, 10)
		require.NoError(t, err)
		require.Len(t, found.Changes, 2)
		_, err = s.List(t.Context(), tag.Filter{}, tag.Page{Limit: 10})
		require.NoError(t, err)
		_, err = s.Trim(t.Context(), time.Now(), 1)
		require.NoError(t, err)
		require.Error(t, db.Gorm(t.Context()).Exec("SELECT 1 FROM blog_tag").Error)
	})
}

// The database rejects rows that break the rules of the domain.
func TestConstraints(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		create(t, s, "taken")
		insert := func(name string, state, deleted int) error {
			now := time.Now().UTC()
			return database.Classify(db.Gorm(t.Context()).Exec("INSERT INTO "+db.Table("tag")+
				" (created_at, updated_at, name, state, is_deleted) VALUES (?, ?, ?, ?, ?)", now, now, name, state, deleted).Error)
		}
		require.ErrorIs(t, insert("taken", 1, 0), database.ErrDuplicate)
		require.NoError(t, insert("taken", 1, 1), "names of deleted tags need not be unique")
		require.NoError(t, insert("taken", 1, 1))
		require.NoError(t, insert("Taken", 1, 0))
		require.Error(t, insert("free", 2, 0))
		require.Error(t, insert("free", 1, 2))
		require.NoError(t, insert("free", 1, 0))

		change := func(sequence int, kind string) error {
			return database.Classify(db.Gorm(t.Context()).Exec("INSERT INTO "+db.Table("tag_change")+
				" (sequence, created_at, tag_id, kind, name, state) VALUES (?, ?, 1, ?, 'x', 1)", sequence, time.Now().UTC(), kind).Error)
		}
		require.ErrorIs(t, change(1, "put"), database.ErrDuplicate)
		require.Error(t, change(2, "nonsense"))
	})
}

func TestMigrationsAreIdempotent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		create(t, s, "kept")
		before, err := s.Snapshot(t.Context())
		require.NoError(t, err)
		from, to, err := database.Migrate(t.Context(), db, migrations.All())
		require.NoError(t, err)
		require.Equal(t, to, from)
		require.NoError(t, database.SchemaCurrent(t.Context(), db, migrations.All()))
		after, err := s.Snapshot(t.Context())
		require.NoError(t, err)
		require.Equal(t, before, after)
	})
}

// Each database has its own epoch.
func TestEpochsDiffer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		_, first := open(t, cfg)
		other := dbtest.SQLite(t)
		if cfg.DBType == database.MySQL {
			other = dbtest.MySQL(t)
		}
		_, second := open(t, other)
		one, err := first.Snapshot(t.Context())
		require.NoError(t, err)
		two, err := second.Snapshot(t.Context())
		require.NoError(t, err)
		require.NotEqual(t, one.Epoch, two.Epoch)
		require.GreaterOrEqual(t, len(one.Epoch), 32)
	})
}
