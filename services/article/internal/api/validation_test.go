package api_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

const (
	asJSON = "application/json"
	asForm = "application/x-www-form-urlencoded"
)

// bodies are the same body in both encodings.
type bodies struct{ json, form string }

func (b bodies) each(t *testing.T, test func(t *testing.T, c apitest.Case)) {
	t.Helper()
	for name, c := range map[string]apitest.Case{
		"json": {Body: []byte(b.json), ContentType: asJSON}, "form": {Body: []byte(b.form), ContentType: asForm},
	} {
		t.Run(name, func(t *testing.T) {
			c.Invalid = true
			test(t, c)
		})
	}
}

var languages = []string{"zh", "en", "zh_Hant_TW"}

var invalidMessage = []string{"入参错误", "invalid parameters", "參數錯誤"}

// TestInvalidFields covers every rule of every field, in each language and
// encoding.
func TestInvalidFields(t *testing.T) {
	s := embedded(t)
	existing := s.create(t, fields{"title": "existing", "tag_ids": []int{1}})
	long := func(n int) string { return strings.Repeat("字", n) }
	all := "title=%20&desc=" + long(256) + "&cover_image_url=javascript:alert(1)&state=2&tag_ids=1&tag_ids=0&tag_id=0"
	for name, c := range map[string]struct {
		body bodies
		// details has the details in each language.
		details [3][]string
	}{
		"blank title": {bodies{`{"title":" \t\r\n"}`, "title=+%09%0D%0A"}, [3][]string{{"title不能为空白"}, {"title must not be blank"}, {"title不能為空白"}}},
		"empty title": {bodies{`{"title":""}`, "title="}, [3][]string{{"title不能为空白"}, {"title must not be blank"}, {"title不能為空白"}}},
		"invisible title": {bodies{`{"title":"\u200b\u00a0\u3000"}`, "title=%E2%80%8B%C2%A0%E3%80%80"},
			[3][]string{{"title不能为空白"}, {"title must not be blank"}, {"title不能為空白"}}},
		"long title": {bodies{`{"title":"` + long(101) + `"}`, "title=" + long(101)},
			[3][]string{{"title长度不能超过100个字符"}, {"title must be a maximum of 100 characters in length"}, {"title長度不能超過100個字元"}}},
		"long desc": {bodies{`{"title":"a","desc":"` + long(256) + `"}`, "title=a&desc=" + long(256)},
			[3][]string{{"desc长度不能超过255个字符"}, {"desc must be a maximum of 255 characters in length"}, {"desc長度不能超過255個字元"}}},
		"long cover": {bodies{`{"title":"a","cover_image_url":"http://x/` + long(1992) + `"}`, "title=a&cover_image_url=http://x/" + long(1992)},
			[3][]string{{"cover_image_url长度不能超过2,000个字符"}, {"cover_image_url must be a maximum of 2,000 characters in length"}, {"cover_image_url長度不能超過2,000個字元"}}},
		"state 2": {bodies{`{"title":"a","state":2}`, "title=a&state=2"},
			[3][]string{{"state必须是[0 1]中的一个"}, {"state must be one of [0 1]"}, {"state必須是[0 1]中的一個"}}},
		"state -1": {bodies{`{"title":"a","state":-1}`, "title=a&state=-1"},
			[3][]string{{"state必须是[0 1]中的一个"}, {"state must be one of [0 1]"}, {"state必須是[0 1]中的一個"}}},
		"state empty": {bodies{`{"title":"a","state":""}`, "title=a&state="}, [3][]string{{"state必须是整数"}, {"state must be an integer"}, {"state必須是整數"}}},
		"state 0.5":   {bodies{`{"title":"a","state":0.5}`, "title=a&state=0.5"}, [3][]string{{"state必须是整数"}, {"state must be an integer"}, {"state必須是整數"}}},
		"state true":  {bodies{`{"title":"a","state":true}`, "title=a&state=true"}, [3][]string{{"state必须是整数"}, {"state must be an integer"}, {"state必須是整數"}}},
		"tag 0": {bodies{`{"title":"a","tag_ids":[0,1,0]}`, "title=a&tag_ids=0&tag_ids=1&tag_ids=0"}, [3][]string{
			{"tag_ids[0]最小只能为1", "tag_ids[2]最小只能为1"}, {"tag_ids[0] must be 1 or greater", "tag_ids[2] must be 1 or greater"}, {"tag_ids[0]最小只能為1", "tag_ids[2]最小只能為1"}}},
		"tag -1": {bodies{`{"title":"a","tag_ids":[1,-1]}`, "title=a&tag_ids=1&tag_ids=-1"},
			[3][]string{{"tag_ids[1]必须是正整数"}, {"tag_ids[1] must be a positive integer"}, {"tag_ids[1]必須是正整數"}}},
		"tag that is a word": {bodies{`{"title":"a","tag_ids":["go"]}`, "title=a&tag_ids=go"},
			[3][]string{{"tag_ids[0]必须是正整数"}, {"tag_ids[0] must be a positive integer"}, {"tag_ids[0]必須是正整數"}}},
		"tag beyond 64 bits": {bodies{`{"title":"a","tag_ids":[18446744073709551616]}`, "title=a&tag_ids=18446744073709551616"},
			[3][]string{{"tag_ids[0]超出 64 位整数的范围"}, {"tag_ids[0] is beyond the range of 64-bit integers"}, {"tag_ids[0]超出 64 位元整數的範圍"}}},
		"control character in the title": {bodies{`{"title":"a\u0000b"}`, "title=a%00b"},
			[3][]string{{"title不能包含控制字符: U+0000"}, {"title must not contain control characters: U+0000"}, {"title不能包含控制字元: U+0000"}}},
		"tag_id 0":  {bodies{`{"title":"a","tag_id":0}`, "title=a&tag_id=0"}, [3][]string{{"tag_id最小只能为1"}, {"tag_id must be 1 or greater"}, {"tag_id最小只能為1"}}},
		"tag_id -1": {bodies{`{"title":"a","tag_id":-1}`, "title=a&tag_id=-1"}, [3][]string{{"tag_id必须是正整数"}, {"tag_id must be a positive integer"}, {"tag_id必須是正整數"}}},
		"21 tags": {bodies{`{"title":"a","tag_ids":` + jsonList(21) + `}`, "title=a" + formTags(21)},
			[3][]string{{"tag_ids最多只能包含20项"}, {"tag_ids must contain at most 20 items"}, {"tag_ids最多只能包含20項"}}},
		"20 tags and one more": {bodies{`{"title":"a","tag_id":21,"tag_ids":` + jsonList(20) + `}`, "title=a&tag_id=21" + formTags(20)},
			[3][]string{{"tag_ids最多只能包含20项"}, {"tag_ids must contain at most 20 items"}, {"tag_ids最多只能包含20項"}}},
		"everything": {bodies{`{"tag_id":0,"tag_ids":[1,0],"state":2,"cover_image_url":"javascript:alert(1)","desc":"` + long(256) + `","title":" "}`, all}, [3][]string{
			{"title不能为空白", "desc长度不能超过255个字符", "cover_image_url必须是 http 或 https 的 URL", "state必须是[0 1]中的一个", "tag_ids[1]最小只能为1", "tag_id最小只能为1"},
			{"title must not be blank", "desc must be a maximum of 255 characters in length", "cover_image_url must be an http or https URL", "state must be one of [0 1]", "tag_ids[1] must be 1 or greater", "tag_id must be 1 or greater"},
			{"title不能為空白", "desc長度不能超過255個字元", "cover_image_url必須是 http 或 https 的 URL", "state必須是[0 1]中的一個", "tag_ids[1]最小只能為1", "tag_id最小只能為1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			c.body.each(t, func(t *testing.T, request apitest.Case) {
				for _, target := range []string{"POST " + articlesPath, "PUT " + at(existing.ID)} {
					for i, language := range languages {
						request.Method, request.Path, _ = strings.Cut(target, " ")
						request.Header = in(language)
						apitest.RequireProblem(t, s.Do(t, request), errcode.InvalidParams, invalidMessage[i], c.details[i]...)
					}
				}
			})
		})
	}
	require.Equal(t, []string{"existing"}, titles(s.list(t, "").List))
	require.Equal(t, existing, s.get(t, existing.ID))
	require.Zero(t, s.caughtUp.Load())
}

func jsonList(n int) string {
	return strings.ReplaceAll(fmt.Sprint(first(n)), " ", ",")
}

func formTags(n int) string {
	var text strings.Builder
	for _, id := range first(n) {
		fmt.Fprintf(&text, "&tag_ids=%d", id)
	}
	return text.String()
}

func TestTitleIsRequired(t *testing.T) {
	s := embedded(t)
	for _, body := range []bodies{{`{}`, ``}, {`{"desc":"a"}`, `desc=a`}} {
		body.each(t, func(t *testing.T, c apitest.Case) {
			c.Method, c.Path = http.MethodPost, articlesPath
			for i, detail := range []string{"title为必填字段", "title is a required field", "title為必填欄位"} {
				c.Header = in(languages[i])
				apitest.RequireProblem(t, s.Do(t, c), errcode.InvalidParams, invalidMessage[i], detail)
			}
		})
	}
}

func TestInvalidState(t *testing.T) {
	s := embedded(t)
	existing := s.create(t, fields{"title": "existing"})
	for name, c := range map[string]struct {
		body    bodies
		details [3]string
	}{
		"missing": {bodies{`{}`, ``}, [3]string{"state为必填字段", "state is a required field", "state為必填欄位"}},
		"unknown": {bodies{`{"id":null}`, `slug=x`}, [3]string{"state为必填字段", "state is a required field", "state為必填欄位"}},
		"9":       {bodies{`{"state":9}`, `state=9`}, [3]string{"state必须是[0 1]中的一个", "state must be one of [0 1]", "state必須是[0 1]中的一個"}},
		"empty":   {bodies{`{"state":""}`, `state=`}, [3]string{"state必须是整数", "state must be an integer", "state必須是整數"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.body.each(t, func(t *testing.T, request apitest.Case) {
				for i, language := range languages {
					request.Method, request.Path, request.Header = http.MethodPatch, stateOf(existing.ID), in(language)
					apitest.RequireProblem(t, s.Do(t, request), errcode.InvalidParams, invalidMessage[i], c.details[i])
				}
			})
		})
	}
	require.Equal(t, existing, s.get(t, existing.ID))
}

// A browser loads the cover from its URL, so a URL that runs a script is invalid.
func TestCoverURLs(t *testing.T) {
	s := embedded(t)
	for _, url := range []string{"http://a", "https://a.b/c.png?d=e#f", "HTTPS://EXAMPLE.ORG/", "http://[::1]:8080/x", "https://例子.测试/图.png", ""} {
		t.Run(url, func(t *testing.T) {
			require.Equal(t, url, s.create(t, fields{"title": "a", "cover_image_url": url}).CoverImageURL)
		})
	}
	for _, url := range []string{
		"javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "javascript://example.org/%0aalert(1)",
		"data:text/html;base64,PHNjcmlwdD4=", "vbscript:x", "file:///etc/passwd", "ftp://a/b", "//a/b.png", "/b.png", "b.png",
		"http:", "http://", "http:///b.png", "http://:80/b.png", "http://a b/", "http://a\x00b/", "http://%zz/", " http://a", " ",
	} {
		for name, encode := range encodings {
			t.Run(url+" "+name, func(t *testing.T) {
				s.requireError(t, encode(apitest.Case{Method: http.MethodPost, Path: articlesPath, Invalid: true}, fields{"title": "a", "cover_image_url": url}),
					errcode.InvalidParams, "cover_image_url必须是 http 或 https 的 URL")
			})
		}
	}
}

func TestInvalidBodies(t *testing.T) {
	s := embedded(t)
	existing := s.create(t, fields{"title": "existing"})
	malformed, notAnObject := "请求体不是合法的 JSON", "请求体必须是一个 JSON 对象"
	for name, c := range map[string]struct{ contentType, body, detail string }{
		"not JSON":            {asJSON, "{title", malformed},
		"cut short":           {asJSON, `{"title":"a"`, malformed},
		"two objects":         {asJSON, `{"title":"a"}{"title":"b"}`, malformed},
		"a form as JSON":      {asJSON, `title=a`, notAnObject},
		"a list":              {asJSON, `[{"title":"a"}]`, notAnObject},
		"null":                {asJSON, `null`, notAnObject},
		"empty body":          {asJSON, ``, notAnObject},
		"not UTF-8":           {asJSON, "{\"title\":\"\xff\"}", "内容必须是 UTF-8 编码"},
		"title is a number":   {asJSON, `{"title":1}`, "title必须是字符串"},
		"content is a list":   {asJSON, `{"title":"a","content":["b"]}`, "content必须是字符串"},
		"tag_ids is a number": {asJSON, `{"title":"a","tag_ids":1}`, "tag_ids必须是数组"},
		"tag_id is a list":    {asJSON, `{"title":"a","tag_id":[1]}`, "tag_id必须是正整数"},
		"null for the title":  {asJSON, `{"title":null}`, "title不能为 null"},
		"another case":        {asJSON, `{"title":"a","State":1}`, "没有字段\"State\", 是否指state"},
		"a word for a state":  {asJSON, `{"title":"a","status":"draft"}`, "没有字段\"status\", 是否指state"},
		"tags in a form":      {asForm, "title=a&tags[]=1", "没有字段\"tags[]\", 是否指tag_ids"},
		"names of tags":       {asJSON, `{"title":"a","tags":["go"]}`, "tags[0].id必须是正整数"},
		"form not UTF-8":      {asForm, "title=%ff", "内容必须是 UTF-8 编码"},
		"title twice":         {asForm, "title=a&title=b", "title只能出现一次"},
		"list in one value":   {asForm, "title=a&tag_ids=1,2", "tag_ids[0]必须是正整数"},
	} {
		for _, target := range []string{"POST " + articlesPath, "PUT " + at(existing.ID)} {
			t.Run(name+" "+target, func(t *testing.T) {
				method, path, _ := strings.Cut(target, " ")
				s.requireError(t, apitest.Case{Method: method, Path: path, Body: []byte(c.body), ContentType: c.contentType, Invalid: true},
					errcode.InvalidParams, c.detail)
			})
		}
	}
	require.Equal(t, existing, s.get(t, existing.ID))
	require.Len(t, s.list(t, "").List, 1)
}

func TestInvalidIDs(t *testing.T) {
	s := embedded(t)
	existing := s.create(t, fields{"title": "existing"})
	for _, id := range []string{"0", "-1", "+1", "01", "1.0", "1e0", "0x1", "abc", "%201", "1%20", "１", "null"} {
		path := articlesPath + "/" + id
		for name, c := range map[string]apitest.Case{
			"get":    {Path: path},
			"put":    {Method: http.MethodPut, Path: path, JSON: fields{"title": "x"}},
			"patch":  {Method: http.MethodPatch, Path: path, JSON: fields{"title": "x"}},
			"state":  {Method: http.MethodPatch, Path: path + "/state", JSON: fields{"state": 0}},
			"delete": {Method: http.MethodDelete, Path: path},
		} {
			t.Run(name+" "+id, func(t *testing.T) {
				c.Invalid = true
				result := s.Do(t, c)
				require.Equal(t, http.StatusBadRequest, result.Status)
				require.Contains(t, string(result.Body), `"code":10000001`)
				require.Contains(t, string(result.Body), "id 必须是正整数: ")
			})
		}
	}
	require.Equal(t, existing, s.get(t, existing.ID))
}

func TestMediaTypes(t *testing.T) {
	s := embedded(t)
	existing := s.create(t, fields{"title": "existing"})
	targets := map[string]apitest.Case{
		"post": {Method: http.MethodPost, Path: articlesPath}, "put": {Method: http.MethodPut, Path: at(existing.ID)},
	}
	details := []string{
		"Content-Type 必须是 application/json 或 application/x-www-form-urlencoded, 字符集为 UTF-8",
		"Content-Type must be application/json or application/x-www-form-urlencoded, in UTF-8",
		"Content-Type 必須是 application/json 或 application/x-www-form-urlencoded, 字元集為 UTF-8",
	}
	for name, c := range targets {
		for _, kind := range []string{"", "text/plain", "text/json", "application/xml", "multipart/form-data; boundary=x", "application/json; charset=gbk", "application", "*/*"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				for i, message := range []string{"不支持的媒体类型", "unsupported media type", "不支援的媒體類型"} {
					c.Body, c.ContentType, c.Header, c.Invalid = []byte(`{"title":"x","state":0}`), kind, in(languages[i]), true
					apitest.RequireProblem(t, s.Do(t, c), errcode.UnsupportedMediaType, message, details[i])
				}
			})
		}
	}
	require.Equal(t, existing, s.get(t, existing.ID))
	for _, kind := range []string{"application/json; charset=UTF-8", "Application/JSON", `application/json;charset="utf-8"`} {
		t.Run(kind, func(t *testing.T) {
			c := targets["put"]
			c.Body, c.ContentType, c.Invalid = []byte(`{"title":"existing"}`), kind, true
			require.Equal(t, http.StatusOK, s.Do(t, c).Status)
		})
	}
}

func TestContentLimit(t *testing.T) {
	s := embedded(t, func(o *options) { o.maxContentBytes = 30 })
	existing := s.create(t, fields{"title": "existing", "content": strings.Repeat("字", 10)})
	over := strings.Repeat("字", 10) + "x"
	eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
		for i, want := range [][2]string{
			{"请求体过大", "content不能超过30字节"}, {"request body too large", "content must be at most 30 bytes"}, {"請求內容過大", "content不能超過30位元組"},
		} {
			for _, c := range []apitest.Case{{Method: http.MethodPost, Path: articlesPath}, {Method: http.MethodPut, Path: at(existing.ID)}} {
				c.Header = in(languages[i])
				apitest.RequireProblem(t, s.Do(t, encode(c, fields{"title": "a", "content": over})), errcode.TooLarge, want[0], want[1])
			}
		}
	})
	require.Equal(t, existing, s.get(t, existing.ID))
	require.Len(t, s.list(t, "").List, 1)
}

func TestBodyLimit(t *testing.T) {
	s := embedded(t, func(o *options) { o.maxBodyBytes = 1000 })
	existing := s.create(t, fields{"title": "existing"})
	body := `{"title":"a","content":"` + strings.Repeat("x", 1000) + `"}`
	for name, c := range map[string]apitest.Case{
		"post": {Method: http.MethodPost, Path: articlesPath},
		"put":  {Method: http.MethodPut, Path: at(existing.ID)},
	} {
		t.Run(name, func(t *testing.T) {
			c.Body, c.ContentType, c.Invalid = []byte(body), asJSON, true
			s.requireError(t, c, errcode.TooLarge, "请求体不能超过1000字节")
		})
		t.Run(name+" of unknown length", func(t *testing.T) {
			recorder := httptest.NewRecorder()
			request := httptest.NewRequest(c.Method, c.Path, io.MultiReader(bytes.NewReader([]byte(body))))
			request.ContentLength = -1
			request.Header.Set("Content-Type", asJSON)
			request.Header.Set("Authorization", s.token)
			s.handler.ServeHTTP(recorder, request)
			apitest.RequireProblem(t, &apitest.Result{Status: recorder.Code, Header: recorder.Header(), Body: recorder.Body.Bytes()},
				errcode.TooLarge, "请求体过大", "请求体不能超过1000字节")
		})
	}
	require.Equal(t, existing, s.get(t, existing.ID))
}

func TestInvalidFilters(t *testing.T) {
	s := embedded(t)
	s.create(t, fields{"title": "a"})
	for query, details := range map[string][]string{
		"tag_id=0":                          {"tag_id最小只能为1"},
		"tag_id=":                           {"tag_id必须是正整数"},
		"tag_id=-1":                         {"tag_id必须是正整数"},
		"tag_id=go":                         {"tag_id必须是正整数"},
		"tag_id=1&tag_id=2":                 {"tag_id只能出现一次"},
		"state=":                            {"state必须是整数"},
		"state=2":                           {"state必须是[0 1]中的一个"},
		"state=on":                          {"state必须是整数"},
		"title=" + strings.Repeat("x", 101): {"title长度不能超过100个字符"},
		"include=everything":                {"include必须是[content]中的一个"},
		"include=":                          {"include必须是[content]中的一个"},
		"title=%ff":                         {"内容必须是 UTF-8 编码"},
		"tag=":                              {"tag不能为空白"},
		"tag_id=1,":                         {"tag_id[1]必须是正整数"},
		"tag_all=1,x":                       {"tag_all[1]必须是正整数"},
		"order_by=":                         {"order_by必须是[id -id created_at -created_at updated_at -updated_at published_at -published_at title -title]中的一个"},
		"created_from=2026-02-30":           {"created_from必须是日期 (2026-01-02) 或 RFC 3339 时间 (2026-01-02T03:04:05Z)"},
		"updated_from=2026-01-02&updated_to=2026-01-01": {"updated_from不能晚于updated_to"},
		"title[]=x":                             {`没有字段"title[]", 是否指title`},
		"pagesize=5":                            {`没有字段"pagesize", 是否指page_size`},
		"page=1&page=2":                         {"page只能出现一次"},
		"include=x&state=2&title=&tag_id=0":     {"tag_id最小只能为1", "state必须是[0 1]中的一个", "include必须是[content]中的一个"},
		"include=x&state=2&title=&tag_id=0&a=b": {"tag_id最小只能为1", "state必须是[0 1]中的一个", "include必须是[content]中的一个"},
	} {
		t.Run(query, func(t *testing.T) {
			s.requireError(t, apitest.Case{Path: articlesPath + "?" + query, Invalid: true}, errcode.InvalidParams, details...)
		})
	}
}
