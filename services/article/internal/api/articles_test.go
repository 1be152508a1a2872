package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

func TestCreate(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
			for name, c := range map[string]struct {
				send fields
				want api.Article
			}{
				"all": {
					fields{"title": "滚动重启 🚀", "desc": "零丢失 <b>", "cover_image_url": "https://example.org/封面.png?a=1&b=2#c",
						"content": "# 标题\r\n\n😀 & <script>", "state": 0, "tag_ids": []int{2, 1}},
					api.Article{Title: "滚动重启 🚀", Desc: "零丢失 <b>", CoverImageURL: "https://example.org/封面.png?a=1&b=2#c",
						Content: pointer("# 标题\r\n\n😀 & <script>"), Tags: []api.Tag{{ID: 1, Name: tagName(1), State: 1}, {ID: 2, Name: tagName(2), State: 1}}},
				},
				"only a title":           {fields{"title": "a"}, api.Article{Title: "a", State: 1}},
				"state 1":                {fields{"title": "a", "state": 1}, api.Article{Title: "a", State: 1}},
				"empty texts":            {fields{"title": "a", "desc": "", "content": "", "cover_image_url": ""}, api.Article{Title: "a", State: 1}},
				"space around the title": {fields{"title": " \t中 文\n ", "desc": " kept "}, api.Article{Title: "中 文", Desc: " kept ", State: 1}},
				"longest texts": {
					fields{"title": strings.Repeat("😀", 100), "desc": strings.Repeat("描", 255), "cover_image_url": "http://x/" + strings.Repeat("界", 1991)},
					api.Article{Title: strings.Repeat("😀", 100), Desc: strings.Repeat("描", 255), CoverImageURL: "http://x/" + strings.Repeat("界", 1991), State: 1},
				},
				"no tags":               {fields{"title": "a", "tag_ids": []int{}}, api.Article{Title: "a", State: 1}},
				"tag_id":                {fields{"title": "a", "tag_id": 3}, withTags("a", 3)},
				"tag_id and tag_ids":    {fields{"title": "a", "tag_id": 3, "tag_ids": []int{2, 4}}, withTags("a", 2, 3, 4)},
				"tag_id among tag_ids":  {fields{"title": "a", "tag_id": 3, "tag_ids": []int{3, 2}}, withTags("a", 2, 3)},
				"tags given repeatedly": {fields{"title": "a", "tag_ids": []int{5, 5, 4, 5}}, withTags("a", 4, 5)},
				"20 tags":               {fields{"title": "a", "tag_ids": first(20)}, withTags("a", ids(first(20))...)},
				"20 tags and tag_id among them": {
					fields{"title": "a", "tag_ids": first(20), "tag_id": 7}, withTags("a", ids(first(20))...),
				},
			} {
				t.Run(name, func(t *testing.T) {
					before := time.Now().Add(-time.Millisecond)
					// OpenAPI has no empty list in a form.
					invalid := name == "no tags"
					result := s.Do(t, encode(apitest.Case{Method: http.MethodPost, Path: articlesPath, Invalid: invalid}, c.send))
					require.Equal(t, http.StatusCreated, result.Status, "%s", result.Body)
					var response articleResponse
					result.JSON(t, &response)
					created := response.Data
					require.Equal(t, "成功", response.Msg)
					require.Equal(t, at(created.ID), result.Header.Get("Location"))
					require.WithinRange(t, created.CreatedAt, before, time.Now())
					require.Equal(t, time.UTC, created.CreatedAt.Location())
					require.Equal(t, created.CreatedAt, created.UpdatedAt)
					require.Equal(t, created, s.get(t, created.ID), "the response is the stored article")

					want := c.want
					want.ID, want.Slug, want.CreatedAt, want.UpdatedAt, want.PublishAt = created.ID, created.Slug, created.CreatedAt, created.UpdatedAt, created.CreatedAt
					want.CreatedBy, want.UpdatedBy = "test", "test"
					if want.Tags == nil {
						want.Tags = []api.Tag{}
					}
					if want.Content == nil {
						want.Content = pointer("")
					}
					require.Equal(t, want, created)
				})
			}
		})
		require.Zero(t, s.caughtUp.Load(), "known tags need no call of catchUp")
	})
}

func withTags(title string, tags ...uint64) api.Article {
	a := api.Article{Title: title, State: 1}
	for _, id := range tags {
		a.Tags = append(a.Tags, api.Tag{ID: id, Name: tagName(id), State: 1})
	}
	return a
}

// first returns the ids 1 to n.
func first(n int) []int {
	var ids []int
	for id := range n {
		ids = append(ids, id+1)
	}
	return ids
}

func ids(ints []int) []uint64 {
	var ids []uint64
	for _, id := range ints {
		ids = append(ids, uint64(id))
	}
	return ids
}

func TestUpdateReplacesSentFields(t *testing.T) {
	full := fields{"title": "old", "desc": "d", "cover_image_url": "https://old", "content": "c", "state": 0, "tag_ids": []int{1, 2}}
	was := withTags("old", 1, 2)
	was.Desc, was.CoverImageURL, was.Content, was.State = "d", "https://old", pointer("c"), 0
	but := func(change func(*api.Article)) api.Article { changed := was; change(&changed); return changed }
	tagged := func(ids ...uint64) api.Article {
		return but(func(a *api.Article) { a.Tags = append([]api.Tag{}, withTags("", ids...).Tags...) })
	}
	each(t, func(t *testing.T, s *service) {
		eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
			for name, c := range map[string]struct {
				send fields
				want api.Article
			}{
				"nothing":            {fields{}, was},
				"title":              {fields{"title": " new "}, but(func(a *api.Article) { a.Title = "new" })},
				"desc":               {fields{"desc": "new"}, but(func(a *api.Article) { a.Desc = "new" })},
				"desc cleared":       {fields{"desc": ""}, but(func(a *api.Article) { a.Desc = "" })},
				"cover":              {fields{"cover_image_url": "http://new/x.png"}, but(func(a *api.Article) { a.CoverImageURL = "http://new/x.png" })},
				"cover cleared":      {fields{"cover_image_url": ""}, but(func(a *api.Article) { a.CoverImageURL = "" })},
				"content":            {fields{"content": "新"}, but(func(a *api.Article) { a.Content = pointer("新") })},
				"content cleared":    {fields{"content": ""}, but(func(a *api.Article) { a.Content = pointer("") })},
				"state":              {fields{"state": 1}, but(func(a *api.Article) { a.State = 1 })},
				"same state":         {fields{"state": 0}, was},
				"tags":               {fields{"tag_ids": []int{3, 2, 3}}, tagged(2, 3)},
				"other tags":         {fields{"tag_ids": []int{4, 5}}, tagged(4, 5)},
				"same tags":          {fields{"tag_ids": []int{2, 1}}, tagged(1, 2)},
				"tags removed":       {fields{"tag_ids": []int{}}, tagged()},
				"tag_id":             {fields{"tag_id": 9}, tagged(9)},
				"tag_id and tag_ids": {fields{"tag_id": 9, "tag_ids": []int{1}}, tagged(1, 9)},
				"unknown fields":     {fields{"id": 1, "created_at": "x", "is_deleted": 1}, was},
			} {
				t.Run(name, func(t *testing.T) {
					created := s.create(t, full)
					updated := s.expect(t, http.StatusOK, encode(apitest.Case{Method: http.MethodPut, Path: at(created.ID), Invalid: true}, c.send))
					require.Equal(t, updated, s.get(t, created.ID), "the response is the stored article")
					want := c.want
					want.ID, want.Slug, want.PublishAt, want.CreatedAt, want.UpdatedAt = created.ID, created.Slug, created.CreatedAt, created.CreatedAt, updated.UpdatedAt
					want.CreatedBy, want.UpdatedBy = "test", "test"
					require.Equal(t, want, updated)
					require.False(t, updated.UpdatedAt.Before(created.UpdatedAt))
				})
			}
		})
	})
}

// A null in JSON clears a field that may be empty, and is invalid elsewhere.
func TestUpdateWithNull(t *testing.T) {
	s := embedded(t)
	full := fields{"title": "a", "desc": "b", "content": "c", "cover_image_url": "https://a", "state": 0, "tag_ids": []int{1}}
	was := s.create(t, full)
	s.requireError(t, apitest.Case{Method: http.MethodPut, Path: at(was.ID), Invalid: true, JSON: fields{"title": nil, "state": nil, "tag_id": nil}},
		errcode.InvalidParams, "title不能为 null", "state不能为 null", "tag_id不能为 null")
	require.Equal(t, was, s.get(t, was.ID))
	now := s.put(t, was.ID, fields{"desc": nil, "content": nil, "cover_image_url": nil, "tag_ids": nil})
	was.Desc, was.CoverImageURL, was.Content, was.Tags = "", "", pointer(""), []api.Tag{}
	now.UpdatedAt = was.UpdatedAt
	require.Equal(t, was, now)
	again := s.create(t, full)
	require.Empty(t, s.put(t, again.ID, fields{"tags": nil}).Tags)
}

// An article that was read and edited can be written back.
func TestWriteBack(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		was := s.create(t, fields{"title": "a", "desc": "b", "content": "c", "cover_image_url": "https://a", "state": 0, "tag_ids": []int{1, 2}})
		var read struct{ Data fields }
		s.Do(t, apitest.Case{Path: at(was.ID)}).JSON(t, &read)
		result := s.Do(t, apitest.Case{Method: http.MethodPut, Path: at(was.ID), JSON: read.Data, Invalid: true})
		require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
		require.Empty(t, result.Header.Get("X-Ignored-Fields"))
		require.Equal(t, was, s.get(t, was.ID), "nothing has changed")

		read.Data["title"] = "b"
		read.Data["tags"] = []fields{{"id": 3, "name": "whatever"}, {"id": 1}}
		result = s.Do(t, apitest.Case{Method: http.MethodPut, Path: at(was.ID), JSON: read.Data, Invalid: true})
		require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
		now := s.get(t, was.ID)
		require.Equal(t, "b", now.Title)
		require.Equal(t, []uint64{1, 3}, tagIDs(now))

		read.Data["tag_ids"] = []int{5}
		result = s.Do(t, apitest.Case{Method: http.MethodPut, Path: at(was.ID), JSON: read.Data, Invalid: true})
		require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
		require.Equal(t, []uint64{5}, tagIDs(s.get(t, was.ID)), "tag_ids say what the client wants, tags may be what it has read")
	})
}

// A change without a new value changes nothing, not even the time and the ETag.
func TestUpdateWithoutChange(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		was := s.create(t, fields{"title": "e\u0301", "desc": "b", "content": "c", "cover_image_url": "https://a", "state": 0, "tag_ids": []int{1, 2}})
		etag := s.Do(t, apitest.Case{Path: at(was.ID)}).Header.Get("ETag")
		require.Eventually(t, func() bool { return time.Since(was.UpdatedAt) > 5*time.Millisecond }, patience, time.Millisecond)
		other := s.anonymous.With(apitest.Token(t, s.keySet, "other", auth.ScopeWrite))
		for _, same := range []fields{
			{}, {"title": " \u00e9 "}, {"desc": "b"}, {"content": "c", "state": 0}, {"cover_image_url": "https://a"},
			{"tag_ids": []int{2, 1, 2}}, {"tag_id": 1, "tag_ids": []int{2}}, {"tags": []fields{{"id": 2}, {"id": 1}}},
		} {
			result := other.Do(t, apitest.Case{Method: http.MethodPut, Path: at(was.ID), JSON: same})
			require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
			require.Equal(t, etag, result.Header.Get("ETag"), "%v", same)
		}
		state := apitest.Case{Method: http.MethodPatch, Path: stateOf(was.ID), JSON: fields{"state": 0}}
		require.Equal(t, etag, other.Do(t, state).Header.Get("ETag"))
		require.Equal(t, was, s.get(t, was.ID))
		for _, change := range []fields{{"desc": ""}, {"tag_ids": []int{1}}, {"tag_ids": []int{1, 3}}, {"tag_ids": []int{4}}} {
			again := s.create(t, fields{"title": "a", "desc": "b", "tag_ids": []int{1, 2}})
			result := other.Do(t, apitest.Case{Method: http.MethodPut, Path: at(again.ID), JSON: change})
			require.Equal(t, http.StatusOK, result.Status)
			require.Equal(t, "other", s.get(t, again.ID).UpdatedBy, "%v", change)
		}
	})
}

func TestUpdatedAt(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		was, n := s.create(t, fields{"title": "a"}), 0
		require.Eventually(t, func() bool {
			n++
			return s.put(t, was.ID, fields{"tag_ids": []int{n%2 + 1}}).UpdatedAt.After(was.UpdatedAt)
		},
			patience, time.Millisecond)
		require.Equal(t, was.CreatedAt, s.get(t, was.ID).CreatedAt)
	})
}

func TestSetState(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
			was := s.create(t, fields{"title": "a", "desc": "d", "content": "c", "tag_ids": []int{1, 2}})
			for _, state := range []int{0, 0, 1} {
				now := s.expect(t, http.StatusOK, encode(apitest.Case{Method: http.MethodPatch, Path: stateOf(was.ID)}, fields{"state": state}))
				require.Equal(t, now, s.get(t, was.ID))
				want := was
				want.State, want.UpdatedAt = state, now.UpdatedAt
				require.Equal(t, want, now)
			}
			// Other fields are ignored.
			now := s.expect(t, http.StatusOK, encode(apitest.Case{Method: http.MethodPatch, Path: stateOf(was.ID), Invalid: true},
				fields{"state": 1, "title": "b", "tag_ids": []int{3}}))
			require.Equal(t, "a", now.Title)
			require.Equal(t, []uint64{1, 2}, tagIDs(now))
		})
	})
}

func TestDelete(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		kept := s.create(t, fields{"title": "kept", "tag_ids": []int{1}})
		deleted := s.create(t, fields{"title": "deleted", "tag_ids": []int{1, 2}})
		result := s.Do(t, apitest.Case{Method: http.MethodDelete, Path: at(deleted.ID), ContentType: "application/json"})
		require.Equal(t, http.StatusOK, result.Status)
		require.JSONEq(t, `{"code":0,"msg":"成功","data":{}}`, string(result.Body))

		for name, c := range map[string]apitest.Case{
			"get":    {Path: at(deleted.ID)},
			"put":    {Method: http.MethodPut, Path: at(deleted.ID), JSON: fields{"title": "back"}},
			"patch":  {Method: http.MethodPatch, Path: stateOf(deleted.ID), JSON: fields{"state": 1}},
			"delete": {Method: http.MethodDelete, Path: at(deleted.ID)},
		} {
			t.Run(name, func(t *testing.T) { s.requireError(t, c, errcode.ArticleNotFound) })
		}
		for _, query := range []string{"", "tag_id=1", "title=e", "state=1", "include=content"} {
			require.Equal(t, []string{"kept"}, titles(s.list(t, query).List), query)
			require.EqualValues(t, 1, s.list(t, query).Pager.TotalRows, query)
		}
		require.Empty(t, s.list(t, "tag_id=2").List)
		require.Equal(t, kept, s.get(t, kept.ID))
	})
}

func TestMissingArticle(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		// Truncated to 32 bits, some ids would be those of the first two articles.
		first, second := s.create(t, fields{"title": "one"}), s.create(t, fields{"title": "two"})
		for _, id := range []string{"99", "4294967296", "4294967297", "4294967298", "9223372036854775807", "9223372036854775808",
			"18446744073709551617", strings.Repeat("9", 100)} {
			path := articlesPath + "/" + id
			for name, c := range map[string]apitest.Case{
				"get":    {Path: path},
				"put":    {Method: http.MethodPut, Path: path, JSON: fields{"title": "x", "tag_ids": []int{1}}},
				"patch":  {Method: http.MethodPatch, Path: path + "/state", JSON: fields{"state": 0}},
				"delete": {Method: http.MethodDelete, Path: path},
			} {
				t.Run(name+" "+id, func(t *testing.T) {
					c.Invalid = true // the OpenAPI validator reads some as fractions
					s.requireError(t, c, errcode.ArticleNotFound)
				})
			}
		}
		require.Equal(t, first, s.get(t, first.ID))
		require.Equal(t, second, s.get(t, second.ID))
	})
}

func TestIDIsReadFromPathOnly(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
			one, two := s.create(t, fields{"title": "one"}), s.create(t, fields{"title": "two"})
			other := fmt.Sprint("?id=", two.ID, "&ID=", two.ID)
			s.expect(t, http.StatusOK, encode(apitest.Case{Method: http.MethodPut, Path: at(one.ID) + other, Invalid: true},
				fields{"title": "changed", "id": int(two.ID), "ID": int(two.ID)}))
			s.expect(t, http.StatusOK, encode(apitest.Case{Method: http.MethodPatch, Path: stateOf(one.ID) + other, Invalid: true},
				fields{"state": 0, "id": int(two.ID)}))
			require.Equal(t, one.ID, s.expect(t, http.StatusOK, apitest.Case{Path: at(one.ID) + other, Invalid: true}).ID)
			require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Method: http.MethodDelete, Path: at(one.ID) + other, Invalid: true}).Status)
			require.Equal(t, two, s.get(t, two.ID))
			s.requireError(t, apitest.Case{Path: at(one.ID)}, errcode.ArticleNotFound)

			created := s.expect(t, http.StatusCreated, encode(apitest.Case{Method: http.MethodPost, Path: articlesPath + other, Invalid: true},
				fields{"title": "new", "id": int(two.ID)}))
			require.Greater(t, created.ID, two.ID)
		})
	})
}

// The content is stored and returned unchanged, byte for byte, by every route.
func TestContentRoundTrip(t *testing.T) {
	const pattern = "\x00\x01\x1f\x7f\t\r\n'\"\\`%_;--/*中文😀é\u2028\u00a0\ufeff<&>\u202e𠮷 "
	content := strings.Repeat(pattern, 1000)
	each(t, func(t *testing.T, s *service) {
		eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
			created := s.expect(t, http.StatusCreated, encode(apitest.Case{Method: http.MethodPost, Path: articlesPath},
				fields{"title": "big", "content": content}))
			require.True(t, content == *created.Content, "response of POST")
			require.True(t, content == *s.get(t, created.ID).Content, "GET")
			require.True(t, content == *s.list(t, "include=content&page_size=1").List[0].Content, "list")
			updated := s.expect(t, http.StatusOK, encode(apitest.Case{Method: http.MethodPut, Path: at(created.ID)}, fields{"content": content}))
			require.True(t, content == *updated.Content, "response of PUT")
		})
	})
}

// A NUL has six bytes in JSON and two in SQL. The limits of the body and of the
// database must not be below the limit of the content.
func TestLongestContent(t *testing.T) {
	if testing.Short() {
		t.Skip("slow test, skipped with -short")
	}
	each(t, func(t *testing.T, s *service) {
		content := strings.Repeat("\x00", mebibyte)
		created := s.create(t, fields{"title": "NUL", "content": content})
		require.True(t, content == *s.get(t, created.ID).Content)
	})
}

func TestTagsFollowTheFeed(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		created := s.create(t, fields{"title": "a", "tag_ids": []int{1, 2}})
		require.NoError(t, s.applyChange(t.Context(), tagfeed.Change{Kind: changefeed.Put, TagID: 2, Name: "renamed", State: 0}))
		require.Equal(t, []api.Tag{{ID: 1, Name: tagName(1), State: 1}, {ID: 2, Name: "renamed", State: 0}}, s.get(t, created.ID).Tags)
		require.Equal(t, s.get(t, created.ID).Tags, s.list(t, "").List[0].Tags)

		require.NoError(t, s.applyChange(t.Context(), tagfeed.Change{Kind: changefeed.Delete, TagID: 2}))
		require.Equal(t, []uint64{1}, tagIDs(s.get(t, created.ID)))
		require.Equal(t, []uint64{1}, tagIDs(s.list(t, "").List[0]))
		require.Empty(t, s.list(t, "tag_id=2").List)
		require.Zero(t, s.list(t, "tag_id=2").Pager.TotalRows)
		s.requireError(t, apitest.Case{Method: http.MethodPut, Path: at(created.ID), JSON: fields{"tag_ids": []int{1, 2}}},
			errcode.UnknownTags, "tag_ids包含不存在的标签: 2")
		require.Equal(t, []uint64{1}, tagIDs(s.get(t, created.ID)))
	})
}

func TestUnknownTags(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		existing := s.create(t, fields{"title": "existing", "tag_ids": []int{1}})
		for language, want := range map[string][2]string{
			"zh":         {"标签不存在", "tag_ids包含不存在的标签: 77, 88, 18446744073709551615"},
			"en":         {"unknown tags", "tag_ids has unknown tags: 77, 88, 18446744073709551615"},
			"zh_Hant_TW": {"標籤不存在", "tag_ids包含不存在的標籤: 77, 88, 18446744073709551615"},
		} {
			for name, c := range map[string]apitest.Case{
				"json": {Body: []byte(`{"title":"new","tag_ids":[88,1,18446744073709551615,77,88]}`), ContentType: "application/json"},
				"form": {Body: []byte("title=new&tag_ids=88&tag_ids=1&tag_ids=18446744073709551615&tag_id=77"), ContentType: "application/x-www-form-urlencoded"},
			} {
				for _, target := range []string{"POST " + articlesPath, "PUT " + at(existing.ID)} {
					t.Run(language+" "+name+" "+target, func(t *testing.T) {
						c.Method, c.Path, _ = strings.Cut(target, " ")
						c.Header, c.Invalid = in(language), true // the OpenAPI validator has smaller integers
						before := s.caughtUp.Load()
						apitest.RequireProblem(t, s.Do(t, c), errcode.UnknownTags, want[0], want[1])
						require.EqualValues(t, 1, s.caughtUp.Load()-before, "catchUp is called once")
					})
				}
			}
		}
		require.Equal(t, []string{"existing"}, titles(s.list(t, "").List), "unchanged")
		require.Equal(t, existing, s.get(t, existing.ID), "unchanged")
	})
}

// A tag that is not in the read model yet is known after a call of catchUp.
func TestNewTagIsKnownAfterCatchUp(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		s.catchUp = func(ctx context.Context) error {
			return s.applyChange(ctx, tagfeed.Change{Kind: changefeed.Put, TagID: 40 + uint64(s.caughtUp.Load()), Name: "new", State: 1})
		}
		created := s.create(t, fields{"title": "a", "tag_ids": []int{41, 1}})
		require.Equal(t, []uint64{1, 41}, tagIDs(created))
		require.Equal(t, []uint64{42}, tagIDs(s.put(t, created.ID, fields{"tag_id": 42})))
		require.EqualValues(t, 2, s.caughtUp.Load())
		require.Len(t, s.list(t, "").List, 1)
	})
}

// While the tag service is unavailable, the response for an unknown tag is a 503.
func TestUnknownTagWithoutFeed(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		existing := s.create(t, fields{"title": "existing", "tag_ids": []int{1}})
		s.catchUp = func(context.Context) error {
			return errcode.NewUnavailable(errors.New("dial http://tag-internal: refused"))
		}
		for name, c := range map[string]apitest.Case{
			"post": {Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "a", "tag_ids": []int{1, 99}}},
			"put":  {Method: http.MethodPut, Path: at(existing.ID), JSON: fields{"title": "a", "tag_ids": []int{1, 99}}},
		} {
			t.Run(name, func(t *testing.T) {
				result := s.requireError(t, c, errcode.Unavailable)
				require.Equal(t, "1", result.Header.Get("Retry-After"))
				require.NotContains(t, string(result.Body), "tag-internal")
			})
		}
		require.Equal(t, existing, s.get(t, existing.ID), "unchanged")
		require.Equal(t, []uint64{2}, tagIDs(s.put(t, existing.ID, fields{"tag_ids": []int{2}})), "known tags need no call of catchUp")
		require.Len(t, s.list(t, "").List, 1)
	})
}

// The error is the missing article, not the unknown tag.
func TestUnknownTagOfMissingArticle(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		s.requireError(t, apitest.Case{Method: http.MethodPut, Path: at(99), JSON: fields{"tag_ids": []int{99}}}, errcode.ArticleNotFound)
		require.Zero(t, s.caughtUp.Load())
	})
}

// After concurrent updates, the article has all values of one of them.
func TestConcurrentUpdatesOfTags(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		const writers, rounds = 16, 5
		created := s.create(t, fields{"title": "a"})
		sets := map[string]bool{}
		for w := range writers {
			text, err := json.Marshal(tagSet(w))
			require.NoError(t, err)
			sets[string(text)] = true
		}
		for range rounds {
			var group sync.WaitGroup
			for w := range writers {
				group.Go(func() {
					result := s.Do(t, apitest.Case{Method: http.MethodPut, Path: at(created.ID), JSON: fields{"tag_ids": tagSet(w), "title": fmt.Sprint("by ", w)}})
					var response articleResponse
					if result.JSON(t, &response); result.Status != http.StatusOK || fmt.Sprint(tagIDs(response.Data)) != fmt.Sprint(tagSet(w)) {
						t.Errorf("writer %d got %d: %s", w, result.Status, result.Body)
					}
				})
			}
			group.Wait()
			found := s.get(t, created.ID)
			text, err := json.Marshal(tagIDs(found))
			require.NoError(t, err)
			require.Contains(t, sets, string(text))
			var writer int
			_, err = fmt.Sscanf(found.Title, "by %d", &writer)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(tagSet(writer)), fmt.Sprint(tagIDs(found)), "title and tags are of one writer")
		}
	})
}

// tagSet returns tags that overlap with those of the neighbouring writers.
func tagSet(writer int) []int {
	return []int{writer + 1, writer + 2, writer + 5}
}

// Setting up translators per request would be a data race.
func TestConcurrentValidation(t *testing.T) {
	s := embedded(t)
	const clients, each = 8, 50
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			language := []string{"zh", "en", "zh_Hant_TW"}[client%3]
			want := []string{"title为必填字段", "title is a required field", "title為必填欄位"}[client%3]
			for range each {
				result := s.Do(t, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: fields{}, Header: in(language), Invalid: true})
				if !strings.Contains(string(result.Body), want) {
					t.Errorf("%s: %s", language, result.Body)
				}
			}
		})
	}
	group.Wait()
}
