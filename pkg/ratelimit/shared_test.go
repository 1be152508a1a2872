package ratelimit_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
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
func open(t testing.TB, addr string) redis.UniversalClient {
	t.Helper()
	cfg := cache.Default()
	cfg.Addresses, cfg.Timeout = []string{addr}, 10*time.Second
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

// authFrom sends a token request, and waits until Redis knows of it.
func authFrom(t testing.TB, r *replica, from string) *http.Response {
	t.Helper()
	defer r.settle(t)
	return r.do(from, "POST", "/auth")
}

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
		return newReplica(t, auths(10), ratelimit.Deps{Service: service, Redis: open(t, server.Addr())})
	}
	one, two, other := start("thing"), start("thing"), start("other")
	answers := undisturbed(t, func(from string) (answers []*http.Response) {
		for range 7 {
			answers = append(answers, authFrom(t, one, from), authFrom(t, two, from))
		}
		return append(answers, authFrom(t, other, from))
	}, one, two, other)
	for i, answer := range answers[:14] {
		// A replica knows what was counted when it counted its own last request.
		require.Equal(t, i < 10+1, allowed(t, answer), "%d", i)
		_, remaining, after := state(t, answer.Header)
		require.Equal(t, max(0, min(9, 10-i)), remaining)
		require.InDelta(t, 75, after, 45, "a minute or two, minus the duration of the test")
	}
	require.True(t, allowed(t, answers[14]), "each service has its own limits")

	client := open(t, server.Addr())
	keys, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Contains(t, keys, "rate:achilles:full-at:thing:auth:ip:203.0.113.0")
	for _, key := range keys {
		ttl, err := client.TTL(t.Context(), key).Result()
		require.NoError(t, err)
		require.NotEqual(t, time.Duration(-1), ttl, "%s never expires", key)
	}
}

// The keys of a script are in one slot, and clients in all slots are limited.
func TestLimitsInACluster(t *testing.T) {
	nodes := dbtest.NewRedisCluster(t, 3)
	cluster := func() redis.UniversalClient {
		cfg := cache.Default()
		cfg.Addresses, cfg.Cluster, cfg.Timeout = []string{nodes[0].Addr()}, true, 10*time.Second
		client := cache.Open(cfg)
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		return client
	}
	first, second := cluster(), cluster()
	for n := range 12 {
		service := fmt.Sprint("service-", n) // another key
		one := newReplica(t, auths(4), ratelimit.Deps{Service: service, Redis: first})
		two := newReplica(t, auths(4), ratelimit.Deps{Service: service, Redis: second})
		answers := undisturbed(t, func(from string) (answers []*http.Response) {
			for range 4 {
				answers = append(answers, authFrom(t, one, from), authFrom(t, two, from))
			}
			return answers
		}, one, two)
		for i, answer := range answers {
			require.Equal(t, i < 4+1, allowed(t, answer), "%d", i)
		}
	}
}

// Four replicas together allow a flood the burst plus the rate over the elapsed time, and
// 10 % more at most. What they allow at the beginning, before they know of each other, is
// paid off.
func TestFlood(t *testing.T) {
	server, cfg := dbtest.NewRedis(t), ratelimit.Default()
	cfg.ReadPerSecond, cfg.ReadBurst = 200, 100
	var replicas []*replica
	for range 4 {
		replicas = append(replicas, newReplica(t, cfg, ratelimit.Deps{Redis: open(t, server.Addr())}))
	}
	client := 0
	require.Eventually(t, func() bool { // the machine may stall and miss requests
		client++
		ratio := undisturbed(t, func(from string) float64 {
			return flood(fmt.Sprintf("198.18.%d.%s", client, from[len("203.0."):]), 3*time.Second, cfg, replicas)
		}, replicas...)
		t.Logf("%.3f of the limit", ratio)
		require.LessOrEqual(t, ratio, 1.1)
		return ratio >= 0.95
	}, waiting, time.Millisecond)
}

// flood sends requests from a client to all replicas at once, many times its limit. It
// returns the ratio of those that were allowed to those that should be.
func flood(from string, duration time.Duration, cfg ratelimit.Config, replicas []*replica) float64 {
	var granted atomic.Int64
	var all sync.WaitGroup
	begin := time.Now()
	for _, r := range replicas {
		all.Go(func() {
			for time.Since(begin) < duration {
				if r.do(from, "GET", things).StatusCode == http.StatusOK {
					granted.Add(1)
				}
				time.Sleep(500 * time.Microsecond)
			}
		})
	}
	all.Wait()
	return float64(granted.Load()) / (float64(cfg.ReadBurst) + float64(cfg.ReadPerSecond)*time.Since(begin).Seconds())
}

// A client that was idle gets its whole burst from one replica, however fast it comes.
func TestFirstBurst(t *testing.T) {
	server := dbtest.NewRedis(t)
	one := newReplica(t, auths(50), ratelimit.Deps{Redis: open(t, server.Addr())})
	two := newReplica(t, auths(50), ratelimit.Deps{Redis: open(t, server.Addr())})
	undisturbed(t, func(from string) any {
		for left := 49; left >= 0; left-- {
			answer := one.do(from, "POST", "/auth")
			require.True(t, allowed(t, answer))
			_, remaining, _ := state(t, answer.Header)
			require.Equal(t, left, remaining)
		}
		one.settle(t)
		require.False(t, allowed(t, one.do(from, "POST", "/auth")))
		require.True(t, allowed(t, authFrom(t, two, from)), "one request, with which the other replica learns that there are none left")
		require.False(t, allowed(t, two.do(from, "POST", "/auth")))
		return nil
	}, one, two)
}

// silence answers no pipeline until it is closed.
type silence chan struct{}

func (s silence) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (s silence) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (s silence) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, _ []redis.Cmder) error { <-s; return ctx.Err() }
}

// No request waits for Redis: they are answered while nothing comes from it.
func TestNoRequestWaits(t *testing.T) {
	client, never := open(t, dbtest.NewRedis(t).Addr()), make(silence)
	client.AddHook(never)
	r := newReplica(t, auths(5), ratelimit.Deps{Redis: client})
	defer r.settle(t)
	defer close(never)
	for range 3 {
		for i := range 100 {
			r.do(fmt.Sprintf("203.0.113.%d:1", i), "POST", "/auth")
		}
	}
	require.True(t, r.limiter.Reporting())
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
			one := newReplica(t, auths(5), ratelimit.Deps{Redis: open(t, server.Addr())})
			two := newReplica(t, auths(5), ratelimit.Deps{Redis: open(t, server.Addr())})
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
						if allowed(t, authFrom(t, r, from)) {
							count++
						}
					}
				}
				return count
			}, one, two)
			require.Equal(t, 5+1, together, "the replicas share their limits again")
		})
	}
}

// Requests count when Redis becomes unavailable, and after it is available again. So a
// client that can make Redis slow gains nothing.
func TestNothingIsAllowedTwice(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, auths(5), ratelimit.Deps{Redis: open(t, server.Addr())})
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
	r := newReplica(t, ratelimit.Default(), ratelimit.Deps{Redis: open(t, server.Addr())})
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

// Requests don't get slower if Redis hangs.
func TestLatencyInAnOutage(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, ratelimit.Default(), ratelimit.Deps{Redis: open(t, server.Addr())})
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
	r := newReplica(t, ratelimit.Default(), ratelimit.Deps{Redis: open(t, server.Addr())})
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
	r := newReplica(t, auths(3), ratelimit.Deps{Redis: open(t, "127.0.0.1:1")})
	for range 3 {
		require.True(t, allowed(t, auth(r)))
	}
	require.False(t, allowed(t, auth(r)))
	r.await(t, true)
}

// Disconnecting clients cannot make Redis unavailable.
func TestDisconnectedClient(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, auths(5), ratelimit.Deps{Redis: open(t, server.Addr())})
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

// The replicas share the limits of sites, too. They do not know yet of the last request.
func TestSharedSites(t *testing.T) {
	server, cfg := dbtest.NewRedis(t), strict()
	cfg.AuthBurst, cfg.IPv6SiteFactor = 1, 5
	one := newReplica(t, cfg, ratelimit.Deps{Redis: open(t, server.Addr())})
	two := newReplica(t, cfg, ratelimit.Deps{Redis: open(t, server.Addr())})
	require.Eventually(t, func() bool { // again with other addresses if Redis seemed unavailable
		granted, site := 0, time.Now().UnixNano()&0xffff
		for n := range 10 {
			for _, r := range []*replica{one, two} {
				if authFrom(t, r, fmt.Sprintf("[2001:db8:%x:%x::1]:1", site, n)).StatusCode == http.StatusOK {
					granted++
				}
			}
		}
		return granted == 5+1
	}, waiting, time.Millisecond)
}
