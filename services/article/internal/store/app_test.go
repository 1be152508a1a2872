package store_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/article/internal/access"
	"github.com/achilles-blog/achilles/services/article/internal/store"
)

func eachWithApps(t *testing.T, test func(t *testing.T, f fixture, apps *store.Apps)) {
	t.Helper()
	each(t, func(t *testing.T, f fixture) { test(t, f, store.NewApps(f.db)) })
}

func appOf(key string, scopes ...string) access.App { return access.App{Key: key, Scopes: scopes} }

func TestApps(t *testing.T) {
	eachWithApps(t, func(t *testing.T, _ fixture, apps *store.Apps) {
		ctx := t.Context()
		list, err := apps.List(ctx)
		require.NoError(t, err)
		require.Equal(t, []access.App{}, list)

		require.NoError(t, apps.Add(ctx, appOf("two", "write", "more"), "hash 2"))
		require.NoError(t, apps.Add(ctx, appOf("one"), "hash 1"))
		require.ErrorIs(t, apps.Add(ctx, appOf("two", "write"), "hash 3"), access.ErrExists)

		app, hash, err := apps.Find(ctx, "two")
		require.NoError(t, err)
		require.EqualValues(t, "hash 2", string(hash), "the one before stays")
		require.Equal(t, []string{"write", "more"}, app.Scopes)
		require.WithinDuration(t, time.Now(), app.CreatedAt, time.Minute)
		require.Equal(t, time.UTC, app.CreatedAt.Location())
		require.Equal(t, app.CreatedAt, app.UpdatedAt)

		list, err = apps.List(ctx)
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, "one", list[0].Key)
		require.Empty(t, list[0].Scopes)
		require.Equal(t, app, list[1])

		for { // until the clock of the database's precision has moved
			require.NoError(t, apps.Rotate(ctx, "two", access.Hash(fmt.Sprint("hash ", time.Now()))))
			rotated, _, err := apps.Find(ctx, "two")
			require.NoError(t, err)
			require.Equal(t, app.CreatedAt, rotated.CreatedAt)
			if rotated.UpdatedAt.After(app.UpdatedAt) {
				break
			}
		}
		_, hash, err = apps.Find(ctx, "one")
		require.NoError(t, err)
		require.EqualValues(t, "hash 1", string(hash), "rotating one leaves the others")

		require.NoError(t, apps.Remove(ctx, "two"))
		_, _, err = apps.Find(ctx, "two")
		require.ErrorIs(t, err, access.ErrUnknown)
		require.ErrorIs(t, apps.Remove(ctx, "two"), access.ErrUnknown)
		require.ErrorIs(t, apps.Rotate(ctx, "two", "hash 4"), access.ErrUnknown)
		_, _, err = apps.Find(ctx, "one")
		require.NoError(t, err)
		require.NoError(t, apps.Add(ctx, appOf("two"), "hash 5"), "and it may come back")
	})
}

// Keys are compared by their bytes, and values stay values.
func TestAppKeysAreExact(t *testing.T) {
	eachWithApps(t, func(t *testing.T, _ fixture, apps *store.Apps) {
		long := strings.Repeat("k", 64)
		for _, key := range []string{"demo", "Demo", "DEMO", long} {
			require.NoError(t, apps.Add(t.Context(), appOf(key), access.Hash("hash of "+key)))
		}
		for _, key := range []string{"demo", "Demo", "DEMO", long} {
			app, hash, err := apps.Find(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, key, app.Key)
			require.Equal(t, "hash of "+key, string(hash))
		}
		for _, key := range []string{"", "dEMO", "dem", "%", "d_mo", "' OR '1'='1", long + "k"} {
			_, _, err := apps.Find(t.Context(), key)
			require.ErrorIs(t, err, access.ErrUnknown, "%q", key)
		}
	})
}

// Of those who add the same key at the same time one succeeds.
func TestAddingAtOnce(t *testing.T) {
	eachWithApps(t, func(t *testing.T, _ fixture, apps *store.Apps) {
		var added atomic.Int64
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				err := apps.Add(t.Context(), appOf("demo"), access.Hash(fmt.Sprint(i)))
				if err == nil {
					added.Add(1)
				} else if !isExists(err) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, added.Load())
	})
}

func isExists(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), access.ErrExists.Error())
}

// A request looks for one app, however many there are.
func TestAppsAreFoundByIndex(t *testing.T) {
	eachWithApps(t, func(t *testing.T, f fixture, apps *store.Apps) {
		f.exec(t, "INSERT INTO blog_app (created_at, updated_at, app_key, secret_hash) WITH RECURSIVE n(i) AS "+
			"(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT '2026-01-02 03:04:05', '2026-01-02 03:04:05', CONCAT('app', i), 'x' FROM n")
		if f.db.Dialect() == database.MySQL {
			dbtest.Analyze(t, f.db, "app")
		}
		dbtest.Indexed(t, f.db, func() {
			_, _, err := apps.Find(t.Context(), "app500")
			require.NoError(t, err)
			require.NoError(t, apps.Rotate(t.Context(), "app500", "y"))
			require.NoError(t, apps.Remove(t.Context(), "app500"))
		})
		require.EqualValues(t, 999, f.count(t, "app", "1 = 1"))
	})
}

func TestAppsUnderAPrefix(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		cfg.TablePrefix = "my_"
		f := open(t, cfg)
		apps := store.NewApps(f.db)
		require.NoError(t, apps.Add(t.Context(), appOf("demo"), "hash"))
		require.NoError(t, apps.Rotate(t.Context(), "demo", "other"))
		require.EqualValues(t, 1, f.count(t, "app", "secret_hash = 'other'"))
		require.NoError(t, apps.Remove(t.Context(), "demo"))
	})
}

// What the caller did is the caller's error.
func TestAppsOfALeftRequest(t *testing.T) {
	eachWithApps(t, func(t *testing.T, _ fixture, apps *store.Apps) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err := apps.Find(ctx, "demo")
		require.ErrorIs(t, err, context.Canceled)
	})
}
