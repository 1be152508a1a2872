package store_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

const (
	patience = time.Minute
	maxReads = 4 // at once, the default of coalesce.Config
)

// busy makes as many reads as are in progress at once, of articles that are missing,
// and returns when they have begun. They end when release is called. Reads that begin
// meanwhile are counted.
func (f fixture) busy(t *testing.T) (release func(), reads *atomic.Int64) {
	t.Helper()
	released, reads := make(chan struct{}), &atomic.Int64{}
	f.db.OnQuery(func(string, []any) {
		if reads.Add(1) <= maxReads {
			<-released
		}
	})
	var running sync.WaitGroup
	for n := range int64(maxReads) { // each waits for the one before, but not for long
		running.Go(func() { _, _ = f.Get(context.Background(), 1<<40) })
		require.Eventually(t, func() bool { return reads.Load() == n+1 }, patience, time.Millisecond)
	}
	release = sync.OnceFunc(func() {
		close(released)
		running.Wait()
		reads.Add(-maxReads)
	})
	t.Cleanup(release)
	return release, reads
}

// awaitWaiting returns when n calls of Get wait for others.
func (f fixture) awaitWaiting(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return f.WaitingReads() == n }, patience, time.Millisecond)
}

// Reads that wait at the same time share a query, which concerns each of them alone.
func TestSharedRead(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2, 3))
		wanted := map[uint64]article.Article{}
		for _, a := range []article.Article{s.create(t, "a", 3, 1), s.create(t, "b"), s.create(t, "c", 2)} {
			wanted[a.ID] = a
		}
		deleted := s.create(t, "deleted", 1)
		require.NoError(t, s.Delete(t.Context(), deleted.ID, "", nil))
		missing := []uint64{deleted.ID, 1 << 41, 0}

		release, reads := s.busy(t)
		var clients sync.WaitGroup
		for range 8 {
			for id, want := range wanted {
				clients.Go(func() {
					got, err := s.get(t.Context(), id)
					assert.NoError(t, err)
					assert.Equal(t, want, got)
				})
			}
			for _, id := range missing {
				clients.Go(func() { assertNotFound(t, second(s.Get(t.Context(), id))) })
			}
		}
		s.awaitWaiting(t, 8*(len(wanted)+len(missing)))
		assertNotFound(t, second(s.Get(t.Context(), math.MaxUint64))) // at once, and doesn't fail the others
		release()
		clients.Wait()
		require.EqualValues(t, 1, reads.Load())
	})
}

func assertNotFound(t *testing.T, err error) {
	t.Helper()
	var coded *errcode.Error
	if assert.ErrorAs(t, err, &coded) {
		assert.Equal(t, errcode.ArticleNotFound, coded.Code)
	}
}

// Who reads the same article at the same time shares it, also its encodings.
func TestReadersShareAnArticle(t *testing.T) {
	s := open(t, dbtest.SQLite(t))
	s.replace(t, snapshot(1, 1))
	created := s.create(t, "a", 1)
	release, _ := s.busy(t)
	found := make(chan *article.Shared, 2)
	for range cap(found) {
		go func() {
			one, err := s.Get(t.Context(), created.ID)
			assert.NoError(t, err)
			found <- one
		}()
	}
	s.awaitWaiting(t, cap(found))
	release()
	require.Same(t, <-found, <-found)
}

// A read that waits for others has the timeout of an operation in all.
func TestSharedReadTimesOut(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := open(t, cfg)
		created := s.create(t, "a")
		s.Store = store.New(s.db.WithTimeout(200*time.Millisecond), time.Hour)
		s.busy(t)
		begin := time.Now()
		_, err := s.Get(t.Context(), created.ID)
		require.ErrorIs(t, err, coalesce.ErrTimeout)
		require.GreaterOrEqual(t, time.Since(begin), 200*time.Millisecond)
		var coded *errcode.Error
		require.ErrorAs(t, err, &coded)
		require.Equal(t, errcode.Unavailable, coded.Code)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, second(s.Get(ctx, created.ID)), context.Canceled)
	})
}

// Content is read together with the article up to a size in bytes, and only if it is
// wanted.
func TestContentOfARead(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		for content, omitted := range map[string]bool{
			"": false, "content": false, strings.Repeat("x", article.MaxSharedContent): false, strings.Repeat("x", article.MaxSharedContent+1): true,
			strings.Repeat("字", article.MaxSharedContent/3): false, strings.Repeat("字", article.MaxSharedContent/3+1): true,
		} {
			d := draft("a")
			d.Content = &content
			created, err := s.Update(t.Context(), s.create(t, "a").ID, d, nil)
			require.NoError(t, err)
			found, err := s.Get(t.Context(), created.ID)
			require.NoError(t, err)
			view, _ := found.View(article.Authenticated)
			require.Equal(t, omitted, view.ContentOmitted)
			if !omitted {
				require.Equal(t, created, view.Article)
			}
			created.Content = ""
			found, err = s.GetWithoutContent(t.Context(), created.ID)
			require.NoError(t, err)
			view, _ = found.View(article.Authenticated)
			require.True(t, view.ContentOmitted)
			require.Equal(t, created, view.Article)
		}
	})
}

// The tags of an article agree with each other while the feed renames them.
func TestTagsOfAReadAgree(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2))
		require.NoError(t, s.apply(t.Context(), put(2, 1, "0"), put(3, 2, "0")))
		created := s.create(t, "a", 1, 2)
		ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer stop()
		var clients sync.WaitGroup
		clients.Go(func() {
			for n := uint64(1); ctx.Err() == nil; n++ {
				assert.NoError(t, s.apply(t.Context(), put(2+2*n, 1, fmt.Sprint(n)), put(3+2*n, 2, fmt.Sprint(n))))
			}
		})
		for range 12 {
			clients.Go(func() {
				for ctx.Err() == nil {
					got, err := s.get(t.Context(), created.ID)
					if assert.NoError(t, err) && assert.Len(t, got.Tags, 2) {
						assert.Equal(t, got.Tags[0].Name, got.Tags[1].Name)
					}
				}
			})
		}
		clients.Wait()
	})
}

// A read that begins after a write was acknowledged sees it, on each replica: one of the
// article, and one of a tag's name.
func TestReadsSeeAcknowledgedWrites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		replicas := []fixture{open(t, cfg), open(t, cfg)}
		h := newWrites(t, replicas[0])
		require.Zero(t, h.staleReads(t, func(reader int) (article.Article, error) {
			return replicas[reader%len(replicas)].get(t.Context(), h.id)
		}))
	})
}

// TestReadsSeeAcknowledgedWritesNegativeControl joins reads that run already.
// TestReadsSeeAcknowledgedWrites would notice.
func TestReadsSeeAcknowledgedWritesNegativeControl(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := open(t, cfg)
		h := newWrites(t, s)
		var mu sync.Mutex
		var running func() (article.Article, error)
		require.NotZero(t, h.staleReads(t, func(int) (article.Article, error) {
			mu.Lock()
			if running == nil {
				running = sync.OnceValues(func() (article.Article, error) {
					defer func() {
						mu.Lock()
						defer mu.Unlock()
						running = nil
					}()
					got, err := s.get(t.Context(), h.id)
					h.awaitWrites(4)
					return got, err
				})
			}
			join := running
			mu.Unlock()
			return join()
		}))
	})
}

// writes are those of one article and of its tag.
type writes struct {
	fixture
	id uint64

	mu       sync.Mutex
	changed  *sync.Cond
	done     int
	revision uint64 // acknowledged
	name     int    // acknowledged
}

const totalWrites = 200

func newWrites(t *testing.T, f fixture) *writes {
	f.replace(t, snapshot(1, 1))
	require.NoError(t, f.apply(t.Context(), put(2, 1, "0")))
	w := &writes{fixture: f, id: f.create(t, "a", 1).ID}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// staleReads writes and reads, and returns the number of reads that miss a write that
// was acknowledged before.
func (w *writes) staleReads(t *testing.T, get func(reader int) (article.Article, error)) int64 {
	t.Helper()
	var clients sync.WaitGroup
	clients.Go(func() {
		for n := range totalWrites {
			if n%2 == 0 {
				updated, err := w.Update(t.Context(), w.id, draft(fmt.Sprint(n), 1), nil)
				assert.NoError(t, err)
				w.acknowledge(func() { w.revision = updated.Revision })
			} else {
				assert.NoError(t, w.Apply(t.Context(), tagfeed.Changes{Epoch: epoch, Changes: []tagfeed.Change{put(uint64(3+n/2), 1, fmt.Sprint(n))}}))
				w.acknowledge(func() { w.name = n })
			}
		}
	})
	var stale atomic.Int64
	for reader := range 12 {
		clients.Go(func() {
			for {
				w.awaitWrites(rand.N(3))
				w.mu.Lock()
				done, revision, name := w.done, w.revision, w.name
				w.mu.Unlock()
				if done == totalWrites {
					return
				}
				got, err := get(reader)
				var seen int
				if assert.NoError(t, err) {
					_, err = fmt.Sscan(got.Tags[0].Name, &seen)
					assert.NoError(t, err)
				}
				if got.Revision < revision || seen < name {
					stale.Add(1)
				}
			}
		})
	}
	clients.Wait()
	return stale.Load()
}

func (w *writes) acknowledge(set func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	set()
	w.done++
	w.changed.Broadcast()
}

// awaitWrites waits for n further acknowledged writes, or for all.
func (w *writes) awaitWrites(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for until := min(w.done+n, totalWrites); w.done < until; {
		w.changed.Wait()
	}
}
