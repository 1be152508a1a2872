package notify_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/cache"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/notify"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const patience = 20 * time.Second

// replica is the notifier of one process.
type replica struct {
	*notify.Notifier
	broadcaster *changefeed.Broadcaster
	stop        func()
}

// start runs a notifier until stop is called or the test ends.
func start(t *testing.T, addresses ...string) *replica {
	t.Helper()
	client := open(t, addresses...)
	r := &replica{broadcaster: changefeed.NewBroadcaster()}
	r.Notifier = notify.New(client, "tag", r.broadcaster.Broadcast, zaptest.NewLogger(t))
	ctx, cancel := context.WithCancel(t.Context())
	out, in := make(chan error, 1), make(chan error, 1)
	go func() { out <- r.Publish(ctx) }()
	go func() { in <- r.Listen(ctx) }()
	r.stop = func() {
		cancel()
		for _, ended := range []chan error{out, in} {
			select {
			case err := <-ended:
				require.NoError(t, err)
			case <-time.After(patience):
				t.Error("a worker does not stop when its context ends")
				return
			}
		}
	}
	t.Cleanup(func() {
		if ctx.Err() == nil {
			r.stop()
		}
	})
	return r
}

func open(t *testing.T, addresses ...string) redis.UniversalClient {
	t.Helper()
	cfg := cache.Default()
	cfg.Addresses = addresses
	client := cache.Open(cfg)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// requireNotified announces changes on one replica until the other is notified.
// Messages are lost before the other listens and while Redis is unavailable.
func requireNotified(t *testing.T, from, to *replica) {
	t.Helper()
	next := to.broadcaster.Next()
	require.Eventually(t, func() bool {
		from.Announce()
		return closed(next)
	}, patience, 20*time.Millisecond)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestReplicasNotifyEachOther(t *testing.T) {
	server := dbtest.NewRedis(t)
	one, other := start(t, server.Addr()), start(t, server.Addr())
	requireNotified(t, one, other)
	requireNotified(t, other, one)

	// One announcement suffices.
	next := other.broadcaster.Next()
	one.Announce()
	require.Eventually(t, func() bool { return closed(next) }, patience, time.Millisecond)
}

func TestRedisRestarts(t *testing.T) {
	server := dbtest.NewRedis(t)
	one, other := start(t, server.Addr()), start(t, server.Addr())
	requireNotified(t, one, other)
	for range 2 {
		server.Kill(t)
		requireNonBlocking(t, one)
		server.Start(t)
		requireNotified(t, one, other)
		requireNotified(t, other, one)
	}
}

func TestRedisHangs(t *testing.T) {
	server := dbtest.NewRedis(t)
	one, other := start(t, server.Addr()), start(t, server.Addr())
	requireNotified(t, one, other)
	server.Pause(t)
	requireNonBlocking(t, one)
	server.Resume(t)
	requireNotified(t, one, other)
}

func TestRedisStartsLater(t *testing.T) {
	server := dbtest.NewRedis(t)
	server.Stop(t)
	one, other := start(t, server.Addr()), start(t, server.Addr())
	requireNonBlocking(t, one)
	server.Start(t)
	requireNotified(t, one, other)
}

// requireNonBlocking requires that Announce does not wait for Redis.
func requireNonBlocking(t *testing.T, r *replica) {
	t.Helper()
	dbtest.Within(t, time.Second, func() {
		for range 1000 {
			r.Announce()
		}
	})
}

// Both workers stop when their context ends, whatever the state of Redis. The shutdown
// of the process waits for them.
func TestWorkersStop(t *testing.T) {
	server := dbtest.NewRedis(t)
	one, other, third := start(t, server.Addr()), start(t, server.Addr()), start(t, server.Addr())
	requireNotified(t, one, other)
	requireNotified(t, one, third)
	one.stop()
	server.Pause(t)
	other.Announce()
	other.stop()
	server.Kill(t)
	third.stop()
}

func TestMessagesAreEmpty(t *testing.T) {
	server := dbtest.NewRedis(t)
	subscriber := open(t, server.Addr())
	all := subscriber.PSubscribe(t.Context(), "*")
	t.Cleanup(func() { _ = all.Close() })
	_, err := all.Receive(t.Context())
	require.NoError(t, err)
	one := start(t, server.Addr())
	one.Announce()
	message, err := all.ReceiveMessage(t.Context())
	require.NoError(t, err)
	require.Equal(t, "achilles:tag-changed", message.Channel)
	require.Empty(t, message.Payload)
}

// An account without the right to subscribe is reported once; notifications arrive once
// it has the right.
func TestRefusedSubscription(t *testing.T) {
	server := dbtest.NewRedis(t, "--user", "tag", "on", "nopass", "+@all", "-subscribe", "~*", "&*")
	cfg := cache.Default()
	cfg.Addresses, cfg.Username, cfg.Password = []string{server.Addr()}, "tag", settings.Secret("any")
	client := cache.Open(cfg)
	t.Cleanup(func() { _ = client.Close() })
	core, logs := observer.New(zapcore.WarnLevel)
	broadcaster := changefeed.NewBroadcaster()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- notify.New(client, "tag", broadcaster.Broadcast, zap.New(core)).Listen(ctx) }()
	require.Eventually(t, func() bool { return logs.Len() > 0 }, patience, time.Millisecond)
	require.Contains(t, logs.All()[0].ContextMap()["error"], "NOPERM")

	admin := open(t, server.Addr())
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "tag", "+subscribe").Err())
	next := broadcaster.Next()
	require.Eventually(t, func() bool {
		require.NoError(t, admin.Publish(t.Context(), "achilles:tag-changed", "").Err())
		return closed(next)
	}, patience, 20*time.Millisecond)
	require.Equal(t, 1, logs.Len(), "once, whatever the number of attempts")
	cancel()
	require.NoError(t, <-ended)
}

func TestCluster(t *testing.T) {
	nodes := dbtest.NewRedisCluster(t, 3)
	one, other := start(t, nodes[0].Addr(), nodes[1].Addr()), start(t, nodes[2].Addr(), nodes[1].Addr())
	requireNotified(t, one, other)
	requireNotified(t, other, one)
}
