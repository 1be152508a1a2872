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
	awayLine = "Redis is away: each replica limits its clients by itself"
	backLine = "Redis is back: the replicas limit their clients together"
)

// open has a timeout so long that whoever relies on it is noticed.
func open(t testing.TB, addr string) *redis.Client {
	t.Helper()
	cfg := cache.Default()
	cfg.Host, cfg.Timeout = addr, 10*time.Second
	client := cache.Open(cfg)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// auths allows some requests for a token, and the next one only after the test.
func auths(burst int) ratelimit.Config {
	cfg := ratelimit.Default()
	cfg.AuthPerMinute, cfg.AuthBurst = 1, burst
	return cfg
}

func auth(r *replica) *http.Response { return r.do(nobody, "POST", "/auth") }

// settle sends requests of another class until the replica counts in Redis
// again, or alone.
func (r *replica) settle(t *testing.T, local bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		r.do(nobody, "GET", "/unknown")
		return r.local() == local
	}, waiting, 10*time.Millisecond)
}

// undisturbed returns what look finds while no replica loses Redis. On a busy
// machine Redis may seem away; then it looks again, with another client.
func undisturbed[T any](t *testing.T, look func(from string) T, replicas ...*replica) T {
	t.Helper()
	for client, begin := 0, time.Now(); ; client++ {
		require.Less(t, time.Since(begin), waiting, "Redis seemed to be away each time")
		lines := 0
		for _, r := range replicas {
			r.settle(t, false)
			lines -= r.logs.Len()
		}
		found := look(fmt.Sprintf("203.0.%d.%d:1", 113+client/250, client%250))
		for _, r := range replicas {
			lines += r.logs.Len()
		}
		if lines == 0 {
			return found
		}
	}
}

func TestReplicasShareABudget(t *testing.T) {
	server := dbtest.NewRedis(t)
	start := func(service string) *replica {
		return newReplica(t, auths(10), ratelimit.Options{Service: service, Redis: open(t, server.Addr())})
	}
	one, two, stranger := start("thing"), start("thing"), start("other")
	answers := undisturbed(t, func(from string) (answers []*http.Response) {
		for range 7 {
			answers = append(answers, one.do(from, "POST", "/auth"), two.do(from, "POST", "/auth"))
		}
		return append(answers, stranger.do(from, "POST", "/auth"))
	}, one, two, stranger)
	for i, answer := range answers[:14] {
		require.Equal(t, i < 10, allowed(t, answer), "%d", i)
		_, remaining, after := state(t, answer.Header)
		require.Equal(t, max(0, 9-i), remaining)
		require.InDelta(t, 45, after, 15, "a minute, less what the test took")
	}
	require.True(t, allowed(t, answers[14]), "each service has its own")

	client := open(t, server.Addr())
	keys, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Contains(t, keys, "rate:achilles:limit:thing:auth:ip:203.0.113.0")
	for _, key := range keys {
		ttl, err := client.TTL(t.Context(), key).Result()
		require.NoError(t, err)
		require.NotEqual(t, time.Duration(-1), ttl, "%s stays for ever", key)
	}
}

// Two replicas together let through the burst and what the time that passed
// allows, no more and no less.
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
	require.Eventually(t, func() bool { // unless the machine stands still: what it then misses is lost
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
			one.settle(t, false)
			two.settle(t, false)

			c.begin(server, t)
			one.settle(t, true)
			for range 5 {
				require.True(t, allowed(t, auth(one)))
			}
			require.False(t, allowed(t, auth(one)), "no limit without Redis")
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
			require.Equal(t, 5, together, "the replicas count together again")
		})
	}
}

// What a replica let through counts when Redis goes away, and what it let
// through meanwhile when Redis is back: a client that can make Redis slow gains
// nothing.
func TestNothingIsAllowedTwice(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, auths(5), ratelimit.Options{Redis: open(t, server.Addr())})
	r.settle(t, false)
	for range 5 {
		require.True(t, allowed(t, auth(r)))
	}
	server.Pause(t)
	require.False(t, allowed(t, auth(r)), "Redis is slow")
	r.settle(t, true)
	require.False(t, allowed(t, auth(r)), "Redis is away")
	const other = "203.0.113.1:1"
	for range 5 {
		require.True(t, allowed(t, r.do(other, "POST", "/auth")))
	}
	server.Resume(t)
	r.settle(t, false)
	require.False(t, allowed(t, auth(r)), "Redis is back")
	require.False(t, allowed(t, r.do(other, "POST", "/auth")), "Redis is back, and knows nothing of it")
}

// Redis is not away because a request or two had to wait too long for it.
func TestAMomentOfSlowness(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, ratelimit.Default(), ratelimit.Options{Redis: open(t, server.Addr())})
	for took := time.Hour; took > 200*time.Millisecond; { // the machine may be slow, too
		r.settle(t, false)
		before := r.logs.FilterMessage(awayLine).Len()
		server.Pause(t)
		begin := time.Now()
		r.do(nobody, "GET", things)
		r.do(nobody, "GET", things)
		took = time.Since(begin)
		local := r.local()
		server.Resume(t)
		if took <= 200*time.Millisecond {
			require.False(t, local)
			require.Equal(t, before, r.logs.FilterMessage(awayLine).Len())
		}
	}
	server.Pause(t)
	r.settle(t, true)
	server.Resume(t)
}

// A Redis that hangs costs one request in a second its 50 ms, and the others
// nothing.
func TestLatencyInAnOutage(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, ratelimit.Default(), ratelimit.Options{Redis: open(t, server.Addr())})
	r.settle(t, false)
	server.Pause(t)
	const clients, requests = 8, 200
	require.Eventually(t, func() bool { // again, where the machine is what is slow
		took := make([][]time.Duration, clients)
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				for range requests {
					begin := time.Now()
					r.do(nobody, "GET", things)
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

// The log has a line for each change, however many requests meet it.
func TestLogOfAnOutage(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, ratelimit.Default(), ratelimit.Options{Redis: open(t, server.Addr())})
	r.settle(t, false)
	before := r.logs.FilterMessage(awayLine).Len()
	server.Kill(t)
	for range 3 { // each long enough for another try
		r.settle(t, true)
		time.Sleep(1100 * time.Millisecond)
		r.do(nobody, "GET", things)
	}
	require.Equal(t, before+1, r.logs.FilterMessage(awayLine).Len())
	line := r.logs.FilterMessage(awayLine).All()[before]
	require.NotEmpty(t, line.ContextMap()["error"])
	server.Start(t)
	r.settle(t, false)
	require.GreaterOrEqual(t, r.logs.FilterMessage(backLine).Len(), 1)
}

func TestBeforeRedis(t *testing.T) {
	r := newReplica(t, auths(3), ratelimit.Options{Redis: open(t, "127.0.0.1:1")})
	for range 3 {
		require.True(t, allowed(t, auth(r)))
	}
	require.False(t, allowed(t, auth(r)))
	require.True(t, r.local())
}

// Clients that hang up cannot make the replicas count apart.
func TestAClientThatLeaves(t *testing.T) {
	server := dbtest.NewRedis(t)
	r := newReplica(t, auths(5), ratelimit.Options{Redis: open(t, server.Addr())})
	gone, leave := context.WithCancel(t.Context())
	leave()
	last := undisturbed(t, func(from string) *http.Response {
		for range 5 {
			r.doWithin(gone, from, "POST", "/auth")
		}
		return r.do(from, "POST", "/auth")
	}, r)
	require.False(t, allowed(t, last), "requests of clients that left do not count")
}
