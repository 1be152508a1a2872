// Package notifier notifies the replicas of the tag service of each other's changes
// through Redis, so that long polls return before the database is polled again. Lost
// notifications only delay them.
package notifier

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// channel is the Redis channel. Its messages are empty.
const channel = "achilles:tag-changed"

const retryInterval = time.Second

// Notifier connects the broadcasters of all replicas.
type Notifier struct {
	client      redis.UniversalClient
	broadcaster *tag.Broadcaster
	log         *zap.Logger
	pending     chan struct{}
}

// New returns a notifier that calls broadcaster.Broadcast for every message.
func New(client redis.UniversalClient, broadcaster *tag.Broadcaster, log *zap.Logger) *Notifier {
	return &Notifier{client: client, broadcaster: broadcaster, log: log, pending: make(chan struct{}, 1)}
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
			if err := n.client.Publish(ctx, channel, "").Err(); err != nil && ctx.Err() == nil {
				n.log.Debug("publishing a change in Redis failed", zap.Error(err))
			}
		}
	}
}

// Listen calls Broadcast whenever a replica announces a change, until ctx ends. While
// Redis is unavailable, or rejects the subscription, it retries, and logs the first
// failure after a message.
func (n *Notifier) Listen(ctx context.Context) error {
	subscription := n.client.Subscribe(ctx, channel)
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
			n.broadcaster.Broadcast()
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
			_ = subscription.Subscribe(ctx, channel)
		}
	}
}
