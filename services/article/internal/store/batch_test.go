package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// drafts returns n drafts with tags in changing orders.
func drafts(n int) (all []article.Draft) {
	for i := range n {
		d := draft(fmt.Sprint("article ", i), uint64(1+i%4), uint64(1+(i+1)%4))
		content := strings.Repeat(fmt.Sprint("word", i, " "), 10)
		d.Content = &content
		all = append(all, d)
	}
	return all
}

// A batch leaves the same rows as its articles created one by one.
func TestBatchLeavesTheSameRows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := open(t, cfg)
		s.replace(t, snapshot(1, 1, 2, 3, 4))
		s.create(t, "article 2")
		all := append(drafts(10), named("article 1", "sent"), draft("……"), draft("article 1"))
		created, _, err := s.CreateAll(t.Context(), all, idempotency.Key{})
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("article-2-", created[2].ID), created[2].Slug)
		require.Equal(t, []string{"sent", fmt.Sprint("article-", created[11].ID), fmt.Sprint("article-1-", created[12].ID)}, []string{created[10].Slug, created[11].Slug, created[12].Slug})
		for i, one := range created {
			single, _, err := s.Create(t.Context(), draft("single", idsOf(one)...), idempotency.Key{})
			require.NoError(t, err)
			require.Len(t, single.Tags, len(one.Tags))
			found, err := s.get(t.Context(), one.ID)
			require.NoError(t, err)
			require.Equal(t, *all[i].Title, found.Title)
			found.Content = ""
			require.Equal(t, one, found)
			bySlug, err := s.GetBySlug(t.Context(), one.Slug)
			require.NoError(t, err)
			view, _ := bySlug.View(article.Authenticated)
			require.Equal(t, one.ID, view.ID)
		}
		s.requireCounters(t)
		added, removed, err := s.Reindex(t.Context())
		require.NoError(t, err)
		require.Zero(t, added+removed, "titles")
		added, removed, err = s.ReindexWords(t.Context(), func(string) {})
		require.NoError(t, err)
		require.Zero(t, added+removed, "words")
		missing, err := s.FillSlugs(t.Context())
		require.NoError(t, err)
		require.Zero(t, missing)
		changes, err := s.Changes(t.Context(), article.Authenticated, changefeed.Offset{}, 100)
		require.NoError(t, err)
		require.Len(t, changes.Changes, 1+2*len(all))
		for i, c := range changes.Changes[1 : 1+len(all)] {
			require.Equal(t, created[i].ID, c.ID)
		}
	})
}

// Overlapping batches write the same counters and tags, want the same slugs, and compete for
// keys. Nobody gets an error, and nothing is lost or doubled.
func TestOverlappingBatches(t *testing.T) {
	const writers, rounds, size = 8, 6, 20
	for _, cfg := range []database.Config{dbtest.NewMySQL(t).Config(t), dbtest.SQLite(t)} {
		cfg.Timeout = time.Minute
		s := open(t, cfg)
		s.replace(t, snapshot(1, 1, 2, 3, 4))
		var group sync.WaitGroup
		for range writers {
			group.Go(func() {
				for round := range repeats(5*rounds) / 5 {
					all := drafts(size)
					for i := range all {
						all[i].Title = new(fmt.Sprint("round ", round, " ", i))
					}
					rand.Shuffle(size, func(i, j int) { all[i], all[j] = all[j], all[i] })
					for range 2 {
						if _, _, err := s.CreateAll(t.Context(), all, idempotency.Key{}); err != nil {
							t.Errorf("batch: %v", err)
						}
					}
					shared := drafts(size)
					key := withKey(fmt.Sprint("round ", round))
					if created, _, err := s.CreateAll(t.Context(), shared, key); err != nil || len(created) != size {
						t.Errorf("batch with a key: %v", err)
					}
				}
			})
		}
		group.Wait()
		n := repeats(5*rounds) / 5
		require.EqualValues(t, n*size*(2*writers+1), s.count(t, "article", "1 = 1"))
		require.EqualValues(t, n*size*(2*writers+1), s.count(t, "article_slug", "1 = 1"))
		s.requireCounters(t)
		s.requireNoDanglingTags(t)
		t.Logf("%s: %d deadlocks, after which transactions ran again", cfg.DBType, dbtest.Deadlocks(t, s.db))
	}
}

// Batches race with the feed of tags, as single writes do.
func TestBatchesAndTagDeletions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		cfg.Timeout = time.Minute
		s := open(t, cfg)
		s.replace(t, snapshot(1, 1, 2, 3, 4))
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for ctx.Err() == nil {
					_, _, err := s.CreateAll(t.Context(), drafts(10), idempotency.Key{})
					var unknown *article.UnknownTagsError
					var coded *errcode.Error
					if err != nil && !errors.As(err, &unknown) && (!errors.As(err, &coded) || coded.Code != errcode.Conflict) {
						t.Errorf("batch: %v", err)
					}
				}
			})
		}
		for sequence := uint64(2); sequence < 42; sequence += 2 {
			tag := 1 + sequence/2%4
			require.NoError(t, s.apply(t.Context(), remove(sequence, tag)))
			require.NoError(t, s.apply(t.Context(), put(sequence+1, tag, "back")))
		}
		stop()
		group.Wait()
		s.requireCounters(t)
		s.requireNoDanglingTags(t)
	})
}

// A batch sends two statements for each article, and a few for all of them.
func TestRoundTripsOfBatches(t *testing.T) {
	s := open(t, dbtest.Counted(t))
	s.replace(t, snapshot(1, 1, 2, 3, 4))
	trips := func(key string, all []article.Draft) int64 {
		return dbtest.RoundTrips(t, s.db, func() { require.NoError(t, third(s.CreateAll(t.Context(), all, withKey(key)))) })
	}
	require.EqualValues(t, 2*50+10, trips("a", drafts(50)))
	require.EqualValues(t, 4, trips("a", drafts(50)), "a repeat")
}

// BenchmarkBatch compares a batch with its articles created one by one.
func BenchmarkBatch(b *testing.B) {
	for _, words := range []int{100, 1000} {
		for _, cfg := range []database.Config{dbtest.NewMySQL(b).Config(b), dbtest.SQLite(b)} {
			cfg.Timeout = time.Minute
			s := openFor(b, cfg)
			require.NoError(b, s.Replace(b.Context(), changefeed.Offset{}, snapshot(1, 1, 2, 3)))
			all := make([]article.Draft, 100)
			for i := range all {
				all[i] = draft(fmt.Sprint("article ", i), 1, 2, 3)
				var content strings.Builder
				for range words {
					fmt.Fprintf(&content, "w%d ", rand.N(50_000))
				}
				text := content.String()
				all[i].Content = &text
			}
			b.Run(fmt.Sprintf("%s, %d words, one by one", cfg.DBType, words), func(b *testing.B) {
				for b.Loop() {
					for _, d := range all {
						require.NoError(b, third(s.Create(b.Context(), d, idempotency.Key{})))
					}
				}
			})
			b.Run(fmt.Sprintf("%s, %d words, atomic", cfg.DBType, words), func(b *testing.B) {
				for b.Loop() {
					require.NoError(b, third(s.CreateAll(b.Context(), all, idempotency.Key{})))
				}
			})
		}
	}
}
