package ratelimit

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	// reportInterval is the time between two reports, unless one is urgent. With it
	// grows what a client gets from several replicas before they know of each other.
	reportInterval = 20 * time.Millisecond
	// reportTimeout is the timeout of a report. No request waits for it.
	reportTimeout = 300 * time.Millisecond
	// maxReport is the maximum number of clients in one report.
	maxReport = 256
	// retryInterval is the interval at which an unavailable Redis is tried again.
	retryInterval = time.Second
	// keyPrefix is the prefix of the keys in Redis.
	keyPrefix = "rate:achilles:full-at:"
)

// spendScript adds ARGV[1] to the time in KEYS[1] at which the burst of a client is
// fully available again. It returns how far that is ahead. Both are in microseconds.
const spendScript = `local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + ARGV[1]
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
return full - now`

// shared tells Redis what the clients of this replica have spent, and learns from it
// what they have spent elsewhere.
//
// It does so in the background, shortly after a request, and at once if the client is
// new or has spent a larger share. Redis adds up what was spent even if that exceeds a
// limit. So a client that got too much from several replicas, before they knew of each
// other, waits longer for its next request. While Redis is unavailable, there is one
// report in each retryInterval, and what the others would say is dropped.
type shared struct {
	client redis.UniversalClient
	prefix string // of keys
	local  *local
	log    *zap.Logger
	// retryAt is when Redis may be tried again, since local.begin; 0 while Redis is
	// available.
	retryAt atomic.Int64
	urgent  chan struct{}
	running bool // guarded by local.mu
}

func newShared(client redis.UniversalClient, service string, local *local, log *zap.Logger) *shared {
	s := &shared{client: client, prefix: keyPrefix + service + ":", local: local, log: log, urgent: make(chan struct{}, 1)}
	local.report = s.wake
	return s
}

// wake makes s report what was spent. local.mu must be locked.
func (s *shared) wake(urgent bool) {
	if !s.running {
		s.running = true
		go s.run()
	}
	if urgent {
		select {
		case s.urgent <- struct{}{}:
		default:
		}
	}
}

// run reports until nothing has been spent for a reportInterval.
func (s *shared) run() {
	pause := time.NewTimer(reportInterval)
	defer pause.Stop()
	for {
		report := s.local.expenses(maxReport)
		if len(report) == 0 && s.stop() {
			return
		}
		s.send(report)
		if len(report) == maxReport {
			continue
		}
		pause.Reset(reportInterval)
		select {
		case <-s.urgent:
		case <-pause.C:
		}
	}
}

// stop reports whether nothing was spent. Then the next request starts run again.
func (s *shared) stop() bool {
	s.local.mu.Lock()
	defer s.local.mu.Unlock()
	s.running = len(s.local.spent) > 0
	return !s.running
}

func (s *shared) send(report []expense) {
	retryAt, now := s.retryAt.Load(), time.Since(s.local.begin)
	if len(report) == 0 || int64(now) < retryAt {
		return
	}
	ahead, err := s.spend(report)
	if err != nil {
		s.failed(err)
		return
	}
	if s.retryAt.Swap(0) != 0 {
		s.log.Info("Redis is available again: the replicas share their limits")
	}
	for i, e := range report {
		// From when it was sent: later would be too strict, and last.
		s.local.learn(e.client, now+ahead[i])
	}
}

// spend returns for each client in how much time its burst is fully available again.
func (s *shared) spend(report []expense) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), reportTimeout)
	defer cancel()
	pipe := s.client.Pipeline()
	results := make([]*redis.Cmd, len(report))
	for i, e := range report {
		results[i] = pipe.Eval(ctx, spendScript, []string{s.prefix + e.client.key.class + ":" + e.client.key.client}, e.spent.Microseconds())
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	ahead := make([]time.Duration, len(report))
	for i, result := range results {
		microseconds, err := result.Int64()
		if err != nil {
			return nil, err
		}
		ahead[i] = time.Duration(microseconds) * time.Microsecond
	}
	return ahead, nil
}

func (s *shared) failed(err error) {
	if s.retryAt.Swap(int64(time.Since(s.local.begin)+retryInterval)) == 0 {
		s.log.Warn("Redis is unavailable: each replica limits its clients separately", zap.Error(err))
	}
}

func (s *shared) unavailable() bool { return s.retryAt.Load() != 0 }
