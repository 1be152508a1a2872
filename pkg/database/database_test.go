package database_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// slowStatement runs for much longer than any test waits.
func slowStatement(dialect string) string {
	if dialect == database.SQLite {
		return "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000000) SELECT MAX(x) FROM n"
	}
	return "SELECT COUNT(*) FROM (SELECT SLEEP(30)) AS s"
}

func TestInTx(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		own := errors.New("changed my mind")
		require.ErrorIs(t, db.InTx(t.Context(), func(tx *gorm.DB) error {
			require.NoError(t, tx.Create(&note{Name: "taken back"}).Error)
			return own
		}), own)
		require.PanicsWithValue(t, "bug", func() {
			_ = db.InTx(t.Context(), func(tx *gorm.DB) error {
				require.NoError(t, tx.Create(&note{Name: "taken back"}).Error)
				panic("bug")
			})
		})
		require.Zero(t, count(t, db))
		require.NoError(t, insert(t.Context(), db, "kept"), "no lock or connection is leaked")
		require.EqualValues(t, 1, count(t, db))
	})
}

func TestInTxUnderContention(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		require.NoError(t, insert(t.Context(), db, "0"))
		other := dbtest.Open(t, cfg) // like a second process
		const writers, rounds = 8, 20
		errs := make(chan error, writers)
		for i := range writers {
			db := []*database.DB{db, other}[i%2]
			go func() {
				var failed error
				for range rounds {
					failed = errors.Join(failed, db.InTx(t.Context(), increment))
				}
				errs <- failed
			}()
		}
		for range writers {
			require.NoError(t, <-errs)
		}
		var n note
		require.NoError(t, db.Gorm(t.Context()).First(&n).Error)
		require.Equal(t, fmt.Sprint(writers*rounds), n.Name)
	})
}

func increment(tx *gorm.DB) error {
	var n int
	query := "SELECT name FROM blog_note WHERE id = 1"
	if tx.Name() == database.MySQL {
		query += " FOR UPDATE"
	}
	if err := tx.Raw(query).Scan(&n).Error; err != nil {
		return err
	}
	return tx.Exec("UPDATE blog_note SET name = ? WHERE id = 1", fmt.Sprint(n+1)).Error
}

// Two transactions lock two rows in opposite order.
func TestInTxRetriesDeadlocks(t *testing.T) {
	db := withNotes(t, dbtest.MySQL(t))
	for _, name := range []string{"a", "b"} {
		require.NoError(t, insert(t.Context(), db, name))
	}
	var attempts atomic.Int32
	var meeting sync.WaitGroup
	meeting.Add(2)
	run := func(first, second int) error {
		met := false
		return db.InTx(t.Context(), func(tx *gorm.DB) error {
			attempts.Add(1)
			if err := tx.Exec("UPDATE blog_note SET body = CONCAT(body, 'x') WHERE id = ?", first).Error; err != nil {
				return err
			}
			if !met {
				met = true
				meeting.Done()
				meeting.Wait()
			}
			return tx.Exec("UPDATE blog_note SET body = CONCAT(body, 'x') WHERE id = ?", second).Error
		})
	}
	failed := make(chan error)
	go func() { failed <- run(1, 2) }()
	require.NoError(t, run(2, 1))
	require.NoError(t, <-failed)
	require.EqualValues(t, 3, attempts.Load(), "one transaction was retried")
	var notes []note
	require.NoError(t, db.Gorm(t.Context()).Find(&notes).Error)
	for _, n := range notes {
		require.Equal(t, "xx", n.Body, "each transaction is applied once")
	}
}

// InTx rolls back and runs its function again when that returns ErrRetry.
func TestInTxRetriesOnRequest(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		attempts := 0
		require.NoError(t, db.InTx(t.Context(), func(tx *gorm.DB) error {
			if err := tx.Create(&note{Name: "a"}).Error; err != nil {
				return err
			}
			if attempts++; attempts < 3 {
				return fmt.Errorf("changed: %w", database.ErrRetry)
			}
			return nil
		}))
		require.Equal(t, 3, attempts)
		var notes []note
		require.NoError(t, db.Gorm(t.Context()).Find(&notes).Error)
		require.Len(t, notes, 1)
	})
}

// Another process holds the lock until the timeout.
func TestInTxWithoutTheLock(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes seconds")
	}
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		require.NoError(t, insert(t.Context(), db, "0"))
		release := dbtest.Hold(t, dbtest.Open(t, cfg), "UPDATE blog_note SET body = 'mine' WHERE id = 1")
		waiter := dbtest.Open(t, asInProduction(cfg))
		dbtest.Within(t, promised, func() { requireUnavailable(t, waiter.InTx(t.Context(), increment)) })
		patient := dbtest.Open(t, cfg)
		dbtest.Within(t, time.Second, func() {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			requireEnded(t, patient.InTx(ctx, increment), context.Canceled)
		})
		release()
		require.NoError(t, patient.InTx(t.Context(), increment))
	})
}

func TestSnapshotIsConsistent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		require.NoError(t, insert(t.Context(), db, "one"))
		require.NoError(t, db.Snapshot(t.Context(), func(tx *gorm.DB) error {
			var before, after int64
			require.NoError(t, tx.Model(&note{}).Count(&before).Error)
			require.NoError(t, insert(t.Context(), db, "two"), "readers do not block writers")
			require.NoError(t, tx.Model(&note{}).Count(&after).Error)
			require.Equal(t, before, after)
			return nil
		}))
		require.EqualValues(t, 2, count(t, db))
	})
}

func TestLongSnapshot(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		withNotes(t, cfg)
		cfg.MaxOpenConns, cfg.MaxIdleConns = 1, 1
		db, other := dbtest.Open(t, cfg), dbtest.Open(t, cfg)
		idle := func(tx *gorm.DB) string {
			var found []struct{ Name, Value string }
			if db.Dialect() == database.MySQL { // MariaDB; MySQL has no such variable
				require.NoError(t, tx.Raw("SHOW VARIABLES LIKE 'idle_transaction_timeout'").Scan(&found).Error)
			}
			return fmt.Sprint(found)
		}
		before := idle(db.Gorm(t.Context()))
		ctx, cancel := context.WithCancel(t.Context())
		for name, end := range map[string]func() error{
			"done":     func() error { return nil },
			"failed":   func() error { return errors.New("failed") },
			"canceled": func() error { cancel(); return ctx.Err() },
		} {
			err := db.LongSnapshot(ctx, 77*time.Second, func(tx *gorm.DB) error {
				var before, after int64
				require.NoError(t, tx.Model(&note{}).Count(&before).Error)
				require.NoError(t, insert(t.Context(), other, name), "readers do not block writers")
				require.NoError(t, tx.Model(&note{}).Count(&after).Error)
				require.Equal(t, before, after)
				if db.Dialect() == database.MySQL && idle(tx) != "[]" {
					require.Contains(t, idle(tx), "77")
				}
				return end()
			})
			require.Equal(t, name == "done", err == nil, "%v", err)
			require.Equal(t, before, idle(db.Gorm(t.Context())), name)
			if name == "canceled" {
				ctx, cancel = context.WithCancel(t.Context())
			}
		}
		cancel()
		requireUnavailable(t, db.LongSnapshot(t.Context(), 50*time.Millisecond, func(tx *gorm.DB) error {
			<-tx.Statement.Context.Done()
			return tx.Statement.Context.Err()
		}))
	})
}

func TestTimeoutOfStatements(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes seconds")
	}
	operations := map[string]func(*database.DB, context.Context, func(*gorm.DB) error) error{
		"Read": (*database.DB).Read, "Snapshot": (*database.DB).Snapshot, "InTx": (*database.DB).InTx,
	}
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		withNotes(t, cfg)
		quick := cfg
		quick.Timeout = 100 * time.Millisecond
		db, patient := dbtest.Open(t, quick), dbtest.Open(t, cfg)
		for name, operation := range operations {
			slow := func(tx *gorm.DB) error {
				var rows int64
				return tx.Raw(slowStatement(cfg.DBType)).Scan(&rows).Error
			}
			slowExec := func(tx *gorm.DB) error {
				return tx.Exec("INSERT INTO blog_note (id, name, body) SELECT 7, 'slow', x FROM (" +
					strings.Replace(slowStatement(cfg.DBType), "COUNT(*)", "COUNT(*) AS x", 1) + ") AS y").Error
			}
			if cfg.DBType == database.SQLite {
				slowExec = func(tx *gorm.DB) error {
					return tx.Exec("INSERT INTO blog_note (id, name, body) " +
						strings.Replace(slowStatement(cfg.DBType), "SELECT MAX(x)", "SELECT 7, 'slow', MAX(x)", 1)).Error
				}
			}
			works := map[string]func(*gorm.DB) error{"query": slow, "exec": slowExec}
			if name == "Snapshot" {
				delete(works, "exec")
			}
			for kind, work := range works {
				t.Run(name+" "+kind, func(t *testing.T) {
					dbtest.Within(t, time.Second, func() { requireUnavailable(t, operation(db, t.Context(), work)) })
					dbtest.Within(t, time.Second, func() {
						deadline, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
						defer cancel()
						requireEnded(t, operation(patient, deadline, work), context.DeadlineExceeded)
					})
					dbtest.Within(t, time.Second, func() {
						left, leave := context.WithCancel(t.Context())
						time.AfterFunc(50*time.Millisecond, leave)
						requireEnded(t, operation(patient, left, work), context.Canceled)
					})
					require.Zero(t, count(t, patient))
					require.NoError(t, patient.Ping(t.Context()))
				})
			}
		}
	})
}

func TestWithTimeout(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		const limit = 200 * time.Millisecond
		db := withNotes(t, cfg).WithTimeout(limit)
		// Many short statements.
		last := func(length time.Duration) func(*gorm.DB) error {
			return func(tx *gorm.DB) error {
				for began := time.Now(); time.Since(began) < length; {
					if err := tx.Exec("UPDATE blog_note SET name = 'x' WHERE id = 0").Error; err != nil {
						return err
					}
				}
				return nil
			}
		}
		requireUnavailable(t, db.InTx(t.Context(), last(patience)))
		require.NoError(t, db.WithTimeout(2*patience).InTx(t.Context(), last(2*limit)))
		requireUnavailable(t, db.InTx(t.Context(), last(patience)))
	})
}

// Work must not begin after the request has ended.
func TestContextThatHasEnded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, insert(ctx, db, "late"), context.Canceled)
		require.ErrorIs(t, db.Read(ctx, func(tx *gorm.DB) error { return tx.Create(&note{Name: "late"}).Error }), context.Canceled)
		err := db.InTx(t.Context(), func(tx *gorm.DB) error {
			return tx.WithContext(ctx).Create(&note{Name: "late"}).Error
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Zero(t, count(t, db))
	})
}

// The SQLite driver itself reports success for a statement that it did not begin.
func TestSQLiteStatementAfterItsContext(t *testing.T) {
	db := withNotes(t, dbtest.SQLite(t))
	conn, err := db.SQL().Conn(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		require.NoError(t, conn.Raw(func(raw any) error {
			_, err := raw.(driver.ExecerContext).ExecContext(ctx, "INSERT INTO blog_note (name, body) VALUES ('late', '')", nil)
			require.ErrorIs(t, err, context.Canceled)
			return nil
		}))
	}
	require.Zero(t, count(t, db))
}

// A cancelled transaction must not continue in the next one on its connection.
func TestCancelledTransactionIsRolledBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		cfg.MaxOpenConns, cfg.MaxIdleConns = 1, 1
		db := withNotes(t, cfg)
		for i := range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			requireEnded(t, db.InTx(ctx, func(tx *gorm.DB) error {
				require.NoError(t, tx.Create(&note{Name: fmt.Sprint("undone ", i)}).Error)
				cancel()
				return nil
			}), context.Canceled)
			require.Zero(t, count(t, db))
		}
		require.NoError(t, insert(t.Context(), db, "done"))
		require.EqualValues(t, 1, count(t, dbtest.Open(t, cfg)), "other connections see it")
	})
}

// A late interrupt must not affect the next statement on the connection.
func TestCancelAffectsOneStatement(t *testing.T) {
	cfg := dbtest.SQLite(t)
	cfg.MaxOpenConns, cfg.MaxIdleConns = 1, 1
	db := withNotes(t, cfg)
	for i := range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		_ = db.Read(ctx, func(tx *gorm.DB) error { var n []note; return tx.Find(&n).Error })
		require.NoError(t, insert(t.Context(), db, fmt.Sprint("note ", i)))
		cancel()
	}
}

func TestPoolSettingsTakeEffect(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		withNotes(t, cfg)
		cfg.MaxOpenConns, cfg.MaxIdleConns = 5, 2
		db := dbtest.Open(t, cfg)
		var group sync.WaitGroup
		release := make(chan struct{})
		for range 10 {
			group.Go(func() {
				_ = db.Snapshot(t.Context(), func(*gorm.DB) error { <-release; return nil })
			})
		}
		require.Eventually(t, func() bool {
			return db.SQL().Stats().InUse == 4
		}, patience, time.Millisecond, "reads use all but one, which is kept for writes")
		close(release)
		group.Wait()
		stats := db.SQL().Stats()
		require.Equal(t, 5, stats.MaxOpenConnections)
		require.Positive(t, stats.MaxIdleClosed, "more than MaxIdleConns are closed")
	})
}

func TestConnMaxIdleTime(t *testing.T) {
	cfg := dbtest.SQLite(t)
	cfg.ConnMaxIdleTime = time.Millisecond
	db := dbtest.Open(t, cfg)
	require.Eventually(t, func() bool {
		return db.Ping(t.Context()) == nil && db.SQL().Stats().MaxIdleTimeClosed > 0
	}, patience, 10*time.Millisecond)
}

func TestConnMaxLifetime(t *testing.T) {
	cfg := dbtest.SQLite(t)
	cfg.ConnMaxLifetime = 50 * time.Millisecond
	db := dbtest.Open(t, cfg)
	require.Eventually(t, func() bool {
		return db.Ping(t.Context()) == nil && db.SQL().Stats().MaxLifetimeClosed > 0
	}, patience, 10*time.Millisecond)
}

func TestTimesAreUTC(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		far := time.FixedZone("far", 13*3600)
		at := time.Date(2024, 2, 29, 3, 4, 5, 678_912_345, far)
		started := time.Now().Add(-time.Millisecond)
		require.NoError(t, db.InTx(t.Context(), func(tx *gorm.DB) error { return tx.Create(&note{Name: "n", At: &at}).Error }))
		var got note
		require.NoError(t, db.Gorm(t.Context()).First(&got).Error)
		require.Equal(t, time.Date(2024, 2, 28, 14, 4, 5, 678_000_000, time.UTC), *got.At)
		require.Equal(t, time.UTC, got.At.Location())
		require.Equal(t, time.UTC, got.CreatedAt.Location())
		require.WithinRange(t, got.CreatedAt, started, time.Now())
		require.Equal(t, got.CreatedAt, got.CreatedAt.Truncate(time.Millisecond))

		var text string
		require.NoError(t, db.Gorm(t.Context()).Raw("SELECT CONCAT('', at) FROM blog_note").Scan(&text).Error)
		require.True(t, strings.HasPrefix(text, "2024-02-28 14:04:05.678"), text)
		for _, moment := range []time.Time{at.Truncate(time.Millisecond), at.Truncate(time.Millisecond).UTC()} {
			var rows int64
			require.NoError(t, db.Gorm(t.Context()).Model(&note{}).Where("at = ?", moment).Count(&rows).Error)
			require.EqualValues(t, 1, rows, "the time zone does not matter")
		}
	})
}

func TestAnyText(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		for _, text := range []string{"👩‍👩‍👧‍👦🏳️‍🌈", "标签與標籤", "it's \"quoted\" \\ ; -- /* ? */", "a\x00b\r\n", strings.Repeat("长", 1<<18)} {
			require.NoError(t, db.InTx(t.Context(), func(tx *gorm.DB) error {
				return tx.Create(&note{Name: string([]rune(text)[:3]), Body: text}).Error
			}))
			var got note
			require.NoError(t, db.Gorm(t.Context()).Where("body = ?", text).First(&got).Error)
			require.Equal(t, text, got.Body)
		}
	})
}

func TestSoftDelete(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		require.NoError(t, insert(t.Context(), db, "one"))
		require.NoError(t, db.InTx(t.Context(), func(tx *gorm.DB) error { return tx.Delete(&note{ID: 1}).Error }))
		require.Zero(t, count(t, db))
		var rows int64
		require.NoError(t, db.Gorm(t.Context()).Unscoped().Model(&note{}).Where("is_deleted = 1").Count(&rows).Error)
		require.EqualValues(t, 1, rows)
	})
}

// An UPDATE that changes nothing has found its row.
func TestRowsFoundNotRowsChanged(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		require.NoError(t, insert(t.Context(), db, "same"))
		for id, want := range map[int]int64{1: 1, 2: 0} {
			result := db.Gorm(t.Context()).Model(&note{}).Where("id = ?", id).Update("name", "same")
			require.NoError(t, result.Error)
			require.Equal(t, want, result.RowsAffected)
		}
	})
}

func TestDataSurvivesReopening(t *testing.T) {
	cfg := dbtest.SQLite(t)
	cfg.DBName = filepath.Join(t.TempDir(), "folder 100% 标签 #1", "a.db")
	require.NoError(t, os.Mkdir(filepath.Dir(cfg.DBName), 0o700))
	db, err := database.Open(cfg, zap.NewNop())
	require.NoError(t, err)
	_, _, err = database.Migrate(t.Context(), db, notes())
	require.NoError(t, err)
	require.NoError(t, insert(t.Context(), db, "kept"))
	require.NoError(t, db.Close())
	require.FileExists(t, cfg.DBName)
	require.EqualValues(t, 1, count(t, dbtest.Open(t, cfg)))
}

func TestSQLiteFilesArePrivate(t *testing.T) {
	cfg := dbtest.SQLite(t)
	db := withNotes(t, cfg)
	require.NoError(t, db.Claim())
	require.NoError(t, insert(t.Context(), db, "private"))
	files, err := filepath.Glob(cfg.DBName + "*")
	require.NoError(t, err)
	require.Len(t, files, 5, "database, WAL, its index, two locks: %v", files)
	for _, file := range files {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), file)
	}
}

func TestClaimRefusesASecondProcess(t *testing.T) {
	cfg := dbtest.SQLite(t)
	first := withNotes(t, cfg)
	require.NoError(t, first.Claim())
	second := dbtest.Open(t, cfg)
	err := second.Claim()
	require.ErrorContains(t, err, fmt.Sprintf("another process (%d) serves the database file %s", os.Getpid(), cfg.DBName))
	require.ErrorContains(t, err, "Database.DBName")
	require.NoError(t, second.Ping(t.Context()), "commands may use the file")
	require.NoError(t, first.Close())
	require.NoError(t, second.Claim())
	mysql, err := database.Open(func() database.Config {
		cfg := database.Default()
		cfg.Username, cfg.DBName = "root", "blog"
		return cfg
	}(), nopLog())
	require.NoError(t, err)
	require.NoError(t, mysql.Claim())
	require.NoError(t, mysql.Close())
}

func TestMetrics(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		registry := prometheus.NewRegistry()
		require.NoError(t, db.Register(registry))
		require.NoError(t, insert(t.Context(), db, "one"))
		require.Error(t, insert(t.Context(), db, "one"))
		require.Error(t, db.Read(t.Context(), func(tx *gorm.DB) error { return tx.First(&note{}, 99).Error }))
		require.NoError(t, db.Gorm(t.Context()).Exec("UPDATE blog_note SET body = ''").Error)
		families, err := registry.Gather()
		require.NoError(t, err)
		problems, err := promlint.NewWithMetricFamilies(families).Lint()
		require.NoError(t, err)
		require.Empty(t, problems)
		var text strings.Builder
		for _, family := range families {
			_, err := expfmt.MetricFamilyToText(&text, family)
			require.NoError(t, err)
		}
		for _, line := range []string{
			`achilles_database_query_duration_seconds_count{operation="create",status="ok"} 1`,
			`achilles_database_query_duration_seconds_count{operation="create",status="error"} 1`,
			`achilles_database_query_duration_seconds_count{operation="query",status="ok"} 1`, // "not found" is not an error
			`achilles_database_query_duration_seconds_count{operation="raw",status="ok"} 1`,
			`go_sql_max_open_connections{db_name="` + filepath.Base(cfg.DBName) + `"} 30`,
		} {
			require.Contains(t, text.String(), line)
		}
	})
}

func TestSlowStatementsAreLoggedWithoutValues(t *testing.T) {
	cfg := dbtest.SQLite(t)
	withNotes(t, cfg)
	cfg.Timeout = 300 * time.Millisecond
	core, logs := observer.New(zap.WarnLevel)
	db, err := database.Open(cfg, zap.New(core))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	requireUnavailable(t, db.Read(t.Context(), func(tx *gorm.DB) error {
		return tx.Exec(slowStatement(database.SQLite)+" WHERE x <> ?", "secret").Error
	}))
	require.Equal(t, 1, logs.FilterMessage("slow query").Len())
	entry := fmt.Sprint(logs.All()[0].ContextMap())
	require.Contains(t, entry, "x <> ?")
	require.NotContains(t, entry, "secret")
}

// Query reads rows, also after connections were closed and the table has changed, and its
// errors have the classes of other operations.
func TestQuery(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := dbtest.Open(t, cfg)
		exec := func(statement string) {
			_, err := db.SQL().ExecContext(t.Context(), statement)
			require.NoError(t, err)
		}
		exec("CREATE TABLE numbers (id int PRIMARY KEY)")
		exec("INSERT INTO numbers VALUES (1), (2), (3)")
		read := func(ctx context.Context, keys ...int) (found []int, err error) {
			marks, values := database.In(keys)
			err = db.Query(ctx, "SELECT id FROM numbers WHERE id IN ("+marks+") ORDER BY id", values, func(rows *sql.Rows) error {
				found = append(found, 0)
				return rows.Scan(&found[len(found)-1])
			})
			return found, err
		}
		for range 3 {
			found, err := read(t.Context(), 3, 9, 1)
			require.NoError(t, err)
			require.Equal(t, []int{1, 3}, found)
			db.SQL().SetMaxIdleConns(0) // closes the connections
			exec("ALTER TABLE numbers ADD COLUMN a" + strings.ToLower(rand.Text()) + " int NULL")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := read(ctx, 1)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, db.Query(t.Context(), "SELECT id FROM numbers WHERE id = ?", []any{1}, func(*sql.Rows) error { return io.EOF }), io.EOF)
		require.Error(t, db.Query(t.Context(), "SELECT id FROM missing WHERE id = ?", []any{1}, func(*sql.Rows) error { return nil }))

		slow := "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT COUNT(*) FROM n a, n b, n c"
		err = db.WithTimeout(100*time.Millisecond).Query(t.Context(), slow, []any{900}, func(*sql.Rows) error { return nil })
		var coded *errcode.Error
		require.ErrorAs(t, err, &coded)
		require.Equal(t, errcode.Unavailable, coded.Code)
	})
}

func TestIn(t *testing.T) {
	for want, keys := range map[string][]int{
		"? [1]": {1}, "?, ? [1 2]": {1, 2}, "?, ?, ?, ? [1 2 3 3]": {1, 2, 3}, "?, ?, ?, ?, ?, ?, ?, ? [1 2 3 4 5 5 5 5]": {1, 2, 3, 4, 5},
	} {
		marks, values := database.In(keys)
		require.Equal(t, want, fmt.Sprint(marks, " ", values))
	}
}

// Connections have the variables that the stores depend on, whatever the server's are.
func TestSessionVariables(t *testing.T) {
	db := dbtest.Open(t, dbtest.MySQL(t))
	for variable, want := range map[string]int{"eq_range_index_dive_limit": 2, "group_concat_max_len": 1 << 20} {
		var got int
		require.NoError(t, db.Gorm(t.Context()).Raw("SELECT @@SESSION."+variable).Scan(&got).Error)
		require.Equal(t, want, got, variable)
	}
}
