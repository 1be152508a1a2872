package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/cache"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const patience = time.Minute

func TestValidate(t *testing.T) {
	cases := map[string]struct {
		change func(*cache.Config)
		want   string // the key that is rejected; "" for none
	}{
		"off":               {func(*cache.Config) {}, ""},
		"on":                {func(c *cache.Config) { c.Host = "redis:6379" }, ""},
		"IPv6":              {func(c *cache.Config) { c.Host = "[::1]:6379" }, ""},
		"no port":           {func(c *cache.Config) { c.Host = "redis" }, "Host"},
		"no name":           {func(c *cache.Config) { c.Host = ":6379" }, "Host"},
		"port too high":     {func(c *cache.Config) { c.Host = "redis:65536" }, "Host"},
		"negative database": {func(c *cache.Config) { c.DB = -1 }, "DB"},
		"no time":           {func(c *cache.Config) { c.Timeout = 0 }, "Timeout"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := cache.Default()
			c.change(&cfg)
			if c.want == "" {
				require.NoError(t, settings.Validate(&cfg))
				return
			}
			require.ErrorContains(t, settings.Validate(&cfg), c.want+": ")
		})
	}
}

func TestOpenWithoutAHost(t *testing.T) {
	require.Nil(t, cache.Open(cache.Default()))
}

func TestOpen(t *testing.T) {
	server := dbtest.NewRedis(t, "--requirepass", "secret")
	cfg := cache.Default()
	cfg.Host, cfg.Password, cfg.DB, cfg.Timeout = server.Addr(), settings.Secret("secret"), 3, patience
	client := cache.Open(cfg)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	set := func() error { return client.Set(t.Context(), "key", "value", 0).Err() }
	cfg.Timeout = 200 * time.Millisecond
	hurried := cache.Open(cfg)
	t.Cleanup(func() { require.NoError(t, hurried.Close()) })
	failsSoon := func() {
		t.Helper()
		dbtest.Within(t, time.Second, func() { require.Error(t, hurried.Set(t.Context(), "key", "value", 0).Err()) })
	}
	require.NoError(t, set())
	keyspace, err := client.Info(t.Context(), "keyspace").Result()
	require.NoError(t, err)
	require.Contains(t, keyspace, "db3:keys=1")

	server.Pause(t)
	failsSoon()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, client.Get(ctx, "key").Err(), context.DeadlineExceeded)
	server.Resume(t)
	require.Eventually(t, func() bool { return set() == nil }, patience, 10*time.Millisecond)

	server.Kill(t)
	failsSoon()
	server.Start(t)
	require.Eventually(t, func() bool { return set() == nil }, patience, 10*time.Millisecond)

	server.Stop(t)
	server.Start(t)
	require.NoError(t, set(), "the client replaces a connection from before the restart")

	wrong := cfg
	wrong.Password, wrong.Timeout = "wrong", patience
	rejected := cache.Open(wrong)
	t.Cleanup(func() { require.NoError(t, rejected.Close()) })
	require.ErrorContains(t, rejected.Ping(t.Context()).Err(), "WRONGPASS")
}

func TestOpenBeforeTheServer(t *testing.T) {
	cfg := cache.Default()
	cfg.Host, cfg.Timeout = "127.0.0.1:1", 100*time.Millisecond
	client := cache.Open(cfg)
	require.Error(t, client.Ping(t.Context()).Err())
	require.NoError(t, client.Close())
}

func TestTLS(t *testing.T) {
	cfg := cache.Default()
	cfg.Host, cfg.TLS = "redis.example.org:6379", true
	client := cache.Open(cfg)
	require.Equal(t, "redis.example.org", client.Options().TLSConfig.ServerName)
	require.NoError(t, client.Close())
}
