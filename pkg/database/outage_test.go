package database_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// promised is the maximum time until a client gets 503.
const promised = 2 * time.Second

// requireUnusable requires that all methods fail in time, concurrently.
func requireUnusable(t *testing.T, db *database.DB) {
	t.Helper()
	read := func(tx *gorm.DB) error { var n []note; return tx.Find(&n).Error }
	work := []func() error{
		func() error { return db.Ping(t.Context()) },
		func() error { return db.Read(t.Context(), read) },
		func() error { return db.Snapshot(t.Context(), read) },
		func() error { return insert(t.Context(), db, "lost") },
		func() error { return database.SchemaCurrent(t.Context(), db, notes()) },
	}
	errs := make([]error, len(work))
	dbtest.Within(t, promised, func() {
		var group sync.WaitGroup
		for i, one := range work {
			group.Go(func() { errs[i] = one() })
		}
		group.Wait()
	})
	for _, err := range errs {
		requireUnavailable(t, err)
	}
}

// requireRecovery requires that the database works as soon as the server is
// available again. Its timeout must be long, because the machine may be suspended.
func requireRecovery(t *testing.T, db *database.DB) {
	t.Helper()
	require.Eventually(t, func() bool { return db.Ping(t.Context()) == nil }, patience, 10*time.Millisecond)
	for i := range 20 {
		require.NoError(t, insert(t.Context(), db, fmt.Sprint(time.Now().UnixNano(), i)))
	}
}

// connections returns the ids of three connections of the pool, in use at once.
func connections(t *testing.T, db *database.DB) (ids []int) {
	t.Helper()
	for range 3 {
		conn, err := db.SQL().Conn(t.Context())
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
		var id int
		require.NoError(t, conn.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id))
		ids = append(ids, id)
	}
	return ids
}

func asInProduction(cfg database.Config) database.Config {
	cfg.Timeout = database.Default().Timeout
	return cfg
}

func TestOutages(t *testing.T) {
	server := dbtest.NewMySQL(t, "--max-connections=10", "--extra-max-connections=0")
	cfg := server.Config(t)
	patient := withNotes(t, cfg)
	db := patient.WithTimeout(database.Default().Timeout) // the same pool
	// Open several connections, which will be broken after the outage.
	warm := func() {
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				_ = patient.Snapshot(t.Context(), func(tx *gorm.DB) error { return tx.Exec("DO SLEEP(0.05)").Error })
			})
		}
		group.Wait()
	}

	t.Run("killed", func(t *testing.T) {
		warm()
		server.Kill(t)
		requireUnusable(t, db)
		late, err := database.Open(cfg, nopLog())
		require.NoError(t, err, "the server may start after the service")
		defer func() { require.NoError(t, late.Close()) }()
		requireUnusable(t, late.WithTimeout(database.Default().Timeout))
		server.Start(t)
		requireRecovery(t, patient)
		requireRecovery(t, late)
	})
	t.Run("restarted in order", func(t *testing.T) {
		warm()
		server.Stop(t)
		server.Start(t)
		// No request may fail because of a connection from before the outage.
		require.NoError(t, insert(t.Context(), patient, "right after"))
		requireRecovery(t, patient)
	})
	t.Run("paused", func(t *testing.T) {
		warm()
		server.Pause(t)
		requireUnusable(t, db)
		requireUnusable(t, db)
		server.Resume(t)
		requireRecovery(t, patient)
	})
	t.Run("paused, with every connection waiting", func(t *testing.T) {
		server.Pause(t)
		errs := make([]error, 3*cfg.MaxOpenConns)
		dbtest.Within(t, promised, func() {
			var group sync.WaitGroup
			for i := range errs {
				group.Go(func() { errs[i] = insert(t.Context(), db, "lost") })
			}
			group.Wait()
		})
		for _, err := range errs {
			requireUnavailable(t, err)
		}
		server.Resume(t)
		requireRecovery(t, patient)
	})
	for _, end := range []string{"commit", "rollback"} {
		t.Run("paused just before "+end, func(t *testing.T) {
			own := map[string]error{"commit": nil, "rollback": errors.New("own")}[end]
			dbtest.Within(t, promised, func() {
				server.Resume(t)
				paused := false
				err := db.InTx(t.Context(), func(tx *gorm.DB) error {
					if err := tx.Exec("UPDATE blog_note SET body = 'in doubt'").Error; err != nil {
						return err // the machine was suspended
					}
					server.Pause(t)
					paused = true
					return own
				})
				if own == nil || !paused {
					requireUnavailable(t, err)
				} else {
					require.ErrorIs(t, err, own)
				}
			})
			server.Resume(t)
			requireRecovery(t, patient)
		})
	}
	t.Run("paused for a moment only", func(t *testing.T) {
		server.Pause(t)
		time.AfterFunc(300*time.Millisecond, func() { server.Resume(t) })
		require.NoError(t, insert(t.Context(), patient, "had to wait"))
	})
	t.Run("killed within a transaction", func(t *testing.T) {
		before := count(t, patient)
		started := time.Now()
		requireUnavailable(t, patient.InTx(t.Context(), func(tx *gorm.DB) error {
			require.NoError(t, tx.Create(&note{Name: "half"}).Error)
			server.Kill(t)
			return tx.Create(&note{Name: "other half"}).Error
		}))
		require.Less(t, time.Since(started), cfg.Timeout/2, "at once, not after the timeout")
		server.Start(t)
		requireRecovery(t, patient)
		require.Equal(t, before+20, count(t, patient), "no transaction is applied partly")
	})
	t.Run("connection killed by an administrator", func(t *testing.T) {
		other := dbtest.Open(t, cfg)
		err := patient.InTx(t.Context(), func(tx *gorm.DB) error {
			var id int
			require.NoError(t, tx.Raw("SELECT CONNECTION_ID()").Scan(&id).Error)
			require.NoError(t, other.Gorm(t.Context()).Exec(fmt.Sprintf("KILL %d", id)).Error)
			return tx.Create(&note{Name: "gone"}).Error
		})
		requireUnavailable(t, err)
		requireRecovery(t, patient)
	})
	t.Run("too many connections", func(t *testing.T) {
		var held []*gorm.DB
		crowd := dbtest.Open(t, cfg)
		for {
			tx := crowd.Gorm(t.Context()).Begin()
			if tx.Error != nil {
				require.ErrorContains(t, tx.Error, "1040")
				requireUnavailable(t, database.Classify(tx.Error))
				break
			}
			held = append(held, tx)
		}
		fresh := dbtest.Open(t, cfg)
		hurried := fresh.WithTimeout(database.Default().Timeout)
		dbtest.Within(t, promised, func() { requireUnavailable(t, hurried.Ping(t.Context())) })
		for _, tx := range held {
			require.NoError(t, tx.Rollback().Error)
		}
		require.NoError(t, crowd.Close())
		requireRecovery(t, fresh)
	})
	t.Run("read-only, as after a failover", func(t *testing.T) {
		admin := dbtest.Open(t, cfg)
		require.NoError(t, admin.Gorm(t.Context()).Exec("CREATE USER plain@'127.0.0.1'").Error)
		require.NoError(t, admin.Gorm(t.Context()).Exec("GRANT ALL ON "+cfg.DBName+".* TO plain@'127.0.0.1'").Error)
		plain := cfg
		plain.Username = "plain" // read-only does not apply to root
		core, logs := observer.New(zap.WarnLevel)
		db, err := database.Open(plain, zap.New(core))
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		require.NoError(t, insert(t.Context(), db, "before"))
		require.NoError(t, db.Writable(t.Context()))
		require.NoError(t, admin.Gorm(t.Context()).Exec("SET GLOBAL read_only = ON").Error)
		checked := dbtest.Open(t, plain)
		before := connections(t, checked)
		require.ErrorIs(t, checked.Writable(t.Context()), database.ErrReadOnly)
		require.NoError(t, checked.Ping(t.Context()), "it is reachable")
		for _, id := range connections(t, checked) {
			require.NotContains(t, before, id, "reads must not stay at a former primary")
		}

		before = connections(t, db)
		err = insert(t.Context(), db, "during")
		requireReadOnly(t, err)
		require.ErrorContains(t, err, "1290")
		require.Contains(t, fmt.Sprint(logs.FilterMessageSnippet("read-only").All()), "1290")
		after := connections(t, db)
		for _, id := range before {
			require.NotContains(t, after, id, "a new connection may reach the new primary")
		}
		count(t, db) // reads work
		require.NoError(t, admin.Gorm(t.Context()).Exec("SET GLOBAL read_only = OFF").Error)
		require.NoError(t, insert(t.Context(), db, "writable again"))
		require.NoError(t, db.Writable(t.Context()))
		requireRecovery(t, db)
	})
	t.Run("wrong password", func(t *testing.T) {
		wrong := cfg
		wrong.Password = "no-such-password"
		db := dbtest.Open(t, wrong)
		err := db.Ping(t.Context())
		requireUnavailable(t, err)
		require.NotContains(t, err.Error(), "no-such-password")
	})
}

// Nothing answers at this address.
func TestUnreachableHost(t *testing.T) {
	cfg := database.Default()
	cfg.Username, cfg.DBName, cfg.Host = "root", "blog", "192.0.2.1:3306" // reserved for documentation
	requireUnusable(t, dbtest.Open(t, cfg))
	cfg.Host = "no-such-host.invalid:3306"
	requireUnusable(t, dbtest.Open(t, cfg))
}

// The server must cancel the statements of a client that is lost.
func TestServerCancelsStatementsOfLostClients(t *testing.T) {
	cfg := dbtest.MySQL(t)
	admin := dbtest.Open(t, cfg)
	cfg.Timeout = time.Second
	db := dbtest.Open(t, cfg).WithTimeout(patience) // the server's limit remains
	running := func() (n int) {
		require.NoError(t, admin.Gorm(t.Context()).Raw(
			"SELECT COUNT(*) FROM information_schema.processlist WHERE db = ? AND info LIKE 'SELECT COUNT(*) FROM (SELECT SLEEP%'", cfg.DBName).Scan(&n).Error)
		return n
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		for { // again, if the machine was suspended for longer than the server's limit
			err := db.Read(ctx, func(tx *gorm.DB) error { return tx.Exec(slowStatement(database.MySQL)).Error })
			if ctx.Err() != nil {
				ended <- err
				return
			}
		}
	}()
	require.Eventually(t, func() bool { return running() == 1 }, patience, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Eventually(t, func() bool { return running() == 0 }, 15*time.Second, 10*time.Millisecond, "half of its time without a limit")
}

// The limit of the server, on a pool without one.
func TestMaxStatementTime(t *testing.T) {
	cfg := dbtest.MySQL(t)
	cfg.Timeout = 300 * time.Millisecond
	db := dbtest.Open(t, cfg)
	err := db.Gorm(t.Context()).Exec("SELECT SLEEP(20) FROM (SELECT 1) AS one").Error
	require.ErrorContains(t, err, "1969")
	requireUnavailable(t, database.Classify(err))
}

// The server has another version string, time zone, SQL mode and character set.
func TestServerDefaultsDoNotMatter(t *testing.T) {
	server := dbtest.NewMySQL(t, "--version=5.5.0-odd", "--default-time-zone=+05:45", "--sql-mode=ANSI_QUOTES",
		"--character-set-server=latin1", "--collation-server=latin1_swedish_ci", "--skip-character-set-client-handshake")
	db := withNotes(t, server.Config(t))
	now := time.Now().UTC().Truncate(time.Millisecond)
	require.NoError(t, db.InTx(t.Context(), func(tx *gorm.DB) error {
		return tx.Create(&note{Name: "👩‍👩‍👧‍👦", Body: `it's`, At: &now}).Error
	}))
	var got note
	require.NoError(t, db.Gorm(t.Context()).Where("name = ?", "👩‍👩‍👧‍👦").First(&got).Error)
	require.Equal(t, "👩‍👩‍👧‍👦", got.Name)
	require.Equal(t, now, *got.At)
	var text string
	require.NoError(t, db.Gorm(t.Context()).Raw("SELECT CAST(at AS CHAR) FROM blog_note").Scan(&text).Error)
	require.Equal(t, now.Format("2006-01-02 15:04:05.000"), text)
	var serverNow time.Time
	require.NoError(t, db.Gorm(t.Context()).Raw("SELECT NOW(3)").Scan(&serverNow).Error)
	require.WithinDuration(t, time.Now(), serverNow, time.Minute)
	require.Error(t, db.Gorm(t.Context()).Exec("INSERT INTO blog_note (name, body) VALUES (REPEAT('x', 101), '')").Error, "values are not truncated")
}

// The server rolls back the transaction of a client that is lost, as with a lost
// node, after a timeout.
func TestLocksOfLostClientsAreReleased(t *testing.T) {
	cfg := dbtest.MySQL(t)
	cfg.Timeout = 5 * time.Second // the least time for which a transaction may be idle
	db := withNotes(t, cfg)
	require.NoError(t, insert(t.Context(), db, "wanted"))
	vanished, err := db.SQL().Conn(t.Context())
	require.NoError(t, err)
	defer func() { // the server has closed it: the pool must discard it
		_ = vanished.Raw(func(any) error { return driver.ErrBadConn })
		_ = vanished.Close()
	}()
	_, err = vanished.ExecContext(t.Context(), "BEGIN")
	require.NoError(t, err)
	_, err = vanished.ExecContext(t.Context(), "UPDATE blog_note SET body = 'locked' WHERE name = 'wanted'")
	require.NoError(t, err)
	hurried := db.WithTimeout(500 * time.Millisecond)
	write := func() error {
		return hurried.InTx(t.Context(), func(tx *gorm.DB) error {
			return tx.Model(&note{}).Where("name = ?", "wanted").Update("body", "written").Error
		})
	}
	requireUnavailable(t, write())
	require.Eventually(t, func() bool { return write() == nil }, patience, 100*time.Millisecond, "the lock is not released")
}

// The isolation of Snapshot does not depend on the server's default.
func TestSnapshotWithAnotherDefaultIsolation(t *testing.T) {
	db := withNotes(t, dbtest.NewMySQL(t, "--transaction-isolation=READ-COMMITTED").Config(t))
	var before, after int64
	require.NoError(t, db.Snapshot(t.Context(), func(tx *gorm.DB) error {
		if err := tx.Model(&note{}).Count(&before).Error; err != nil {
			return err
		}
		if err := insert(t.Context(), db, "meanwhile"); err != nil {
			return err
		}
		return tx.Model(&note{}).Count(&after).Error
	}))
	require.Equal(t, before, after)
}

// A server is also read-only if its transactions are, unless they say otherwise (error 1792).
func TestWritableWithReadOnlyTransactions(t *testing.T) {
	db := withNotes(t, dbtest.NewMySQL(t).Config(t))
	require.NoError(t, db.Writable(t.Context()))
	require.NoError(t, db.Gorm(t.Context()).Exec("SET GLOBAL tx_read_only = ON").Error)
	require.ErrorIs(t, db.Writable(t.Context()), database.ErrReadOnly)
	require.ErrorIs(t, insert(t.Context(), db, "with a new connection"), database.ErrReadOnly)
	require.NoError(t, db.Gorm(t.Context()).Exec("SET GLOBAL tx_read_only = OFF").Error)
	require.NoError(t, db.Writable(t.Context()))
	require.Eventually(t, func() bool { return insert(t.Context(), db, "writable again") == nil }, patience, 100*time.Millisecond)
}

// While the server stays read-only, failed writes do not reopen all connections each time.
func TestReadOnlyServerIsNotReconnectedToAtEveryWrite(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	cfg := dbtest.MySQL(t)
	withNotes(t, cfg)
	db, err := database.Open(cfg, zap.New(core))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	started := time.Now()
	for range 20 {
		err := db.InTx(t.Context(), func(tx *gorm.DB) error {
			return tx.Exec("SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1836, MESSAGE_TEXT = 'Running in read-only mode'").Error
		})
		requireReadOnly(t, err)
	}
	require.LessOrEqual(t, logs.Len(), 1+int(time.Since(started)/time.Second))
}
