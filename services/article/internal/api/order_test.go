package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// fillOrdered creates the articles a to f, and moves their times to days of January 2026.
func (s *service) fillOrdered(t *testing.T) {
	t.Helper()
	for n, tags := range [][]int{{1}, {1, 2}, {2}, {3}, {1, 2, 3}, {}} {
		a := s.create(t, fields{"title": string(rune('a' + n)), "tag_ids": tags, "state": (n + 1) % 3 % 2, "content": "text " + fmt.Sprint(n)})
		// The days of creation are 1 to 6, those of the last change 6, 6, 5, 5, 4, 4.
		day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
		require.NoError(t, s.db.Gorm(t.Context()).Exec("UPDATE blog_article SET created_at = ?, updated_at = ? WHERE id = ?", day(n+1), day(6-n/2), a.ID).Error)
	}
}

func TestOrderAndFilters(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		s.fillOrdered(t) // the states of a to f are 1 0 0 1 0 0
		for query, want := range map[string]string{
			"order_by=-id":                      "f e d c b a",
			"order_by=id":                       "a b c d e f",
			"order_by=created_at":               "a b c d e f",
			"order_by=-created_at":              "f e d c b a",
			"order_by=updated_at":               "e f c d a b",
			"order_by=-updated_at":              "b a d c f e",
			"order_by=title":                    "a b c d e f",
			"order_by=-title&page_size=2":       "f e",
			"order_by=title&page_size=4&page=2": "e f",
			"tag_id=1,2":                        "e c b a",
			"tag_id=2,1,2,2":                    "e c b a",
			"tag_id=1,99":                       "e b a",
			"tag_id=98,99":                      "",
			"tag_id=1.0,2e0":                    "e c b a",
			"tag_all=1,2":                       "e b",
			"tag_all=1":                         "e b a",
			"tag_all=1,99":                      "",
			"tag_all=1,2&tag_id=3":              "e",
			"tag_all=18446744073709551615":      "",
			"tag_all=2&order_by=title":          "b c e",
			"tag_id=1,2,3&state=1":              "d a",
			"tag_id=1,2,3&state=0&order_by=id":  "b c e",
			"tag=%25":                           "",
			"tag=tag%20_%25":                    "",
			"tag=tag%202%00":                    "",
			"tag=nobody' OR '1'='1":             "",

			"tag=" + url.QueryEscape(tagName(2)):               "e c b",
			"tag=" + url.QueryEscape(" "+tagName(2)+" "):       "e c b",
			"tag=" + url.QueryEscape(tagName(2)) + "&tag_id=3": "e",
			"tag=" + url.QueryEscape(tagName(2)) + "&state=1":  "",
			"tag=" + strings.ToUpper(url.QueryEscape("tag 2")): "",

			"created_from=2026-01-03":                                                            "f e d c",
			"created_to=2026-01-03":                                                              "b a",
			"created_from=2026-01-02&created_to=2026-01-04":                                      "c b",
			"created_from=2026-01-02&created_to=2026-01-02":                                      "",
			"created_from=2026-01-02T00:00:00.0001Z&created_to=2026-01-04T00:00:00.0001Z":        "d c",
			"created_from=2026-01-02T08:00:00%2B08:00&created_to=2026-01-03T08:00:00+08:00":      "b",
			"created_from=0001-01-01T00:00:00Z&created_to=9999-12-31T23:59:59-23:59&page_size=2": "f e",
			"created_from=9999-12-31T23:59:59-23:59":                                             "",
			"created_to=0000-01-01":                                                              "",
			"updated_from=2026-01-06":                                                            "b a",
			"updated_to=2026-01-05":                                                              "f e",
			"updated_from=2026-01-05&order_by=title":                                             "a b c d",
			"updated_from=2026-01-05&created_from=2026-01-02&tag_id=1,2&state=0&order_by=-title": "c b",
			"updated_from=2026-01-05&order_by=updated_at&page_size=3":                            "c d a",
		} {
			t.Run(query, func(t *testing.T) {
				response := s.list(t, strings.ReplaceAll(query, " ", "%20"))
				require.Equal(t, strings.Fields(want), titles(response.List))
				require.Equal(t, responses.Exact, response.Pager.TotalRelation)
				if !strings.Contains(query, "page") {
					require.EqualValues(t, len(response.List), response.Pager.TotalRows)
					require.Empty(t, response.Pager.Next)
				}
			})
		}
		require.EqualValues(t, 4, s.list(t, "updated_from=2026-01-05&order_by=updated_at&page_size=3").Pager.TotalRows)
	})
}

// Anonymous clients find no article by a disabled tag, and no disabled article.
func TestDisabledTagsFindNothing(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		s.create(t, fields{"title": "both", "tag_ids": []int{1, 2}})
		s.create(t, fields{"title": "one", "tag_ids": []int{2}})
		s.create(t, fields{"title": "hidden", "tag_ids": []int{1, 2}, "state": 0})
		require.NoError(t, s.applyChange(t.Context(), tagfeed.Change{TagID: 2, Kind: changefeed.Put, Name: "off", State: 0}))
		anonymous := &service{Client: s.anonymous}
		for query, want := range map[string][2]string{
			"tag_id=2": {"", "hidden one both"}, "tag_id=1,2": {"both", "hidden one both"}, "tag_all=1,2": {"", "hidden both"}, "tag=off": {"", "hidden one both"},
			"tag_id=2,3": {"", "hidden one both"}, "tag_id=1&order_by=title": {"both", "both hidden"}, "tag=off&order_by=title": {"", "both hidden one"},
			"tag_id=2&created_from=2026-01-01": {"", "hidden one both"}, "tag_id=2&title=o": {"", "one both"},
			"order_by=title": {"both one", "both hidden one"}, "created_from=2026-01-01": {"one both", "hidden one both"},
		} {
			for i, client := range []*service{anonymous, s} {
				response := client.list(t, query)
				require.Equal(t, strings.Fields(want[i]), titles(response.List), query)
				require.EqualValues(t, len(response.List), response.Pager.TotalRows, query)
			}
		}
		require.Equal(t, http.StatusUnauthorized, anonymous.Do(t, apitest.Case{Path: articlesPath + "?state=0&order_by=title"}).Status)
	})
}

func TestInvalidListParameters(t *testing.T) {
	s := embedded(t)
	const order = "order_by必须是[id -id created_at -created_at updated_at -updated_at published_at -published_at title -title]中的一个"
	const aTime = "必须是日期 (2026-01-02) 或 RFC 3339 时间 (2026-01-02T03:04:05Z)"
	const known = ", 只能是: id, title, desc, cover_image_url, cover_file_id, slug, content, state, tags, publish_at, created_at, created_by, updated_at, updated_by"
	many := make([]string, 0, 21)
	for n := range 21 {
		many = append(many, fmt.Sprint(n+1))
	}
	for query, details := range map[string][]string{
		"tag_id=,":                           {"tag_id[0]必须是正整数"},
		"tag_id=1,,2":                        {"tag_id[1]必须是正整数"},
		"tag_id=1,0":                         {"tag_id[1]最小只能为1"},
		"tag_id=1;2":                         {"tag_id必须是正整数"},
		"tag_id=1%202":                       {"tag_id必须是正整数"},
		"tag_id=1,-2":                        {"tag_id[1]必须是正整数"},
		"tag_id=1,1.5":                       {"tag_id[1]必须是正整数"},
		"tag_id=99999999999999999999":        {"tag_id超出 64 位整数的范围"},
		"tag_id=" + strings.Join(many, ","):  {"tag_id最多只能包含20项"},
		"tag_all=" + strings.Join(many, ","): {"tag_all最多只能包含20项"},
		"tag_all=":                           {"tag_all必须是正整数"},
		"tag_all=1&tag_all=2":                {"tag_all只能出现一次"},
		"tag_all[]=1":                        {`没有字段"tag_all[]", 是否指tag_all`},
		"tag=%20":                            {"tag不能为空白"},
		"tag=" + strings.Repeat("x", 101):    {"tag长度不能超过100个字符"},
		"order_by=ID":                        {order},
		"order_by=%2Bid":                     {order},
		"order_by=id,title":                  {order},
		"order_by=content":                   {order},
		"orderby=id":                         {`没有字段"orderby", 是否指order_by`},
		"created_from=":                      {"created_from" + aTime},
		"created_to=yesterday":               {"created_to" + aTime},
		"updated_from=2026-1-2":              {"updated_from" + aTime},
		"updated_to=2026-01-02T25:00:00Z":    {"updated_to" + aTime},
		"updated_to=2026-01-02T03:04:05":     {"updated_to" + aTime},
		"updated_to=1767225600":              {"updated_to" + aTime},
		"created_to=-0001-01-01":             {"created_to" + aTime},
		"created_from=2026-01-03&created_to=2026-01-02": {"created_from不能晚于created_to"},
		"fields=":                      {`fields包含未知的名称""` + known},
		"fields=id,":                   {`fields包含未知的名称""` + known},
		"fields=ID":                    {`fields包含未知的名称"ID"` + known},
		"fields=revision":              {`fields包含未知的名称"revision"` + known},
		"fields=id&fields=title":       {"fields只能出现一次"},
		"after=":                       {"after不是此列表的游标: 请原样使用 pager 中的 next, 并保持筛选条件和 order_by 不变"},
		"after=1":                      {"after不是此列表的游标: 请原样使用 pager 中的 next, 并保持筛选条件和 order_by 不变"},
		"order_by=x&tag_id=0&fields=y": {"tag_id最小只能为1", order, `fields包含未知的名称"y"` + known},
	} {
		t.Run(query, func(t *testing.T) {
			s.requireError(t, apitest.Case{Path: articlesPath + "?" + query, Invalid: true}, errcode.InvalidParams, details...)
		})
	}
	for language, want := range map[string]string{
		"en": "fields has the unknown name \"x\"; allowed are: id, title,", "zh-TW": "fields包含未知的名稱\"x\", 只能是: id, title,",
	} {
		result := s.Do(t, apitest.Case{Path: articlesPath + "?fields=x", Header: in(language), Invalid: true})
		require.Equal(t, http.StatusBadRequest, result.Status)
		var problem responses.Problem
		result.JSON(t, &problem)
		require.Contains(t, problem.Details[0], want)
	}
}

// Cursors lead through a list of which rows are added and removed, in every order.
func TestCursorsOfLists(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for n := range 25 {
			s.create(t, fields{"title": fmt.Sprint("title ", n%4), "tag_ids": []int{1 + n%3, 5}})
		}
		for _, by := range []string{"id", "created_at", "updated_at", "title"} {
			for _, direction := range []string{"", "-"} {
				for _, filter := range []string{"", "&tag_id=1,2", "&tag_id=5", "&created_from=2026-01-01", "&tag_all=1,5&updated_from=2026-01-01", "&state=1"} {
					s.requireStableCursors(t, "order_by="+direction+by+filter+"&page_size=4")
				}
			}
		}
	})
}

// requireStableCursors follows the cursors of a list. While it does, it deletes the last
// article of a page, and adds one; all others are listed once.
func (s *service) requireStableCursors(t *testing.T, query string) {
	t.Helper()
	want, got := []uint64{}, []uint64{}
	for _, a := range s.list(t, strings.Replace(query, "page_size=4", "page_size=100", 1)).List {
		want = append(want, a.ID)
	}
	response := s.list(t, query)
	require.Equal(t, 1, response.Pager.Page)
	deleted := false
	for {
		for _, a := range response.List {
			got = append(got, a.ID)
		}
		if response.Pager.Next == "" {
			break
		}
		if !deleted { // the article that the cursor is at
			s.delete(t, response.List[len(response.List)-1].ID)
			deleted = true
		}
		result := s.Do(t, apitest.Case{Path: articlesPath + "?" + query + "&after=" + response.Pager.Next})
		require.Equal(t, http.StatusOK, result.Status, "%s: %s", query, result.Body)
		require.NotContains(t, string(result.Body), `"page":`)
		response = listResponse{}
		result.JSON(t, &response)
		if response.Pager.Next != "" {
			require.Contains(t, result.Header.Get("Link"), "&after="+response.Pager.Next+`>; rel="next"`, query)
		}
	}
	require.Equal(t, want, got, query)
	s.create(t, fields{"title": "title 9", "tag_ids": []int{1, 2, 5}})
}

// A cursor is of one list: other filters or another order make it invalid.
func TestCursorOfAnotherList(t *testing.T) {
	s := embedded(t)
	for range 3 {
		s.create(t, fields{"title": "a"})
	}
	next := s.list(t, "page_size=1&order_by=title").Pager.Next
	for query, status := range map[string]int{
		"order_by=title": 200, "order_by=title&page_size=2&fields=id": 200, "order_by=title&include=content": 200, "order_by=title&other=1": 200,
		"order_by=-title": 400, "": 400, "order_by=id": 400, "order_by=title&state=1": 400, "order_by=title&page=1": 400, "order_by=title&tag_id=1": 400,
	} {
		result := s.Do(t, apitest.Case{Path: articlesPath + "?" + query + "&after=" + next, Invalid: true})
		require.Equal(t, status, result.Status, "%s: %s", query, result.Body)
	}
}

// A response with fields has only these, in a list and for one article, and an entity tag of
// its own.
func TestSparseFields(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		one := s.create(t, fields{"title": "a", "content": "the content", "tag_ids": []int{1}})
		large := s.create(t, fields{"title": "large", "content": strings.Repeat("x", 1<<18)})
		names := func(object map[string]any) []string {
			var found []string
			for name := range object {
				found = append(found, name)
			}
			slices.Sort(found)
			return found
		}
		tags := map[string]string{}
		for query, want := range map[string]string{
			"fields=id": "id", "fields=title,id,id": "id title", "fields=content": "content", "fields=tags,state": "state tags",
			"fields=created_at,updated_by,desc": "created_at desc updated_by", "fields=id&include=content": "content id",
			"fields=id,title,desc,cover_image_url,content,state,tags,created_at,created_by,updated_at,updated_by": "content cover_image_url created_at created_by desc id state tags title updated_at updated_by",
		} {
			result := s.Do(t, apitest.Case{Path: articlesPath + "?tag_id=1&" + query})
			require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
			var list struct{ List []map[string]any }
			require.NoError(t, json.Unmarshal(result.Body, &list))
			require.Equal(t, strings.Fields(want), names(list.List[0]), query)
			require.NotContains(t, tags, result.Header.Get("ETag"))
			tags[result.Header.Get("ETag")] = query
			if strings.Contains(query, "include") {
				continue
			}
			for _, id := range []uint64{one.ID, large.ID} {
				result = s.Do(t, apitest.Case{Path: at(id) + "?" + query})
				require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
				var object struct{ Data map[string]any }
				require.NoError(t, json.Unmarshal(result.Body, &object))
				require.Equal(t, strings.Fields(want), names(object.Data), query)
				etag := result.Header.Get("ETag")
				require.NotContains(t, tags, etag)
				tags[etag] = query
				require.Equal(t, etag, s.Do(t, apitest.Case{Method: http.MethodHead, Path: at(id) + "?" + query}).Header.Get("ETag"))
				require.Equal(t, http.StatusNotModified, s.Do(t, apitest.Case{Path: at(id) + "?" + query, Header: http.Header{"If-None-Match": {etag}}}).Status)
				require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Path: at(id), Header: http.Header{"If-None-Match": {etag}}}).Status)
			}
		}
		sparse := s.Do(t, apitest.Case{Path: at(one.ID) + "?fields=id"}).Header.Get("ETag")
		s.expect(t, http.StatusOK, apitest.Case{Method: http.MethodPut, Path: at(one.ID), JSON: fields{"title": "b"}, Header: http.Header{"If-Match": {sparse}}})
		require.Equal(t, http.StatusBadRequest, s.Do(t, apitest.Case{Path: at(one.ID) + "?fields=x", Invalid: true}).Status)
		require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Path: at(one.ID) + "?_=1", Invalid: true}).Status)
	})
}
