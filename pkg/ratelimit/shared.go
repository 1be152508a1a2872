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
	// redisTimeout is how long a request waits for Redis.
	redisTimeout = 50 * time.Millisecond
	// maxSlowness is how long all requests to Redis must have timed out before it
	// counts as unavailable. Otherwise a client could slow Redis down by a burst, and
	// then be limited by each replica only.
	maxSlowness = 300 * time.Millisecond
	// retryInterval is the interval at which an unavailable Redis is tried again.
	retryInterval = time.Second
)

// shared counts the requests of all replicas in Redis. While Redis is unavailable,
// one request in each retryInterval tries it, and the others don't wait for it.
type shared struct {
	limiter *redis_rate.Limiter
	log     *zap.Logger
	begin   time.Time
	// retryAt is when Redis may be tried again, in nanoseconds since begin; 0
	// while Redis is available.
	retryAt atomic.Int64
	// slowSince is when the first of consecutive timeouts occurred, in
	// nanoseconds since begin; 0 if the last request succeeded.
	slowSince atomic.Int64
}

func newShared(client *redis.Client, log *zap.Logger) *shared {
	return &shared{limiter: redis_rate.NewLimiter(client), log: log, begin: time.Now()}
}

// take decides on a request of the client with this key. It returns false if Redis
// is unavailable.
func (s *shared) take(ctx context.Context, key string, q quota) (decision, bool) {
	retryAt := s.retryAt.Load()
	if retryAt != 0 && !s.mayTry(retryAt) {
		return decision{}, false
	}
	// A disconnected client must not count as a failure of Redis.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisTimeout)
	defer cancel()
	result, err := s.limiter.Allow(ctx, key, redis_rate.Limit{Rate: q.rate, Period: q.period, Burst: q.burst})
	if err != nil {
		s.failed(err)
		return decision{}, false
	}
	s.slowSince.Store(0)
	if retryAt != 0 {
		s.recovered()
	}
	if result.Allowed == 0 {
		return decision{next: result.RetryAfter}, true
	}
	// result.Remaining may be one too low: the script uses floating point.
	return q.allowed(result.ResetAfter.Round(time.Microsecond)), true
}

// mayTry reports whether the caller may try Redis: one in each retryInterval.
func (s *shared) mayTry(retryAt int64) bool {
	now := time.Since(s.begin)
	return int64(now) >= retryAt && s.retryAt.CompareAndSwap(retryAt, int64(now+retryInterval))
}

func (s *shared) failed(err error) {
	if isTimeout(err) && !s.slowForLong() {
		return
	}
	if s.retryAt.Swap(int64(time.Since(s.begin)+retryInterval)) == 0 {
		s.log.Warn("Redis is unavailable: each replica limits its clients separately", zap.Error(err))
	}
}

func isTimeout(err error) bool {
	var netError net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, redis.ErrPoolTimeout) || errors.As(err, &netError) && netError.Timeout()
}

func (s *shared) slowForLong() bool {
	now := int64(time.Since(s.begin))
	return !s.slowSince.CompareAndSwap(0, now) && now-s.slowSince.Load() >= int64(maxSlowness)
}

func (s *shared) recovered() {
	if s.retryAt.Swap(0) != 0 {
		s.log.Info("Redis is available again: the replicas share their limits")
	}
}

func (s *shared) unavailable() bool { return s.retryAt.Load() != 0 }
