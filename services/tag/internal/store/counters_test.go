package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/tag/internal/store"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

func requireCounters(t *testing.T, s *store.Store) {
	t.Helper()
	repaired, err := s.Recount(t.Context())
	require.NoError(t, err)
	require.Empty(t, repaired)
}

// requireTotals requires the totals of all lists.
func requireTotals(t *testing.T, s *store.Store, enabled, disabled int64) {
	t.Helper()
	for state, want := range map[*tag.State]int64{nil: enabled + disabled, new(tag.Enabled): enabled, new(tag.Disabled): disabled} {
		list, err := s.List(t.Context(), tag.Filter{State: state}, tag.Page{Limit: 1 << 20})
		require.NoError(t, err)
		require.Equal(t, want, list.Total)
		require.Len(t, list.Tags, int(list.Total))
	}
	requireCounters(t, s)
}

// Each write changes the counters by what it changes.
func TestCounters(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		_, s := open(t, cfg)
		requireTotals(t, s, 0, 0)
		var a tag.Tag
		for range 2 { // the second is a repeat
			var err error
			a, _, err = s.Create(t.Context(), draft("a", tag.Enabled), withKey("a"))
			require.NoError(t, err)
		}
		for i, name := range []string{"b", "c", "d"} {
			_, _, err := s.Create(t.Context(), draft(name, tag.State(i%2)), idempotency.Key{})
			require.NoError(t, err)
		}
		requireTotals(t, s, 2, 2)
		_, _, err := s.Create(t.Context(), draft("a", tag.Enabled), withKey("b"))
		requireCode(t, errcode.TagNameExists, err)
		requireTotals(t, s, 2, 2)
		for range 2 {
			_, err = s.Update(t.Context(), a.ID, draft("x", tag.Disabled), nil)
			require.NoError(t, err)
			requireTotals(t, s, 1, 3)
		}
		_, err = s.Update(t.Context(), a.ID, draft("renamed", tag.Disabled), nil)
		require.NoError(t, err)
		requireTotals(t, s, 1, 3)
		require.NoError(t, s.Delete(t.Context(), a.ID, "", nil))
		requireCode(t, errcode.TagNotFound, s.Delete(t.Context(), a.ID, "", nil))
		requireTotals(t, s, 1, 2)
	})
}

func TestRecount(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		create(t, s, "a")
		exec(t, db, "UPDATE blog_tag_sequence SET enabled_tags = 7, disabled_tags = -1")
		repaired, err := s.Recount(t.Context())
		require.NoError(t, err)
		require.Equal(t, []store.Repair{{State: tag.Disabled, Was: -1}, {State: tag.Enabled, Was: 7, Is: 1}}, repaired)
		requireTotals(t, s, 1, 0)
	})
}

// Writers race while transactions and connections are killed and the counters are
// recounted. In the end the counters are right.
func TestCountersSurviveStorms(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for ctx.Err() == nil {
					canceled, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond+rand.N(time.Second))
					if err := anyWrite(canceled, s); err != nil && canceled.Err() == nil && !documented(err) {
						t.Error(err)
					}
					cancel()
				}
			})
		}
		group.Go(func() {
			for ctx.Err() == nil {
				if cfg.DBType == database.MySQL {
					kill(ctx, db)
				}
				if _, err := s.Recount(ctx); err != nil && ctx.Err() == nil && !documented(err) {
					t.Error(err)
				}
			}
		})
		group.Wait()
		list, err := s.List(t.Context(), tag.Filter{State: new(tag.Enabled)}, tag.Page{Limit: 1 << 20})
		require.NoError(t, err)
		all, err := s.List(t.Context(), tag.Filter{}, tag.Page{Limit: 1 << 20})
		require.NoError(t, err)
		require.NotEmpty(t, all.Tags)
		requireTotals(t, s, int64(len(list.Tags)), int64(len(all.Tags)-len(list.Tags)))
	})
}

// anyWrite does a random write.
func anyWrite(ctx context.Context, s *store.Store) error {
	one, existing := draft(fmt.Sprint(rand.N(30)), tag.State(rand.N(2))), 1+rand.Uint64N(30)
	var err error
	switch rand.N(4) {
	case 0:
		_, _, err = s.Create(ctx, one, idempotency.Key{})
	case 1:
		_, _, err = s.Create(ctx, draft(fmt.Sprint("key ", rand.N(20)), tag.Enabled), withKey(fmt.Sprint(rand.N(20))))
	case 2:
		err = s.Delete(ctx, existing, "", nil)
	default:
		_, err = s.Update(ctx, existing, one, nil)
	}
	return err
}

// documented reports whether a write may return the error. Unavailable is that of a
// connection that was killed.
func documented(err error) bool {
	var coded *errcode.Error
	return errors.As(err, &coded) && coded.Code != errcode.Internal
}

// kill kills the connections of running transactions, as a crash of their process does.
func kill(ctx context.Context, db *database.DB) {
	var ids []uint64
	_ = db.Read(ctx, func(db *gorm.DB) error {
		return db.Raw("SELECT trx_mysql_thread_id FROM information_schema.innodb_trx t JOIN information_schema.processlist p ON p.id = trx_mysql_thread_id" +
			" WHERE p.db = DATABASE() AND trx_mysql_thread_id <> CONNECTION_ID() ORDER BY RAND() LIMIT 2").Scan(&ids).Error
	})
	for _, id := range ids {
		_, _ = db.SQL().ExecContext(ctx, fmt.Sprint("KILL ", id)) // it may have ended
	}
}
