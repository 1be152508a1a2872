package store_test

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// Concurrent reads share queries, and each gets its own tag, or its own error.
func TestConcurrentReads(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		tags := map[uint64]tag.Tag{}
		for _, name := range []string{"a", "b", "c"} {
			created := create(t, s, name)
			tags[created.ID] = created
		}
		deleted := create(t, s, "deleted")
		require.NoError(t, s.Delete(t.Context(), deleted.ID, "", nil))
		var queries, reads atomic.Int64
		db.OnQuery(func(string, []any) { queries.Add(1) })
		var clients sync.WaitGroup
		for range 8 {
			for id, want := range tags {
				clients.Go(func() {
					for range 50 {
						reads.Add(1)
						if got, err := s.Get(t.Context(), id); assert.NoError(t, err) {
							assert.Equal(t, want, got.Tag)
						}
					}
				})
			}
			for _, id := range []uint64{deleted.ID, 1 << 40, math.MaxUint64} {
				clients.Go(func() {
					_, err := s.Get(t.Context(), id)
					var coded *errcode.Error
					if assert.ErrorAs(t, err, &coded) {
						assert.Equal(t, errcode.TagNotFound, coded.Code)
					}
				})
			}
		}
		clients.Wait()
		require.Less(t, queries.Load(), reads.Load())
	})
}
