package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

const tagsPath = articlesPath + "/tags"

type tagCounts struct {
	List  []api.TagCount
	Pager responses.Pager
}

func listTags(t *testing.T, client *apitest.Client, query string) (found tagCounts) {
	t.Helper()
	result := client.Do(t, apitest.Case{Path: tagsPath + query})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	result.JSON(t, &found)
	return found
}

func TestTagsOfArticles(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		require.Equal(t, []api.TagCount{}, listTags(t, s.Client, "").List)
		s.loadTags(t, 4)
		require.NoError(t, s.applyChange(t.Context(), tagfeed.Change{TagID: 4, Kind: changefeed.Put, Name: "off", State: 0}))
		s.create(t, fields{"title": "a", "tag_ids": []int{1, 2, 4}})
		s.create(t, fields{"title": "b", "tag_ids": []int{2, 4}})
		s.create(t, fields{"title": "c", "tag_ids": []int{1, 2, 4}, "state": 0})
		s.delete(t, s.create(t, fields{"title": "d", "tag_ids": []int{3}}).ID)
		tag := func(id uint64, count int64) api.TagCount {
			return api.TagCount{ID: id, Name: tagName(id), State: 1, Count: count}
		}
		off := api.TagCount{ID: 4, Name: "off", State: 0, Count: 3}

		require.Equal(t, []api.TagCount{off, tag(2, 3), tag(1, 2), tag(3, 0)}, listTags(t, s.Client, "").List)
		require.Equal(t, []api.TagCount{tag(2, 2), tag(1, 1), tag(3, 0)}, listTags(t, s.anonymous, "?order_by=-count").List)
		require.Equal(t, []api.TagCount{tag(3, 0), tag(1, 1), tag(2, 2)}, listTags(t, s.anonymous, "?order_by=count").List)
		require.Equal(t, []api.TagCount{off, tag(1, 2), tag(2, 3), tag(3, 0)}, listTags(t, s.Client, "?order_by=name").List)
		require.Equal(t, []api.TagCount{tag(3, 0), tag(2, 2), tag(1, 1)}, listTags(t, s.anonymous, "?order_by=-name").List)
		for _, order := range []string{"count", "-count", "name", "-name"} {
			first := listTags(t, s.anonymous, "?page_size=2&order_by="+order)
			require.Equal(t, responses.Pager{Page: 1, PageSize: 2, TotalRows: 3, TotalRelation: responses.Exact, Next: first.Pager.Next}, first.Pager)
			second := listTags(t, s.anonymous, "?page_size=2&order_by="+order+"&after="+first.Pager.Next)
			require.Equal(t, second.List, listTags(t, s.anonymous, "?page_size=2&page=2&order_by="+order).List)
			require.Len(t, second.List, 1)
			require.Empty(t, second.Pager.Next)
		}

		result := s.anonymous.Do(t, apitest.Case{Path: tagsPath})
		etag := result.Header.Get("ETag")
		require.Equal(t, http.StatusNotModified, s.anonymous.Do(t, apitest.Case{Path: tagsPath, Header: http.Header{"If-None-Match": {etag}}}).Status)
		require.Equal(t, etag, s.anonymous.Do(t, apitest.Case{Method: http.MethodHead, Path: tagsPath}).Header.Get("ETag"))
		s.create(t, fields{"title": "e", "tag_ids": []int{1}})
		require.Equal(t, http.StatusOK, s.anonymous.Do(t, apitest.Case{Path: tagsPath, Header: http.Header{"If-None-Match": {etag}}}).Status)
	})
}

func TestInvalidTagLists(t *testing.T) {
	s := embedded(t)
	const after = "after不是此列表的游标: 请原样使用 pager 中的 next, 并保持筛选条件和 order_by 不变"
	next := listTags(t, s.Client, "?page_size=1").Pager.Next
	require.NotEmpty(t, next)
	for query, details := range map[string][]string{
		"order_by=":                   {"order_by必须是[count -count name -name]中的一个"},
		"order_by=id":                 {"order_by必须是[count -count name -name]中的一个"},
		"orderby=name":                {`没有字段"orderby", 是否指order_by`},
		"after=x":                     {after},
		"order_by=name&after=" + next: {after},
		"page=1&after=" + next:        {"page不能与after同时使用"},
	} {
		s.requireError(t, apitest.Case{Path: tagsPath + "?" + query, Invalid: true}, errcode.InvalidParams, details...)
	}
	// What isn't a number is still no id.
	s.requireError(t, apitest.Case{Path: articlesPath + "/tag", Invalid: true}, errcode.InvalidParams, `id 必须是正整数: "tag"`)
	s.requireError(t, apitest.Case{Method: http.MethodPut, Path: tagsPath, JSON: fields{}, Invalid: true}, errcode.InvalidParams, `id 必须是正整数: "tags"`)
}
