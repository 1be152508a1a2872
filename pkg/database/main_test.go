package database_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"gorm.io/gorm"
	"gorm.io/plugin/soft_delete"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// patience is the timeout of every wait that a passing test does not reach.
const patience = time.Minute

// The test binary is also the process that TestMigrateKilled kills.
const envKilled = "DATABASE_TEST_MIGRATE"

func TestMain(m *testing.M) {
	if dialect := os.Getenv(envKilled); dialect != "" {
		migrateUntilKilled(dialect)
		return
	}
	dbtest.Main(m)
}

type note struct {
	ID        uint64 `gorm:"primaryKey"`
	Name      string
	Body      string
	At        *time.Time
	CreatedAt time.Time
	IsDeleted soft_delete.DeletedAt `gorm:"softDelete:flag"`
}

type remark struct {
	ID     uint64 `gorm:"primaryKey"`
	NoteID uint64
}

// up returns a file with a migration.
func up(statements string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte("-- +goose Up\n" + statements)}
}

// notes returns migrations to version 1, and the given further ones.
func notes(more ...fstest.MapFS) database.Migrations {
	files := fstest.MapFS{
		"mysql/0001_notes.sql": up(`
CREATE TABLE IF NOT EXISTS blog_note (
  id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name varchar(100) NOT NULL, body longtext NOT NULL,
  at datetime(3) NULL, created_at datetime(3) NULL, is_deleted tinyint unsigned NOT NULL DEFAULT 0,
  UNIQUE KEY uk_blog_note_name (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS blog_remark (
  id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, note_id bigint unsigned NOT NULL,
  CONSTRAINT fk_blog_remark_note FOREIGN KEY (note_id) REFERENCES blog_note (id)
) ENGINE=InnoDB;
`),
		"sqlite/0001_notes.sql": up(`
CREATE TABLE blog_note (
  id integer PRIMARY KEY AUTOINCREMENT, name varchar(100) NOT NULL, body text NOT NULL,
  at datetime NULL, created_at datetime NULL, is_deleted tinyint NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX uk_blog_note_name ON blog_note (name);
CREATE TABLE blog_remark (
  id integer PRIMARY KEY AUTOINCREMENT, note_id bigint NOT NULL REFERENCES blog_note (id)
);
`),
	}
	for _, m := range more {
		for name, file := range m {
			files[name] = file
		}
	}
	return database.Migrations{Service: "notes", Files: files}
}

// both returns a migration that is the same in both dialects.
func both(name, statements string) fstest.MapFS {
	return fstest.MapFS{"mysql/" + name: up(statements), "sqlite/" + name: up(statements)}
}

// withNotes opens a migrated database.
func withNotes(t *testing.T, cfg database.Config) *database.DB {
	t.Helper()
	db := dbtest.Open(t, cfg)
	_, _, err := database.Migrate(t.Context(), db, notes())
	require.NoError(t, err)
	return db
}

func insert(ctx context.Context, db *database.DB, name string) error {
	return db.InTx(ctx, func(tx *gorm.DB) error { return tx.Create(&note{Name: name}).Error })
}

func count(t *testing.T, db *database.DB) (rows int64) {
	t.Helper()
	require.NoError(t, db.Read(t.Context(), func(tx *gorm.DB) error { return tx.Model(&note{}).Count(&rows).Error }))
	return rows
}

func requireUnavailable(t *testing.T, err error) {
	t.Helper()
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, errcode.Unavailable, coded.Code, "%v", err)
	require.Positive(t, coded.RetryAfter)
	require.Error(t, coded.Cause)
}

// requireReadOnly requires the error of a write that the database rejects.
func requireReadOnly(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, database.ErrReadOnly)
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, errcode.ReadOnly, coded.Code, "%v", err)
	require.Positive(t, coded.RetryAfter)
}

// requireEnded requires the error of the request's context, and not
// errcode.Unavailable.
func requireEnded(t *testing.T, err, want error) {
	t.Helper()
	require.ErrorIs(t, err, want)
	var coded *errcode.Error
	require.False(t, errors.As(err, &coded), "%v", err)
}

// blockMigrations makes slow migrations of a MySQL database wait until release.
func blockMigrations(t *testing.T, cfg database.Config) (release func()) {
	t.Helper()
	if cfg.DBType == database.SQLite {
		return func() {}
	}
	conn, err := dbtest.Open(t, cfg).SQL().Conn(t.Context())
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), "DO GET_LOCK(CONCAT(DATABASE(), '.slow'), 60)")
	require.NoError(t, err)
	return sync.OnceFunc(func() {
		_, err := conn.ExecContext(context.WithoutCancel(t.Context()), "DO RELEASE_LOCK(CONCAT(DATABASE(), '.slow'))")
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})
}

// slowMigration runs on MySQL until blockMigrations releases it, and on SQLite for
// as long as it takes to count that far.
func slowMigration(count int) fstest.MapFS {
	return fstest.MapFS{
		"mysql/0002_slow.sql": up(`
CREATE TABLE IF NOT EXISTS blog_begun (id int);
DO GET_LOCK(CONCAT(DATABASE(), '.slow'), 3600);
CREATE TABLE IF NOT EXISTS blog_ended (id int);
`),
		// SQLite rolls back a whole migration, so a migration before it shows that
		// it has begun.
		"sqlite/0002_begun.sql": up(`CREATE TABLE blog_begun (id int);`),
		"sqlite/0003_slow.sql": up(fmt.Sprintf(`
CREATE TABLE blog_numbers (n int);
INSERT INTO blog_numbers WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < %d) SELECT MAX(x) FROM n;
CREATE TABLE blog_ended (id int);
`, count)),
	}
}

func migrateUntilKilled(dialect string) {
	cfg := database.Default()
	cfg.DBType, cfg.DBName, cfg.Host = dialect, os.Getenv("DATABASE_TEST_NAME"), os.Getenv("DATABASE_TEST_HOST")
	cfg.Username, cfg.Password = os.Getenv("DATABASE_TEST_USER"), settings.Secret(os.Getenv("DATABASE_TEST_PASSWORD"))
	db, err := database.Open(cfg, zap.NewNop())
	if err == nil {
		_, _, err = database.Migrate(context.Background(), db, notes(slowMigration(1_000_000_000)))
	}
	fmt.Println("the migration was not killed:", err)
}

func nopLog() *zap.Logger { return zap.NewNop() }
