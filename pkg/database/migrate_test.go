package database_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// tables returns the names of all tables in the database.
func tables(t *testing.T, db *database.DB) []string {
	t.Helper()
	query := "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
	if db.Dialect() == database.SQLite {
		query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
	}
	names := []string{}
	require.NoError(t, db.Gorm(context.WithoutCancel(t.Context())).Raw(query).Scan(&names).Error)
	return names
}

func TestMigrate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := dbtest.Open(t, cfg)
		older, newer := notes(), notes(both("0002_more.sql", "CREATE TABLE blog_more (id int);"))

		err := database.SchemaCurrent(t.Context(), db, older)
		require.ErrorIs(t, err, database.ErrSchemaBehind)
		require.ErrorContains(t, err, "run the command migrate")
		require.Empty(t, tables(t, db), "SchemaCurrent changes nothing")

		steps := []struct {
			name     string
			m        database.Migrations
			from, to int64
		}{
			{"empty database", older, 0, 1},
			{"again", older, 1, 1},
			{"next release", newer, 1, 2},
			{"the release before, on the newer schema", older, 2, 2},
		}
		for _, step := range steps {
			from, to, err := database.Migrate(t.Context(), db, step.m)
			require.NoError(t, err, step.name)
			require.Equal(t, [2]int64{step.from, step.to}, [2]int64{from, to}, step.name)
			require.NoError(t, database.SchemaCurrent(t.Context(), db, step.m), step.name)
		}
		require.ElementsMatch(t, []string{"blog_note", "blog_remark", "blog_more", "blog_notes_migration"}, tables(t, db))

		newest := notes(both("0007_late.sql", "CREATE TABLE blog_late (id int);"))
		err = database.SchemaCurrent(t.Context(), db, newest)
		require.ErrorIs(t, err, database.ErrSchemaBehind)
		require.ErrorContains(t, err, "at version 2 and 7 is needed")
	})
}

func TestMigrateRejectsTheDatabaseOfAnotherService(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		other := database.Migrations{Service: "others", Files: both("0001_other.sql", "CREATE TABLE blog_other (id int);")}
		_, _, err := database.Migrate(t.Context(), db, other)
		require.ErrorIs(t, err, database.ErrOtherService)
		require.ErrorContains(t, err, "is that of notes (it has the table blog_notes_migration)")
		require.ErrorContains(t, err, "Database.DBName")
		require.ErrorIs(t, database.SchemaCurrent(t.Context(), db, other), database.ErrOtherService)
		require.NotContains(t, tables(t, db), "blog_other")

		cfg.TablePrefix = "shop_"
		shop := dbtest.Open(t, cfg)
		require.ErrorIs(t, database.SchemaCurrent(t.Context(), shop, other), database.ErrSchemaBehind)
		_, _, err = database.Migrate(t.Context(), shop, other)
		require.NoError(t, err, "the prefix keeps their tables apart")
		require.Contains(t, tables(t, db), "shop_other")
	})
}

// The second migration cannot be applied twice, and is slow enough that all calls
// begin before it ends.
func TestMigrateConcurrently(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		m := notes(fstest.MapFS{
			"mysql/0002_once.sql":  up("DO SLEEP(1);\nCREATE TABLE blog_once (id int);\nINSERT INTO blog_once VALUES (1);"),
			"sqlite/0002_once.sql": up("CREATE TABLE blog_once (id int);\nINSERT INTO blog_once VALUES (1);"),
		})
		var group sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			db := dbtest.Open(t, cfg) // its own pool, like another process
			group.Go(func() {
				var to int64
				if _, to, errs[i] = database.Migrate(t.Context(), db, m); errs[i] == nil && to != 2 {
					errs[i] = fmt.Errorf("came to version %d", to)
				}
			})
		}
		group.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		db := dbtest.Open(t, cfg)
		var once, versions int
		require.NoError(t, db.Gorm(t.Context()).Raw("SELECT COUNT(*) FROM blog_once").Scan(&once).Error)
		require.NoError(t, db.Gorm(t.Context()).Raw("SELECT COUNT(*) FROM blog_notes_migration").Scan(&versions).Error)
		require.Equal(t, 1, once)
		require.Equal(t, 3, versions, "versions 0, 1 and 2, once each")
	})
}

func TestMigrateReplacesThePrefix(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		withNotes(t, cfg)
		cfg.TablePrefix = "shop_"
		db := withNotes(t, cfg) // in the same database: names of indexes must differ, too
		require.NoError(t, insert(t.Context(), db, "in the shop"))
		require.Subset(t, tables(t, db), []string{"shop_note", "shop_remark", "shop_notes_migration"})
		require.Equal(t, "shop_note", db.Table("note"))
		var rows int
		require.NoError(t, db.Gorm(t.Context()).Raw("SELECT COUNT(*) FROM shop_note").Scan(&rows).Error)
		require.Equal(t, 1, rows)
		require.NoError(t, db.Gorm(t.Context()).Raw("SELECT COUNT(*) FROM blog_note").Scan(&rows).Error)
		require.Zero(t, rows)
	})
}

// A process may die between the table of versions and its first row.
func TestMigrateWithEmptyVersionTable(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		for _, statement := range []string{"DELETE FROM blog_notes_migration", "DROP TABLE blog_remark", "DROP TABLE blog_note"} {
			require.NoError(t, db.Gorm(t.Context()).Exec(statement).Error)
		}
		from, to, err := database.Migrate(t.Context(), db, notes())
		require.NoError(t, err)
		require.Equal(t, [2]int64{0, 1}, [2]int64{from, to})
	})
}

func TestMigrateContinuesAfterAFailure(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := dbtest.Open(t, cfg)
		_, _, err := database.Migrate(t.Context(), db, notes(both("0002_bad.sql", "CREATE TABLE nonsense;")))
		require.ErrorContains(t, err, "0002_bad.sql failed")
		require.ErrorContains(t, err, "run migrate again")
		from, to, err := database.Migrate(t.Context(), db, notes(both("0002_good.sql", "CREATE TABLE blog_good (id int);")))
		require.NoError(t, err)
		require.Equal(t, [2]int64{1, 2}, [2]int64{from, to})
	})
}

func TestMigrateKilled(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := dbtest.Open(t, cfg)
		release := blockMigrations(t, cfg)
		process := exec.Command(os.Args[0]) // #nosec G204 -- this test binary
		process.Env = append(os.Environ(), envKilled+"="+cfg.DBType, "DATABASE_TEST_NAME="+cfg.DBName,
			"DATABASE_TEST_HOST="+cfg.Host, "DATABASE_TEST_USER="+cfg.Username, "DATABASE_TEST_PASSWORD="+cfg.Password.Reveal())
		var output strings.Builder
		process.Stdout = &output
		require.NoError(t, process.Start())
		require.Eventually(t, func() bool { return strings.Contains(strings.Join(tables(t, db), " "), "blog_begun") },
			patience, 5*time.Millisecond)
		require.NoError(t, process.Process.Kill())
		require.Error(t, process.Wait())
		require.Empty(t, output.String())
		release() // the server finishes the statement

		m := notes(slowMigration(1000))
		require.ErrorIs(t, database.SchemaCurrent(t.Context(), db, m), database.ErrSchemaBehind)
		_, _, err := database.Migrate(t.Context(), db, m)
		require.NoError(t, err)
		require.NoError(t, database.SchemaCurrent(t.Context(), db, m))
		require.Contains(t, tables(t, db), "blog_ended")
	})
}

// behind returns a migration that is newer than those of hold.
func behind() fstest.MapFS { return both("0009_behind.sql", "CREATE TABLE blog_behind (id int);") }

// hold runs a migration that ends with the test.
func hold(t *testing.T, cfg database.Config) {
	t.Helper()
	db := dbtest.Open(t, cfg)
	release := blockMigrations(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _, _ = database.Migrate(ctx, db, notes(fstest.MapFS{
			"mysql/0002_long.sql":  up("CREATE TABLE IF NOT EXISTS blog_begun (id int);\nDO GET_LOCK(CONCAT(DATABASE(), '.slow'), 3600);"),
			"sqlite/0002_long.sql": up("CREATE TABLE IF NOT EXISTS blog_begun (id int);"),
			"sqlite/0003_long.sql": up("CREATE TABLE blog_x AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT MAX(x) FROM n;"),
		}))
	}()
	t.Cleanup(func() { cancel(); <-ended; release() })
	require.Eventually(t, func() bool { return strings.Contains(strings.Join(tables(t, db), " "), "blog_begun") },
		patience, 10*time.Millisecond)
}

func TestMigrateLockTimeout(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		hold(t, cfg)
		m := notes(behind()).WithLockWait(200 * time.Millisecond)
		_, _, err := database.Migrate(t.Context(), dbtest.Open(t, cfg), m)
		require.ErrorContains(t, err, "another migration of this database has not ended within 200ms")
	})
}

func TestMigrateLockContext(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		hold(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, _, err := database.Migrate(ctx, dbtest.Open(t, cfg), notes(behind()))
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A pod that starts while another release migrates must not wait.
func TestMigrateNeedsNoLockForACurrentSchema(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		hold(t, cfg)
		_, to, err := database.Migrate(t.Context(), dbtest.Open(t, cfg), notes().WithLockWait(time.Millisecond))
		require.NoError(t, err)
		require.Positive(t, to)
	})
}

// Another process may have migrated while this one waited for the lock.
func TestMigrateLooksAgainUnderTheLock(t *testing.T) {
	cfg := dbtest.MySQL(t)
	db := withNotes(t, cfg)
	other := notes(slowMigration(0))
	release := blockMigrations(t, cfg)
	first := make(chan error, 1)
	go func() { _, _, err := database.Migrate(t.Context(), dbtest.Open(t, cfg), other); first <- err }()
	require.Eventually(t, func() bool { return strings.Contains(strings.Join(tables(t, db), " "), "blog_begun") },
		patience, 5*time.Millisecond)
	second := make(chan error, 1)
	go func() { // its second migration must not run
		_, _, err := database.Migrate(t.Context(), dbtest.Open(t, cfg), notes(both("0002_bad.sql", "CREATE TABLE nonsense;")))
		second <- err
	}()
	require.Eventually(t, func() bool { return waiting(t, db, "SELECT GET_LOCK('achilles:%") }, patience, 5*time.Millisecond)
	release()
	require.NoError(t, <-first)
	require.NoError(t, <-second)
}

// waiting reports whether the server runs a statement like that.
func waiting(t *testing.T, db *database.DB, statement string) bool {
	t.Helper()
	var n int
	require.NoError(t, db.Gorm(t.Context()).Raw("SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE ?",
		statement).Scan(&n).Error)
	return n > 0
}

// The migration's client is lost without closing its connection, as with a lost node.
func TestMigrateLostClientReleasesTheLock(t *testing.T) {
	cfg := dbtest.MySQL(t)
	db := withNotes(t, cfg)
	release := blockMigrations(t, cfg)
	lost := cfg
	proxy := newProxy(t, cfg.Host)
	lost.Host = proxy.addr
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, _, err := database.Migrate(ctx, dbtest.Open(t, lost), notes(slowMigration(0)).WithIdleTimeout(2*time.Second))
		ended <- err
	}()
	t.Cleanup(func() { cancel(); require.Error(t, <-ended) })
	require.Eventually(t, func() bool { return strings.Contains(strings.Join(tables(t, db), " "), "blog_begun") },
		patience, 5*time.Millisecond)
	proxy.silence()
	release()

	_, to, err := database.Migrate(t.Context(), db, notes(slowMigration(0)).WithLockWait(patience))
	require.NoError(t, err)
	require.EqualValues(t, 2, to)
}

// The default, with which the lock of a lost client is released within a minute.
func TestMigrationSessionEndsWithinAMinute(t *testing.T) {
	db := dbtest.Open(t, dbtest.MySQL(t))
	_, _, err := database.Migrate(t.Context(), db, notes(fstest.MapFS{
		"mysql/0002_seen.sql": up("CREATE TABLE blog_seen AS SELECT @@SESSION.wait_timeout AS seconds;"),
	}))
	require.NoError(t, err)
	var seconds int
	require.NoError(t, db.Gorm(t.Context()).Raw("SELECT seconds FROM blog_seen").Scan(&seconds).Error)
	require.Positive(t, seconds)
	require.LessOrEqual(t, seconds, 60)
}

func TestMigrateRejectsInvalidFiles(t *testing.T) {
	db := dbtest.Open(t, dbtest.SQLite(t))
	cases := map[string]struct {
		m    database.Migrations
		want string
	}{
		"no files":     {database.Migrations{Service: "notes", Files: fstest.MapFS{}}, "no migrations"},
		"service name": {database.Migrations{Service: "a;b", Files: notes().Files}, "cannot be part of a table's name"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, _, err := database.Migrate(t.Context(), db, c.m)
			require.ErrorContains(t, err, c.want)
		})
	}
	err := database.SchemaCurrent(t.Context(), db, database.Migrations{Service: "notes", Files: fstest.MapFS{"sqlite/x.sql": up("")}})
	require.ErrorContains(t, err, "must begin with a number")
}

func TestMigrateCreatesTheDatabase(t *testing.T) {
	cfg := dbtest.MySQL(t)
	admin := dbtest.Open(t, cfg)
	missing := cfg
	missing.DBName = cfg.DBName + "-new"
	t.Cleanup(func() {
		require.NoError(t, admin.Gorm(context.Background()).Exec("DROP DATABASE `"+missing.DBName+"`").Error)
	})
	db := dbtest.Open(t, missing)
	requireUnavailable(t, db.Ping(t.Context()))
	require.NoError(t, func() error { _, _, err := database.Migrate(t.Context(), db, notes()); return err }())
	require.NoError(t, insert(t.Context(), db, "first"))
}

func TestMigrateWithoutTheRightToCreateTheDatabase(t *testing.T) {
	cfg := dbtest.MySQL(t)
	admin := dbtest.Open(t, cfg)
	user := "u" + cfg.DBName[len(cfg.DBName)-8:]
	require.NoError(t, admin.Gorm(t.Context()).Exec("CREATE USER "+user+"@'127.0.0.1' IDENTIFIED BY 'pass'").Error)
	t.Cleanup(func() {
		require.NoError(t, admin.Gorm(context.Background()).Exec("DROP USER "+user+"@'127.0.0.1'").Error)
	})
	cfg.Username, cfg.Password = user, "pass"
	cfg.DBName += "_absent"
	cfg.MigrateWait = 0
	_, _, err := database.Migrate(t.Context(), dbtest.Open(t, cfg), notes())
	require.ErrorContains(t, err, "CREATE DATABASE")
	require.NotContains(t, err.Error(), "pass'")
}

func TestMigrateWithoutServer(t *testing.T) {
	cfg := database.Default()
	cfg.Username, cfg.DBName, cfg.Host = "root", "blog", "127.0.0.1:1"
	cfg.MigrateWait = 2 * time.Second
	core, logs := observer.New(zap.WarnLevel)
	db, err := database.Open(cfg, zap.New(core))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	started := time.Now()
	_, _, err = database.Migrate(t.Context(), db, notes())
	require.ErrorContains(t, err, "127.0.0.1:1 cannot be used")
	require.ErrorContains(t, err, "check the section Database")
	require.GreaterOrEqual(t, time.Since(started), cfg.MigrateWait)
	require.Len(t, logs.FilterMessage("waiting for the database").All(), 1, "the same reason is logged every 30 s")
	require.Contains(t, fmt.Sprint(logs.All()[0].ContextMap()), "connection refused")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = database.Migrate(ctx, db, notes())
	require.ErrorIs(t, err, context.Canceled)
}

// The server starts, and the account is created, while migrate waits.
func TestMigrateWaitsForTheServer(t *testing.T) {
	server := dbtest.NewMySQL(t)
	cfg := server.Config(t)
	server.Stop(t)
	late := cfg
	late.Username = "late"
	core, logs := observer.New(zap.WarnLevel)
	db, err := database.Open(late, zap.New(core))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	ended := make(chan error, 1)
	go func() { _, _, err := database.Migrate(t.Context(), db, notes()); ended <- err }()
	said := func(reason string) func() bool {
		return func() bool { return strings.Contains(fmt.Sprint(logs.All()), reason) }
	}
	require.Eventually(t, said("connection refused"), patience, 10*time.Millisecond)
	server.Start(t)
	require.Eventually(t, said("Access denied"), patience, 10*time.Millisecond)
	admin := dbtest.Open(t, cfg)
	require.NoError(t, admin.Gorm(t.Context()).Exec("CREATE USER late@'127.0.0.1'").Error)
	require.NoError(t, admin.Gorm(t.Context()).Exec("GRANT ALL ON "+cfg.DBName+".* TO late@'127.0.0.1'").Error)
	require.NoError(t, <-ended)
	require.NoError(t, database.SchemaCurrent(t.Context(), admin, notes()))
}

func TestOpenWithInvalidPath(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("this is text and no database at all, by its first bytes"), 0o600))
	for _, path := range []string{filepath.Join(file, "below", "a.db"), file, t.TempDir()} {
		cfg := dbtest.SQLite(t)
		cfg.DBName = path
		_, err := database.Open(cfg, nil)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "choose another with Database.DBName")
	}
	mistyped := dbtest.SQLite(t)
	mistyped.DBName = filepath.Join(t.TempDir(), "vra", "tag.db")
	_, err := database.Open(mistyped, nil)
	require.ErrorContains(t, err, "vra of the database file "+mistyped.DBName+" does not exist; create it")
	require.NoDirExists(t, filepath.Dir(mistyped.DBName))
}

// The previous release writes during the migration.
func TestMigrateWhileServing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		stop, failed := make(chan struct{}), make(chan error, 1)
		var written int64
		go func() {
			defer close(failed)
			pace := time.NewTicker(2 * time.Millisecond)
			defer pace.Stop()
			for {
				select {
				case <-stop:
					return
				case <-pace.C:
				}
				if err := insert(t.Context(), db, fmt.Sprint("note ", written)); err != nil {
					failed <- err
					return
				}
				written++
			}
		}()
		m := notes()
		for version := 2; version <= 6; version++ {
			m = database.Migrations{Service: m.Service, Files: merged(m.Files.(fstest.MapFS),
				both(fmt.Sprintf("%04d_x.sql", version), fmt.Sprintf("ALTER TABLE blog_note ADD COLUMN c%d int NULL;", version)))}
			_, _, err := database.Migrate(t.Context(), db, m)
			require.NoError(t, err)
		}
		close(stop)
		require.NoError(t, <-failed)
		require.Equal(t, written, count(t, db))
		require.NoError(t, db.Read(t.Context(), func(tx *gorm.DB) error { return tx.Exec("SELECT c6 FROM blog_note LIMIT 1").Error }))
	})
}

func merged(a, b fstest.MapFS) fstest.MapFS {
	all := fstest.MapFS{}
	for _, m := range []fstest.MapFS{a, b} {
		for name, file := range m {
			all[name] = file
		}
	}
	return all
}
