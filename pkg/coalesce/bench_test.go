package coalesce_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/achilles-blog/achilles/pkg/coalesce"
)

// BenchmarkGet has callers who all want the same key, or random ones. A read takes as
// long as a query, and allocates a map.
func BenchmarkGet(b *testing.B) {
	for _, duration := range []time.Duration{0, 200 * time.Microsecond} {
		for _, callers := range []int{1, 32, 256} {
			for _, keys := range []int{1, 100_000} {
				b.Run(fmt.Sprintf("read=%v/callers=%d/keys=%d", duration, callers, keys), func(b *testing.B) {
					benchmarkGet(b, duration, callers, keys)
				})
			}
		}
	}
}

func benchmarkGet(b *testing.B, duration time.Duration, callers, keys int) {
	var reads atomic.Int64
	g := coalesce.New(coalesce.Config{}, func(_ context.Context, keys []int) (map[int]int, error) {
		reads.Add(1)
		if duration > 0 {
			time.Sleep(duration)
		}
		values := make(map[int]int, len(keys))
		for _, key := range keys {
			values[key] = key
		}
		return values, nil
	})
	b.ReportAllocs()
	var running sync.WaitGroup
	for caller := range callers {
		running.Go(func() {
			for range (b.N + caller) / callers {
				key := rand.N(keys)
				if _, found, err := g.Get(b.Context(), key); !found || err != nil {
					b.Errorf("key %d: %v, %v", key, found, err)
				}
			}
		})
	}
	running.Wait()
	b.ReportMetric(float64(reads.Load())/float64(b.N), "reads/op")
}
