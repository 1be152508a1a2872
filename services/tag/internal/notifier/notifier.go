// Package notifier tells the replicas of the tag service of each other's changes
// through Redis, so that readers of the feed need not wait for the next look at
// the database. It is a hint only: a lost message costs nothing but that wait.
package notifier

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// channel is the Redis channel; its messages say nothing but that there is
// something new.
const channel = "achilles:tag-changed"

const retryPause = time.Second

// Notifier connects this replica's broadcaster with those of the others.
type Notifier struct {
	client      *redis.Client
	broadcaster *tag.Broadcaster
	log         *zap.Logger
	pending     chan struct{}
}

// New returns a notifier that rings the broadcaster on every message.
func New(client *redis.Client, broadcaster *tag.Broadcaster, log *zap.Logger) *Notifier {
	return &Notifier{client: client, broadcaster: broadcaster, log: log, pending: make(chan struct{}, 1)}
}

// Announce tells the other replicas of a change. It never blocks: what is not
// sent yet stands for what follows, too.
func (r *Notifier) Announce() {
	select {
	case r.pending <- struct{}{}:
	default:
	}
}

// Publish sends what was announced until ctx ends.
func (r *Notifier) Publish(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.pending:
			if err := r.client.Publish(ctx, channel, "").Err(); err != nil && ctx.Err() == nil {
				r.log.Debug("a change could not be announced through Redis", zap.Error(err))
			}
		}
	}
}

// Listen rings the broadcaster whenever a replica announces a change, until ctx ends.
// While Redis is away it tries again and again.
func (r *Notifier) Listen(ctx context.Context) error {
	subscription := r.client.Subscribe(ctx, channel)
	closeIt := func() { _ = subscription.Close() }
	defer closeIt()
	// Receiving does not end with the context, only with the connection.
	defer context.AfterFunc(ctx, closeIt)()
	for {
		_, err := subscription.ReceiveMessage(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			r.broadcaster.Broadcast()
		default:
			r.log.Debug("Redis cannot be listened to", zap.Error(err))
			wait(ctx, retryPause)
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
