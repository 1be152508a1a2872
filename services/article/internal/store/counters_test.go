package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

func ofState(state article.State) article.Draft { return article.Draft{State: &state} }

// total returns the number of articles with a tag, 0 for all, and a state, nil for any.
func (f fixture) total(t *testing.T, tag uint64, state *article.State) int64 {
	t.Helper()
	filter := article.Filter{State: state}
	if tag > 0 {
		filter.AnyTag = []uint64{tag}
	}
	_, total, err := f.List(t.Context(), filter, article.Page{Limit: 1})
	require.NoError(t, err)
	return total.Rows
}

// Each write changes the counters by what it changes.
func TestCounters(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		enabled, disabled := article.Enabled, article.Disabled
		// The totals of tag 0, which means all articles, and of tags 1 to 3.
		totals := func(about string, all, off [4]int64) {
			t.Helper()
			for tag := range uint64(4) {
				require.Equal(t, all[tag], s.total(t, tag, nil), "%s: tag %d", about, tag)
				require.Equal(t, off[tag], s.total(t, tag, &disabled), "%s: tag %d, disabled", about, tag)
				require.Equal(t, all[tag]-off[tag], s.total(t, tag, &enabled), "%s: tag %d, enabled", about, tag)
			}
			s.requireCounters(t)
		}
		update := func(id uint64, draft article.Draft) {
			t.Helper()
			_, err := s.Update(t.Context(), id, draft, nil)
			require.NoError(t, err)
		}
		s.replace(t, snapshot(1, 1, 2, 3))
		totals("nothing", [4]int64{}, [4]int64{})
		for range 2 { // the second is a repeat
			_, _, err := s.Create(t.Context(), draft("a", 1, 2), withKey("a"))
			require.NoError(t, err)
		}
		b := s.create(t, "b", 2).ID
		totals("created", [4]int64{2, 1, 2, 0}, [4]int64{})
		require.Error(t, third(s.Create(t.Context(), draft("c", 1, 99), withKey("c"))))
		totals("failed", [4]int64{2, 1, 2, 0}, [4]int64{})
		update(b, ofState(disabled))
		totals("disabled", [4]int64{2, 1, 2, 0}, [4]int64{1, 0, 1, 0})
		update(b, ofState(disabled))
		totals("disabled again", [4]int64{2, 1, 2, 0}, [4]int64{1, 0, 1, 0})
		update(b, article.Draft{TagIDs: &[]uint64{1, 3}})
		totals("retagged", [4]int64{2, 2, 1, 1}, [4]int64{1, 1, 0, 1})
		update(b, draft("b", 2, 3)) // enabled and retagged
		totals("enabled and retagged", [4]int64{2, 1, 2, 1}, [4]int64{})
		require.NoError(t, s.apply(t.Context(), tagfeed.Change{Sequence: 2, TagID: 2, Kind: changefeed.Put, Name: "off", State: 0}))
		totals("a tag is disabled", [4]int64{2, 1, 2, 1}, [4]int64{})
		require.NoError(t, s.apply(t.Context(), remove(3, 2), put(4, 2, "back")))
		totals("a tag is deleted and restored", [4]int64{2, 1, 0, 1}, [4]int64{})
		s.replace(t, snapshot(9, 1, 2))
		totals("a snapshot lacks a tag", [4]int64{2, 1, 0, 0}, [4]int64{})
		require.NoError(t, s.Delete(t.Context(), 1, "", nil))
		totals("deleted", [4]int64{1, 0, 0, 0}, [4]int64{})
		require.Error(t, s.Delete(t.Context(), 1, "", nil))
		_, err := store.Purger{DB: s.db, After: -time.Hour}.Purge(t.Context())
		require.NoError(t, err)
		totals("purged", [4]int64{1, 0, 0, 0}, [4]int64{})
	})
}

// A tag that is deleted after a write has read the tags of its article is not counted by
// that write, even if the tag is restored. In SQLite, writes are never concurrent.
func TestTagIsDeletedDuringCount(t *testing.T) {
	for name, write := range map[string]func(s fixture, id uint64) error{
		"state": func(s fixture, id uint64) error {
			return second(s.Update(t.Context(), id, ofState(article.Disabled), nil))
		},
		"retag":  func(s fixture, id uint64) error { return second(s.Update(t.Context(), id, draft("x", 1), nil)) },
		"delete": func(s fixture, id uint64) error { return s.Delete(t.Context(), id, "", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := dbtest.MySQL(t)
			s, other := open(t, cfg), open(t, cfg)
			s.replace(t, snapshot(1, 1, 2))
			one := s.create(t, "one", 1, 2)
			s.create(t, "two", 2)
			var once sync.Once
			require.NoError(t, s.db.Gorm(t.Context()).Callback().Row().After("gorm:row").Register("test:read", func(tx *gorm.DB) {
				if tx.Statement.Table == "blog_article_tag" {
					once.Do(func() { require.NoError(t, other.apply(t.Context(), remove(2, 2), put(3, 2, "back"))) })
				}
			}))
			require.NoError(t, write(s, one.ID))
			s.requireCounters(t)
			require.Zero(t, s.total(t, 2, nil))
		})
	}
}

// Recount repairs counters that are wrong, too high, too low, missing or superfluous.
func TestRecount(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2))
		s.create(t, "a", 1)
		s.create(t, "b", 1, 2)
		s.requireCounters(t)
		s.exec(t, "UPDATE blog_article_count SET value = value + 7 WHERE tag_id = 1")
		s.exec(t, "DELETE FROM blog_article_count WHERE tag_id = 0")
		s.exec(t, "INSERT INTO blog_article_count (tag_id, state, slot, value) VALUES (2, 0, 3, -5)")
		var wrong int64
		require.NoError(t, s.db.Gorm(t.Context()).Raw("SELECT SUM(value) FROM blog_article_count WHERE tag_id = 1").Scan(&wrong).Error)
		repaired, err := s.Recount(t.Context())
		require.NoError(t, err)
		require.Equal(t, []store.Repair{
			{Counter: store.Counter{State: article.Enabled}, Is: 2},
			{Counter: store.Counter{TagID: 1, State: article.Enabled}, Was: wrong, Is: 2},
			{Counter: store.Counter{TagID: 2, State: article.Disabled}, Was: -5},
		}, repaired)
		s.requireCounters(t)
	})
}

// Writers create, change, tag and delete articles while their tags are deleted, restored
// and disabled, while transactions and connections are killed, and while the counters are
// recounted. Each write succeeds or returns one of the documented errors. In the end the
// counters are right.
func TestCountersSurviveStorms(t *testing.T) {
	const tags, writers = 6, 12
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := open(t, cfg)
		s.replace(t, snapshot(1, 1, 2, 3, 4, 5, 6))
		for range 20 {
			s.create(t, "a", 1, 2)
		}
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
		defer stop()
		var group sync.WaitGroup
		storm(ctx, t, cfg, &group, writers, func(replica fixture) error { return replica.anyWrite(t.Context(), tags) })
		group.Go(func() {
			for sequence := uint64(1); ctx.Err() == nil; sequence += 3 {
				tag := 1 + rand.Uint64N(tags)
				change := []tagfeed.Change{remove(sequence+1, tag), put(sequence+2, tag, "back"),
					{Sequence: sequence + 3, TagID: 1 + rand.Uint64N(tags), Kind: changefeed.Put, Name: "x", State: uint8(rand.N(2))}}
				for i := range change { // one by one, so that a writer may see the tag missing
					for s.apply(t.Context(), change[i]) != nil && ctx.Err() == nil { // its connection was killed
					}
				}
			}
		})
		group.Go(func() {
			for ctx.Err() == nil {
				s.kill(ctx, t)
				if _, err := s.Recount(ctx); err != nil && ctx.Err() == nil && !documented(err) {
					t.Error(err)
				}
			}
		})
		group.Wait()
		s.requireNoDanglingTags(t)
		s.requireCounters(t)
		for tag := range uint64(tags + 1) {
			for _, state := range []*article.State{nil, new(article.Enabled), new(article.Disabled)} {
				filter := article.Filter{State: state}
				if tag > 0 {
					filter.AnyTag = []uint64{tag}
				}
				list, total, err := s.List(t.Context(), filter, article.Page{Limit: 1 << 20})
				require.NoError(t, err)
				require.EqualValues(t, len(list), total.Rows, "tag %d", tag)
			}
		}
	})
}

// After a crash of the database server in the middle of writes the counters are right.
func TestCountersSurviveCrash(t *testing.T) {
	mysql := dbtest.NewMySQL(t, "--innodb-flush-log-at-trx-commit=1")
	s := open(t, mysql.Config(t))
	s.replace(t, snapshot(1, 1, 2, 3, 4, 5, 6))
	for range 20 {
		s.create(t, "a", 1, 2)
	}
	var group sync.WaitGroup
	var down atomic.Bool
	for range 8 {
		group.Go(func() {
			for !down.Load() {
				if err := s.anyWrite(t.Context(), 6); err != nil && !documented(err) {
					t.Error(err)
				}
			}
		})
	}
	require.Eventually(t, func() bool { return s.count(t, "article", "1 = 1") > 50 }, time.Minute, time.Millisecond)
	mysql.Kill(t)
	down.Store(true)
	group.Wait()
	mysql.Start(t)
	require.Eventually(t, func() bool { return s.db.Ping(t.Context()) == nil }, time.Minute, 10*time.Millisecond)
	require.GreaterOrEqual(t, s.count(t, "article", "1 = 1"), int64(50))
	s.requireCounters(t)
}

// No deadlock reaches one of 200 writers that change the same counters.
func TestManyWriters(t *testing.T) {
	const writers, rounds = 200, 5
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2, 3))
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				for range rounds {
					created, _, err := s.Create(t.Context(), draft("x", 1, 2, 3), idempotency.Key{})
					if err == nil && w%2 == 0 {
						err = second(s.Update(t.Context(), created.ID, draft("y", 2), nil))
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		require.EqualValues(t, writers*rounds, s.total(t, 2, new(article.Enabled)))
		require.EqualValues(t, writers*rounds/2, s.total(t, 3, nil))
		s.requireCounters(t)
	})
}

// storm starts writers, each on a replica of its own, which write until ctx ends.
func storm(ctx context.Context, t *testing.T, cfg database.Config, group *sync.WaitGroup, writers int, write func(replica fixture) error) {
	t.Helper()
	for range writers {
		replica := open(t, cfg)
		group.Go(func() {
			for ctx.Err() == nil {
				if err := write(replica); err != nil && !documented(err) {
					t.Error(err)
				}
			}
		})
	}
}

// anyWrite does a random write.
func (f fixture) anyWrite(ctx context.Context, tags uint64) error {
	ids := []uint64{1 + rand.Uint64N(tags)}
	if second := 1 + rand.Uint64N(tags); second > ids[0] {
		ids = append(ids, second)
	}
	one := draft("x", ids...)
	*one.State = article.State(rand.N(2))
	existing := 1 + rand.Uint64N(40)
	switch rand.N(6) {
	case 0:
		return third(f.Create(ctx, one, idempotency.Key{}))
	case 1:
		return third(f.Create(ctx, draft("x"), withKey(fmt.Sprint(rand.N(20)))))
	case 2:
		return f.Delete(ctx, existing, "", nil)
	case 3:
		return second(f.Update(ctx, existing, ofState(*one.State), nil))
	case 4:
		one.State = nil
	}
	return second(f.Update(ctx, existing, one, nil))
}

// documented reports whether a write may return the error. Unavailable is that of a
// connection that was killed.
func documented(err error) bool {
	var coded *errcode.Error
	return errors.As(err, new(*article.UnknownTagsError)) || errors.As(err, &coded) &&
		(coded.Code == errcode.ArticleNotFound || coded.Code == errcode.Conflict || coded.Code == errcode.Unavailable || coded.Code == errcode.RequestInProgress)
}

// kill kills the connections of running transactions, as a crash of their process does.
func (f fixture) kill(ctx context.Context, t *testing.T) {
	if f.db.Dialect() == database.SQLite {
		// A canceled transaction is rolled back.
		ctx, cancel := context.WithTimeout(ctx, rand.N(time.Millisecond))
		defer cancel()
		_ = f.anyWrite(ctx, 6)
		return
	}
	var ids []uint64
	err := f.db.Read(ctx, func(db *gorm.DB) error {
		return db.Raw("SELECT trx_mysql_thread_id FROM information_schema.innodb_trx t JOIN information_schema.processlist p ON p.id = trx_mysql_thread_id" +
			" WHERE p.db = DATABASE() AND trx_mysql_thread_id <> CONNECTION_ID() ORDER BY RAND() LIMIT 2").Scan(&ids).Error
	})
	if err != nil && ctx.Err() == nil && !documented(err) {
		t.Error(err)
	}
	for _, id := range ids {
		_, _ = f.db.SQL().ExecContext(ctx, fmt.Sprint("KILL ", id)) // it may have ended
	}
}
