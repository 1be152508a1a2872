package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/responses"
)

func TestEmptyList(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for _, query := range []string{"", "?tag_id=1", "?tag_id=99", "?title=x", "?state=0", "?page=7", "?include=content"} {
			result := s.Do(t, apitest.Case{Path: articlesPath + query})
			require.Equal(t, http.StatusOK, result.Status)
			require.Contains(t, string(result.Body), `"list":[],`, query)
			require.Contains(t, string(result.Body), `"total_rows":0`, query)
		}
	})
}

func TestListNewestFirst(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for n := range 13 {
			s.create(t, fields{"title": fmt.Sprint(n), "tag_ids": []int{1 + n%3, 4}})
		}
		// The order is that of creation, not of the last change.
		s.put(t, s.list(t, "page_size=100").List[12].ID, fields{"title": "0"})
		require.Equal(t, strings.Fields("12 11 10 9 8 7 6 5 4 3"), titles(s.list(t, "").List))
		require.Equal(t, strings.Fields("2 1 0"), titles(s.list(t, "page=2").List))
		require.Equal(t, strings.Fields("12 9 6 3 0"), titles(s.list(t, "tag_id=1").List))
		require.Equal(t, strings.Fields("4 1"), titles(s.list(t, "tag_id=2&page_size=2&page=2").List))
		// A filter by tag does not filter the tags of the articles.
		require.Equal(t, []uint64{1, 4}, tagIDs(s.list(t, "tag_id=1").List[0]))
		require.Equal(t, []uint64{2, 4}, tagIDs(s.list(t, "").List[2]))
	})
}

func TestPaging(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		const total = 12
		for n := range total {
			s.create(t, fields{"title": fmt.Sprint(n)})
		}
		for query, want := range map[string]struct{ page, size, rows int }{
			"":                                {1, 10, 10},
			"page=1":                          {1, 10, 10},
			"page=2":                          {2, 10, 2},
			"page=3":                          {3, 10, 0},
			"page=0":                          {1, 10, 10},
			"page=-1":                         {1, 10, 10},
			"page=x":                          {1, 10, 10},
			"page=":                           {1, 10, 10},
			"page=1.5":                        {1, 10, 10},
			"page_size=5":                     {1, 5, 5},
			"page_size=5&page=3":              {3, 5, 2},
			"page_size=0":                     {1, 10, 10},
			"page_size=-5":                    {1, 10, 10},
			"page_size=x":                     {1, 10, 10},
			"page_size=100":                   {1, 100, 12},
			"page_size=101":                   {1, 100, 12},
			"page_size=99999999999999999999":  {1, 100, 12},
			"page=1001":                       {1001, 10, 0},
			"page=101&page_size=100&tag_id=1": {101, 100, 0},
			"page=-9223372036854775809":       {1, 10, 10},
		} {
			t.Run(query, func(t *testing.T) {
				response := s.list(t, query)
				require.Len(t, response.List, want.rows)
				require.NotNil(t, response.List)
				require.Equal(t, want.page, response.Pager.Page)
				require.Equal(t, want.size, response.Pager.PageSize)
			})
		}
	})
}

// A page begins after at most MaxOffset rows, whatever is listed.
func TestMaxOffset(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for query, last := range map[string]int{
			"page=1002": 1001, "page=102&page_size=100": 101, "page=9223372036854775807&page_size=100&tag_id=1": 101,
			"page=9223372036854775807&state=1": 1001, "page=92233720368547759&title=1": 1001, "page=922337203685477581": 1001,
			"page=4294967297": 1001, "page=1844674407370955162&include=content": 1001,
		} {
			result := s.Do(t, apitest.Case{Path: articlesPath + "?" + query, Header: http.Header{"Locale": {"en"}}})
			require.Equal(t, http.StatusBadRequest, result.Status, query)
			require.Contains(t, string(result.Body), fmt.Sprintf("page must be at most %d with a page_size of", last), query)
			require.Contains(t, string(result.Body), "a page begins after at most 10000 rows (App.MaxOffset)", query)
			require.Contains(t, string(result.Body), `"out_of_range"`, query)
		}
	})
}

func TestTitleFilter(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		all := []string{"100% Go", "100 percent", "snake_case", "snake-case", `back\slash`, "back/slash", "Achtung!", "wow!!", "it's", `say "hi"`,
			"滚动重启", "滚动", "😀 emoji 😀", "😁", "UPPER lower", "nulXbyte", "[a-c]", "a*c?", "e\u0301", "ÄRGER", "ΣΊΣΥΦΟΣ", "привет", "   "}
		for _, title := range all[:len(all)-1] {
			s.create(t, fields{"title": title})
		}
		for filter, want := range map[string][]string{
			"%": {"100% Go"}, "%%": {}, "0%": {"100% Go"}, "_": {"snake_case"}, "__": {}, "e_c": {"snake_case"},
			"!": {"wow!!", "Achtung!"}, "!!": {"wow!!"}, "!!!": {}, "!%": {}, `\`: {`back\slash`}, `\\`: {}, `\%`: {}, "'": {"it's"}, `"`: {`say "hi"`},
			"' OR '1'='1": {}, "';--": {}, "😀": {"😀 emoji 😀"}, "😂": {}, "滚动": {"滚动", "滚动重启"}, "动重": {"滚动重启"},
			"upper LOWER": {"UPPER lower"}, "R L": {"UPPER lower"}, "SNAKE": {"snake-case", "snake_case"},
			"\x00": {}, "nul\x00": {}, "[a": {"[a-c]"}, "*": {"a*c?"}, "?": {"a*c?"}, "e\u0301": {"é"}, "é": {"é"},
			"ärg": {"ÄRGER"}, "σίσυφοσ": {"ΣΊΣΥΦΟΣ"}, "ПРИВЕТ": {"привет"}, "nothing like it": {}, " ": {"UPPER lower", "😀 emoji 😀", `say "hi"`, "100 percent", "100% Go"},
			strings.Repeat("字", 100): {},
		} {
			t.Run(filter, func(t *testing.T) {
				response := s.list(t, url.Values{"title": {filter}, "page_size": {"100"}}.Encode())
				require.Equal(t, want, titles(response.List))
				require.EqualValues(t, len(want), response.Pager.TotalRows)
			})
		}
		require.EqualValues(t, len(all)-1, s.list(t, "title=").Pager.TotalRows, "an empty filter matches all")
	})
}

func TestFilters(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for n, tags := range [][]int{{}, {1}, {1, 2}, {2}, {3}, {1, 3}} {
			s.create(t, fields{"title": fmt.Sprintf("%c%d", 'a'+n%2, n), "state": n % 3 % 2, "tag_ids": tags})
		}
		// Titles and states: a0 0, b1 1, a2 0, b3 0, a4 1, b5 0.
		for query, want := range map[string]string{
			"":                                  "b5 a4 b3 a2 b1 a0",
			"state=1":                           "a4 b1",
			"state=0":                           "b5 b3 a2 a0",
			"tag_id=1":                          "b5 a2 b1",
			"tag_id=2":                          "b3 a2",
			"tag_id=1&state=1":                  "b1",
			"tag_id=3&state=0":                  "b5",
			"tag_id=30":                         "",
			"tag_id=31":                         "",
			"tag_id=4294967297":                 "",
			"tag_id=9223372036854775807":        "",
			"tag_id=9223372036854775808":        "",
			"tag_id=18446744073709551615":       "",
			"title=A":                           "a4 a2 a0",
			"title=a&state=0":                   "a2 a0",
			"title=b&tag_id=1":                  "b5 b1",
			"title=b&tag_id=1&state=0":          "b5",
			"unknown=1&id=1&is_deleted=1&desc=": "b5 a4 b3 a2 b1 a0",
			"page_size=2&tag_id=1":              "b5 a2",
			"page_size=2&page=2&tag_id=1":       "b1",
			"include=content&tag_id=1&state=0":  "b5 a2",
		} {
			t.Run(query, func(t *testing.T) {
				require.Equal(t, strings.Fields(want), titles(s.list(t, query).List))
			})
		}
		require.EqualValues(t, 3, s.list(t, "page_size=2&page=2&tag_id=1").Pager.TotalRows)
		require.Equal(t, responses.Pager{Page: 9, PageSize: 2, TotalRows: 3, TotalRelation: responses.Exact}, s.list(t, "page_size=2&page=9&tag_id=1").Pager)
	})
}

// The count is the number of articles on all pages.
func TestCount(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for n := range 25 {
			a := s.create(t, fields{"title": fmt.Sprint("t", n), "state": n % 2, "tag_ids": []int{1 + n%5, 6 + n%7, 15}})
			if n%4 == 0 {
				s.delete(t, a.ID)
			}
		}
		for _, query := range []string{"", "tag_id=1", "tag_id=7", "tag_id=15", "tag_id=20", "state=0", "state=1", "title=t1", "title=T2",
			"tag_id=15&state=1", "tag_id=15&title=1", "state=0&title=t", "tag_id=2&state=0&title=t"} {
			t.Run(query, func(t *testing.T) {
				all := s.list(t, query+"&page_size=100")
				require.EqualValues(t, len(all.List), all.Pager.TotalRows)
				var paged []string
				for page := 1; ; page++ {
					response := s.list(t, fmt.Sprintf("%s&page_size=3&page=%d", query, page))
					require.Equal(t, all.Pager.TotalRows, response.Pager.TotalRows)
					if len(response.List) == 0 {
						break
					}
					paged = append(paged, titles(response.List)...)
				}
				require.ElementsMatch(t, titles(all.List), paged)
			})
		}
	})
}

func TestListContent(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		s.create(t, fields{"title": "a", "content": "the content", "desc": "d", "tag_ids": []int{1}})
		for _, query := range []string{"", "?tag_id=1", "?title=a", "?state=1"} {
			result := s.Do(t, apitest.Case{Path: articlesPath + query})
			require.Equal(t, http.StatusOK, result.Status)
			require.NotContains(t, string(result.Body), "content", query)
			require.Contains(t, string(result.Body), `"desc":"d"`, query)
		}
		for _, query := range []string{"include=content", "include=content&tag_id=1"} {
			require.Equal(t, "the content", *s.list(t, query).List[0].Content)
		}
		s.create(t, fields{"title": "b"})
		require.Equal(t, pointer(""), s.list(t, "include=content").List[0].Content, "an empty content is included")
	})
}

// A search counts up to a bound and says so. Other totals are exact.
func TestTotalRelation(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		insert := func(n int) {
			t.Helper()
			require.NoError(t, s.db.Gorm(t.Context()).Exec("INSERT INTO blog_article (created_at, updated_at, published_at, title, content) "+
				"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT '2026-01-02 03:04:05', '2026-01-02 03:04:05', '2026-01-02 03:04:05', 'found', '' FROM n", n).Error)
			_, err := s.store.Recount(t.Context())
			require.NoError(t, err)
			_, _, err = s.store.Reindex(t.Context())
			require.NoError(t, err)
		}
		requirePager := func(query string, total int64, relation responses.TotalRelation) {
			t.Helper()
			pager := s.list(t, query).Pager
			require.Equal(t, total, pager.TotalRows, query)
			require.Equal(t, relation, pager.TotalRelation, query)
		}
		insert(1000)
		for _, query := range []string{"", "title=OUN", "title=found&page=100", "title=found&page=101", "state=1"} {
			requirePager(query, 1000, responses.Exact)
		}
		insert(501)
		requirePager("", 1501, responses.Exact)
		requirePager("title=", 1501, responses.Exact)
		for _, query := range []string{"title=OUN", "title=found&state=1", "title=found&page=150", "title=found&page=200"} {
			requirePager(query, 1000, responses.AtLeast)
		}
		require.Len(t, s.list(t, "title=found&page=151").List, 1, "there are pages beyond the bound")
		requirePager("title=found&tag_id=1", 0, responses.Exact)
		requirePager("title=found&state=0", 0, responses.Exact)
	})
}
