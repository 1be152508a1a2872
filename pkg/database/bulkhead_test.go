package database_test

import (
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// occupier starts operations that hold a connection until it is released.
type occupier struct {
	held, release chan struct{}
	all           sync.WaitGroup
}

func newOccupier(t *testing.T) *occupier {
	o := &occupier{held: make(chan struct{}, 100), release: make(chan struct{})}
	t.Cleanup(func() { close(o.release); o.all.Wait() })
	return o
}

// start starts count operations.
func (o *occupier) start(t *testing.T, count int, run func(fn func(*gorm.DB) error) error) {
	for range count {
		o.all.Go(func() {
			if err := run(func(tx *gorm.DB) error {
				if err := tx.Exec("SELECT 1").Error; err != nil {
					return err
				}
				o.held <- struct{}{}
				<-o.release
				return nil
			}); err != nil && !errors.Is(err, sql.ErrTxDone) {
				t.Log(err)
			}
		})
	}
}

// await waits until count of the operations hold a connection.
func (o *occupier) await(count int) {
	for range count {
		<-o.held
	}
}

func withConns(t *testing.T, cfg database.Config, conns int) *database.DB {
	cfg.MaxOpenConns, cfg.MaxIdleConns, cfg.Timeout = conns, conns, patience
	return withNotes(t, cfg)
}

// Expensive reads leave most of the pool to others, and more than a few are rejected
// at once.
func TestExpensiveReads(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withConns(t, cfg, 10)
		expensive := func(fn func(*gorm.DB) error) error { return db.Expensive().Snapshot(t.Context(), fn) }
		o := newOccupier(t)
		o.start(t, 1+2, expensive)
		o.await(1)
		require.Eventually(t, func() bool { return db.ExpensiveWaiting() == 2 }, patience, time.Millisecond)
		for range 3 {
			err := expensive(func(*gorm.DB) error { panic("must not run") })
			var coded *errcode.Error
			require.ErrorAs(t, err, &coded)
			require.Equal(t, errcode.Unavailable, coded.Code)
			require.Equal(t, time.Second, coded.RetryAfter)
		}
		require.NoError(t, insert(t.Context(), db, "a"))
		require.EqualValues(t, 1, count(t, db))
	})
}

// However many reads wait, writes go on.
func TestReadsLeaveRoomForWrites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withConns(t, cfg, 5)
		o := newOccupier(t)
		o.start(t, 20, func(fn func(*gorm.DB) error) error { return db.Snapshot(t.Context(), fn) })
		o.await(4)
		for _, name := range []string{"a", "b"} {
			require.NoError(t, insert(t.Context(), db, name))
		}
	})
}

// However many writes wait, for a lock or otherwise, reads go on.
func TestWritesLeaveRoomForReads(t *testing.T) {
	db := withConns(t, dbtest.MySQL(t), 5)
	o := newOccupier(t)
	o.start(t, 20, func(fn func(*gorm.DB) error) error { return db.InTx(t.Context(), fn) })
	o.await(4)
	for range 2 {
		require.Zero(t, count(t, db))
	}
}

// A pool of one connection serves everything in turn.
func TestSmallPools(t *testing.T) {
	for conns := 1; conns <= 3; conns++ {
		db := withConns(t, dbtest.SQLite(t), conns)
		require.NoError(t, insert(t.Context(), db, "a"))
		require.EqualValues(t, 1, count(t, db))
		require.NoError(t, db.Expensive().Read(t.Context(), func(db *gorm.DB) error { return db.Exec("SELECT 1").Error }))
		require.Panics(t, func() { _ = db.Expensive().Read(t.Context(), func(*gorm.DB) error { panic("bug") }) })
		require.NoError(t, db.Expensive().Read(t.Context(), func(db *gorm.DB) error { return db.Exec("SELECT 1").Error }), "room is not lost by a panic")
	}
}
