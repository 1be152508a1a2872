package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// expensive returns lists that cost as much as lists can. All titles have the grams of what
// the first searches for, and none contains it; half of the articles have each of the words of the
// last, and none has both.
func expensive(n int) string {
	switch n % 5 {
	case 0:
		return fmt.Sprintf("?title=abcde&page=%d", 1+n%100)
	case 1:
		return fmt.Sprintf("?title=title&state=1&page_size=100&page=%d", 1+n%100)
	case 2:
		return fmt.Sprintf("?include=content&page_size=100&page=%d", 1+n%100)
	case 3:
		return fmt.Sprintf("?q=left+right&page=%d", 1+n%100)
	}
	return fmt.Sprintf("?page_size=100&page=%d", 100-n%50)
}

// While one client sends 200 of the most expensive lists a second, the single reads and the
// writes of another one go on.
func TestSearchesLeaveRoom(t *testing.T) {
	cfg := dbtest.MySQL(t)
	cfg.MaxOpenConns, cfg.MaxIdleConns = 10, 10
	s := start(t, cfg)
	require.NoError(t, s.db.Gorm(t.Context()).Exec("INSERT INTO blog_article (title, `desc`, cover_image_url, content, state, created_at, updated_at, published_at) "+
		"SELECT 'abcd bcde', '', '', '', 1, NOW(3), NOW(3), NOW(3) FROM seq_1_to_20000").Error)
	_, _, err := s.store.Reindex(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.db.Gorm(t.Context()).Exec("INSERT INTO blog_article_word (word, article_id, weight) SELECT CASE WHEN id % 2 = 0 THEN 'left' ELSE 'right' END, id, 1 FROM blog_article").Error)
	id := s.create(t, fields{"title": "one"}).ID

	var found, rejected atomic.Int32
	var searching sync.WaitGroup
	stop, stopped := make(chan struct{}), make(chan struct{})
	search := func(n int) {
		request, recorder := httptest.NewRequest(http.MethodGet, articlesPath+expensive(n), nil), httptest.NewRecorder()
		s.handler.ServeHTTP(recorder, request)
		switch recorder.Code {
		case http.StatusOK:
			found.Add(1)
		case http.StatusServiceUnavailable:
			if recorder.Header().Get("Retry-After") == "1" {
				rejected.Add(1)
			}
		}
	}
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				searching.Go(func() { search(n) })
			}
		}
	}()
	defer func() { close(stop); <-stopped; searching.Wait() }()
	require.Eventually(t, func() bool { return found.Load()+rejected.Load() > 20 }, patience, time.Millisecond)
	for range 100 {
		s.get(t, id)
		s.create(t, fields{"title": "more"})
	}
	t.Logf("%d searches, %d rejected", found.Load(), rejected.Load())
}

// Of more different searches than run or wait, each further one is rejected at once, however
// long the others take.
func TestSearchesAreRejectedAtOnce(t *testing.T) {
	const running, waiting, more = 4, 6, 20
	cfg := dbtest.MySQL(t)
	cfg.MaxOpenConns, cfg.MaxIdleConns, cfg.Timeout = 30, 30, patience
	s := start(t, cfg)
	counted := metrics.New(buildinfo.Get())
	require.NoError(t, s.db.Register(counted.Registry()))
	lock, err := s.db.SQL().Conn(t.Context())
	require.NoError(t, err)
	defer func() { _ = lock.Close() }()
	_, err = lock.ExecContext(t.Context(), "LOCK TABLES blog_article WRITE, blog_article_gram WRITE")
	require.NoError(t, err)

	var found, rejected atomic.Int32
	var searching sync.WaitGroup
	for n := range running + waiting + more {
		searching.Go(func() {
			request, recorder := httptest.NewRequest(http.MethodGet, fmt.Sprintf("%s?title=title%d", articlesPath, n), nil), httptest.NewRecorder()
			s.handler.ServeHTTP(recorder, request)
			if recorder.Code == http.StatusServiceUnavailable && recorder.Header().Get("Retry-After") == "1" {
				rejected.Add(1)
			} else if recorder.Code == http.StatusOK {
				found.Add(1)
			}
		})
	}
	require.Eventually(t, func() bool { return rejected.Load() == more }, patience, time.Millisecond)
	require.Zero(t, found.Load())
	_, err = lock.ExecContext(t.Context(), "UNLOCK TABLES")
	require.NoError(t, err)
	searching.Wait()
	require.EqualValues(t, running+waiting, found.Load())
	require.EqualValues(t, more, rejected.Load())
	page := httptest.NewRecorder()
	counted.Handler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Contains(t, page.Body.String(), fmt.Sprintf("achilles_database_rejected_reads_total %d\n", more))
}

// While reads take all room that they have, and more of them wait, every kind of write goes
// on, also one that needs to read something first.
func TestReadsDoNotStarveWrites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		cfg.MaxOpenConns, cfg.MaxIdleConns, cfg.Timeout = 5, 5, 3*time.Second
		s := start(t, cfg)
		s.loadTags(t, 3)
		s.catchUp = func(ctx context.Context) error {
			return s.applyChange(ctx, tagfeed.Change{Kind: changefeed.Put, TagID: 40, Name: "new", State: 1})
		}
		release, held := make(chan struct{}), make(chan struct{}, 20)
		var reading sync.WaitGroup
		defer reading.Wait()
		defer close(release)
		patient := s.db.WithTimeout(patience)
		for range 20 {
			reading.Go(func() {
				_ = patient.Snapshot(context.WithoutCancel(t.Context()), func(*gorm.DB) error {
					held <- struct{}{}
					<-release
					return nil
				})
			})
		}
		for range 4 {
			<-held
		}
		id := s.create(t, fields{"title": "a", "tag_ids": []int{1, 2}}).ID
		require.Equal(t, http.StatusCreated, s.post(t, "key", fields{"title": "a", "tag_ids": []int{1}}).Status)
		require.Equal(t, "true", s.post(t, "key", fields{"title": "a", "tag_ids": []int{1}}).Header.Get("Idempotency-Replayed"))
		s.put(t, id, fields{"title": "b", "tag_ids": []int{2, 40}})
		s.expect(t, http.StatusOK, apitest.Case{Method: http.MethodPatch, Path: stateOf(id), JSON: fields{"state": 0}})
		s.delete(t, id)
	})
}
