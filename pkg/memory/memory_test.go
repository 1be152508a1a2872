package memory_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/memory"
)

// budget is a Budget of 8 MiB whose reservations are made in MiB.
type budget struct{ *memory.Budget }

const mebibyte = 1 << 20

func newBudget() budget { return budget{memory.New(memory.Config{Use: "test", Total: 8 * mebibyte})} }

// reserve returns a reservation whose transfer, once it is cut off, ends.
func (b budget) reserve(t *testing.T, client string, mebibytes float64) (*memory.Reservation, error) {
	t.Helper()
	var r *memory.Reservation
	r, err := b.Reserve(t.Context(), client, int64(mebibytes*mebibyte), func() { go func() { r.Release() }() })
	return r, err
}

func (b budget) must(t *testing.T, client string, mebibytes float64) *memory.Reservation {
	t.Helper()
	r, err := b.reserve(t, client, mebibytes)
	require.NoError(t, err)
	return r
}

func requireInUse(t *testing.T, after time.Duration, reserve func() (*memory.Reservation, error)) {
	t.Helper()
	began := time.Now()
	r, err := reserve()
	require.Nil(t, r)
	require.ErrorIs(t, err, memory.ErrInUse)
	require.Equal(t, after, time.Since(began))
}

func TestShareOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		first, second := b.must(t, "a", 3), b.must(t, "a", 1)
		requireInUse(t, 3*time.Second, func() (*memory.Reservation, error) { return b.reserve(t, "a", 1.0/1024) })
		other := b.must(t, "b", 3)
		first.Release()
		first.Release()
		require.EqualValues(t, 4*mebibyte, b.Reserved())
		second.Release()
		other.Release()
		require.Zero(t, b.Reserved())
		all := b.must(t, "a", 1000)
		require.EqualValues(t, 4*mebibyte, b.Reserved())
		all.Release()
	})
}

func TestSmallReservationsHaveMemoryOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		b.must(t, "a", 4)
		b.must(t, "b", 3)
		waiting := make(chan error)
		go func() {
			_, err := b.reserve(t, "c", 257.0/1024)
			waiting <- err
		}()
		synctest.Wait()
		for range 4 { // they pass the large one
			b.must(t, "d", 256.0/1024)
		}
		require.ErrorIs(t, <-waiting, memory.ErrInUse)
		require.EqualValues(t, 8*mebibyte, b.Reserved())
	})
}

// Memory goes to those who wait, in their order; a client that has its share holds up
// nobody else.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		held := []*memory.Reservation{b.must(t, "a", 4), b.must(t, "b", 3)}
		order := make(chan string, 10)
		for _, w := range []struct {
			client    string
			mebibytes float64
		}{{"a", 3}, {"c", 3}, {"d", 0.5}} {
			go func() {
				r, err := b.reserve(t, w.client, w.mebibytes)
				if err == nil {
					order <- w.client
					time.Sleep(time.Second / 2)
					r.Release()
				}
			}()
			synctest.Wait()
		}
		held[1].Resize(2.5 * mebibyte)
		synctest.Wait()
		require.Empty(t, order, "d does not pass c")
		held[1].Release()
		require.Equal(t, "c", <-order, "a has its share")
		held[0].Release()
		require.ElementsMatch(t, []string{"a", "d"}, []string{<-order, <-order})
		time.Sleep(time.Second)
		require.Zero(t, b.Reserved())
	})
}

func TestReservationThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		b.must(t, "a", 4)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.Reserve(ctx, "a", 1, func() {})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualValues(t, 4*mebibyte, b.Reserved())
	})
}

// Who waits behind a reservation that ends gets what fits.
func TestReservationThatEndsInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		b.must(t, "a", 4)
		b.must(t, "b", 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { _, _ = b.Reserve(ctx, "c", 3*mebibyte, func() {}) }()
		synctest.Wait()
		began := time.Now()
		b.must(t, "d", 0.5)
		require.Equal(t, time.Second, time.Since(began))
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		b.must(t, "a", 4)
		var waiting sync.WaitGroup
		for range 256 {
			waiting.Go(func() {
				requireInUse(t, 3*time.Second, func() (*memory.Reservation, error) { return b.reserve(t, "a", 1) })
			})
		}
		synctest.Wait()
		requireInUse(t, 0, func() (*memory.Reservation, error) { return b.reserve(t, "a", 1) })
		b.must(t, "b", 3) // who finds memory need not wait
		waiting.Wait()
	})
}

// A client that fills the queue takes no place of others.
func TestQueueIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		held := []*memory.Reservation{b.must(t, "a", 4), b.must(t, "b", 3)}
		refused := make(chan time.Duration, 256)
		began := time.Now()
		for range 256 {
			go func() {
				_, err := b.reserve(t, "a", 1)
				if errors.Is(err, memory.ErrInUse) {
					refused <- time.Since(began)
				}
			}()
		}
		synctest.Wait()
		time.AfterFunc(time.Second, held[1].Release)
		b.must(t, "c", 2).Release()
		require.Equal(t, time.Second, time.Since(began))
		require.Zero(t, <-refused, "one of the client with most")
		require.Equal(t, 3*time.Second, <-refused)
		synctest.Wait()
		require.Len(t, refused, 254)
	})
}

// Nothing is cut off unless others wait for it, and it has been slow for 2 s.
func TestSlowTransfers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		transfer := func(client string, mebibytes float64) *memory.Reservation {
			r := b.must(t, client, mebibytes)
			r.StartTransfer()
			time.Sleep(time.Second / 10)
			return r
		}
		cut := func(all ...*memory.Reservation) (cut []bool) {
			for _, r := range all {
				cut = append(cut, r.IsCut())
			}
			return cut
		}
		ended := transfer("a", 1)
		ended.EndTransfer()
		first, second, third, fourth := transfer("a", 1), transfer("b", 1), transfer("b", 1), transfer("b", 1)
		resting := b.must(t, "c", 2)
		began := time.Now()
		b.must(t, "d", 1.5).Release()
		require.Equal(t, []bool{false, true, true, false, false, false}, cut(ended, first, second, third, fourth, resting),
			"as many as it needs, the oldest first")
		require.Equal(t, 17*time.Second/10, time.Since(began), "when the second had lasted for 2 s")
		third.Release()
		time.Sleep(time.Minute)
		require.False(t, fourth.IsCut(), "nobody waits")
		slow := []*memory.Reservation{transfer("e", 1), transfer("f", 1), transfer("g", 1)}
		time.Sleep(time.Minute)
		b.must(t, "h", 1).Release()
		require.Equal(t, []bool{true, false, false, false}, cut(append([]*memory.Reservation{fourth}, slow...)...), "not more than it needs")
		for _, r := range slow {
			r.Release()
		}
		fourth = transfer("b", 1)
		_ = transfer("a", 3)
		time.Sleep(time.Minute)
		began = time.Now()
		b.must(t, "a", 2).Release()
		require.False(t, fourth.IsCut(), "a client that has its share takes from itself")
		require.Zero(t, time.Since(began))
		require.NoError(t, testutil.CollectAndCompare(b, strings.NewReader(`
# HELP achilles_memory_cut_total Transfers from or to slow clients that were cut off because others waited for their memory, by use.
# TYPE achilles_memory_cut_total counter
achilles_memory_cut_total{use="test"} 4
`), "achilles_memory_cut_total"))
		ended.Release()
		fourth.Release()
		resting.Release()
		require.Zero(t, b.Reserved())
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewPedanticRegistry()
		b := newBudget()
		registry.MustRegister(b, memory.New(memory.Config{Use: "another", Total: 1}))
		b.must(t, "a", 4)
		_, err := b.reserve(t, "a", 1)
		require.ErrorIs(t, err, memory.ErrInUse)
		require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP achilles_memory_limit_bytes Memory that requests can reserve, by use.
# TYPE achilles_memory_limit_bytes gauge
achilles_memory_limit_bytes{use="another"} 1
achilles_memory_limit_bytes{use="test"} 8.388608e+06
# HELP achilles_memory_refused_total Reservations that found no memory in time and were answered with 503, by use.
# TYPE achilles_memory_refused_total counter
achilles_memory_refused_total{use="another"} 0
achilles_memory_refused_total{use="test"} 1
# HELP achilles_memory_reserved_bytes Memory that requests have reserved, by use.
# TYPE achilles_memory_reserved_bytes gauge
achilles_memory_reserved_bytes{use="another"} 0
achilles_memory_reserved_bytes{use="test"} 4.194304e+06
`), "achilles_memory_limit_bytes", "achilles_memory_refused_total", "achilles_memory_reserved_bytes"))
		problems, err := testutil.GatherAndLint(registry)
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}

// Whatever many clients do at once, no more than the total is reserved, no more than
// its share by a client, and in the end nothing.
func TestManyClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		var clients sync.WaitGroup
		var granted [4]atomic.Int64
		for n := range 100 {
			clients.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(n)))
				client := n % len(granted)
				for range 50 {
					size := random.Int64N(2 * mebibyte)
					done := make(chan struct{}, 1)
					r, err := b.Reserve(t.Context(), fmt.Sprint(client), size, func() { done <- struct{}{} })
					if err != nil {
						continue
					}
					if now := granted[client].Add(size); now > 4*mebibyte {
						t.Errorf("client %d holds %d bytes", client, now)
					}
					if reserved := b.Reserved(); reserved > 8*mebibyte {
						t.Errorf("%d bytes are reserved", reserved)
					}
					r.StartTransfer()
					select {
					case <-done:
					case <-time.After(time.Duration(random.Int64N(int64(4 * time.Second)))):
					}
					granted[client].Add(-size)
					r.Release()
				}
			})
		}
		clients.Wait()
		require.Zero(t, b.Reserved())
	})
}
