package ratelimit

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// inFakeTime runs a test with a fake clock.
func inFakeTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

func TestBurstAndRefill(t *testing.T) {
	for _, q := range []quota{
		{50, time.Second, 100}, {10, time.Minute, 5}, {1, time.Second, 1}, {3, time.Second, 7}, {100_000, time.Second, 1_000}, {7, time.Minute, 1},
	} {
		t.Run(fmt.Sprint(q), func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				l := newLocal(10)
				for left := q.burst - 1; left >= 0; left-- {
					require.Equal(t, decision{true, left, q.interval()}, l.take(budget{key{client: "a"}, q}))
				}
				require.Equal(t, decision{next: q.interval()}, l.take(budget{key{client: "a"}, q}))

				time.Sleep(q.interval() - time.Nanosecond)
				require.Equal(t, decision{next: 1}, l.take(budget{key{client: "a"}, q}), "a nanosecond too early, and a rejected request costs nothing")
				time.Sleep(time.Nanosecond)
				require.Equal(t, decision{true, 0, q.interval()}, l.take(budget{key{client: "a"}, q}))
				require.False(t, l.take(budget{key{client: "a"}, q}).allowed, "one request per interval")

				time.Sleep(q.window())
				require.Equal(t, q.burst-1, l.take(budget{key{client: "a"}, q}).remaining, "the burst is fully available after the window")
				time.Sleep(100 * q.window())
				require.Equal(t, q.burst-1, l.take(budget{key{client: "a"}, q}).remaining, "never more than the burst")
			})
		})
	}
}

func TestRateOverTime(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		l, q := newLocal(10), quota{50, time.Second, 100}
		allowed := 0
		for range 10_000 { // 10 s, a request each millisecond
			if l.take(budget{key{client: "a"}, q}).allowed {
				allowed++
			}
			time.Sleep(time.Millisecond)
		}
		require.Equal(t, 100+500, allowed+1, "the burst and 50 per second, up to the last millisecond")
	})
}

func TestNext(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		l, q := newLocal(10), quota{10, time.Minute, 5}
		l.take(budget{key{client: "a"}, q})
		time.Sleep(4 * time.Second)
		require.Equal(t, decision{true, 3, 2 * time.Second}, l.take(budget{key{client: "a"}, q}), "2 s are left of the first request, and 6 s of the second")
	})
}

func TestClientsAreIndependent(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		l, q := newLocal(10), quota{1, time.Second, 2}
		for range 5 {
			l.take(budget{key{client: "a"}, q})
		}
		require.Equal(t, 1, l.take(budget{key{client: "b"}, q}).remaining)
	})
}

func TestFloodDoesNotResetLimits(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		const size = 100
		l, q := newLocal(size), quota{1, time.Second, 5}
		for l.take(budget{key{client: "attacker"}, q}).allowed {
		}
		for i := range 100 * size {
			require.True(t, l.take(budget{key{client: strconv.Itoa(i)}, q}).allowed, "a new client")
			require.LessOrEqual(t, len(l.clients), size)
			require.Len(t, l.queue, len(l.clients))
		}
		require.False(t, l.take(budget{key{client: "attacker"}, q}).allowed, "removed by a flood")
		for i := range size { // two requests each
			l.take(budget{key{client: "again" + strconv.Itoa(i)}, q})
			l.take(budget{key{client: "again" + strconv.Itoa(i)}, q})
		}
		require.False(t, l.take(budget{key{client: "attacker"}, q}).allowed, "removed by clients that used less")
	})
}

func TestExpiredClientsAreRemoved(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		l, q := newLocal(1000), quota{1, time.Second, 5}
		for i := range 1000 {
			l.take(budget{key{client: strconv.Itoa(i)}, q})
		}
		time.Sleep(time.Second)
		for i := range 1000 {
			l.take(budget{key{client: "one of two"}, q})
			l.take(budget{key{client: "new" + strconv.Itoa(i)}, q})
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, len(l.clients), 3)
	})
}

func TestMemory(t *testing.T) {
	heap := func() int {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int(stats.HeapAlloc)
	}
	before := heap()
	l, q := newLocal(maxClients), quota{1, time.Minute, 5}
	for i := range 4 * maxClients {
		l.take([]budget{
			{key{"write", fmt.Sprintf("ip:2001:db8:%x:%x::/64", i>>16, i&0xffff)}, q},
			{key{"write", fmt.Sprintf("ip:2001:db8:%x::/48", i>>16)}, q.times(1 << 16)},
		}...)
	}
	used := heap() - before
	require.Len(t, l.clients, maxClients)
	require.Less(t, used, 16<<20, "bytes of memory")
	runtime.KeepAlive(l)
	t.Logf("%d bytes for each of %d clients", used/maxClients, maxClients)
}

// Requests that count as several may exceed the burst once, and their client waits until that
// is made up for. They need no more than that nothing is exceeded already.
func TestSeveralAtOnce(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		l, q := newLocal(10), quota{20, time.Second, 40}
		b := budget{key{client: "a"}, q}
		require.Equal(t, decision{true, 39, q.interval()}, l.take(b))
		require.Equal(t, decision{true, 10, q.interval()}, l.takeAll(29, b))
		require.Equal(t, decision{true, 0, 89*q.interval() + q.interval()}, l.takeAll(99, b), "89 more than the burst")
		require.Equal(t, decision{next: 90 * q.interval()}, l.takeAll(1, b))
		require.Equal(t, decision{next: 90 * q.interval()}, l.take(b))
		time.Sleep(89 * q.interval())
		require.False(t, l.take(b).allowed)
		time.Sleep(q.interval())
		require.True(t, l.take(b).allowed)
		require.Equal(t, 0, l.takeAll(99, b).remaining, "the burst need not be free")
		require.True(t, l.take(budget{key{client: "b"}, q}).allowed)
	})
}

// A burst of one doesn't exclude batches.
func TestSeveralWithTheSmallestBurst(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		l, q := newLocal(10), quota{1, time.Second, 1}
		b := budget{key{client: "a"}, q}
		for range 3 {
			require.True(t, l.take(b).allowed)
			require.True(t, l.takeAll(99, b).allowed)
			require.False(t, l.takeAll(99, b).allowed)
			time.Sleep(100 * time.Second)
		}
	})
}
