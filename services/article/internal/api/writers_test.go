package api_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// While 200 clients create, change, tag and delete articles, with and without a key, and the
// feed deletes and restores their tags, no client sees an error of the database. All writes
// take their locks in the same order, so there are hardly any deadlocks to retry.
func TestManyWriters(t *testing.T) {
	const writers, rounds, tags, shared, keys = 200, 10, 8, 40, 100
	s := start(t, dbtest.NewMySQL(t).Config(t))
	s.loadTags(t, tags)
	for range shared {
		s.create(t, fields{"title": "shared", "tag_ids": []int{1, 2}})
	}
	before := s.deadlocks(t)
	var counted [600]atomic.Int64
	var writing sync.WaitGroup
	send := func(method, path, key string, body fields) *httptest.ResponseRecorder {
		encoded, _ := json.Marshal(body)
		request, recorder := httptest.NewRequest(method, path, bytes.NewReader(encoded)), httptest.NewRecorder()
		request.Header.Set("Authorization", s.token)
		request.Header.Set("Content-Type", "application/json")
		if key != "" {
			request.Header.Set("Idempotency-Key", key)
		}
		s.handler.ServeHTTP(recorder, request)
		counted[recorder.Code].Add(1)
		if recorder.Code >= http.StatusInternalServerError {
			t.Errorf("%s %s: %d %s", method, path, recorder.Code, recorder.Body)
		}
		return recorder
	}
	someTags := func() []int {
		ids := rand.Perm(tags)
		for i := range ids {
			ids[i]++
		}
		return ids[:rand.N(tags+1)]
	}
	words := strings.Fields("Go Rust C++ 重启 滚动重启 停机 Redis Kubernetes a b c d")
	someWords := func() string {
		text := "x"
		for range rand.N(8) {
			text += " " + words[rand.N(len(words))]
		}
		return text
	}
	for range writers {
		writing.Go(func() {
			for range rounds {
				id := 1 + rand.Uint64N(shared)
				body := fields{"title": someWords(), "desc": someWords(), "content": someWords(), "state": rand.N(2), "tag_ids": someTags()}
				switch rand.N(5) {
				case 0:
					send(http.MethodPost, articlesPath, "", body)
				case 1: // a repeat must be the same request
					key := fmt.Sprint("key ", rand.N(keys))
					send(http.MethodPost, articlesPath, key, fields{"title": key, "tag_ids": []int{1, 2, 3}})
				case 2:
					send(http.MethodPut, at(id), "", body)
				case 3:
					send(http.MethodPatch, stateOf(id), "", fields{"state": rand.N(2)})
				case 4:
					var created articleResponse
					if json.Unmarshal(send(http.MethodPost, articlesPath, "", body).Body.Bytes(), &created) == nil && created.Data.ID > 0 {
						send(http.MethodDelete, at(created.Data.ID), "", nil)
					}
				}
			}
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() {
		for ctx.Err() == nil {
			tag := 1 + rand.Uint64N(tags)
			for _, change := range []tagfeed.Change{
				{TagID: tag, Kind: changefeed.Put, Name: "disabled", State: 0}, {TagID: tag, Kind: changefeed.Delete}, {TagID: tag, Kind: changefeed.Put, Name: "back", State: 1},
			} {
				if err := s.applyChange(ctx, change); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		}
	})
	writing.Wait()
	stop()
	following.Wait()

	writes, deadlocks := int64(0), s.deadlocks(t)-before
	for status := range counted {
		if n := counted[status].Load(); n > 0 {
			t.Logf("%d × %d", n, status)
			writes += n
		}
	}
	t.Logf("%d writes, %d deadlocks", writes, deadlocks)
	// A PUT that gives an article a tag which is being deleted may deadlock: 0 or 1 of these.
	// Counters in another order cause 9 to 20.
	require.LessOrEqual(t, deadlocks, int64(5))
	require.Positive(t, counted[http.StatusCreated].Load())
	repaired, err := s.store.Recount(t.Context())
	require.NoError(t, err)
	require.Empty(t, repaired)
	var twice int64
	require.NoError(t, s.db.SQL().QueryRowContext(t.Context(),
		"SELECT COUNT(*) FROM (SELECT title FROM blog_article WHERE title LIKE 'key %' GROUP BY title HAVING COUNT(*) > 1) AS t").Scan(&twice))
	require.Zero(t, twice, "keys that were applied twice")
}

// deadlocks returns the number of deadlocks that the server has found.
func (s *service) deadlocks(t *testing.T) (n int64) {
	t.Helper()
	var name string
	err := s.db.SQL().QueryRowContext(t.Context(), "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").Scan(&name, &n)
	if errors.Is(err, sql.ErrNoRows) { // MySQL
		err = s.db.SQL().QueryRowContext(t.Context(), "SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'").Scan(&n)
	}
	require.NoError(t, err)
	return n
}
