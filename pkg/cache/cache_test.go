package cache_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/cache"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestMain(m *testing.M) {
	cache.LogTo(zap.NewNop())
	dbtest.Main(m)
}

const patience = time.Minute

// rights are what docs/running.md says an account needs.
var rights = strings.Fields("~rate:achilles:* &achilles:* +ping +evalsha +eval +get +set +time +publish +subscribe +unsubscribe")

func TestValidate(t *testing.T) {
	cases := map[string]struct {
		change func(*cache.Config)
		want   string // the key that is rejected; "" for none
	}{
		"off":                   {func(*cache.Config) {}, ""},
		"on":                    {func(c *cache.Config) { c.Addresses = []string{"redis:6379"} }, ""},
		"IPv6":                  {func(c *cache.Config) { c.Addresses = []string{"[::1]:6379"} }, ""},
		"cluster":               {func(c *cache.Config) { c.Addresses = []string{"a:6379", "b:6379"} }, ""},
		"cluster, one address":  {func(c *cache.Config) { c.Addresses, c.Cluster = []string{"a:6379"}, true }, ""},
		"Sentinels":             {func(c *cache.Config) { c.Addresses, c.MasterName, c.DB = []string{"a:26379", "b:26379"}, "blog", 3 }, ""},
		"client certificate":    {func(c *cache.Config) { c.TLS, c.CAFile, c.CertFile, c.KeyFile = true, "ca", "cert", "key" }, ""},
		"no port":               {func(c *cache.Config) { c.Addresses = []string{"redis:6379", "redis"} }, "Addresses"},
		"no name":               {func(c *cache.Config) { c.Addresses = []string{":6379"} }, "Addresses"},
		"port too high":         {func(c *cache.Config) { c.Addresses = []string{"redis:65536"} }, "Addresses"},
		"negative database":     {func(c *cache.Config) { c.DB = -1 }, "DB"},
		"database of a cluster": {func(c *cache.Config) { c.Addresses, c.DB = []string{"a:6379", "b:6379"}, 1 }, "DB"},
		"no Sentinels":          {func(c *cache.Config) { c.MasterName = "blog" }, "MasterName"},
		"Sentinels, a cluster":  {func(c *cache.Config) { c.Addresses, c.MasterName, c.Cluster = []string{"a:26379"}, "blog", true }, "Cluster"},
		"user of no Sentinel":   {func(c *cache.Config) { c.SentinelUsername = "x" }, "SentinelUsername"},
		"password of none":      {func(c *cache.Config) { c.SentinelPassword = settings.Secret("hunter2") }, "SentinelPassword"},
		"CA without TLS":        {func(c *cache.Config) { c.CAFile = "ca" }, "CAFile"},
		"certificate alone":     {func(c *cache.Config) { c.TLS, c.CertFile = true, "cert" }, "KeyFile"},
		"no time":               {func(c *cache.Config) { c.Timeout = 0 }, "Timeout"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := cache.Default()
			c.change(&cfg)
			err := settings.Validate(&cfg)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want+": ")
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestOpenWithoutAnAddress(t *testing.T) {
	require.True(t, cache.Open(cache.Default()) == nil, "an interface that holds a nil client is not nil")
}

// open opens a client of a server with a timeout that a busy machine does not reach.
func open(t *testing.T, address string, change func(*cache.Config)) redis.UniversalClient {
	t.Helper()
	cfg := cache.Default()
	cfg.Addresses, cfg.Timeout = []string{address}, patience
	if change != nil {
		change(&cfg)
	}
	require.NoError(t, settings.Validate(&cfg))
	client := cache.Open(cfg)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestOpen(t *testing.T) {
	server := dbtest.NewRedis(t, "--requirepass", "secret")
	login := func(c *cache.Config) { c.Password, c.DB = settings.Secret("secret"), 3 }
	client := open(t, server.Addr(), login)
	set := func() error { return client.Set(t.Context(), "key", "value", 0).Err() }
	hurried := open(t, server.Addr(), func(c *cache.Config) { login(c); c.Timeout = 200 * time.Millisecond })
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
	requireEndsWithItsContext(t, client)
	server.Resume(t)
	require.Eventually(t, func() bool { return set() == nil }, patience, 10*time.Millisecond)

	server.Kill(t)
	failsSoon()
	server.Start(t)
	require.Eventually(t, func() bool { return set() == nil }, patience, 10*time.Millisecond)

	server.Stop(t)
	server.Start(t)
	require.NoError(t, set(), "the client replaces a connection from before the restart")
}

func requireEndsWithItsContext(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	dbtest.Within(t, 10*time.Second, func() { require.ErrorIs(t, client.Get(ctx, "key").Err(), context.DeadlineExceeded) })
}

func TestOpenBeforeTheServer(t *testing.T) {
	for name, change := range map[string]func(*cache.Config){
		"server": nil, "cluster": func(c *cache.Config) { c.Cluster = true }, "Sentinel": func(c *cache.Config) { c.MasterName = dbtest.MasterName },
	} {
		t.Run(name, func(t *testing.T) {
			client := open(t, "127.0.0.1:1", func(c *cache.Config) {
				c.Timeout = 100 * time.Millisecond
				if change != nil {
					change(c)
				}
			})
			err := cache.Check(t.Context(), client)
			require.ErrorContains(t, err, "connection refused")
			require.NoError(t, client.Close())
		})
	}
}

func reasonOf(t *testing.T, err error) string {
	t.Helper()
	require.Error(t, err)
	var reason health.Reason
	require.ErrorAs(t, err, &reason)
	return reason.Error()
}

// An account with the documented rights suffices, and a missing right is found before
// it is needed.
func TestAccount(t *testing.T) {
	server := dbtest.NewRedis(t, append([]string{"--user", "blog", "on", ">secret"}, rights...)...)
	admin := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	login := func(c *cache.Config) { c.Username, c.Password = "blog", settings.Secret("secret") }
	client := open(t, server.Addr(), login)
	require.NoError(t, cache.Check(t.Context(), client))
	requireAllowed(t, client)

	for right, want := range map[string]string{
		"-evalsha": "access denied (Redis error NOPERM)", "-set": "access denied to a script (Redis error ERR)",
		"-publish": "access denied (Redis error NOPERM)", "resetkeys": "access denied (Redis error NOPERM)",
		"resetchannels": "access denied (Redis error NOPERM)",
	} {
		require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "blog", right).Err())
		require.Equal(t, want, reasonOf(t, cache.Check(t.Context(), client)), right)
		require.NoError(t, admin.Do(t.Context(), append([]any{"ACL", "SETUSER", "blog"}, anys(rights)...)...).Err())
		require.NoError(t, cache.Check(t.Context(), open(t, server.Addr(), login)))
	}
	wrong := open(t, server.Addr(), func(c *cache.Config) { c.Username, c.Password = "blog", settings.Secret("wrong") })
	err := cache.Check(t.Context(), wrong)
	require.Equal(t, "access denied (Redis error WRONGPASS)", reasonOf(t, err))
	require.NotContains(t, err.Error(), "wrong ")

	require.NoError(t, admin.ConfigSet(t.Context(), "requirepass", "needed").Err())
	require.Equal(t, "access denied (Redis error NOAUTH)", reasonOf(t, cache.Check(t.Context(), open(t, server.Addr(), nil))))
}

func anys(texts []string) (all []any) {
	for _, text := range texts {
		all = append(all, text)
	}
	return all
}

// requireAllowed requires that the account may do what the services do.
func requireAllowed(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	const channel = "achilles:tag-changed"
	subscription := client.Subscribe(t.Context(), channel)
	defer func() { require.NoError(t, subscription.Close()) }()
	_, err := subscription.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, client.Publish(t.Context(), channel, "").Err())
	_, err = subscription.ReceiveMessage(t.Context())
	require.NoError(t, err)
}

func TestReplica(t *testing.T) {
	master := dbtest.NewRedis(t)
	host, port, _ := strings.Cut(master.Addr(), ":")
	replica := dbtest.NewRedis(t, "--replicaof", host, port)
	require.Eventually(t, func() bool {
		err := cache.Check(t.Context(), open(t, replica.Addr(), nil))
		var reason health.Reason
		return errors.As(err, &reason) && reason == "read-only (Redis error READONLY)"
	}, patience, 100*time.Millisecond)
}

func TestPasswordRotation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		require.NoError(t, os.WriteFile(file+".new", []byte(password+"\n"), 0o600))
		require.NoError(t, os.Rename(file+".new", file))
	}
	server := dbtest.NewRedis(t, "--requirepass", "first")
	write("first")
	client := open(t, server.Addr(), func(c *cache.Config) { c.Password, c.PasswordFile = settings.Secret("first"), file })
	require.NoError(t, cache.Check(t.Context(), client))

	require.NoError(t, client.ConfigSet(t.Context(), "requirepass", "second").Err())
	closeConnections(t, server, "second")
	require.Eventually(t, func() bool {
		err := cache.Check(t.Context(), client)
		return err != nil && strings.Contains(err.Error(), "WRONGPASS")
	}, patience, 10*time.Millisecond)
	write("second")
	require.Eventually(t, func() bool { return cache.Check(t.Context(), client) == nil }, patience, 10*time.Millisecond)

	// The file may be unreadable for a moment while it is being replaced.
	require.NoError(t, os.Remove(file))
	closeConnections(t, server, "second")
	require.Eventually(t, func() bool { return cache.Check(t.Context(), client) == nil }, patience, 10*time.Millisecond)
}

// closeConnections closes all others.
func closeConnections(t *testing.T, server *dbtest.Server, password string) {
	t.Helper()
	admin := redis.NewClient(&redis.Options{Addr: server.Addr(), Password: password})
	require.NoError(t, admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err())
	require.NoError(t, admin.Close())
}

func TestSentinel(t *testing.T) {
	master := dbtest.NewRedis(t, "--requirepass", "secret", "--masterauth", "secret")
	host, port, _ := strings.Cut(master.Addr(), ":")
	replica := dbtest.NewRedis(t, "--requirepass", "secret", "--masterauth", "secret", "--replicaof", host, port)
	sentinel := dbtest.NewSentinel(t, master, "sentinel auth-pass "+dbtest.MasterName+" secret", "requirepass watched")
	login := func(c *cache.Config) {
		c.MasterName, c.Password, c.SentinelPassword = dbtest.MasterName, settings.Secret("secret"), settings.Secret("watched")
		c.Timeout = 2 * time.Second
	}
	client := open(t, sentinel.Addr(), login)
	require.Eventually(t, func() bool { return cache.Check(t.Context(), client) == nil }, patience, 10*time.Millisecond)
	requireAllowed(t, client)

	unknown := open(t, sentinel.Addr(), func(c *cache.Config) { login(c); c.MasterName = "other" })
	require.Equal(t, "the Sentinels watch no server of this name: see Redis.MasterName", reasonOf(t, cache.Check(t.Context(), unknown)))
	wrong := open(t, sentinel.Addr(), func(c *cache.Config) { login(c); c.SentinelPassword = settings.Secret("wrong") })
	require.Equal(t, "access denied (Redis error WRONGPASS)", reasonOf(t, cache.Check(t.Context(), wrong)))

	// The Sentinel must know the replica before it can promote it.
	require.Eventually(t, func() bool {
		admin := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Addr(), Password: "watched"})
		defer func() { _ = admin.Close() }()
		replicas, err := admin.Replicas(t.Context(), dbtest.MasterName).Result()
		return err == nil && len(replicas) == 1 && replicas[0]["master-link-status"] == "ok" && replicas[0]["flags"] == "slave"
	}, patience, 50*time.Millisecond)
	master.Kill(t)
	require.Eventually(t, func() bool { return cache.Check(t.Context(), client) == nil }, patience, 50*time.Millisecond)
	require.True(t, replica.Running())
	requireAllowed(t, client)
}

func TestCluster(t *testing.T) {
	nodes := dbtest.NewRedisCluster(t, 3)
	client := open(t, nodes[0].Addr(), func(c *cache.Config) { c.Cluster = true })
	require.NoError(t, cache.Check(t.Context(), client))
	requireAllowed(t, client)
	for i := range 20 { // keys of all nodes
		require.NoError(t, client.Set(t.Context(), fmt.Sprint(i), "x", 0).Err())
	}
	several := open(t, nodes[0].Addr(), func(c *cache.Config) { c.Addresses = append(c.Addresses, nodes[1].Addr()) })
	require.NoError(t, cache.Check(t.Context(), several))

	single := open(t, nodes[0].Addr(), nil)
	require.Contains(t, reasonOf(t, cache.Check(t.Context(), single)), "a node of a cluster: set Redis.Cluster")

	// An account with the rights that a cluster needs in addition.
	for _, node := range nodes {
		admin := redis.NewClient(&redis.Options{Addr: node.Addr()})
		require.NoError(t, admin.Do(t.Context(), append([]any{"ACL", "SETUSER", "blog", "on", ">secret", "+cluster|slots", "+command"}, anys(rights)...)...).Err())
		require.NoError(t, admin.Close())
	}
	account := open(t, nodes[0].Addr(), func(c *cache.Config) { c.Cluster, c.Username, c.Password = true, "blog", settings.Secret("secret") })
	require.NoError(t, cache.Check(t.Context(), account))
	requireAllowed(t, account)

	nodes[2].Pause(t)
	requireEndsWithItsContext(t, client)
	nodes[2].Resume(t)
	nodes[2].Kill(t)
	hurried := open(t, nodes[0].Addr(), func(c *cache.Config) { c.Cluster, c.Timeout = true, 200*time.Millisecond })
	require.Error(t, cache.Check(t.Context(), hurried), "one node is missing")
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := dbtest.NewCA(t, dir)
	cert, key := ca.Issue(t, dir, "server")
	clientCert, clientKey := ca.Issue(t, dir, "client")
	server := dbtest.NewRedisTLS(t, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca.File)
	secure := func(c *cache.Config) { c.TLS, c.CAFile, c.CertFile, c.KeyFile = true, ca.File, clientCert, clientKey }
	client := open(t, server.Addr(), secure)
	require.NoError(t, cache.Check(t.Context(), client))

	system := open(t, server.Addr(), func(c *cache.Config) { c.TLS, c.Timeout = true, 5*time.Second })
	require.ErrorContains(t, cache.Check(t.Context(), system), "unknown authority")
	missing := open(t, server.Addr(), func(c *cache.Config) { c.TLS, c.CAFile, c.Timeout = true, filepath.Join(dir, "missing"), 5*time.Second })
	require.ErrorContains(t, cache.Check(t.Context(), missing), "missing")
	anonymous := open(t, server.Addr(), func(c *cache.Config) { c.TLS, c.CAFile, c.Timeout = true, ca.File, 5*time.Second })
	require.Error(t, cache.Check(t.Context(), anonymous), "the server demands a certificate")
}

// go-redis logs every attempt in plain text to standard error by default.
func TestLogTo(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	cache.LogTo(zap.New(core))
	t.Cleanup(func() { cache.LogTo(zap.NewNop()) })
	client := open(t, "127.0.0.1:1", func(c *cache.Config) { c.Timeout = 100 * time.Millisecond })
	for range 5 {
		require.Error(t, client.Ping(t.Context()).Err())
	}
	require.Len(t, logs.All(), 1)
	entry := logs.All()[0]
	require.Equal(t, zapcore.WarnLevel, entry.Level)
	require.Contains(t, entry.ContextMap()["detail"], "failed to dial")
}
