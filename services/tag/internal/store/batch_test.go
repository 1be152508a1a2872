package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// Batches with the same names in different orders: one of them creates its tags, and all
// others learn that a name exists.
func TestOverlappingBatches(t *testing.T) {
	const writers, rounds, size = 8, 20, 10
	each := map[string]database.Config{"mysql": dbtest.NewMySQL(t).Config(t), "sqlite": dbtest.SQLite(t)}
	for name, cfg := range each {
		cfg.Timeout = time.Minute
		db, s := open(t, cfg)
		var group sync.WaitGroup
		var created [rounds]atomic.Int64
		for range writers {
			group.Go(func() {
				for round := range rounds {
					var all []tag.Draft
					for n := range size {
						all = append(all, draft(fmt.Sprint(round, " ", n), tag.State(n%2)))
					}
					rand.Shuffle(size, func(i, j int) { all[i], all[j] = all[j], all[i] })
					_, _, err := s.CreateAll(t.Context(), all, idempotency.Key{})
					var coded *errcode.Error
					switch {
					case err == nil:
						created[round].Add(1)
					case !errors.As(err, &coded) || coded.Code != errcode.TagNameExists:
						t.Errorf("batch: %v", err)
					}
				}
			})
		}
		group.Wait()
		for round := range rounds {
			require.EqualValues(t, 1, created[round].Load())
		}
		found, err := s.Changes(t.Context(), 0, 1000)
		require.NoError(t, err)
		require.Len(t, found.Changes, rounds*size)
		repaired, err := s.Recount(t.Context())
		require.NoError(t, err)
		require.Empty(t, repaired)
		var rows int64
		require.NoError(t, db.Gorm(t.Context()).Table("blog_tag").Count(&rows).Error)
		require.EqualValues(t, rounds*size, rows)
		require.Zero(t, dbtest.Deadlocks(t, db), name)
	}
}

// A batch sends one statement for each tag, and a few for all of them.
func TestRoundTripsOfBatches(t *testing.T) {
	db, s := open(t, dbtest.Counted(t))
	var all []tag.Draft
	for n := range 50 {
		all = append(all, draft(fmt.Sprint(n), tag.Enabled))
	}
	key := idempotency.Key{Value: "k"}
	for _, want := range []int64{50 + 6, 4} {
		require.Equal(t, want, dbtest.RoundTrips(t, db, func() {
			_, _, err := s.CreateAll(t.Context(), all, key)
			require.NoError(t, err)
		}))
	}
}
