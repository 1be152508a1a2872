package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/search"
	"github.com/achilles-blog/achilles/services/article/internal/store"
)

var never = time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)

// schedule creates an article that is published at a time.
func (f fixture) schedule(t *testing.T, title string, at time.Time, tags ...uint64) article.Article {
	t.Helper()
	scheduled := draft(title, tags...)
	scheduled.PublishedAt = &at
	created, _, err := f.Create(t.Context(), scheduled, idempotency.Key{})
	require.NoError(t, err)
	return created
}

// moveTo changes the time at which an article is published.
func (f fixture) moveTo(t *testing.T, id uint64, at time.Time) article.Article {
	t.Helper()
	moved, err := f.Update(t.Context(), id, article.Draft{PublishedAt: &at}, nil)
	require.NoError(t, err)
	return moved
}

func (f fixture) service() *article.Service {
	return article.NewService(f.Store, func(context.Context) error { return nil }, 1<<20)
}

// seenBy returns the names of the ways in which a viewer finds an article by its id, its slug,
// its tag and its title.
func (f fixture) seenBy(t *testing.T, viewer article.Viewer, a article.Article) (ways []string) {
	t.Helper()
	ctx, s := t.Context(), f.service()
	note := func(way string, found bool) {
		if found {
			ways = append(ways, way)
		}
	}
	for way, get := range map[string]func() (*article.View, error){
		"id":                   func() (*article.View, error) { return s.Get(ctx, viewer, a.ID) },
		"id without content":   func() (*article.View, error) { return s.GetWithoutContent(ctx, viewer, a.ID) },
		"slug":                 func() (*article.View, error) { return s.GetBySlug(ctx, viewer, a.Slug) },
		"slug without content": func() (*article.View, error) { return s.GetBySlugWithoutContent(ctx, viewer, a.Slug) },
	} {
		_, err := get()
		if err != nil {
			requireCode(t, err, errcode.ArticleNotFound)
		}
		note(way, err == nil)
	}
	tag := a.Tags[0]
	for way, filter := range map[string]article.Filter{
		"all": {}, "enabled": {State: new(article.Enabled)}, "tag": {AnyTag: []uint64{tag.ID}}, "any tag": {AnyTag: []uint64{tag.ID, 99, 2}}, "all tags": {AllTags: []uint64{tag.ID, a.Tags[1].ID}},
		"name": {Tag: &tag.Name}, "title": {Title: &a.Title}, "words": {Words: search.QueryWords(a.Title)}, "created": {Created: article.Interval{From: &a.CreatedAt}},
		"published": {Published: article.Interval{From: &a.PublishedAt}}, "tag and published": {AnyTag: []uint64{tag.ID}, Published: article.Interval{From: &a.PublishedAt}},
	} {
		for _, by := range []article.OrderBy{article.ByID, article.ByCreated, article.ByUpdated, article.ByTitle, article.ByPublished} {
			found, err := s.List(ctx, viewer, filter, article.Page{Order: article.Order{By: by}, Limit: 100})
			require.NoError(t, err)
			listed := slices.ContainsFunc(found.Articles, func(one article.Article) bool { return one.ID == a.ID })
			note(fmt.Sprint(way, " by ", by), listed)
			require.EqualValues(t, len(found.Articles), found.Total.Rows, "%s by %d", way, by)
		}
	}
	newest, err := s.Newest(ctx, &tag.Name, 10)
	require.NoError(t, err)
	note("newest", slices.ContainsFunc(newest.Articles, func(one article.Article) bool { return one.ID == a.ID }))
	for _, byName := range []bool{true, false} {
		tags, err := s.Tags(ctx, viewer, article.TagPage{ByName: byName, Limit: 10})
		require.NoError(t, err)
		i := slices.IndexFunc(tags.Tags, func(t article.TagCount) bool { return t.ID == tag.ID })
		note("number of articles with a tag", i >= 0 && tags.Tags[i].Count > 0)
	}
	return ways
}

// ways is the number of ways in which an article is found.
const ways = 4 + 11*5 + 1 + 2

// Before its time, an article that is scheduled is nowhere to be seen without a token, and with one
// it is everywhere. At its time it is everywhere, before the feed has it; and then the feed has it,
// once.
func TestScheduled(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2, 3))
		s.create(t, "other", 2)
		one := s.schedule(t, "scheduled article", never, 1, 3)
		require.Equal(t, article.Scheduled, one.State)
		require.Equal(t, never, one.PublishedAt)
		require.Empty(t, s.seenBy(t, article.Anonymous, one))
		require.Len(t, s.seenBy(t, article.Authenticated, one), ways-1, "all but the feed for feed readers")
		s.requireCounters(t)
		changes := func(viewer article.Viewer) (ids []uint64) {
			found, err := s.Changes(t.Context(), viewer, changefeed.Offset{}, 100)
			require.NoError(t, err)
			for _, c := range found.Changes {
				ids = append(ids, c.ID)
			}
			return ids
		}
		require.NotContains(t, changes(article.Anonymous), one.ID)
		require.Contains(t, changes(article.Authenticated), one.ID)

		at := time.Now().Add(500 * time.Millisecond).UTC().Truncate(time.Millisecond)
		one = s.moveTo(t, one.ID, at)
		visible := func() bool {
			_, err := s.service().Get(t.Context(), article.Anonymous, one.ID)
			return err == nil
		}
		require.Eventually(t, visible, time.Minute, time.Millisecond)
		require.False(t, time.Now().Before(at))
		require.Len(t, s.seenBy(t, article.Anonymous, one), ways)
		require.Len(t, s.seenBy(t, article.Authenticated, one), ways)
		require.EqualValues(t, 1, s.count(t, "article", "state = 2"), "its row is as it was")
		require.NotContains(t, changes(article.Anonymous), one.ID)

		published, err := s.PublishDue(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, published)
		published, err = s.PublishDue(t.Context())
		require.NoError(t, err)
		require.Zero(t, published)
		require.Len(t, s.seenBy(t, article.Anonymous, one), ways)
		require.Len(t, s.seenBy(t, article.Authenticated, one), ways)
		require.Equal(t, []uint64{1, one.ID}, changes(article.Anonymous))
		stored, err := s.get(t.Context(), one.ID)
		require.NoError(t, err)
		one.State = article.Enabled
		require.Equal(t, one, stored, "also its revision and time are as they were")
		s.requireCounters(t)
		s.requireChain(t)
	})
}

// What a write of the time means.
func TestPublicationTimes(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1))
		past := time.Date(1999, 1, 2, 3, 4, 5, 6e6, time.UTC)
		plain, backdated := s.create(t, "plain", 1), s.schedule(t, "backdated", past, 1)
		require.Equal(t, plain.CreatedAt, plain.PublishedAt)
		require.Equal(t, article.Enabled, backdated.State)
		require.Equal(t, past, backdated.PublishedAt)
		require.Equal(t, []uint64{plain.ID, backdated.ID}, s.published(t))

		require.Equal(t, article.Scheduled, s.moveTo(t, plain.ID, never).State)
		require.Equal(t, []uint64{backdated.ID}, s.published(t))
		off, err := s.Update(t.Context(), plain.ID, ofState(article.Disabled), nil)
		require.NoError(t, err)
		require.Equal(t, article.Disabled, off.State)
		require.Equal(t, never, off.PublishedAt)
		on, err := s.Update(t.Context(), plain.ID, ofState(article.Enabled), nil)
		require.NoError(t, err)
		require.Equal(t, article.Scheduled, on.State, "enabling it doesn't publish it")
		again, err := s.Update(t.Context(), plain.ID, article.Draft{State: new(article.Enabled), PublishedAt: &never}, nil)
		require.NoError(t, err)
		require.Equal(t, on, again, "nothing changes")

		reset := s.moveTo(t, plain.ID, time.Time{})
		require.Equal(t, article.Enabled, reset.State)
		require.Equal(t, plain.CreatedAt, reset.PublishedAt)
		s.moveTo(t, backdated.ID, plain.PublishedAt.Add(time.Millisecond))
		require.Equal(t, []uint64{backdated.ID, plain.ID}, s.published(t))
		s.requireCounters(t)
		require.NoError(t, second(s.LastChange(t.Context(), article.Anonymous)))
		s.requireChain(t)
	})
}

// published returns the articles with the tag 1 that everybody sees, the one that was published last
// first.
func (f fixture) published(t *testing.T) []uint64 {
	t.Helper()
	found, err := f.service().List(t.Context(), article.Anonymous, article.Filter{AnyTag: []uint64{1}}, article.Page{Order: article.Order{By: article.ByPublished}, Limit: 10})
	require.NoError(t, err)
	return ids(found.Articles)
}

// A write of an article that is due publishes it first, so the feed has both changes.
func TestWritesOfDueArticles(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2))
		writes := map[string]struct {
			do   func(id uint64) error
			want []string // the changes from before to after, as everybody sees them
		}{
			"title":    {func(id uint64) error { return second(s.Update(t.Context(), id, named("new", "x"), nil)) }, []string{"0 0", "0 1", "1 1"}},
			"tags":     {func(id uint64) error { return second(s.Update(t.Context(), id, draft("tags", 2), nil)) }, []string{"0 0", "0 1", "1 1"}},
			"nothing":  {func(id uint64) error { return second(s.Update(t.Context(), id, draft("nothing", 1), nil)) }, []string{"0 0", "0 1"}},
			"disabled": {func(id uint64) error { return second(s.Update(t.Context(), id, ofState(article.Disabled), nil)) }, []string{"0 0", "0 1", "1 0"}},
			"rescheduled": {func(id uint64) error {
				return second(s.Update(t.Context(), id, article.Draft{PublishedAt: &never}, nil))
			}, []string{"0 0", "0 1", "1 0"}},
			"deleted":   {func(id uint64) error { return s.Delete(t.Context(), id, "", nil) }, []string{"0 0", "0 1", "1 0"}},
			"published": {func(uint64) error { return second(s.PublishDue(t.Context())) }, []string{"0 0", "0 1"}},
		}
		for name, write := range writes {
			one := s.schedule(t, name, time.Now().Add(30*time.Millisecond), 1)
			require.Eventually(t, func() bool {
				_, err := s.service().Get(t.Context(), article.Anonymous, one.ID)
				return err == nil
			}, time.Minute, time.Millisecond)
			require.NoError(t, write.do(one.ID), name)
			var rows []struct{ VisibleBefore, VisibleAfter int }
			require.NoError(t, s.db.Gorm(t.Context()).Table("blog_article_outbox").Where("article_id = ?", one.ID).Order("id").Find(&rows).Error)
			var got []string
			for _, row := range rows {
				got = append(got, fmt.Sprint(row.VisibleBefore, row.VisibleAfter))
			}
			require.Equal(t, write.want, got, name)
			s.requireCounters(t)
		}
		require.NoError(t, second(s.LastChange(t.Context(), article.Anonymous)))
		s.requireChain(t)
	})
}

// No more articles are scheduled than may be.
func TestMaxScheduled(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.LimitScheduled(2)
		plain, first := s.create(t, "plain"), s.schedule(t, "first", never)
		s.schedule(t, "second", never)
		for range 2 {
			third := draft("third")
			third.PublishedAt = &never
			_, _, err := s.Create(t.Context(), third, idempotency.Key{})
			requireCode(t, err, errcode.TooManyScheduled)
			_, err = s.Update(t.Context(), plain.ID, article.Draft{PublishedAt: &never}, nil)
			requireCode(t, err, errcode.TooManyScheduled)
		}
		require.Equal(t, article.Scheduled, s.moveTo(t, first.ID, never.Add(-time.Hour)).State, "it is scheduled already")
		s.schedule(t, "past", time.Unix(0, 0))
		require.NoError(t, s.Delete(t.Context(), first.ID, "", nil))
		require.Equal(t, article.Scheduled, s.moveTo(t, plain.ID, never).State)
	})
}

// A list says until when it stays as it is.
func TestUnchangedUntil(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1))
		s.create(t, "one", 1)
		list := func(viewer article.Viewer, filter article.Filter) time.Time {
			t.Helper()
			found, err := s.service().List(t.Context(), viewer, filter, article.Page{Limit: 1})
			require.NoError(t, err)
			return found.Until
		}
		tags := func(viewer article.Viewer) time.Time {
			t.Helper()
			found, err := s.service().Tags(t.Context(), viewer, article.TagPage{Limit: 1})
			require.NoError(t, err)
			return found.Until
		}
		filters := []article.Filter{{}, {AnyTag: []uint64{1}}, {Tag: pointer("tag 1")}, {Tag: pointer("none")}, {Title: pointer("o")}, {Words: []string{"one"}}, {AnyTag: []uint64{1, 9}}, {Published: article.Interval{To: &never}}}
		for _, filter := range filters {
			require.Zero(t, list(article.Anonymous, filter))
		}
		require.Zero(t, tags(article.Anonymous))
		s.schedule(t, "much later", never)
		at := time.Now().Add(time.Hour)
		s.schedule(t, "later", at, 1)
		for _, filter := range filters {
			require.WithinDuration(t, at, list(article.Anonymous, filter), time.Minute, "%+v", filter)
			require.Zero(t, list(article.Authenticated, filter))
		}
		require.WithinDuration(t, at, tags(article.Anonymous), time.Minute)
		require.Zero(t, tags(article.Authenticated))
		due := s.create(t, "due", 1)
		s.unsettle(t, due.ID)
		for _, filter := range filters {
			until := list(article.Anonymous, filter)
			require.True(t, !until.IsZero() && until.Before(time.Now()), "%+v: it may not be kept", filter)
		}
	})
}

// Several replicas publish what is due, while their connections are killed and articles are
// changed. Each article is published once.
func TestReplicasPublishOnce(t *testing.T) {
	const articles, replicas = 120, 4
	cfg := dbtest.MySQL(t)
	s := open(t, cfg)
	s.replace(t, snapshot(1, 1, 2, 3, 4, 5, 6))
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for range replicas {
		replica := open(t, cfg)
		working.Go(func() {
			_ = store.DuePublisher{Store: replica.Store, Published: func() {}, Log: zap.NewNop()}.Run(ctx)
		})
	}
	working.Go(func() {
		for ctx.Err() == nil {
			s.kill(ctx, t)
		}
	})
	var scheduled []uint64
	for n := range articles {
		one := draft(fmt.Sprint("article ", n), 1, uint64(2+n%5))
		one.PublishedAt = new(time.Now().Add(rand.N(time.Second)))
		var created article.Article
		require.Eventually(t, func() (done bool) { // its connection may be killed
			var err error
			created, _, err = s.Create(t.Context(), one, withKey(fmt.Sprint("key ", n)))
			return err == nil
		}, time.Minute, time.Millisecond)
		scheduled = append(scheduled, created.ID)
		if n%4 == 0 {
			_, _ = s.Update(t.Context(), created.ID, article.Draft{Title: pointer("changed")}, nil)
		}
	}
	require.Eventually(t, func() bool { return s.count(t, "article", "state = 2") == 0 }, time.Minute, time.Millisecond)
	stop()
	working.Wait()
	s.requirePublishedOnce(t, scheduled)
}

// requirePublishedOnce requires that each article became visible once.
func (f fixture) requirePublishedOnce(t *testing.T, articles []uint64) {
	t.Helper()
	require.NoError(t, second(f.LastChange(t.Context(), article.Anonymous)))
	f.requireChain(t)
	f.requireCounters(t)
	for _, id := range articles {
		require.EqualValues(t, 1, f.count(t, "article_change", fmt.Sprintf("article_id = %d AND visible_before = 0 AND visible_after = 1", id)))
	}
	require.Zero(t, f.count(t, "article_tag", "article_state = 2"))
}

// The database is killed while replicas publish. Then each article is published, once.
func TestPublishingSurvivesCrash(t *testing.T) {
	server := dbtest.NewMySQL(t, "--innodb-flush-log-at-trx-commit=1")
	cfg := server.Config(t)
	cfg.Timeout = 5 * time.Second
	s := open(t, cfg)
	s.replace(t, snapshot(1, 1))
	var scheduled []uint64
	at := time.Now().Add(3 * time.Second)
	for n := range 200 {
		scheduled = append(scheduled, s.schedule(t, fmt.Sprint(n), at, 1).ID)
	}
	for range 2 {
		replica := open(t, cfg)
		dbtest.Work(t, store.DuePublisher{Store: replica.Store, Published: func() {}, Log: zap.NewNop()}.Run)
	}
	for _, n := range []int64{150, 80} {
		require.Eventually(t, func() bool { return s.count(t, "article", "state = 2") < n }, time.Minute, time.Millisecond)
		server.Kill(t)
		server.Start(t)
		require.Eventually(t, func() bool { return s.db.Ping(t.Context()) == nil }, time.Minute, 10*time.Millisecond)
	}
	require.Eventually(t, func() bool { return s.count(t, "article", "state = 2") == 0 }, time.Minute, time.Millisecond)
	s.requirePublishedOnce(t, scheduled)
}
