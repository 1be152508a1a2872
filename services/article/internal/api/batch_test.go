package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

const batchPath = articlesPath + "/batch"

type result = responses.BatchResult[api.Article]

// batch sends a batch.
func (s *service) batch(t *testing.T, key string, atomic bool, articles ...any) *apitest.Result {
	t.Helper()
	header := http.Header{"Locale": {"en"}}
	if key != "" {
		header.Set("Idempotency-Key", key)
	}
	return s.Do(t, apitest.Case{Method: http.MethodPost, Path: batchPath, JSON: fields{"atomic": atomic, "articles": articles}, Header: header, Invalid: true})
}

// createAll sends an atomic batch, and returns the articles.
func (s *service) createAll(t *testing.T, key string, articles ...any) ([]api.Article, *apitest.Result) {
	t.Helper()
	answer := s.batch(t, key, true, articles...)
	require.Equal(t, http.StatusCreated, answer.Status, "%s", answer.Body)
	var response responses.Envelope[api.CreatedArticles]
	answer.JSON(t, &response)
	require.Zero(t, response.Code)
	return response.Data.Articles, answer
}

// createEach sends a batch that is not atomic, and returns the results.
func (s *service) createEach(t *testing.T, key string, articles ...any) []result {
	t.Helper()
	answer := s.batch(t, key, false, articles...)
	require.Equal(t, http.StatusOK, answer.Status, "%s", answer.Body)
	return resultsOf(t, answer)
}

func resultsOf(t *testing.T, answer *apitest.Result) []result {
	t.Helper()
	var response responses.BatchEnvelope[api.Article]
	answer.JSON(t, &response)
	require.Zero(t, response.Code)
	failed := 0
	for i, one := range response.Data.Results {
		require.Equal(t, i, one.Index)
		require.Equal(t, one.Code == 0, one.Data != nil)
		if one.Code != 0 {
			failed++
		}
	}
	require.Equal(t, failed, response.Data.Failed)
	return response.Data.Results
}

func codes(results []result) (found []errcode.Code) {
	for _, one := range results {
		found = append(found, errcode.Code(one.Code))
	}
	return found
}

// texts returns the details of an error, by field.
func texts(errs []responses.FieldError) map[string]string {
	found := map[string]string{}
	for _, one := range errs {
		found[one.Field] = one.Code
	}
	return found
}

func TestAtomicBatch(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		content := strings.Repeat("长文 <&> ", 10_000)
		var all []any
		for n := range 100 {
			all = append(all, fields{"title": fmt.Sprint("article ", n), "content": "text", "state": n % 2, "tag_ids": []int{1 + n%30, 1 + (7*n+1)%30}})
		}
		all[7] = fields{"title": "article 6", "content": content} // has the slug of another one
		created, answer := s.createAll(t, "k", all...)
		require.Empty(t, answer.Header.Get("Idempotency-Replayed"))
		require.Len(t, created, 100)
		for n, one := range created {
			require.Nil(t, one.Content)
			require.Equal(t, created[0].ID+uint64(n), one.ID, "in the order of the request")
			read := s.get(t, one.ID)
			require.NotNil(t, read.Content)
			read.Content = nil
			require.Equal(t, read, one)
		}
		require.Equal(t, fmt.Sprint("article-6-", created[7].ID), created[7].Slug)
		require.Equal(t, content, *s.get(t, created[7].ID).Content)
		require.EqualValues(t, 100, s.list(t, "").Pager.TotalRows)
		require.EqualValues(t, 50, s.list(t, "state=0").Pager.TotalRows)

		again, answer := s.createAll(t, "k", all...)
		require.Equal(t, "true", answer.Header.Get("Idempotency-Replayed"))
		require.Equal(t, created, again)
		all[99] = fields{"title": "another one"}
		s.requireError(t, apitest.Case{Method: http.MethodPost, Path: batchPath, JSON: fields{"atomic": true, "articles": all}, Header: http.Header{"Idempotency-Key": {"k"}}},
			errcode.KeyReused, "请原样重发第一个请求, 或为新的请求使用新的 Idempotency-Key")
		require.EqualValues(t, 100, s.list(t, "").Pager.TotalRows)

		found, err := s.feed.Changes(t.Context(), article.Authenticated, changefeed.Offset{}, 200)
		require.NoError(t, err)
		require.Len(t, found.Changes, 100, "each article has a change")
		repaired, err := s.store.Recount(t.Context())
		require.NoError(t, err)
		require.Empty(t, repaired)
	})
}

// What is wrong with any item is named with it, and nothing is created.
func TestAtomicBatchIsAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		s.create(t, fields{"title": "taken"})
		for name, c := range map[string]struct {
			code     errcode.Code
			fields   map[string]string
			articles []any
		}{
			"invalid": {errcode.InvalidParams, map[string]string{
				"articles[1].title": "required", "articles[1].state": "not_allowed", "articles[2]": "invalid_type", "articles[3].titel": "unknown_field", "articles[4].tag_ids[1]": "out_of_range",
			}, []any{fields{"title": "a"}, fields{"title": " ", "state": 2}, 7, fields{"title": "a", "titel": "b"}, fields{"title": "a", "tag_ids": []int{1, 0}}}},
			"unknown tags": {errcode.UnknownTags, map[string]string{"articles[1].tag_ids": "unknown", "articles[3].tag_ids": "unknown"},
				[]any{fields{"title": "a", "tag_ids": []int{1}}, fields{"title": "b", "tag_ids": []int{1, 99}}, fields{"title": "c"}, fields{"title": "d", "tag_id": 98}}},
			"slug of another article": {errcode.SlugTaken, map[string]string{"articles[1].slug": "taken"}, []any{fields{"title": "a"}, fields{"title": "b", "slug": "taken"}}},
			"slug twice":              {errcode.SlugTaken, map[string]string{"articles[2].slug": "taken"}, []any{fields{"title": "a", "slug": "x"}, fields{"title": "b"}, fields{"title": "c", "slug": "x"}}},
			"contents":                {errcode.TooLarge, map[string]string{"articles[1].content": "too_long"}, []any{fields{"title": "a"}, fields{"title": "b", "content": strings.Repeat("a", mebibyte+1)}}},
		} {
			t.Run(name, func(t *testing.T) {
				for range 2 { // a failed request leaves its key free
					answer := s.batch(t, name, true, c.articles...)
					require.Equal(t, c.code.Status(), answer.Status, "%s", answer.Body)
					var problem responses.Problem
					answer.JSON(t, &problem)
					require.EqualValues(t, c.code, problem.Code)
					require.Equal(t, c.fields, texts(problem.Errors), "%s", answer.Body)
					for i, detail := range problem.Details {
						require.True(t, strings.HasPrefix(detail, "articles["), detail)
						require.Equal(t, detail, problem.Errors[i].Message)
					}
				}
			})
		}
		require.EqualValues(t, 1, s.list(t, "").Pager.TotalRows)
	})
}

// Each article has a result of its own. A repeat creates what failed before and succeeds now.
func TestBatchWithResults(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		taken := s.create(t, fields{"title": "taken"})
		all := []any{
			fields{"title": "a", "content": "text", "tag_ids": []int{2, 1}}, fields{"title": ""}, fields{"title": "b", "slug": "taken"}, "c",
			fields{"title": "d", "tag_ids": []int{99}}, fields{"title": "a"}, fields{"title": "a", "state": 0},
		}
		want := []errcode.Code{0, errcode.InvalidParams, errcode.SlugTaken, errcode.InvalidParams, errcode.UnknownTags, 0, 0}
		first := s.createEach(t, "k", all...)
		require.Equal(t, want, codes(first))
		require.Equal(t, map[string]string{"articles[1].title": "required"}, texts(first[1].Errors))
		require.Equal(t, []string{"articles[2]: another article has the slug taken"}, first[2].Details)
		require.Equal(t, []string{"articles[3]: it must be a JSON object"}, first[3].Details)
		require.Equal(t, []string{"articles[4]: tag_ids has unknown tags: 99"}, first[4].Details)
		require.Equal(t, []string{"a", fmt.Sprint("a-", first[5].Data.ID), fmt.Sprint("a-", first[6].Data.ID)}, []string{first[0].Data.Slug, first[5].Data.Slug, first[6].Data.Slug}, "equal articles are allowed")
		require.Equal(t, []uint64{1, 2}, tagIDs(*first[0].Data))
		require.Nil(t, first[0].Data.Content)
		require.Equal(t, "text", *s.get(t, first[0].Data.ID).Content)
		require.EqualValues(t, 4, s.list(t, "").Pager.TotalRows)

		s.Do(t, apitest.Case{Method: http.MethodDelete, Path: at(taken.ID)})
		again := s.createEach(t, "k", all...)
		want[2] = 0
		require.Equal(t, want, codes(again))
		for _, i := range []int{0, 5, 6} {
			require.True(t, again[i].Replayed)
			require.Equal(t, first[i].Data, again[i].Data)
		}
		require.False(t, again[2].Replayed)
		require.EqualValues(t, 4, s.list(t, "").Pager.TotalRows)

		all[3] = fields{"title": "c"}
		other := s.batch(t, "k", false, all...)
		require.Equal(t, http.StatusUnprocessableEntity, other.Status, "a correction needs another key: %s", other.Body)
		require.Equal(t, http.StatusUnprocessableEntity, s.post(t, "k", fields{"title": "a"}).Status, "so does another route")
		require.EqualValues(t, 4, s.list(t, "").Pager.TotalRows)
		require.Equal(t, codes(s.createEach(t, "", all[0], all[0])), []errcode.Code{0, 0})
		require.EqualValues(t, 6, s.list(t, "").Pager.TotalRows, "without a key nothing is a repeat")
	})
}

// A batch reads the feed of tags once.
func TestBatchCatchesUpOnce(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		s.catchUp = func(ctx context.Context) error {
			return s.applyChange(ctx, tagfeed.Change{Kind: changefeed.Put, TagID: 40, Name: "new", State: 1})
		}
		results := s.createEach(t, "", fields{"title": "a", "tag_ids": []int{99}}, fields{"title": "b", "tag_ids": []int{40}}, fields{"title": "c", "tag_ids": []int{98}})
		require.Equal(t, []errcode.Code{errcode.UnknownTags, 0, errcode.UnknownTags}, codes(results))
		require.EqualValues(t, 1, s.caughtUp.Load())
		created, _ := s.createAll(t, "", fields{"title": "a", "tag_ids": []int{40}}, fields{"title": "b", "tag_ids": []int{40}})
		require.Len(t, created, 2)
		require.EqualValues(t, 1, s.caughtUp.Load())
		s.batch(t, "", true, fields{"title": "a", "tag_ids": []int{97}}, fields{"title": "b", "tag_ids": []int{96}})
		require.EqualValues(t, 2, s.caughtUp.Load())
	})
}

func TestInvalidBatches(t *testing.T) {
	s := embedded(t)
	article := fields{"title": "a"}
	hundred := make([]any, 101)
	for i := range hundred {
		hundred[i] = article
	}
	ids := make([]int, 1001)
	for name, c := range map[string]struct {
		body   any
		fields map[string]string
	}{
		"nothing":           {fields{}, map[string]string{"articles": "required"}},
		"null":              {fields{"articles": nil}, map[string]string{"articles": "required"}},
		"empty":             {fields{"articles": []any{}}, map[string]string{"articles": "too_short"}},
		"too many":          {fields{"articles": hundred}, map[string]string{"articles": "too_long"}},
		"no array":          {fields{"articles": article}, map[string]string{"articles": "invalid_type"}},
		"atomic":            {fields{"articles": []any{article}, "atomic": "true"}, map[string]string{"atomic": "invalid_type"}},
		"atomic, a number":  {fields{"articles": []any{article}, "atomic": 1}, map[string]string{"atomic": "invalid_type"}},
		"atomic, null":      {fields{"articles": []any{article}, "atomic": nil}, map[string]string{"atomic": "required"}},
		"misspelt":          {fields{"article": []any{article}}, map[string]string{"article": "unknown_field"}},
		"another case":      {fields{"articles": []any{article}, "Atomic": true}, map[string]string{"Atomic": "unknown_field"}},
		"too many values":   {fields{"atomic": true, "articles": []any{fields{"title": "a", "tag_ids": ids}}}, map[string]string{}},
		"all and something": {fields{"articles": hundred[:100], "unknown": make([]int, 10_000)}, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			answer := s.Do(t, apitest.Case{Method: http.MethodPost, Path: batchPath, JSON: c.body, Invalid: true})
			require.Equal(t, http.StatusBadRequest, answer.Status, "%s", answer.Body)
			var problem responses.Problem
			answer.JSON(t, &problem)
			require.Equal(t, c.fields, texts(problem.Errors), "%s", answer.Body)
		})
	}
	for _, text := range []string{`[{"title":"a"}]`, `{"articles":[{"title":"a"}]`, `{"articles":[{"title":"a"},]}`, `{"articles":[{"title":"\ud800"}]}`, `{"articles":[{"title":"a"}],"articles":[]}`, `{"articles":[{"title":"a","title":"b"}],"atomic":true}`} {
		answer := s.Do(t, apitest.Case{Method: http.MethodPost, Path: batchPath, Body: []byte(text), ContentType: asJSON, Invalid: true})
		require.Equal(t, http.StatusBadRequest, answer.Status, "%s: %s", text, answer.Body)
	}
	form := s.Do(t, apitest.Case{Method: http.MethodPost, Path: batchPath, Body: []byte("articles=a"), ContentType: "application/x-www-form-urlencoded", Invalid: true})
	require.Equal(t, http.StatusUnsupportedMediaType, form.Status)
	require.Equal(t, http.StatusUnauthorized, s.anonymous.Do(t, apitest.Case{Method: http.MethodPost, Path: batchPath, JSON: fields{"articles": []any{article}}}).Status)
	require.Zero(t, s.list(t, "").Pager.TotalRows)

	largest := s.Do(t, apitest.Case{Method: http.MethodPost, Path: batchPath, JSON: fields{"atomic": true, "articles": hundred[:100]}})
	require.Equal(t, http.StatusCreated, largest.Status, "%s", largest.Body)
	ignored := s.Do(t, apitest.Case{Method: http.MethodPost, Path: batchPath, ContentType: asJSON, Invalid: true,
		Body: []byte(`{"priority":1,"articles":[{"title":"a","colour":1},{"title":"b","colour":1,"id":7}]}`)})
	require.Equal(t, http.StatusOK, ignored.Status)
	require.Equal(t, "priority, colour", ignored.Header.Get("X-Ignored-Fields"))
}

// A batch counts as many writes as it has objects.
func TestBatchesAreLimited(t *testing.T) {
	limits := unlimited()
	limits.WritePerSecond, limits.WriteBurst = 1, 40
	s := start(t, dbtest.SQLite(t), func(o *options) { o.limits = limits })
	var hundred []any
	for range 100 {
		hundred = append(hundred, fields{"title": "a"})
	}
	first := s.batch(t, "", true, hundred...)
	require.Equal(t, http.StatusCreated, first.Status, "more than the burst: %s", first.Body)
	require.Regexp(t, `^"write";r=0;t=(6|5)\d$`, first.Header.Get("RateLimit"))
	second := s.batch(t, "", true, fields{"title": "a"})
	require.Equal(t, http.StatusTooManyRequests, second.Status)
	require.Regexp(t, `^(6|5)\d$`, second.Header.Get("Retry-After"))
	require.EqualValues(t, 100, s.list(t, "").Pager.TotalRows)
}

// A request that has no time left creates no more, says so, and is continued by a repeat.
func TestBatchOutOfTime(t *testing.T) {
	const limit = 3 * time.Second
	s := start(t, dbtest.SQLite(t), func(o *options) { o.server.RequestTimeout = limit })
	all := []any{fields{"title": "a"}, fields{"title": "b"}, fields{"title": ""}}
	var once sync.Once
	s.db.OnQuery(func(statement string, _ []any) {
		if strings.HasPrefix(statement, "INSERT INTO blog_article ") {
			once.Do(func() { time.Sleep(limit * 3 / 4) })
		}
	})
	answer := s.batch(t, "k", false, all...)
	require.Equal(t, http.StatusOK, answer.Status, "%s", answer.Body)
	require.Equal(t, "1", answer.Header.Get("Retry-After"))
	require.Equal(t, []errcode.Code{0, errcode.Unavailable, errcode.InvalidParams}, codes(resultsOf(t, answer)))
	again := s.createEach(t, "k", all...)
	require.Equal(t, []errcode.Code{0, 0, errcode.InvalidParams}, codes(again))
	require.Equal(t, []bool{true, false, false}, []bool{again[0].Replayed, again[1].Replayed, again[2].Replayed})
	require.EqualValues(t, 2, s.list(t, "").Pager.TotalRows)
}

// While the database is unavailable, a batch of either kind is 503.
func TestBatchWithoutDatabase(t *testing.T) {
	server := dbtest.NewMySQL(t)
	s := start(t, server.Config(t))
	server.Stop(t)
	for _, atomic := range []bool{true, false} {
		for _, key := range []string{"", "k"} {
			answer := s.batch(t, key, atomic, fields{"title": "a"}, fields{"title": "b"})
			require.Equal(t, http.StatusServiceUnavailable, answer.Status, "%s", answer.Body)
			require.NotEmpty(t, answer.Header.Get("Retry-After"))
		}
	}
}

// The contents of an atomic batch have a common bound, those of others don't.
func TestContentsOfBatches(t *testing.T) {
	s := embedded(t)
	half := fields{"title": "a", "content": strings.Repeat("a", mebibyte/2)}
	require.Equal(t, http.StatusCreated, s.batch(t, "", true, half, half).Status)
	answer := s.batch(t, "", true, half, half, fields{"title": "b", "content": "b"})
	require.Equal(t, http.StatusRequestEntityTooLarge, answer.Status)
	var problem responses.Problem
	answer.JSON(t, &problem)
	require.Equal(t, map[string]string{"articles": "too_long"}, texts(problem.Errors))
	require.Equal(t, []errcode.Code{0, 0, 0, errcode.TooLarge}, codes(s.createEach(t, "", half, half, half, fields{"title": "b", "content": strings.Repeat("a", mebibyte+1)})))
	require.EqualValues(t, 5, s.list(t, "").Pager.TotalRows)
}
