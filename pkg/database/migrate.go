package database

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
	goosedb "github.com/pressly/goose/v3/database"
	"go.uber.org/zap"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/health"
)

// ErrSchemaBehind is returned by SchemaCurrent if the database lacks migrations of
// this release.
var ErrSchemaBehind error = health.Reason("the schema is behind: run the command migrate")

// ErrOtherService is returned by Migrate and SchemaCurrent if the database has the tables of
// another service and none of this one.
var ErrOtherService error = health.Reason("the database belongs to another service")

const (
	defaultLockWait    = 2 * time.Minute
	defaultIdleTimeout = 30 * time.Second
	// reachTimeout is the timeout of each try to connect to the server.
	reachTimeout = 5 * time.Second
	reachPause   = 500 * time.Millisecond
	// A new reason for waiting is logged after reachNewReason, and the same one again
	// after reachSameReason.
	reachNewReason  = 2 * time.Second
	reachSameReason = 30 * time.Second
	// busyWhileMigrating is how long a migration of SQLite waits for the writers of
	// a running service.
	busyWhileMigrating = 30 * time.Second
)

// Migrations are a service's versioned changes of its schema. A migration that
// has been released is never edited.
type Migrations struct {
	// Service names the table that records the versions:
	// blog_tag_migration for "tag". Lower-case letters, digits and _.
	Service string
	// Files holds the folders mysql and sqlite with files such as
	// 0001_tags.sql, in goose's format. The prefix blog_ in them becomes
	// Config.TablePrefix, in the names of tables and of indexes.
	//
	// MySQL commits each DDL statement. A migration that was killed runs again
	// from its start, so it must be repeatable: CREATE TABLE IF NOT EXISTS, one
	// ALTER TABLE in a file.
	Files fs.FS
	// Shared are the tables of packages that several services use, each by the
	// version at which the service adds it: the statements of mysql.sql and
	// sqlite.sql, with the same prefix.
	Shared map[int64]fs.FS

	// lockWait is how long to wait for another migration of the same database;
	// 0 means defaultLockWait.
	lockWait time.Duration
	// idleTimeout is the time after which the server closes the session, and so
	// releases the lock, of a migration whose client is lost; 0 means
	// defaultIdleTimeout.
	idleTimeout time.Duration
}

var serviceNames = regexp.MustCompile(`^[a-z][a-z0-9_]{0,20}$`)

// Migrate applies the migrations that the database lacks and returns its version
// before and after. The versions are the same if there was nothing to do, also if
// the schema is newer than the files, as after a rollback of the release. Several
// processes may call it at the same time: if there is something to do, a lock makes
// them take turns. Migrate waits for a MySQL server for up to Config.MigrateWait, and
// creates a missing database if the account may.
func Migrate(ctx context.Context, db *DB, m Migrations) (from, to int64, err error) {
	newest, err := m.newest(db.Dialect())
	if err != nil {
		return 0, 0, err
	}
	pool, err := migrationPool(ctx, db, m)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	provider, err := m.provider(db, pool)
	if err != nil {
		return 0, 0, err
	}
	// Most starts have nothing to do, and must not wait for the lock.
	if from, err = m.version(ctx, db); err != nil || from >= newest {
		return from, from, err
	}
	if err := m.rejectOtherService(ctx, db, from); err != nil {
		return from, from, err
	}
	// The provider's Up looks at the versions before it takes the lock, and
	// creates their table as it looks. This call does so under the lock.
	if from, err = provider.GetDBVersion(ctx); err != nil {
		return 0, 0, migrationError(err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return from, from, migrationError(err)
	}
	if to, err = provider.GetDBVersion(ctx); err != nil {
		return from, from, migrationError(err)
	}
	for _, r := range results {
		db.log.Info("migration applied", zap.Int64("version", r.Source.Version),
			zap.String("file", cmp.Or(r.Source.Path, "a shared table")), zap.Duration("duration", r.Duration))
	}
	if len(results) == 0 {
		from = to // another process has migrated
	}
	return from, to, nil
}

func migrationError(err error) error {
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		return fmt.Errorf("migration %s failed: %w; correct the cause and run migrate again: it continues from there",
			partial.Failed.Source.Path, partial.Err)
	}
	return fmt.Errorf("migrate: %w", err)
}

// migrationPool returns a pool whose statements have no timeout.
func migrationPool(ctx context.Context, db *DB, m Migrations) (*sql.DB, error) {
	if db.cfg.DBType == SQLite {
		return openSQLite(db.cfg, busyWhileMigrating)
	}
	pool, err := openMySQL(db.cfg, migrationSession(cmp.Or(m.idleTimeout, defaultIdleTimeout)), db.log)
	if err != nil {
		return nil, err
	}
	if err := awaitServer(ctx, db, pool); err != nil {
		return nil, errors.Join(fmt.Errorf("the database %s at %s cannot be used: %w; check the section Database of the configuration",
			db.cfg.DBName, db.cfg.Host, err), pool.Close())
	}
	return pool, nil
}

// awaitServer waits for up to Config.MigrateWait until the database can be used. It
// also waits if the account is refused or the database is missing: both may be
// created after the server has started, and the password file may be about to change.
func awaitServer(ctx context.Context, db *DB, pool *sql.DB) error {
	started, reason := time.Now(), ""
	var logged time.Time
	for {
		err := reach(ctx, db, pool)
		waited := time.Since(started)
		if err == nil || classOf(err) != unavailable || waited >= db.cfg.MigrateWait {
			return err
		}
		if since := time.Since(logged); since >= reachSameReason || err.Error() != reason && since >= reachNewReason {
			logged, reason = time.Now(), err.Error()
			db.log.Warn("waiting for the database", zap.String("database", db.cfg.DBName), zap.String("host", db.cfg.Host),
				zap.Error(err), zap.Duration("gives_up_in", (db.cfg.MigrateWait-waited).Round(time.Second)))
		}
		if !pause(ctx, min(reachPause, db.cfg.MigrateWait-waited)) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// reach connects to the database, and creates it if it is missing.
func reach(ctx context.Context, db *DB, pool *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	err := pool.PingContext(ctx)
	// The database does not exist, or the account may not use it. Which of the
	// two errors the server returns depends on the account's rights.
	if hasNumber(err, 1049) || hasNumber(err, 1044) {
		return createDatabase(ctx, db)
	}
	return err
}

func hasNumber(err error, number uint16) bool {
	var fromMySQL *mysql.MySQLError
	return errors.As(err, &fromMySQL) && fromMySQL.Number == number
}

// createDatabase creates a database that compares text by its bytes, as SQLite does.
func createDatabase(ctx context.Context, db *DB) (err error) {
	server := db.cfg
	server.DBName = ""
	pool, err := openMySQL(server, migrationSession(defaultIdleTimeout), db.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	statement := "CREATE DATABASE IF NOT EXISTS `" + db.cfg.DBName + "` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" // #nosec G202 -- Config.Validate lets no quote into the name
	if _, err = pool.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("there is none that %s may use, and it may not create one (%w): have an administrator run %s and grant the rights on it",
			db.cfg.Username, err, statement)
	}
	db.log.Info("database created", zap.String("database", db.cfg.DBName))
	return nil
}

func (m Migrations) table(db *DB) string { return db.Table(m.Service + "_migration") }

func (m Migrations) provider(db *DB, pool *sql.DB) (*goose.Provider, error) {
	if !serviceNames.MatchString(m.Service) {
		return nil, fmt.Errorf("%q cannot be part of a table's name", m.Service)
	}
	files, err := fs.Sub(m.Files, db.Dialect())
	if err != nil {
		return nil, err
	}
	store, err := newVersionStore(db.Dialect(), m.table(db))
	if err != nil {
		return nil, err
	}
	provider, err := goose.NewProvider(goose.DialectCustom, pool, prefixed{FS: files, prefix: db.cfg.TablePrefix},
		goose.WithStore(store), goose.WithSessionLocker(m.locker(db)), goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(m.shared(db)...))
	if err != nil {
		return nil, fmt.Errorf("read the migrations for %s: %w", db.Dialect(), err)
	}
	return provider, nil
}

// shared returns a migration for each shared table.
func (m Migrations) shared(db *DB) []*goose.Migration {
	var migrations []*goose.Migration
	for version, files := range m.Shared {
		up := func(ctx context.Context, tx *sql.Tx) error {
			statements, err := fs.ReadFile(prefixed{FS: files, prefix: db.cfg.TablePrefix}, db.Dialect()+".sql")
			if err == nil {
				_, err = tx.ExecContext(ctx, string(statements))
			}
			return err
		}
		migrations = append(migrations, goose.NewGoMigration(version, &goose.GoFunc{RunTx: up}, nil))
	}
	return migrations
}

// versionStore is goose's table of versions. It creates the table only if it does
// not exist, so that a process killed between the table and its first row does not
// block later migrations.
type versionStore struct {
	goosedb.Store
	create string
}

func newVersionStore(dialect, table string) (*versionStore, error) {
	kind, id := goosedb.DialectMySQL, "bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY"
	if dialect == SQLite {
		kind, id = goosedb.DialectSQLite3, "integer PRIMARY KEY AUTOINCREMENT"
	}
	store, err := goosedb.NewStore(kind, table)
	if err != nil {
		return nil, err
	}
	return &versionStore{Store: store, create: "CREATE TABLE IF NOT EXISTS " + table + " (id " + id +
		", version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp datetime NULL DEFAULT CURRENT_TIMESTAMP)"}, nil
}

// CreateVersionTable implements goose's Store.
func (s *versionStore) CreateVersionTable(ctx context.Context, db goosedb.DBTxConn) error {
	_, err := db.ExecContext(ctx, s.create)
	return err
}

// SchemaCurrent returns nil if the database has all of the migrations, or newer
// ones, ErrSchemaBehind if it lacks any, ErrOtherService if it is that of another service,
// and other errors like Read. It changes nothing and takes no lock.
func SchemaCurrent(ctx context.Context, db *DB, m Migrations) error {
	newest, err := m.newest(db.Dialect())
	if err != nil {
		return err
	}
	version, err := m.version(ctx, db)
	if err == nil {
		err = m.rejectOtherService(ctx, db, version)
	}
	if err != nil {
		return err
	}
	if version < newest {
		return fmt.Errorf("%w (it is at version %d and %d is needed)", ErrSchemaBehind, version, newest)
	}
	return nil
}

// version returns the version of the database, 0 before the first migration.
func (m Migrations) version(ctx context.Context, db *DB) (version int64, err error) {
	exists := "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?"
	if db.Dialect() == SQLite {
		exists = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
	}
	err = db.Read(ctx, func(tx *gorm.DB) error {
		var tables int
		if err := tx.Raw(exists, m.table(db)).Scan(&tables).Error; err != nil || tables == 0 {
			return err
		}
		return tx.Raw("SELECT COALESCE(MAX(version_id), 0) FROM " + m.table(db)).Scan(&version).Error
	})
	return version, err
}

// rejectOtherService returns an error if the database has the tables of another service, and
// version says that it has none of this one.
func (m Migrations) rejectOtherService(ctx context.Context, db *DB, version int64) error {
	if version > 0 {
		return nil
	}
	all := "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
	if db.Dialect() == SQLite {
		all = "SELECT name FROM sqlite_master WHERE type = 'table'"
	}
	var names []string
	err := db.Read(ctx, func(tx *gorm.DB) error { return tx.Raw(all).Scan(&names).Error })
	for _, name := range names {
		other, found := strings.CutSuffix(name, "_migration")
		other, prefixed := strings.CutPrefix(other, db.cfg.TablePrefix)
		if found && prefixed && other != m.Service {
			return fmt.Errorf("%w: %s is that of %s (it has the table %s), and each service needs its own; "+
				"choose another with Database.DBName, or another Database.TablePrefix", ErrOtherService, db.cfg.DBName, other, name)
		}
	}
	return err
}

// newest returns the highest version of the files.
func (m Migrations) newest(dialect string) (newest int64, err error) {
	files, err := fs.Glob(m.Files, dialect+"/*.sql")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		version, err := goose.NumericComponent(file)
		if err != nil {
			return 0, fmt.Errorf("migration %s: its name must begin with a number and _: %w", file, err)
		}
		newest = max(newest, version)
	}
	for version := range m.Shared {
		newest = max(newest, version)
	}
	if newest == 0 {
		return 0, fmt.Errorf("there are no migrations in the folder %s", dialect)
	}
	return newest, nil
}
