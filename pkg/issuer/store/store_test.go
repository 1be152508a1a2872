package store_test

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/issuer/access"
	"github.com/achilles-blog/achilles/pkg/issuer/store"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// fixture is a database that has the table.
type fixture struct{ db *database.DB }

func open(t *testing.T, cfg database.Config) fixture {
	t.Helper()
	db := dbtest.Open(t, cfg)
	_, _, err := database.Migrate(t.Context(), db, database.Migrations{Service: "clients", Files: fstest.MapFS{"mysql": {Mode: fs.ModeDir}, "sqlite": {Mode: fs.ModeDir}}, Shared: map[int64]fs.FS{1: store.Schema()}})
	require.NoError(t, err)
	return fixture{db}
}

func eachWithClients(t *testing.T, test func(t *testing.T, f fixture, clients *store.Clients)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		f := open(t, cfg)
		test(t, f, store.NewClients(f.db))
	})
}

func (f fixture) exec(t *testing.T, statement string) {
	t.Helper()
	_, err := f.db.SQL().ExecContext(t.Context(), statement)
	require.NoError(t, err)
}

// count returns the number of clients.
func (f fixture) count(t *testing.T, where string) (n int64) {
	t.Helper()
	require.NoError(t, f.db.Gorm(t.Context()).Table(f.db.Table("client")).Where(where).Count(&n).Error)
	return n
}

func clientOf(key string, scopes ...string) access.Client {
	return access.Client{Key: key, Scopes: scopes}
}

// After a rotation the former secret is valid for a while, and an older one is not.
func TestFormerSecret(t *testing.T) {
	eachWithClients(t, func(t *testing.T, _ fixture, clients *store.Clients) {
		requireHashes := func(want ...access.Hash) {
			t.Helper()
			_, hashes, err := clients.Find(t.Context(), "one")
			require.NoError(t, err)
			require.Equal(t, want, hashes)
		}
		later := time.Now().Add(time.Hour)
		require.NoError(t, clients.Add(t.Context(), clientOf("one"), "1"))
		requireHashes("1")
		require.NoError(t, clients.Rotate(t.Context(), "one", "2", later))
		requireHashes("2", "1")
		require.NoError(t, clients.Rotate(t.Context(), "one", "3", later))
		requireHashes("3", "2")
		require.NoError(t, clients.Rotate(t.Context(), "one", "4", time.Now()))
		requireHashes("4")
	})
}

func TestClients(t *testing.T) {
	eachWithClients(t, func(t *testing.T, _ fixture, clients *store.Clients) {
		ctx := t.Context()
		list, err := clients.List(ctx)
		require.NoError(t, err)
		require.Equal(t, []access.Client{}, list)

		require.NoError(t, clients.Add(ctx, clientOf("two", "write", "more"), "hash 2"))
		require.NoError(t, clients.Add(ctx, clientOf("one"), "hash 1"))
		require.ErrorIs(t, clients.Add(ctx, clientOf("two", "write"), "hash 3"), access.ErrExists)

		client, hash, err := clients.Find(ctx, "two")
		require.NoError(t, err)
		require.Equal(t, []access.Hash{"hash 2"}, hash, "a duplicate leaves the first client unchanged")
		require.Equal(t, []string{"write", "more"}, client.Scopes)
		require.WithinDuration(t, time.Now(), client.CreatedAt, time.Minute)
		require.Equal(t, time.UTC, client.CreatedAt.Location())
		require.Equal(t, client.CreatedAt, client.UpdatedAt)

		list, err = clients.List(ctx)
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, "one", list[0].Key)
		require.Empty(t, list[0].Scopes)
		require.Equal(t, client, list[1])

		for { // until the clock has advanced by the precision of the database
			require.NoError(t, clients.Rotate(ctx, "two", access.Hash(fmt.Sprint("hash ", time.Now())), time.Now()))
			rotated, _, err := clients.Find(ctx, "two")
			require.NoError(t, err)
			require.Equal(t, client.CreatedAt, rotated.CreatedAt)
			if rotated.UpdatedAt.After(client.UpdatedAt) {
				break
			}
		}
		_, hash, err = clients.Find(ctx, "one")
		require.NoError(t, err)
		require.Equal(t, []access.Hash{"hash 1"}, hash, "rotating one secret leaves the others")

		require.NoError(t, clients.Remove(ctx, "two"))
		_, _, err = clients.Find(ctx, "two")
		require.ErrorIs(t, err, access.ErrUnknown)
		require.ErrorIs(t, clients.Remove(ctx, "two"), access.ErrUnknown)
		require.ErrorIs(t, clients.Rotate(ctx, "two", "hash 4", time.Now()), access.ErrUnknown)
		_, _, err = clients.Find(ctx, "one")
		require.NoError(t, err)
		require.NoError(t, clients.Add(ctx, clientOf("two"), "hash 5"), "a removed key can be added again")
	})
}

// Keys are compared by their bytes and never interpreted.
func TestClientKeysAreExact(t *testing.T) {
	eachWithClients(t, func(t *testing.T, _ fixture, clients *store.Clients) {
		long := strings.Repeat("k", 64)
		for _, key := range []string{"demo", "Demo", "DEMO", long} {
			require.NoError(t, clients.Add(t.Context(), clientOf(key), access.Hash("hash of "+key)))
		}
		for _, key := range []string{"demo", "Demo", "DEMO", long} {
			client, hash, err := clients.Find(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, key, client.Key)
			require.Equal(t, []access.Hash{access.Hash("hash of " + key)}, hash)
		}
		for _, key := range []string{"", "dEMO", "dem", "%", "d_mo", "' OR '1'='1", long + "k"} {
			_, _, err := clients.Find(t.Context(), key)
			require.ErrorIs(t, err, access.ErrUnknown, "%q", key)
		}
	})
}

// Of concurrent calls that add the same key exactly one succeeds.
func TestConcurrentAdd(t *testing.T) {
	eachWithClients(t, func(t *testing.T, _ fixture, clients *store.Clients) {
		var added atomic.Int64
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				err := clients.Add(t.Context(), clientOf("demo"), access.Hash(fmt.Sprint(i)))
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

// A query reads one row, regardless of the number of clients.
func TestClientsAreFoundByIndex(t *testing.T) {
	eachWithClients(t, func(t *testing.T, f fixture, clients *store.Clients) {
		f.exec(t, "INSERT INTO blog_client (created_at, updated_at, app_key, secret_hash) WITH RECURSIVE n(i) AS "+
			"(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT '2026-01-02 03:04:05', '2026-01-02 03:04:05', CONCAT('client', i), 'x' FROM n")
		if f.db.Dialect() == database.MySQL {
			dbtest.Analyze(t, f.db, "client")
		}
		dbtest.Indexed(t, f.db, func() {
			_, _, err := clients.Find(t.Context(), "client500")
			require.NoError(t, err)
			require.NoError(t, clients.Rotate(t.Context(), "client500", "y", time.Now()))
			require.NoError(t, clients.Remove(t.Context(), "client500"))
		})
		require.EqualValues(t, 999, f.count(t, "1 = 1"))
	})
}

func TestClientsWithTablePrefix(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		cfg.TablePrefix = "my_"
		f := open(t, cfg)
		clients := store.NewClients(f.db)
		require.NoError(t, clients.Add(t.Context(), clientOf("demo"), "hash"))
		require.NoError(t, clients.Rotate(t.Context(), "demo", "other", time.Now()))
		require.EqualValues(t, 1, f.count(t, "secret_hash = 'other'"))
		require.NoError(t, clients.Remove(t.Context(), "demo"))
	})
}

// A canceled request gets the error of its context.
func TestClientsWithCanceledContext(t *testing.T) {
	eachWithClients(t, func(t *testing.T, _ fixture, clients *store.Clients) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err := clients.Find(ctx, "demo")
		require.ErrorIs(t, err, context.Canceled)
	})
}
