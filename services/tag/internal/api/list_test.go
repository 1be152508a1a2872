package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
)

func TestEmptyList(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		result := s.Do(t, apitest.Case{Path: tagsPath})
		require.Equal(t, http.StatusOK, result.Status)
		require.JSONEq(t, `{"code":0,"msg":"成功","list":[],"pager":{"page":1,"page_size":10,"total_rows":0,"total_relation":"eq"}}`, string(result.Body))
	})
}

func TestPaging(t *testing.T) {
	const total = 105
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		all := make([]string, total)
		for i := range all {
			all[i] = fmt.Sprintf("tag %03d", i+1)
			s.create(t, fields{"name": all[i]})
		}
		for _, c := range []struct {
			query      string
			page, size int
			want       []string
		}{
			{"", 1, 10, all[:10]},
			{"page=1", 1, 10, all[:10]},
			{"page=2", 2, 10, all[10:20]},
			{"page=11", 11, 10, all[100:]},
			{"page=12", 12, 10, nil},
			{"page=0", 1, 10, all[:10]},
			{"page=-1", 1, 10, all[:10]},
			{"page=-9223372036854775808", 1, 10, all[:10]},
			{"page=abc", 1, 10, all[:10]},
			{"page=", 1, 10, all[:10]},
			{"page=1.5", 1, 10, all[:10]},
			{"page=1e3", 1, 10, all[:10]},
			{"page=%202", 2, 10, all[10:20]},
			{"page_size=1", 1, 1, all[:1]},
			{"page_size=99", 1, 99, all[:99]},
			{"page_size=100", 1, 100, all[:100]},
			{"page_size=101", 1, 100, all[:100]},
			{"page_size=9223372036854775807", 1, 100, all[:100]},
			{"page_size=99999999999999999999999", 1, 100, all[:100]},
			{"page_size=0", 1, 10, all[:10]},
			{"page_size=-5", 1, 10, all[:10]},
			{"page_size=ten", 1, 10, all[:10]},
			{"page_size=", 1, 10, all[:10]},
			{"page=2&page_size=100", 2, 100, all[100:]},
			{"page=3&page_size=7", 3, 7, all[14:21]},
			{"page=1001", 1001, 10, nil},
			{"page=101&page_size=100", 101, 100, nil},
		} {
			t.Run(c.query, func(t *testing.T) {
				response := s.list(t, c.query)
				require.Equal(t, c.page*c.size < total, response.Pager.Next != "")
				response.Pager.Next = ""
				require.Equal(t, responses.Pager{Page: c.page, PageSize: c.size, TotalRows: total, TotalRelation: responses.Exact}, response.Pager)
				require.NotNil(t, response.List)
				require.Equal(t, append([]string{}, c.want...), names(response.List))
			})
		}
	})
}

// A page begins after at most MaxOffset rows.
func TestMaxOffset(t *testing.T) {
	s := start(t, dbtest.SQLite(t), func(o *options) { o.config.App.MaxOffset = 20 })
	for query, last := range map[string]int{
		"page=4": 3, "page=22&page_size=1": 21, "page=2&page_size=100": 1, "page=9223372036854775807&page_size=100": 1,
		"page=92233720368547759&page_size=100": 1, // the offset overflows 64 bits
		"page=4611686018427387905&page_size=4": 6, // the offset overflows to 0
		"page=42949673&page_size=100":          1, // the offset overflows 32 bits
	} {
		result := s.Do(t, apitest.Case{Path: tagsPath + "?" + query, Header: http.Header{"Locale": {"en"}}})
		require.Equal(t, http.StatusBadRequest, result.Status, query)
		require.Contains(t, string(result.Body), fmt.Sprintf("page must be at most %d with a page_size of", last), query)
		require.Contains(t, string(result.Body), "a page begins after at most 20 rows (App.MaxOffset)")
	}
	s.list(t, "page=3")
}

func TestPageSizeSettings(t *testing.T) {
	s := start(t, dbtest.SQLite(t), func(o *options) { o.config.App.DefaultPageSize, o.config.App.MaxPageSize = 2, 3 })
	for i := range 5 {
		s.create(t, fields{"name": fmt.Sprint(i)})
	}
	require.Equal(t, []string{"0", "1"}, names(s.list(t, "").List))
	require.Equal(t, []string{"3", "4"}, names(s.list(t, "page=2&page_size=100").List))
}

func TestFilters(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		for _, f := range []fields{
			{"name": "Go", "state": 1}, {"name": "go", "state": 0}, {"name": "Go 语言", "state": 1},
			{"name": "🦄", "state": 0}, {"name": "100%_a", "state": 1}, {"name": "Gö"}, {"name": "a+b&c=d"},
		} {
			s.create(t, f)
		}
		deleted := s.create(t, fields{"name": "deleted", "state": 0})
		s.delete(t, deleted.ID)
		for _, c := range []struct {
			query string
			want  []string
		}{
			{"state=1", []string{"Go", "Go 语言", "100%_a", "Gö", "a+b&c=d"}},
			{"state=0", []string{"go", "🦄"}},
			{"name=Go", []string{"Go"}},
			{"name=go", []string{"go"}},
			{"name=G", nil},
			{"name=%25", nil},
			{"name=" + url.QueryEscape("100%_a"), []string{"100%_a"}},
			{"name=" + url.QueryEscape("a+b&c=d"), []string{"a+b&c=d"}},
			{"name=" + url.QueryEscape("🦄"), []string{"🦄"}},
			{"name=" + url.QueryEscape("Go 语言"), []string{"Go 语言"}},
			// Surrounding white space is trimmed, as in the names of new tags.
			{"name=" + url.QueryEscape("  Go "), []string{"Go"}},
			{"name=Go%20", []string{"Go"}},
			{"name=Go;%zz%", nil},
			{"name=Go&state=1.0", []string{"Go"}},
			{"name=" + url.QueryEscape("Go\x00"), nil},
			{"name=", nil},
			{"name=deleted", nil},
			{"prefix=G", []string{"Go", "Go 语言", "Gö"}},
			{"prefix=Go", []string{"Go", "Go 语言"}},
			{"prefix=Go%20", []string{"Go 语言"}},
			{"prefix=g", []string{"go"}},
			{"prefix=%25", nil},
			{"prefix=_", nil},
			{"prefix=100%25_", []string{"100%_a"}},
			{"prefix=", []string{"100%_a", "Go", "Go 语言", "Gö", "a+b&c=d", "go", "🦄"}},
			{"prefix=G&order_by=-id&state=1", []string{"Gö", "Go 语言", "Go"}},
			{"prefix=Go%00", nil},
			{"prefix=G&name=Go", []string{"Go"}},
			{"prefix=a&name=Go", nil},
			{"prefix=Go%CC%88", []string{"Gö"}}, // the same text in another normalization form
			{"order_by=-name&state=0", []string{"🦄", "go"}},
			{"order_by=-created_at&state=0", []string{"🦄", "go"}},
			{"order_by=created_at", []string{"Go", "go", "Go 语言", "🦄", "100%_a", "Gö", "a+b&c=d"}},
			{"name=Go&state=1", []string{"Go"}},
			{"name=Go&state=0", nil},
			{"state=1&page=2&page_size=2", []string{"100%_a", "Gö"}},
			{"unknown=1&id=1&is_deleted=1", []string{"Go", "go", "Go 语言", "🦄", "100%_a", "Gö", "a+b&c=d"}},
		} {
			t.Run(c.query, func(t *testing.T) {
				response := s.list(t, c.query)
				require.Equal(t, append([]string{}, c.want...), names(response.List))
				if !strings.Contains(c.query, "page") {
					require.EqualValues(t, len(c.want), response.Pager.TotalRows, "the count is the length of the list")
				} else {
					require.EqualValues(t, 5, response.Pager.TotalRows)
				}
			})
		}
	})
}

func TestInvalidFilters(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		long := strings.Repeat("字", 101)
		var coded *errcode.Error
		require.ErrorAs(t, cursor.Invalid(), &coded)
		damaged := coded.Details[0].Text
		for _, c := range []struct {
			query, zh, en, tw string
		}{
			{"state=", "state必须是整数", "state must be an integer", "state必須是整數"},
			{"state=9", "state必须是[0 1]中的一个", "state must be one of [0 1]", "state必須是[0 1]中的一個"},
			{"state=-1", "state必须是[0 1]中的一个", "state must be one of [0 1]", "state必須是[0 1]中的一個"},
			{"state=true", "state必须是整数", "state must be an integer", "state必須是整數"},
			{"state=01", "state必须是整数", "state must be an integer", "state必須是整數"},
			{"state=%201", "state必须是整数", "state must be an integer", "state必須是整數"},
			{"state=1&state=0", "state只能出现一次", "state must be given only once", "state只能出現一次"},
			{"state=99999999999999999999", "state超出 64 位整数的范围", "state is beyond the range of 64-bit integers", "state超出 64 位元整數的範圍"},
			{"name=" + url.QueryEscape(long), "name长度不能超过100个字符", "name must be a maximum of 100 characters in length", "name長度不能超過100個字元"},
			{"page=2&page=3", "page只能出现一次", "page must be given only once", "page只能出現一次"},
			{"name=a&name=b", "name只能出现一次", "name must be given only once", "name只能出現一次"},
			{"name=%FF", "内容必须是 UTF-8 编码", "the content must be UTF-8", "內容必須是 UTF-8 編碼"},
			{"prefix=" + url.QueryEscape(long), "prefix长度不能超过100个字符", "prefix must be a maximum of 100 characters in length", "prefix長度不能超過100個字元"},
			{"prefix=a&prefix=b", "prefix只能出现一次", "prefix must be given only once", "prefix只能出現一次"},
			{"order_by=state", "order_by必须是[id -id name -name created_at -created_at]中的一个", "order_by must be one of [id -id name -name created_at -created_at]", "order_by必須是[id -id name -name created_at -created_at]中的一個"},
			{"order_by=", "order_by必须是[id -id name -name created_at -created_at]中的一个", "order_by must be one of [id -id name -name created_at -created_at]", "order_by必須是[id -id name -name created_at -created_at]中的一個"},
			{"order_by=id&order_by=id", "order_by只能出现一次", "order_by must be given only once", "order_by只能出現一次"},
			{"orderby=id", `没有字段"orderby", 是否指order_by`, `there is no field "orderby"; did you mean order_by?`, `沒有欄位"orderby", 是否指order_by`},
			{"after=", damaged.ZH, damaged.EN, damaged.ZHHantTW},
			{"after=1", damaged.ZH, damaged.EN, damaged.ZHHantTW},
			{"after=x&after=x", "after只能出现一次", "after must be given only once", "after只能出現一次"},
			{"after=x&page=1", "page不能与after同时使用", "page must not be sent together with after", "page不能與after同時使用"},
			{"Name=a", `没有字段"Name", 是否指name`, `there is no field "Name"; did you mean name?`, `沒有欄位"Name", 是否指name`},
			{"state=1;name=a", "state必须是整数", "state must be an integer", "state必須是整數"},
		} {
			for language, want := range map[string]string{"zh": c.zh, "en": c.en, "zh_Hant_TW": c.tw} {
				t.Run(c.query+" "+language, func(t *testing.T) {
					result := s.Do(t, apitest.Case{Path: tagsPath + "?" + c.query, Header: in(language), Invalid: true})
					requireProblem(t, result, errcode.InvalidParams, errcode.InvalidParams.Message(language), []string{want})
				})
			}
		}
	})
}
