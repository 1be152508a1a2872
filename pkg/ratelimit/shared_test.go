package ratelimit_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/cache"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
)

const (
	unavailableLine = "Redis is unavailable: each replica limits its clients separately"
	availableLine   = "Redis is available again: the replicas share their limits"
)

// open returns a client whose timeout is too long for the limiter to rely on.
func open(t testing.TB, addr string) *redis.Client {
	t.Helper()
	cfg := cache.Default()
	cfg.Host, cfg.Timeout = addr, 10*time.Second
	client := cache.Open(cfg)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// auths allows a burst of token requests, and no more during a test.
func auths(burst int) ratelimit.Config {
	cfg := ratelimit.Default()
	cfg.AuthPerMinute, cfg.AuthBurst = 1, burst
	return cfg
}

func auth(r *replica) *http.Response { return r.do(direct, "POST", "/auth") }

// await sends requests of another class until the replica counts locally, or in Redis.
func (r *replica) await(t *testing.T, local bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		r.do(direct, "GET", "/unknown")
		return r.local() == local
	}, waiting, 10*time.Millisecond)
}

// undisturbed returns the result of test, which it repeats with another client while
// Redis seems unavailable, as may happen on a busy machine.
func undisturbed[T any](t *testing.T, test func(from string) T, replicas ...*replica) T {
	t.Helper()
	for client, begin := 0, time.Now(); ; client++ {
		require.Less(t, time.Since(begin), waiting, "Redis seemed unavailable each time")
		lines := 0
		for _, r := range replicas {
			r.await(t, false)
			lines -= r.logs.Len()
		}
		result := test(fmt.Sprintf("203.0.%d.%d:1", 113+client/250, client%250))
		for _, r := range replicas {
			lines += r.logs.Len()
		}
		if lines == 0 {
			return result
		}
	}
}

func TestReplicasShareLimits(t *testing.T) {
	server := dbtest.NewRedis(t)
	start := func(service string) *replica {
		return newReplica(t, auths(10), ratelimit.Options{Service: service, Redis: open(t, server.Addr())})
	}
	one, two, other := start("thing"), start("thing"), start("other")
	answers := undisturbed(t, func(from string) (answers []*http.Response) {
		for range 7 {
			answers = append(answers, one.do(from, "POST", "/auth"), two.do(from, "POST", "/auth"))
		}
		return append(answers, other.do(from, "POST", "/auth"))
	}, one, two, other)
	for i, answer := range answers[:14] {
		require.Equal(t, i < 10, allowed(t, answer), "%d", i)
		_, remaining, after := state(t, answer.Header)
		require.Equal(t, max(0, 9-i), remaining)
		require.InDelta(t, 45, after, 15, "a minute, minus the duration of the test")
	}
	require.True(t, allowed(t, answers[14]), "each service has its own limits")

	client := open(t, server.Addr())
	keys, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Contains(t, keys, "rate:achilles:limit:thing:auth:ip:203.0.113.0")
	for _, key := range keys {
		ttl, err := client.TTL(t.Context(), key).Result()
		require.NoError(t, err)
		require.NotEqual(t, time.Duration(-1), ttl, "%s never expires", key)
	}
}

// Two replicas together allow the burst plus the rate over the elapsed time.
func TestRateInRedis(t *testing.T) {
	server, cfg := dbtest.NewRedis(t), ratelimit.Default()
	cfg.ReadPerSecond, cfg.ReadBurst = 20, 40
	one := newReplica(t, cfg, ratelimit.Options{Redis: open(t, server.Addr())})
	two := newReplica(t, cfg, ratelimit.Options{Redis: open(t, server.Addr())})
	type result struct {
		count int
		took  time.Duration
	}
	client := 0
	require.Eventually(t, func() bool { // the machine may stall and miss requests
		client++
		got := undisturbed(t, func(from string) (got result) {
			from = fmt.Sprintf("198.18.%d.%s", client, from[len("203.0."):])
			for begin := time.Now(); got.took < 2*time.Second; got.took = time.Since(begin) {
				for _, r := range []*replica{one, two} {
					if r.do(from, "GET", things).StatusCode == http.StatusOK {
						got.count++
					}
				}
			}
			return got
		}, one, two)
		require.LessOrEqual(t, got.count, 40+int(20*got.took.Seconds()))
		return got.count >= 40+20*2-2
	}, waiting, time.Millisecond)
}

func TestOutage(t *testing.T) {
	for about, c := range map[string]struct {
		begin, end func(*dbtest.Server, testing.TB)
	}{
		"frozen": {(*dbtest.Server).Pause, (*dbtest.Server).Resume},
		"killed": {(*dbtest.Server).Kill, (*dbtest.Server).Start},
	} {
		t.Run(about, func(t *testing.T) {
			server := dbtest.NewRedis(t)
			one := newReplica(t, auths(5), ratelimit.Options{Redis: open(t, server.Addr())})
			two := newReplica(t, auths(5), ratelimit.Options{Redis: open(t, server.Addr())})
			one.await(t, false)
			two.await(t, false)

			c.begin(server, t)
			one.await(t, true)
			for range 5 {
				require.True(t, allowed(t, auth(one)))
			}
			require.False(t, allowed(t, auth(one)), "limited without Redis too")
			require.True(t, allowed(t, one.do("[2001:db8::1]:1", "POST", "/auth")), "another client")
			require.True(t, one.local())

			c.end(server, t)
			together := undisturbed(t, func(from string) (count int) {
				for range 5 {
					for _, r := range []*replica{one, two} {
						if allowed(t, r.do(from, "POST", "/auth")) {
							count++
						}
					}
				}
				return count
			}, one, two)
			require.Equal(t, 5, together, "the replicas share their limits again")
		})
	}
}

// Requests count when Redis becomes unavailable, and after it is available again. So a
// client that can make Redis slow gains nothing.
func TestNothingIsAllowedTwice(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, auths(5), ratelimit.Options{Redis: open(t, server.Addr())})
	r.await(t, false)
	for range 5 {
		require.True(t, allowed(t, auth(r)))
	}
	server.Pause(t)
	require.False(t, allowed(t, auth(r)), "Redis is slow")
	r.await(t, true)
	require.False(t, allowed(t, auth(r)), "Redis is unavailable")
	const other = "203.0.113.1:1"
	for range 5 {
		require.True(t, allowed(t, r.do(other, "POST", "/auth")))
	}
	server.Resume(t)
	r.await(t, false)
	require.False(t, allowed(t, auth(r)), "Redis is available again")
	require.False(t, allowed(t, r.do(other, "POST", "/auth")), "Redis is available again, but has not counted these requests")
}

// A single timeout does not make Redis unavailable.
func TestShortSlowness(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, ratelimit.Default(), ratelimit.Options{Redis: open(t, server.Addr())})
	for took := time.Hour; took > 200*time.Millisecond; { // the machine may be slow too
		r.await(t, false)
		before := r.logs.FilterMessage(unavailableLine).Len()
		server.Pause(t)
		begin := time.Now()
		r.do(direct, "GET", things)
		r.do(direct, "GET", things)
		took = time.Since(begin)
		local := r.local()
		server.Resume(t)
		if took <= 200*time.Millisecond {
			require.False(t, local)
			require.Equal(t, before, r.logs.FilterMessage(unavailableLine).Len())
		}
	}
	server.Pause(t)
	r.await(t, true)
	server.Resume(t)
}

// If Redis hangs, one request per second waits 50 ms, and the others don't wait.
func TestLatencyInAnOutage(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, ratelimit.Default(), ratelimit.Options{Redis: open(t, server.Addr())})
	r.await(t, false)
	server.Pause(t)
	const clients, requests = 8, 200
	require.Eventually(t, func() bool { // the machine may be slow
		took := make([][]time.Duration, clients)
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				for range requests {
					begin := time.Now()
					r.do(direct, "GET", things)
					took[i] = append(took[i], time.Since(begin))
				}
			})
		}
		all.Wait()
		sorted := slices.Sorted(slices.Values(slices.Concat(took...)))
		median, slowest := sorted[len(sorted)/2], sorted[len(sorted)-1]
		t.Logf("median %s, 99th percentile %s, slowest %s", median, sorted[len(sorted)*99/100], slowest)
		return median < 25*time.Millisecond && slowest < 2*time.Second
	}, waiting, time.Millisecond)
}

// The log has one line per change, regardless of the number of requests.
func TestLogOfAnOutage(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, ratelimit.Default(), ratelimit.Options{Redis: open(t, server.Addr())})
	r.await(t, false)
	before := r.logs.FilterMessage(unavailableLine).Len()
	server.Kill(t)
	for range 3 { // each long enough for a retry
		r.await(t, true)
		time.Sleep(1100 * time.Millisecond)
		r.do(direct, "GET", things)
	}
	require.Equal(t, before+1, r.logs.FilterMessage(unavailableLine).Len())
	line := r.logs.FilterMessage(unavailableLine).All()[before]
	require.NotEmpty(t, line.ContextMap()["error"])
	server.Start(t)
	r.await(t, false)
	require.GreaterOrEqual(t, r.logs.FilterMessage(availableLine).Len(), 1)
}

func TestRedisUnavailableAtStart(t *testing.T) {
	r := newReplica(t, auths(3), ratelimit.Options{Redis: open(t, "127.0.0.1:1")})
	for range 3 {
		require.True(t, allowed(t, auth(r)))
	}
	require.False(t, allowed(t, auth(r)))
	require.True(t, r.local())
}

// Disconnecting clients cannot make Redis unavailable.
func TestDisconnectedClient(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, auths(5), ratelimit.Options{Redis: open(t, server.Addr())})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	last := undisturbed(t, func(from string) *http.Response {
		for range 5 {
			r.doWithin(canceled, from, "POST", "/auth")
		}
		return r.do(from, "POST", "/auth")
	}, r)
	require.False(t, allowed(t, last), "requests of disconnected clients must count")
}
