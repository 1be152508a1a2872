package api_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// etag returns the current ETag of the path.
func (s *service) etag(t *testing.T, path string) string {
	t.Helper()
	result := s.Do(t, apitest.Case{Path: path})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	return result.Header.Get("ETag")
}

func TestNotModified(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		article := s.create(t, fields{"title": "a", "tag_ids": []int{1, 2}})
		for _, path := range []string{at(article.ID), articlesPath, articlesPath + "?include=content"} {
			before := s.etag(t, path)
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				again := apitest.Case{Method: method, Path: path, Header: http.Header{"If-None-Match": {before}}}
				result := s.Do(t, again)
				require.Equal(t, http.StatusNotModified, result.Status)
				require.Empty(t, result.Body)
				require.Equal(t, before, result.Header.Get("ETag"))
			}
		}
		object, list := s.etag(t, at(article.ID)), s.etag(t, articlesPath)
		require.NoError(t, s.applyChange(t.Context(), tagfeed.Change{Kind: changefeed.Put, TagID: 1, Name: "another name", State: 1}))
		require.NotEqual(t, object, s.etag(t, at(article.ID)), "its tag was renamed")
		require.NotEqual(t, list, s.etag(t, articlesPath))
	})
}

func TestHeadIsGetWithoutTheBody(t *testing.T) {
	s := embedded(t)
	article := s.create(t, fields{"title": "a"})
	for _, path := range []string{at(article.ID), articlesPath, at(99)} {
		get := s.Do(t, apitest.Case{Path: path})
		head := s.Do(t, apitest.Case{Method: http.MethodHead, Path: path})
		require.Equal(t, get.Status, head.Status)
		require.Empty(t, head.Body)
		for _, name := range []string{"ETag", "Cache-Control", "Content-Type", "Vary"} {
			require.Equal(t, get.Header.Values(name), head.Header.Values(name), name)
		}
	}
}

// TestIfMatch covers every request that changes an article.
func TestIfMatch(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		article := s.create(t, fields{"title": "a", "content": "the content", "tag_ids": []int{1}})
		changes := map[string]apitest.Case{
			"put":    {Method: http.MethodPut, Path: at(article.ID), JSON: fields{"title": "b", "tag_ids": []int{2}}},
			"patch":  {Method: http.MethodPatch, Path: at(article.ID), JSON: fields{"title": "c"}},
			"state":  {Method: http.MethodPatch, Path: stateOf(article.ID), JSON: fields{"state": 0}},
			"delete": {Method: http.MethodDelete, Path: at(article.ID)},
		}
		stale := s.etag(t, at(article.ID))
		now := s.put(t, article.ID, fields{"desc": "changed"})
		for _, change := range changes {
			change.Header = http.Header{"If-Match": {stale}}
			s.requireError(t, change, errcode.PreconditionFailed, "对象已被修改 (If-Match 与当前 ETag 不符), 请用同一个 Token 重新获取后再试")
		}
		for _, change := range changes {
			change.Header = http.Header{"If-None-Match": {"*"}}
			s.requireError(t, change, errcode.PreconditionFailed, "If-None-Match 与该对象相符, 因此不作更改")
		}
		require.Equal(t, now, s.get(t, article.ID))
		for _, name := range []string{"put", "patch", "state", "delete"} {
			change := changes[name]
			change.Header = http.Header{"If-Match": {s.etag(t, at(article.ID))}}
			require.Equal(t, http.StatusOK, s.Do(t, change).Status, name)
		}
		missing := changes["put"]
		missing.Header = http.Header{"If-Match": {stale}}
		s.requireError(t, missing, errcode.ArticleNotFound)
	})
}

// If several clients change the revision they have read, one succeeds and the
// others get 412.
func TestNoLostUpdates(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		article := s.create(t, fields{"title": "0", "tag_ids": []int{1}})
		const writers, rounds = 6, 10
		succeeded := 0
		for round := range rounds {
			header := http.Header{"If-Match": {s.etag(t, at(article.ID))}}
			results := make([]int, writers)
			var all sync.WaitGroup
			for w := range writers {
				change := apitest.Case{Method: http.MethodPut, Path: at(article.ID), Header: header,
					JSON: fields{"title": fmt.Sprintf("%d by %d", round, w), "tag_ids": []int{w + 1}}}
				all.Go(func() { results[w] = s.Do(t, change).Status })
			}
			all.Wait()
			after := s.get(t, article.ID)
			for w, status := range results {
				if status == http.StatusOK {
					succeeded++
					require.Equal(t, fmt.Sprintf("%d by %d", round, w), after.Title)
					require.Equal(t, []uint64{uint64(w + 1)}, tagIDs(after))
					continue
				}
				require.Equal(t, http.StatusPreconditionFailed, status)
			}
		}
		require.Equal(t, rounds, succeeded)
	})
}
