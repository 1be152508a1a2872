package store_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/migrations"
)

// BenchmarkFeedOfWrites measures what the feed of changes costs POSTs: without it, with the
// outbox, and with numbers under the lock of a row. ADR 0043 has the results.
func BenchmarkFeedOfWrites(b *testing.B) {
	cfg := dbtest.NewMySQL(b).Config(b)
	cfg.MaxOpenConns, cfg.MaxIdleConns, cfg.Timeout = 80, 80, time.Minute
	db := dbtest.Open(b, cfg)
	if _, _, err := database.Migrate(b.Context(), db, migrations.All()); err != nil {
		b.Fatal(err)
	}
	nothing, outbox, lock := store.New(db, time.Hour), store.New(db, time.Hour), store.New(db, time.Hour)
	nothing.AppendNothing()
	lock.AppendUnderLock()
	dbtest.Work(b, outbox.PublishChanges)
	if err := outbox.Replace(b.Context(), changefeed.Offset{}, snapshot(1, 1, 2, 3)); err != nil {
		b.Fatal(err)
	}
	for _, writers := range []int{1, 16, 64} {
		for name, s := range map[string]*store.Store{"nothing": nothing, "outbox": outbox, "row lock": lock} {
			b.Run(fmt.Sprintf("%d writers/%s", writers, name), func(b *testing.B) {
				var begun atomic.Int64
				var working sync.WaitGroup
				for range writers {
					working.Go(func() {
						for begun.Add(1) <= int64(b.N) {
							if _, _, err := s.Create(b.Context(), draft("a title", 1, 2, 3), idempotency.Key{}); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				working.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "POST/s")
			})
		}
	}
}
