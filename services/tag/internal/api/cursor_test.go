package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/tag/internal/api"
)

// linked returns the paths and queries of the links of a response, by relation.
func linked(t *testing.T, header http.Header) map[string]string {
	t.Helper()
	links := map[string]string{}
	for _, link := range regexp.MustCompile(`<([^>]*)>; rel="([a-z]+)"`).FindAllStringSubmatch(header.Get("Link"), -1) {
		address, err := url.Parse(link[1])
		require.NoError(t, err)
		require.NotEmpty(t, address.Host)
		links[link[2]] = address.RequestURI()
	}
	return links
}

// A list can be read to its end by next, and by the links, in each order, by each viewer.
// Those without a token never see a disabled tag.
func TestCursors(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		for i := range 23 {
			s.create(t, fields{"name": fmt.Sprintf("name %02d", i*7%23), "state": min(i%4, 1)})
		}
		for _, query := range []string{"", "prefix=n", "prefix=name 1", "state=1"} {
			for _, order := range []string{"", "id", "-id", "name", "-name", "created_at", "-created_at"} {
				parameters := url.Values{}
				for pair := range strings.SplitSeq(query, "&") {
					name, value, _ := strings.Cut(pair, "=")
					parameters.Set(name, value)
				}
				if order != "" {
					parameters.Set("order_by", order)
				}
				parameters.Del("")
				for who, client := range map[string]*apitest.Client{"authenticated": s.Client, "anonymous": s.anonymous} {
					t.Run(query+order+who, func(t *testing.T) {
						all := read(t, client, tagsPath+"?page_size=100&"+parameters.Encode())
						require.Empty(t, all.Pager.Next)
						require.Equal(t, all.List, followed(t, client, parameters, all.Pager.TotalRows))
						for _, one := range all.List {
							require.True(t, who == "authenticated" || one.State == 1)
						}
						require.EqualValues(t, len(all.List), all.Pager.TotalRows)
					})
				}
			}
		}
	})
}

func read(t *testing.T, client *apitest.Client, path string) (list listResponse) {
	t.Helper()
	result := client.Do(t, apitest.Case{Path: path})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	result.JSON(t, &list)
	return list
}

// followed reads a list by its links, and checks that they agree with its cursors.
func followed(t *testing.T, client *apitest.Client, parameters url.Values, total int64) (all []api.Tag) {
	t.Helper()
	path := tagsPath + "?page_size=3&" + parameters.Encode()
	for pages := 0; ; pages++ {
		result := client.Do(t, apitest.Case{Path: path})
		require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
		var list listResponse
		result.JSON(t, &list)
		all = append(all, list.List...)
		require.Equal(t, total, list.Pager.TotalRows)
		require.Equal(t, pages == 0, list.Pager.Page == 1)
		require.Equal(t, pages == 0, strings.Contains(string(result.Body), `"page":`))
		links := linked(t, result.Header)
		require.Equal(t, tagsPath+"?"+strings.TrimSuffix("page_size=3&"+parameters.Encode(), "&"), links["first"])
		require.Equal(t, list.Pager.Next != "", links["next"] != "")
		if list.Pager.Next == "" {
			return all
		}
		require.Equal(t, links["first"]+"&after="+list.Pager.Next, links["next"])
		head := client.Do(t, apitest.Case{Method: http.MethodHead, Path: path})
		require.Equal(t, result.Header.Get("Link"), head.Header.Get("Link"))
		same := client.Do(t, apitest.Case{Path: path, Header: http.Header{"If-None-Match": {result.Header.Get("ETag")}}})
		require.Equal(t, http.StatusNotModified, same.Status)
		require.Equal(t, result.Header.Get("Link"), same.Header.Get("Link"))
		path = links["next"]
	}
}

// A cursor is that of a list with the same filters and the same order. The size of the
// pages may change, and so may the token.
func TestCursorsOfOtherLists(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	for i := range 5 {
		s.create(t, fields{"name": fmt.Sprint("name ", i)})
	}
	next := s.list(t, "page_size=2&order_by=-name&state=1").Pager.Next
	for _, query := range []string{"order_by=-name&state=1&page_size=1", "state=1.0&order_by=-name&page_size=5"} {
		require.NotEmpty(t, s.list(t, query+"&after="+next).List)
	}
	require.NotEmpty(t, read(t, s.anonymous, tagsPath+"?order_by=-name&state=1&after="+next).List)
	for _, query := range []string{
		"order_by=name&state=1", "order_by=-id&state=1", "order_by=-name", "order_by=-name&state=0", "state=1", "order_by=-name&state=1&prefix=n", "order_by=-name&state=1&name=t",
	} {
		result := s.Do(t, apitest.Case{Path: tagsPath + "?" + query + "&after=" + next, Header: in("en")})
		require.Equal(t, errcode.InvalidParams, codeOf(t, result), query)
		require.Contains(t, string(result.Body), `"field":"after"`)
	}
}

// Requests that share a list, because they mean the same tags, have cursors of their own.
func TestSharedListsHaveTheirOwnCursors(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	for i := range 3 {
		s.create(t, fields{"name": fmt.Sprint("name ", i)})
	}
	for range 2 {
		mine, other := read(t, s.anonymous, tagsPath+"?page_size=1").Pager.Next, read(t, s.Client, tagsPath+"?page_size=1&state=1").Pager.Next
		require.NotEqual(t, mine, other)
		require.Equal(t, []string{"name 1"}, names(read(t, s.anonymous, tagsPath+"?page_size=1&after="+mine).List))
		require.Equal(t, []string{"name 1"}, names(read(t, s.Client, tagsPath+"?page_size=1&state=1&after="+other).List))
	}
}

// More tags than are counted can only be ordered by name.
func TestPrefixesOfManyTags(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		var values []string
		for i := range 1001 {
			values = append(values, fmt.Sprintf("('2026-01-02 03:04:05', '2026-01-02 03:04:05', 'name %d', 1)", i))
		}
		require.NoError(t, s.db.Gorm(t.Context()).Exec("INSERT INTO blog_tag (created_at, updated_at, name, state) VALUES "+strings.Join(values, ", ")).Error)
		list := s.list(t, "prefix=name&page_size=1")
		require.Equal(t, responses.AtLeast, list.Pager.TotalRelation)
		require.EqualValues(t, 1000, list.Pager.TotalRows)
		require.Equal(t, []string{"name 0"}, names(list.List))
		require.True(t, slices.Equal([]string{"name 999"}, names(s.list(t, "prefix=name&order_by=-name&page_size=1").List)))
		for language, want := range map[string]string{
			"zh": "order_by必须是name或-name, 因为有超过1000个标签以此prefix开头", "en": "order_by must be name or -name, because more than 1000 tags begin with this prefix",
			"zh_Hant_TW": "order_by必須是name或-name, 因為有超過1000個標籤以此prefix開頭",
		} {
			result := s.Do(t, apitest.Case{Path: tagsPath + "?prefix=name&order_by=-id", Header: in(language)})
			requireProblem(t, result, errcode.InvalidParams, errcode.InvalidParams.Message(language), []string{want})
		}
	})
}
