package ratelimit

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	// patience is how long a request waits for Redis.
	patience = 50 * time.Millisecond
	// slowness is for how long Redis may keep every request waiting too long
	// before it counts as away. A client's own burst can make it slow for a
	// moment, and must not gain by that.
	slowness = 300 * time.Millisecond
	// pause is how long Redis is left alone after it failed.
	pause = time.Second
)

// shared counts in Redis, for all replicas together. While Redis is away, one
// request in each pause tries it, and the others lose no time to it.
type shared struct {
	limiter *redis_rate.Limiter
	log     *zap.Logger
	begin   time.Time
	// retryAt is when Redis may be tried again, in nanoseconds since begin; 0
	// while it answers.
	retryAt atomic.Int64
	// slowSince is when Redis began to answer nobody in time, in nanoseconds
	// since begin; 0 while it answers anybody.
	slowSince atomic.Int64
}

func newShared(client *redis.Client, log *zap.Logger) *shared {
	return &shared{limiter: redis_rate.NewLimiter(client), log: log, begin: time.Now()}
}

// take judges a request of the client that key stands for; false when Redis
// cannot say.
func (s *shared) take(ctx context.Context, key string, q quota) (verdict, bool) {
	retryAt := s.retryAt.Load()
	if retryAt != 0 && !s.mayTry(retryAt) {
		return verdict{}, false
	}
	// A client that goes away must not look like a Redis that does.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	result, err := s.limiter.Allow(ctx, key, redis_rate.Limit{Rate: q.rate, Period: q.period, Burst: q.burst})
	if err != nil {
		s.lost(err)
		return verdict{}, false
	}
	s.slowSince.Store(0)
	if retryAt != 0 {
		s.found()
	}
	if result.Allowed == 0 {
		return verdict{next: result.RetryAfter}, true
	}
	// Redis counts in floating point, so its own number may be one too low.
	return q.allowed(result.ResetAfter.Round(time.Microsecond)), true
}

// mayTry is true for one request in each pause.
func (s *shared) mayTry(retryAt int64) bool {
	now := time.Since(s.begin)
	return int64(now) >= retryAt && s.retryAt.CompareAndSwap(retryAt, int64(now+pause))
}

func (s *shared) lost(err error) {
	if slow(err) && !s.slowForLong() {
		return
	}
	if s.retryAt.Swap(int64(time.Since(s.begin)+pause)) == 0 {
		s.log.Warn("Redis is away: each replica limits its clients by itself", zap.Error(err))
	}
}

// slow tells a Redis that takes its time from one that is not there.
func slow(err error) bool {
	var waited net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, redis.ErrPoolTimeout) || errors.As(err, &waited) && waited.Timeout()
}

func (s *shared) slowForLong() bool {
	now := int64(time.Since(s.begin))
	return !s.slowSince.CompareAndSwap(0, now) && now-s.slowSince.Load() >= int64(slowness)
}

func (s *shared) found() {
	if s.retryAt.Swap(0) != 0 {
		s.log.Info("Redis is back: the replicas limit their clients together")
	}
}

func (s *shared) away() bool { return s.retryAt.Load() != 0 }
