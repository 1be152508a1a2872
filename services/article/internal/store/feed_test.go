package store_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/feedtest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/store"
)

// eachFeed runs a test for the feeds of both viewers, on both databases.
func eachFeed(t *testing.T, test func(t *testing.T, viewer article.Viewer, config func(testing.TB) database.Config)) {
	t.Helper()
	for name, config := range map[string]func(testing.TB) database.Config{database.SQLite: dbtest.SQLite, database.MySQL: dbtest.MySQL} {
		for feed, viewer := range map[string]article.Viewer{"public": article.Anonymous, "all": article.Authenticated} {
			t.Run(name+" "+feed, func(t *testing.T) { test(t, viewer, config) })
		}
	}
}

func TestFeed(t *testing.T) {
	eachFeed(t, func(t *testing.T, viewer article.Viewer, config func(testing.TB) database.Config) {
		feedtest.Run(t, func(t *testing.T) feedtest.Feed {
			s := open(t, config(t))
			feed := feedtest.Feed{
				DB: s.db, Changes: "article_change", Number: "public_sequence", Trim: s.TrimChanges,
				Write: func(ctx context.Context) error { return third(s.Create(ctx, draft("a"), idempotency.Key{})) },
				Read: func(ctx context.Context, after uint64, limit int) ([]uint64, uint64, error) {
					found, err := s.Changes(ctx, viewer, changefeed.Offset{Sequence: after}, limit)
					return feedtest.Numbers(found.Changes), found.Last, err
				},
				SQL: store.Feed(s.db),
				Epoch: func(ctx context.Context) (string, error) {
					last, err := s.LastChange(ctx, viewer)
					return last.Epoch, err
				},
			}
			if viewer == article.Authenticated {
				feed.Number = "sequence"
			}
			return feed
		})
	})
}

// write creates an article, and changes it until it deletes it or not. Its articles are
// disabled and enabled again.
func (f fixture) write(ctx context.Context, store article.Store) error {
	states := []article.State{article.Disabled, article.Enabled}
	change := draft(fmt.Sprint(rand.Int()), rand.Uint64N(3)+1)
	change.State = &states[rand.N(2)]
	created, _, err := store.Create(ctx, change, idempotency.Key{})
	for n := rand.N(4); n > 0 && err == nil; n-- {
		change = draft(fmt.Sprint(rand.Int()))
		change.State = &states[rand.N(2)]
		_, err = store.Update(ctx, created.ID, change, nil)
	}
	if err == nil && rand.N(3) == 0 {
		err = store.Delete(ctx, created.ID, "", nil)
	}
	return err
}

// source returns the feed of a viewer as a follower reads it.
func (f fixture) source(feed *article.Feed, viewer article.Viewer) feedtest.Source[article.Change] {
	state := func(a article.Article) string { return fmt.Sprint(a.Title, a.State, a.Tags, a.Revision) }
	return feedtest.Source[article.Change]{
		Read: func(ctx context.Context, after changefeed.Offset, limit int, wait time.Duration) (article.Changes, error) {
			return changefeed.Poll(ctx, feed.Watcher(viewer), changefeed.Request{After: after.Sequence, Wait: wait},
				func(ctx context.Context) (article.Changes, error) { return feed.Changes(ctx, viewer, after, limit) })
		},
		All: func(ctx context.Context) (feedtest.Snapshot, error) {
			at, err := feed.LastChange(ctx, viewer)
			all := feedtest.Snapshot{Offset: at, Objects: feedtest.Objects{}}
			for page := (article.Page{Limit: 1000}); err == nil; page.Offset += page.Limit {
				var found *article.List
				if found, err = article.NewService(f.Store, nil, 0).List(ctx, viewer, article.Filter{}, page); err != nil || len(found.Articles) == 0 {
					break
				}
				for _, a := range found.Articles {
					all.Objects[a.ID] = state(a)
				}
			}
			return all, err
		},
		Entry: func(c article.Change) (uint64, string, bool) {
			if c.Article == nil {
				return c.ID, "", true
			}
			return c.ID, state(*c.Article), false
		},
	}
}

// feed returns the feed of a replica.
func (f fixture) feed(t *testing.T) *article.Feed {
	t.Helper()
	watch := func(viewer article.Viewer) *changefeed.Watcher {
		w := changefeed.NewWatcher(changefeed.WatcherOptions{Head: f.LastNumber(viewer), Interval: 20 * time.Millisecond})
		dbtest.Work(t, w.Run)
		return w
	}
	return article.NewFeed(f.Store, watch(article.Anonymous), watch(article.Authenticated))
}

// Followers of both feeds apply each change exactly once, also if they are killed and
// started again, and start over after a trim.
func TestFollowers(t *testing.T) {
	eachFeed(t, func(t *testing.T, viewer article.Viewer, config func(testing.TB) database.Config) {
		s := open(t, config(t))
		s.replace(t, snapshot(1, 1, 2, 3))
		feed := s.feed(t)
		store := feed.Announcing(s.Store)
		write := func(ctx context.Context, _, _ int) error { return s.write(ctx, store) }
		feedtest.Follow(t, s.source(feed, viewer), 8, 8, write, nil)
		feedtest.Follow(t, s.source(feed, viewer), 8, 10, write, func(ctx context.Context) error {
			_, err := s.TrimChanges(ctx, time.Now().Add(time.Hour), 1000)
			return err
		})
		s.requireChain(t)
	})
}

// requireChain requires that the changes that are left are in the order of the writes: each
// begins with the visibility that the article's previous change ends with, and the last one
// ends with that of the article.
func (f fixture) requireChain(t *testing.T) {
	t.Helper()
	var rows []struct {
		Sequence, ArticleID         uint64
		PublicSequence              *uint64
		VisibleBefore, VisibleAfter bool
	}
	require.NoError(t, f.db.Gorm(t.Context()).Table("blog_article_change").Order("sequence").Find(&rows).Error)
	require.Zero(t, f.count(t, "article_outbox", "1 = 1"))
	visible, public := map[uint64]bool{}, uint64(0)
	for i, row := range rows {
		if i > 0 {
			require.Equal(t, rows[i-1].Sequence+1, row.Sequence)
		}
		if before, known := visible[row.ArticleID]; known {
			require.Equal(t, before, row.VisibleBefore, "article %d, change %d", row.ArticleID, row.Sequence)
		}
		visible[row.ArticleID] = row.VisibleAfter
		require.Equal(t, row.VisibleBefore || row.VisibleAfter, row.PublicSequence != nil)
		if row.PublicSequence != nil {
			require.Equal(t, cmp.Or(public, *row.PublicSequence-1)+1, *row.PublicSequence)
			public = *row.PublicSequence
		}
	}
	for id, seen := range visible {
		require.Equal(t, seen, f.count(t, "article", fmt.Sprintf("id = %d AND state = 1 AND is_deleted = 0", id)) == 1)
	}
}

// Two hundred writers, and a follower that is killed and started again: in the end, what it
// has is what the table has.
func TestFollowersOfManyWriters(t *testing.T) {
	cfg := dbtest.MySQL(t)
	s := open(t, cfg)
	s.replace(t, snapshot(1, 1, 2, 3))
	feed := s.feed(t)
	store := feed.Announcing(s.Store)
	feedtest.Follow(t, s.source(feed, article.Anonymous), 200, 3, func(ctx context.Context, _, _ int) error { return s.write(ctx, store) }, nil)
	s.requireChain(t)
}

// A write and its change are committed together, and a change gets its number once: whatever
// fails in between changes nothing.
func TestFeedIsAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		first := s.create(t, "first")
		s.reject(t, "INSERT", "article_outbox", fmt.Sprintf("NEW.article_id > %d OR NEW.visible_after = 0", first.ID))
		require.ErrorContains(t, third(s.Create(t.Context(), draft("new"), withKey("key"))), injected)
		require.ErrorContains(t, s.Delete(t.Context(), first.ID, "", nil), injected)
		require.EqualValues(t, 1, s.count(t, "article", "is_deleted = 0"))
		require.EqualValues(t, 1, s.count(t, "article_outbox", "1 = 1"))
		s.exec(t, "DROP TRIGGER reject_INSERT")
		require.NoError(t, third(s.Create(t.Context(), draft("new"), withKey("key"))))

		s.reject(t, "DELETE", "article_outbox", fmt.Sprintf("OLD.article_id > %d", first.ID))
		_, err := s.Changes(t.Context(), article.Anonymous, changefeed.Offset{}, 10)
		require.ErrorContains(t, err, injected)
		require.Zero(t, s.count(t, "article_change", "1 = 1"))
		s.exec(t, "DROP TRIGGER reject_DELETE")
		found, err := s.Changes(t.Context(), article.Anonymous, changefeed.Offset{}, 10)
		require.NoError(t, err)
		require.Equal(t, []uint64{1, 2}, feedtest.Numbers(found.Changes))
		require.EqualValues(t, 2, found.Last)
	})
}

// The database is killed while replicas write and read. Then the feed has the change of
// every article once, and so of every acknowledged one.
func TestFeedAfterCrash(t *testing.T) {
	server := dbtest.NewMySQL(t, "--innodb-flush-log-at-trx-commit=1")
	cfg := server.Config(t)
	cfg.Timeout = 5 * time.Second // as in production, a write that waits for a lock gives up soon
	s := open(t, cfg)
	var acknowledged sync.Map
	var written atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for range 16 {
		working.Go(func() {
			for ctx.Err() == nil {
				if created, _, err := s.Create(ctx, draft("a"), idempotency.Key{}); err == nil {
					acknowledged.Store(created.ID, true)
					written.Add(1)
				}
			}
		})
	}
	working.Go(func() {
		for ctx.Err() == nil {
			_, _ = s.Changes(ctx, article.Authenticated, changefeed.Offset{}, 10)
		}
	})
	for range 3 {
		before := written.Load()
		require.Eventually(t, func() bool { return written.Load() > before+200 }, time.Minute, time.Millisecond)
		server.Kill(t)
		server.Start(t)
	}
	stop()
	working.Wait()
	seen := map[uint64]bool{}
	for after := (changefeed.Offset{}); ; {
		found, err := s.Changes(t.Context(), article.Authenticated, after, 100)
		require.NoError(t, err)
		if len(found.Changes) == 0 {
			require.Equal(t, found.Last, after.Sequence)
			break
		}
		for _, change := range found.Changes {
			require.False(t, seen[change.ID], "twice")
			require.NotNil(t, change.Article)
			seen[change.ID] = true
			after.Sequence++
		}
	}
	acknowledged.Range(func(id, _ any) bool {
		require.True(t, seen[id.(uint64)], "article %v was acknowledged", id)
		return true
	})
	require.EqualValues(t, len(seen), s.count(t, "article", "1 = 1"))
}

// An update that changes nothing, a write that fails and a repeat add no change. An offset of
// another epoch, or of the other feed, is trimmed.
func TestWhatAddsNoChange(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1))
		created, _, err := s.Create(t.Context(), draft("a", 1), withKey("key"))
		require.NoError(t, err)
		require.NoError(t, third(s.Create(t.Context(), draft("a", 1), withKey("key"))))
		require.NoError(t, second(s.Update(t.Context(), created.ID, draft("a", 1), nil)))
		require.Error(t, second(s.Update(t.Context(), created.ID, draft("b", 99), nil)))
		require.Error(t, s.Delete(t.Context(), created.ID, "", func(string) error { return errors.New("another version") }))
		require.NoError(t, s.apply(t.Context(), put(2, 1, "renamed")))
		all, err := s.LastChange(t.Context(), article.Authenticated)
		require.NoError(t, err)
		require.EqualValues(t, 1, all.Sequence)
		public, err := s.LastChange(t.Context(), article.Anonymous)
		require.NoError(t, err)
		require.NotEqual(t, all, public)
		for _, wrong := range []changefeed.Offset{all, {Epoch: "other"}, {Epoch: "other", Sequence: 1}} {
			_, err := s.Changes(t.Context(), article.Anonymous, wrong, 10)
			var coded *errcode.Error
			require.ErrorAs(t, err, &coded)
			require.Equal(t, errcode.ChangesTrimmed, coded.Code)
		}
	})
}
