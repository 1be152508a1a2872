package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/api"
)

func words(q, more string) string { return "q=" + url.QueryEscape(q) + more }

// underscored returns the titles of articles without spaces.
func underscored(list []api.Article) []string {
	all := titles(list)
	for i := range all {
		all[i] = strings.ReplaceAll(all[i], " ", "_")
	}
	return all
}

func TestWordSearch(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for n, f := range []fields{
			{"title": "a", "desc": "Rolling restarts", "content": "of Kubernetes pods in Go 1.26, don't panic"},
			{"title": "b", "desc": "滚动重启", "content": "用 Go 写 Kubernetes Operator；优雅停机。", "tag_ids": []int{1}},
			{"title": "c Go", "content": "C++ and node.js, snake_case; straße ｶﾀｶﾅ", "tag_ids": []int{1, 2}},
			{"title": "d", "content": "＋ＧＯ！ C# «café» ΣΊΣΥΦΟΣ 😀 AND OR NEAR", "state": 0, "tag_ids": []int{2}},
			{"title": "e", "content": strings.Repeat("x", 200) + " " + strings.Repeat("y", 10_000), "tag_ids": []int{1}},
		} {
			require.EqualValues(t, n+1, s.create(t, f).ID)
		}
		for q, want := range map[string]string{
			"":   "e d c_Go b a", // an empty text is no condition
			" ":  "e d c_Go b a",
			"go": "c_Go d b a", "GO": "c_Go d b a", "ＧＯ": "c_Go d b a", "+go": "c_Go d b a", "\"go\"": "c_Go d b a", "(go*)": "c_Go d b a", "go'--": "c_Go d b a", "go%": "c_Go d b a",
			"go kubernetes": "b a", "Kubernetes, GO go": "b a", "go rust": "", "-go kubernetes": "b a", "go -kubernetes": "b a",
			"and": "d c_Go", "go AND kubernetes": "", "near": "d", "NEAR/3": "",
			"滚动": "b", "重启": "b", "滚动重启": "b", "动": "b", "重 滚": "b", "启动": "", "go 优雅停机": "b", "优雅 operator": "b",
			"c++": "c_Go", "C++": "c_Go", "c": "c_Go d", "c#": "d", "Ｃ＃": "d", "node.js": "c_Go", "node": "c_Go", "js node": "c_Go", "case": "c_Go", "snake_case": "c_Go",
			"STRASSE": "c_Go", "カタカナ": "c_Go", "ﾀｶ": "c_Go", "σίσυφοσ": "d", "café": "d", "cafe\u0301": "d", "cafe": "", "😀": "d", "😁": "",
			"1.26": "a", "26": "a", "don't": "a", "don": "a", "kube": "", "restart": "", "restarts": "a",
			strings.Repeat("x", 100): "", "\x00go": "c_Go d b a", "go\x00kubernetes": "b a", "'; DROP TABLE blog_article_word; --": "",
		} {
			require.Equal(t, strings.Fields(want), underscored(s.list(t, words(q, "")).List), "%q", q)
		}
	})
}

func TestWordSearchFilters(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for n := range 12 {
			f := fields{"title": fmt.Sprintf("t%d", n), "content": "go", "state": n % 3 % 2, "tag_ids": []int{1 + n%4}}
			if n%5 == 0 {
				f["title"] = fmt.Sprintf("t%d go", n)
			}
			s.create(t, f)
		}
		for query, want := range map[string]string{
			"q=go&page_size=4":                        "t10_go t5_go t0_go t11",
			"q=go&page_size=4&page=3":                 "t4 t3 t2 t1",
			"q=go&state=1":                            "t10_go t7 t4 t1",
			"q=go&tag_id=1":                           "t0_go t8 t4",
			"q=go&tag_id=1,2&state=1":                 "t4 t1",
			"q=go&tag=" + url.QueryEscape(tagName(2)): "t5_go t9 t1",
			"q=go&order_by=title&page_size=3":         "t0_go t1 t10_go",
			"q=go&order_by=id&page_size=3":            "t0_go t1 t2",
			"q=go&order_by=-id&page_size=3":           "t11 t10_go t9",
			"q=go&order_by=-updated_at&page_size=2":   "t11 t10_go",
			"q=go&title=1":                            "t10_go t11 t1",
			"q=go&title=GO":                           "t10_go t5_go t0_go",
			"q=go&title=t5&tag_id=2":                  "t5_go",
			"q=go&title=x":                            "",
			"q=go&created_to=2020-01-01":              "",
			"q=go&created_from=2020-01-01&state=1":    "t10_go t7 t4 t1",
			"q=go&include=content&state=1":            "t10_go t7 t4 t1",
			"q=go&fields=title&tag_all=1":             "t0_go t8 t4",
		} {
			require.Equal(t, strings.Fields(want), underscored(s.list(t, query).List), query)
		}
		// Cursors lead through every order.
		for _, query := range []string{"q=go", "q=go&order_by=id", "q=go&order_by=-id", "q=go&order_by=-title", "q=go&order_by=created_at", "q=go&title=t", "title=t", "title=t&order_by=title"} {
			all := titles(s.list(t, query+"&page_size=100").List)
			require.Len(t, all, 12)
			page := s.list(t, query+"&page_size=5")
			got := titles(page.List)
			for page.Pager.Next != "" {
				page = s.list(t, query+"&page_size=5&after="+page.Pager.Next)
				require.EqualValues(t, 12, page.Pager.TotalRows)
				got = append(got, titles(page.List)...)
			}
			require.Equal(t, all, got, query)
		}
		next := s.list(t, "q=go&page_size=5").Pager.Next
		for _, query := range []string{"q=Go", "q=go&order_by=-id", "q=go&state=1", "title=go", ""} {
			s.requireError(t, apitest.Case{Path: articlesPath + "?" + query + "&after=" + next}, errcode.InvalidParams,
				"after不是此列表的游标: 请原样使用 pager 中的 next, 并保持筛选条件和 order_by 不变")
		}
	})
}

// Anonymous clients find enabled articles, by enabled tags only.
func TestWordSearchVisibility(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		s.create(t, fields{"title": "secret words", "state": 0, "tag_ids": []int{1}})
		s.create(t, fields{"title": "public words", "tag_ids": []int{1}})
		anonymous := func(query string) (list listResponse) {
			t.Helper()
			s.anonymous.Do(t, apitest.Case{Path: articlesPath + "?" + query}).JSON(t, &list)
			return list
		}
		require.Equal(t, []string{"public words"}, titles(anonymous("q=words").List))
		require.EqualValues(t, 1, anonymous("q=words").Pager.TotalRows)
		require.Empty(t, anonymous("q=secret").List)
		require.Zero(t, anonymous("q=secret").Pager.TotalRows)
		require.Len(t, anonymous("q=words&tag_id=1").List, 1)
		require.Len(t, s.list(t, "q=words").List, 2)
	})
}

func TestInvalidWords(t *testing.T) {
	s := embedded(t)
	s.create(t, fields{"title": "a"})
	var many, most []string
	for n := range 33 {
		many = append(many, fmt.Sprintf("%c%c", 'a'+n/10, 'a'+n%10))
	}
	most = many[:32]
	require.Empty(t, s.list(t, words(strings.Join(most, " "), "")).List)
	require.Empty(t, s.list(t, words(strings.Repeat("a ", 50), "&state=0")).List)
	require.Len(t, s.list(t, words(strings.Repeat("a ", 50), "")).List, 1)
	for q, detail := range map[string]string{
		"+":                       "q必须包含文字或数字",
		"!?%_* -\"()":             "q必须包含文字或数字",
		"\u200d":                  "q必须包含文字或数字",
		"。":                       "q必须包含文字或数字",
		strings.Repeat("x", 101):  "q长度不能超过100个字符",
		strings.Join(many, " "):   "q最多只能包含32个不同的词",
		strings.Repeat("字a", 17):  "",
		strings.Repeat("a", 9000): "q长度不能超过100个字符",
	} {
		if detail == "" {
			require.Empty(t, s.list(t, words(q, "")).List)
			continue
		}
		s.requireError(t, apitest.Case{Path: articlesPath + "?" + words(q, ""), Invalid: true}, errcode.InvalidParams, detail)
	}
	for language, message := range map[string]string{"en": "q must have a letter or a digit", "zh_Hant_TW": "q必須包含文字或數字"} {
		require.Contains(t, string(s.Do(t, apitest.Case{Path: articlesPath + "?q=-", Header: in(language)}).Body), message)
	}
	s.requireError(t, apitest.Case{Path: articlesPath + "?q=a&q=b"}, errcode.InvalidParams, "q只能出现一次")
	for _, name := range []string{"Q", "q[]"} {
		require.Equal(t, http.StatusBadRequest, s.Do(t, apitest.Case{Path: articlesPath + "?" + name + "=a", Invalid: true}).Status, name)
	}
	for _, name := range []string{"p", "s", "_", "v", "query", "search", "t"} { // other names are ignored
		require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Path: articlesPath + "?" + name + "=a", Invalid: true}).Status, name)
	}
}

// A search for words counts up to a bound and says so.
func TestTotalOfWords(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	insert := func(n int) {
		require.NoError(t, s.db.Gorm(t.Context()).Exec("INSERT INTO blog_article (created_at, updated_at, published_at, title, content) "+
			"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT '2026-01-02 03:04:05', '2026-01-02 03:04:05', '2026-01-02 03:04:05', 'x', 'found' FROM n", n).Error)
		require.NoError(t, s.db.Gorm(t.Context()).Exec("INSERT OR IGNORE INTO blog_article_word SELECT CAST('found' AS BLOB), id, 1 FROM blog_article").Error)
	}
	requirePager := func(query string, total int64, relation responses.TotalRelation) {
		t.Helper()
		pager := s.list(t, query).Pager
		require.Equal(t, total, pager.TotalRows, query)
		require.Equal(t, relation, pager.TotalRelation, query)
	}
	insert(1000)
	for _, query := range []string{"q=found", "q=found&order_by=id", "q=found&page=100", "q=found&page=101"} {
		requirePager(query, 1000, responses.Exact)
	}
	insert(1)
	for _, query := range []string{"q=found", "q=found&order_by=id", "q=found&order_by=title", "q=found&page=100"} {
		requirePager(query, 1000, responses.AtLeast)
	}
	require.Len(t, s.list(t, "q=found&page=100").List, 10)
	require.Empty(t, s.list(t, "q=found&page=101").List, "ranked, there are 1000")
	require.Len(t, s.list(t, "q=found&order_by=-id&page=101").List, 1, "in the order of ids, there are all")
	require.Empty(t, s.list(t, "q=found&page=100").Pager.Next)
}
