package replay_test

import (
	"context"
	"crypto/sha256"
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
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func sweep(t *testing.T, db *database.DB) int64 {
	t.Helper()
	removed, err := replay.Sweeper{DB: db}.Sweep(t.Context())
	if err != nil {
		t.Error(err)
	}
	return removed
}

// fill inserts n keys, of which the first ones are expired.
func fill(t *testing.T, db *database.DB, n, expired int) {
	t.Helper()
	var rows []map[string]any
	now := time.Now().UTC()
	for i := range n {
		id := sha256.Sum256(fmt.Append(nil, "filled ", i))
		rows = append(rows, map[string]any{
			"id": id[:], "expires_at": now.Add(time.Duration(i-expired)*time.Minute + 30*time.Second), "fingerprint": id[:],
			"object": []byte("{}"),
		})
	}
	require.NoError(t, db.Gorm(t.Context()).Table(db.Table("idempotency_key")).CreateInBatches(rows, 500).Error)
}

func TestSweeping(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, _ database.Config) {
		require.Zero(t, sweep(t, db), "no keys")
		var batches []int64
		require.NoError(t, db.Gorm(t.Context()).Callback().Query().After("gorm:query").Register("test:batch", func(tx *gorm.DB) {
			batches = append(batches, tx.RowsAffected)
		}))
		fill(t, db, 400, 307)
		unexpired := post{key: "key", text: "text"}
		unexpired.must(t, db)
		require.EqualValues(t, 307, sweep(t, db))
		require.Equal(t, []int64{100, 100, 100, 7}, batches, "each batch has at most 100 keys")
		require.Equal(t, 94, keys(t, db))
		_, runs, err := unexpired.to(t.Context(), db)
		require.NoError(t, err)
		require.Zero(t, runs)
		require.Zero(t, sweep(t, db))
	})
}

// Replicas sweep concurrently with each other and with requests that use the same
// keys again.
func TestSweepingUnderLoad(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, cfg database.Config) {
		pools := twoPools(t, db, cfg)
		for i := range 40 {
			post{key: fmt.Sprint(i), text: "first"}.must(t, db)
		}
		expire(t, db)
		var working sync.WaitGroup
		for w := range 4 {
			working.Go(func() {
				for range 10 {
					sweep(t, pools[w%2])
				}
			})
			working.Go(func() {
				for i := range 40 {
					if _, _, err := (post{key: fmt.Sprint(i), text: "second"}).to(t.Context(), pools[w%2]); err != nil {
						t.Error(err)
					}
				}
			})
		}
		working.Wait()
		require.Equal(t, 80, notes(t, db), "each key was used twice")
		require.Equal(t, 40, keys(t, db), "no unexpired key is removed")
	})
}

// Run logs an error and continues.
func TestSweeperContinuesAfterError(t *testing.T) {
	db := dbtest.Open(t, dbtest.SQLite(t)) // without the table at first
	core, logs := observer.New(zap.InfoLevel)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- replay.Sweeper{DB: db, Interval: 10 * time.Millisecond, Log: zap.New(core)}.Run(ctx)
	}()
	warned := func() bool { return logs.FilterLevelExact(zap.WarnLevel).Len() > 1 }
	require.Eventually(t, warned, patience, time.Millisecond)
	_, _, err := database.Migrate(t.Context(), db, migrations())
	require.NoError(t, err)
	fill(t, db, 3, 3)
	removed := func() bool { return logs.FilterField(zap.Int64("keys", 3)).Len() == 1 }
	require.Eventually(t, removed, patience, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	require.Zero(t, logs.FilterField(zap.Int64("keys", 0)).Len(), "sweeping nothing is not logged")
}

// Run sweeps at once, and logs no error when ctx ends.
func TestSweeperEndsWithContext(t *testing.T) {
	db := open(t, dbtest.SQLite(t))
	fill(t, db, 1, 1)
	core, logs := observer.New(zap.InfoLevel)
	ctx, cancel := context.WithCancel(t.Context())
	sweeper := replay.Sweeper{DB: db, Interval: time.Hour, Log: zap.New(core)}
	ended := make(chan error)
	go func() { ended <- sweeper.Run(ctx) }()
	require.Eventually(t, func() bool { return logs.Len() == 1 }, patience, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	require.NoError(t, sweeper.Run(ctx))
	require.Equal(t, 1, logs.Len())
}

func TestConfig(t *testing.T) {
	config := replay.Default()
	require.NoError(t, settings.Validate(&config))
	require.Equal(t, 24*time.Hour, config.Retention)
	for key, change := range map[string]func(*replay.Config){
		"Retention":     func(c *replay.Config) { c.Retention = time.Minute - 1 },
		"SweepInterval": func(c *replay.Config) { c.SweepInterval = 0 },
	} {
		config := replay.Default()
		change(&config)
		require.ErrorContains(t, settings.Validate(&config), key)
	}
}
