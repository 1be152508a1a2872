package notifier_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/achilles-blog/achilles/pkg/cache"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/tag/internal/notifier"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const patience = 20 * time.Second

// replica is one process' end of the notifier.
type replica struct {
	*notifier.Notifier
	broadcaster *tag.Broadcaster
	stop        func()
}

// start runs a notifier until the end of the test, or until its stop.
func start(t *testing.T, addr string) *replica {
	t.Helper()
	client := open(t, addr)
	r := &replica{broadcaster: tag.NewBroadcaster()}
	r.Notifier = notifier.New(client, r.broadcaster, zaptest.NewLogger(t))
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
				t.Error("a worker does not end with its context")
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

func open(t *testing.T, addr string) *redis.Client {
	t.Helper()
	cfg := cache.Default()
	cfg.Host = addr
	client := cache.Open(cfg)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// rings announces on one replica until it rings on the other: what was sent
// before the other listens, or while Redis is away, is lost, and may be.
func rings(t *testing.T, from, to *replica) {
	t.Helper()
	rung := to.broadcaster.Next()
	require.Eventually(t, func() bool {
		from.Announce()
		return closed(rung)
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

func TestOneReplicaRingsTheOther(t *testing.T) {
	server := dbtest.NewRedis(t)
	one, other := start(t, server.Addr()), start(t, server.Addr())
	rings(t, one, other)
	rings(t, other, one)

	// A single announcement is enough, and at once.
	rung := other.broadcaster.Next()
	one.Announce()
	require.Eventually(t, func() bool { return closed(rung) }, patience, time.Millisecond)
}

func TestRedisGoesAndReturns(t *testing.T) {
	server := dbtest.NewRedis(t)
	one, other := start(t, server.Addr()), start(t, server.Addr())
	rings(t, one, other)
	for range 2 {
		server.Kill(t)
		quick(t, one)
		server.Start(t)
		rings(t, one, other)
		rings(t, other, one)
	}
}

func TestRedisFreezes(t *testing.T) {
	server := dbtest.NewRedis(t)
	one, other := start(t, server.Addr()), start(t, server.Addr())
	rings(t, one, other)
	server.Pause(t)
	quick(t, one)
	server.Resume(t)
	rings(t, one, other)
}

func TestRedisComesLater(t *testing.T) {
	server := dbtest.NewRedis(t)
	server.Stop(t)
	one, other := start(t, server.Addr()), start(t, server.Addr())
	quick(t, one)
	server.Start(t)
	rings(t, one, other)
}

// quick says that announcing does not wait for Redis.
func quick(t *testing.T, r *replica) {
	t.Helper()
	dbtest.Within(t, time.Second, func() {
		for range 1000 {
			r.Announce()
		}
	})
}

// Both workers end with their context, whatever Redis does meanwhile; the
// drain of the process waits for them.
func TestWorkersEnd(t *testing.T) {
	server := dbtest.NewRedis(t)
	one, other, third := start(t, server.Addr()), start(t, server.Addr()), start(t, server.Addr())
	rings(t, one, other)
	rings(t, one, third)
	one.stop()
	server.Pause(t)
	other.Announce()
	other.stop()
	server.Kill(t)
	third.stop()
}

func TestNothingButTheHintTravels(t *testing.T) {
	server := dbtest.NewRedis(t)
	eavesdropper := open(t, server.Addr())
	all := eavesdropper.PSubscribe(t.Context(), "*")
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
