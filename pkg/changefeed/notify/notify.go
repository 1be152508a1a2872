// Package notify notifies the replicas of a service of each other's changes through Redis, so
// that readers who wait for a change get it before the database is asked again. Lost
// notifications only delay them.
package notify

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const retryInterval = time.Second

// Notifier connects all replicas of a service.
type Notifier struct {
	client  redis.UniversalClient
	channel string
	changed func()
	log     *zap.Logger
	pending chan struct{}
}

// New returns a notifier of the service with the given name. It calls changed for every
// message. Messages are empty.
func New(client redis.UniversalClient, service string, changed func(), log *zap.Logger) *Notifier {
	return &Notifier{client: client, channel: "achilles:" + service + "-changed", changed: changed, log: log, pending: make(chan struct{}, 1)}
}

// Announce notifies the other replicas of a change. It never blocks: changes while a
// message is pending are covered by that message.
func (n *Notifier) Announce() {
	select {
	case n.pending <- struct{}{}:
	default:
	}
}

// Publish sends the pending messages until ctx ends.
func (n *Notifier) Publish(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.pending:
			if err := n.client.Publish(ctx, n.channel, "").Err(); err != nil && ctx.Err() == nil {
				n.log.Debug("publishing a change in Redis failed", zap.Error(err))
			}
		}
	}
}

// Listen calls changed whenever a replica announces a change, until ctx ends. While
// Redis is unavailable, or rejects the subscription, it retries, and logs the first
// failure after a message.
func (n *Notifier) Listen(ctx context.Context) error {
	subscription := n.client.Subscribe(ctx, n.channel)
	unsubscribe := func() { _ = subscription.Close() }
	defer unsubscribe()
	// ReceiveMessage ignores the end of ctx, and returns when the connection is closed.
	defer context.AfterFunc(ctx, unsubscribe)()
	failing := false
	for {
		_, err := subscription.ReceiveMessage(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			n.changed()
			failing = false
			continue
		case !failing:
			n.log.Warn("receiving changes from Redis failed, retrying", zap.Error(err))
			failing = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryInterval):
			// go-redis subscribes again after a lost connection, but not after an error reply.
			_ = subscription.Subscribe(ctx, n.channel)
		}
	}
}
