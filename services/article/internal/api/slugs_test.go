package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

func bySlug(slug string) string { return articlesPath + "/slug/" + slug }

// An article is read by its slug as it is by its id.
func TestGetBySlug(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for _, content := range []string{"", strings.Repeat("x", article.MaxSharedContent+1)} {
			created := s.create(t, fields{"title": "滚动重启", "content": content, "tag_ids": []int{1, 2}})
			require.Equal(t, created, s.expect(t, http.StatusOK, apitest.Case{Path: bySlug(created.Slug)}))
			get := s.Do(t, apitest.Case{Path: at(created.ID)})
			found := s.Do(t, apitest.Case{Path: bySlug(created.Slug)})
			head := s.Do(t, apitest.Case{Method: http.MethodHead, Path: bySlug(created.Slug)})
			again := s.Do(t, apitest.Case{Path: bySlug(created.Slug), Header: http.Header{"If-None-Match": {get.Header.Get("ETag")}}})
			require.Equal(t, http.StatusNotModified, again.Status)
			for _, result := range []*apitest.Result{found, head, again} {
				require.Equal(t, get.Header.Get("ETag"), result.Header.Get("ETag"))
				require.Equal(t, get.Header.Get("Cache-Control"), result.Header.Get("Cache-Control"))
				require.Equal(t, at(created.ID), result.Header.Get("Content-Location"))
			}
			require.Equal(t, get.Body, found.Body)
			require.Empty(t, head.Body)

			moved := s.put(t, created.ID, fields{"title": "new", "slug": "moved"})
			require.Equal(t, "moved", moved.Slug)
			require.Equal(t, moved, s.expect(t, http.StatusOK, apitest.Case{Path: bySlug(created.Slug)}), "a former slug leads to the article as it is now")
			require.Equal(t, moved, s.expect(t, http.StatusOK, apitest.Case{Path: bySlug("moved")}))
			s.delete(t, created.ID)
			for _, slug := range []string{created.Slug, "moved"} {
				s.requireError(t, apitest.Case{Path: bySlug(slug)}, errcode.ArticleNotFound)
			}
		}
	})
}

// What a client has of a slug is not taken for the article that has it now, though both
// have the same version.
func TestETagOfSlugThatMoved(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for _, query := range []string{"", "?fields=title"} {
			path := bySlug("moving") + query
			first := s.create(t, fields{"title": "first", "slug": "moving", "tag_ids": []int{1}})
			before := s.etag(t, path)
			s.put(t, first.ID, fields{"slug": "moved"})
			second := s.create(t, fields{"title": "second", "slug": "moving", "tag_ids": []int{1}})
			now := s.etag(t, path)
			version, _, _ := strings.Cut(before, ".")
			require.Contains(t, now, version+".")
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				again := apitest.Case{Method: method, Path: path, Header: http.Header{"If-None-Match": {before}}}
				require.Equal(t, http.StatusOK, s.Do(t, again).Status)
			}
			s.delete(t, first.ID)
			change := apitest.Case{Method: http.MethodPatch, Path: at(second.ID), JSON: fields{"desc": "x"}, Header: http.Header{"If-Match": {now}}}
			require.Equal(t, http.StatusOK, s.Do(t, change).Status)
			s.delete(t, second.ID)
		}
	})
}

// Anonymous viewers see of an article what they see of it by its id.
func TestGetBySlugIsBlind(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		hidden := s.create(t, fields{"title": "hidden", "state": 0})
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			require.Equal(t, http.StatusNotFound, s.anonymous.Do(t, apitest.Case{Method: method, Path: bySlug("hidden")}).Status)
			require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Method: method, Path: bySlug("hidden")}).Status)
		}
		unknown := s.anonymous.Do(t, apitest.Case{Path: bySlug("unknown")})
		known := s.anonymous.Do(t, apitest.Case{Path: bySlug("hidden")})
		require.Equal(t, unknown.Body, known.Body)
		require.Empty(t, known.Header.Get("Content-Location"))
		s.put(t, hidden.ID, fields{"state": 1})
		require.Equal(t, http.StatusOK, s.anonymous.Do(t, apitest.Case{Path: bySlug("hidden")}).Status)
	})
}

const malformedSlug = "slug只能包含小写字母 a-z、数字和单个连字符, 最多100个字符, 例如 rolling-restarts"

func TestMalformedSlugs(t *testing.T) {
	s := embedded(t)
	existing := s.create(t, fields{"title": "existing"})
	for _, slug := range []string{
		"Upper", "under_score", "-a", "a-", "a--b", "-", "a b", "a.b", "é", "重启", "a\x00b", "a\nb", "a\n", "%", "_", "a'b", "a;b", strings.Repeat("a", 101), "ａ", "١",
	} {
		details := []string{malformedSlug}
		if len(slug) > 100 {
			details = []string{"slug长度不能超过100个字符"}
		}
		eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
			for _, c := range []apitest.Case{{Method: http.MethodPost, Path: articlesPath}, {Method: http.MethodPut, Path: at(existing.ID)}} {
				c.Invalid = true
				s.requireError(t, encode(c, fields{"title": "a", "slug": slug}), errcode.InvalidParams, details...)
			}
		})
	}
	for _, path := range []string{"Upper", "a%20b", "-a", "a--b", "%E9%87%8D", "%00", "%ff", strings.Repeat("a", 101), strings.Repeat("a", 8000), "a'", "a%0A", "..;"} {
		for i, detail := range []string{
			malformedSlug, "slug must be at most 100 lower-case letters a-z, digits and single hyphens between them, such as rolling-restarts",
			"slug只能包含小寫字母 a-z、數字和單個連字號, 最多100個字元, 例如 rolling-restarts",
		} {
			result := s.Do(t, apitest.Case{Path: bySlug(path), Invalid: true, Header: in(languages[i])})
			apitest.RequireProblem(t, result, errcode.InvalidParams, invalidMessage[i], detail)
		}
	}
	for _, path := range []string{"a/b", "a/", "a%2Fb"} {
		require.Equal(t, http.StatusNotFound, s.Do(t, apitest.Case{Path: bySlug(path), Undescribed: true}).Status, path)
	}
	for _, slug := range []string{"a", "7", strings.Repeat("a", 100), "a-1-b"} {
		require.Equal(t, slug, s.put(t, existing.ID, fields{"slug": slug}).Slug)
	}
}

func TestSlugTaken(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		one, two := s.create(t, fields{"title": "one", "state": 0}), s.create(t, fields{"title": "two", "slug": "second"})
		for i, message := range []string{"slug 已被其他文章使用", "another article has this slug", "slug 已被其他文章使用"} {
			detail := []string{"slug已被其他文章使用: one", "another article has the slug one", "slug已被其他文章使用: one"}[i]
			for _, c := range []apitest.Case{
				{Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "x", "slug": "one"}},
				{Method: http.MethodPut, Path: at(two.ID), JSON: fields{"title": "x", "slug": "one"}},
				{Method: http.MethodPatch, Path: at(two.ID), JSON: fields{"slug": "one"}},
			} {
				c.Header = in(languages[i])
				apitest.RequireProblem(t, s.Do(t, c), errcode.SlugTaken, message, detail)
			}
		}
		require.Equal(t, two, s.get(t, two.ID))
		c := patch(two.ID, `{"slug":null}`)
		require.Equal(t, "two", s.expect(t, http.StatusOK, c).Slug, "it is made from the title")
		require.Equal(t, "one-"+fmt.Sprint(two.ID), s.expect(t, http.StatusOK, patch(two.ID, `{"title":"One!","slug":null}`)).Slug)
		s.delete(t, one.ID)
		require.Equal(t, "one", s.expect(t, http.StatusOK, patch(two.ID, `{"slug":""}`)).Slug)
		require.Equal(t, "one", s.put(t, two.ID, fields{"title": "another"}).Slug, "it stays when the title changes")
	})
}

// A repeated POST has the slug of the first one, and the slug belongs to what it means.
func TestSlugUnderAKey(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		post := apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "a"}, Header: http.Header{"Idempotency-Key": {"key"}}}
		first := s.expect(t, http.StatusCreated, post)
		post.JSON = fields{"title": "a", "slug": nil}
		require.Equal(t, first, s.expect(t, http.StatusCreated, post))
		post.JSON = fields{"title": "a", "slug": "a"}
		require.Equal(t, http.StatusUnprocessableEntity, s.Do(t, post).Status)
		post.Header, post.JSON = http.Header{"Idempotency-Key": {"other"}}, fields{"title": "b", "slug": "a"}
		s.requireError(t, post, errcode.SlugTaken, "slug已被其他文章使用: a")
		s.delete(t, first.ID)
		require.Equal(t, "a", s.expect(t, http.StatusCreated, post).Slug, "a failed request has not used up its key")
	})
}

// An article that was read can be written back with its slug.
func TestSlugIsWrittenBack(t *testing.T) {
	s := embedded(t)
	created := s.create(t, fields{"title": "a"})
	result := s.Do(t, apitest.Case{Method: http.MethodPut, Path: at(created.ID), JSON: created, Invalid: true})
	require.Equal(t, http.StatusOK, result.Status)
	require.Equal(t, created, s.get(t, created.ID), "nothing has changed")
}

// Many clients that write the same at the same time get slugs, or are told that it is taken.
func TestSlugsAtTheSameTime(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		const writers = 50
		statuses, slugs := make([]int, writers), make([]string, writers)
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				f := fields{"title": "The same"}
				if i%5 == 0 {
					f["slug"] = "sent"
				}
				result := s.Do(t, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: f})
				var response articleResponse
				result.JSON(t, &response)
				statuses[i], slugs[i] = result.Status, response.Data.Slug
			})
		}
		all.Wait()
		different, taken := map[string]bool{}, 0
		for i, status := range statuses {
			if status == http.StatusConflict {
				taken++
				continue
			}
			require.Equal(t, http.StatusCreated, status)
			different[slugs[i]] = true
		}
		require.Equal(t, writers/5-1, taken)
		require.Len(t, different, writers-taken)
		require.True(t, different["sent"] && different["the-same"])
	})
}
