package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

func (s *service) post(t *testing.T, key string, f fields) *apitest.Result {
	t.Helper()
	return s.Do(t, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: f, Header: http.Header{"Idempotency-Key": {key}}})
}

func TestRepeatReturnsCreatedArticle(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		body := fields{"title": "a", "content": strings.Repeat("长文 <&> ", 20_000), "tag_ids": []int{2, 1}}
		first := s.post(t, "k", body)
		require.Equal(t, http.StatusCreated, first.Status, "%s", first.Body)
		require.Empty(t, first.Header.Get("Idempotency-Replayed"))
		eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
			c := apitest.Case{Method: http.MethodPost, Path: articlesPath, Header: http.Header{"Idempotency-Key": {"k"}, "Locale": {"en"}}}
			again := s.Do(t, encode(c, body))
			require.Equal(t, http.StatusCreated, again.Status, "%s", again.Body)
			require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
			require.True(t, strings.Replace(string(first.Body), `"msg":"成功"`, `"msg":"success"`, 1) == string(again.Body), "the same article")
			require.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
			require.Equal(t, strings.Replace(first.Header.Get("ETag"), ".zh", ".en", 1), again.Header.Get("ETag"))
		})
		body["title"] = "b"
		s.requireError(t, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: body, Header: http.Header{"Idempotency-Key": {"k"}}},
			errcode.KeyReused, "请原样重发第一个请求, 或为新的请求使用新的 Idempotency-Key")
		require.Equal(t, []string{"a"}, titles(s.list(t, "").List))
	})
}

// If a tag is not in the read model yet, the service retries the write. This
// creates one article, also with a key.
func TestKeyWithNewTag(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		s.catchUp = func(ctx context.Context) error {
			return s.applyChange(ctx, tagfeed.Change{Kind: changefeed.Put, TagID: 40, Name: "new", State: 1})
		}
		require.Equal(t, http.StatusCreated, s.post(t, "k", fields{"title": "a", "tag_ids": []int{40}}).Status)
		require.Equal(t, "true", s.post(t, "k", fields{"title": "a", "tag_ids": []int{40}}).Header.Get("Idempotency-Replayed"))
		require.Equal(t, []string{"a"}, titles(s.list(t, "").List))
	})
}

// Of concurrent requests with one key, one creates an article. The others get this
// article, or a 409 with Retry-After.
func TestConcurrentRepeats(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for round := range 10 {
			results := make([]*apitest.Result, 12)
			var all sync.WaitGroup
			for i := range results {
				all.Go(func() {
					results[i] = s.post(t, fmt.Sprintf("key %d", round), fields{"title": fmt.Sprintf("article %d", round), "tag_ids": []int{1, 2}})
				})
			}
			all.Wait()
			bodies, firsts := map[string]bool{}, 0
			for _, result := range results {
				if result.Status == http.StatusConflict {
					require.NotEmpty(t, result.Header.Get("Retry-After"))
					continue
				}
				require.Equal(t, http.StatusCreated, result.Status, "%s", result.Body)
				bodies[string(result.Body)] = true
				if result.Header.Get("Idempotency-Replayed") == "" {
					firsts++
				}
			}
			require.Len(t, bodies, 1)
			require.Equal(t, 1, firsts)
		}
		require.EqualValues(t, 10, s.list(t, "").Pager.TotalRows)
	})
}
