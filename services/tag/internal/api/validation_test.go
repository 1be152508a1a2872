package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
)

// translations are the details of an error in each language.
type translations struct{ zh, en, tw []string }

func (d translations) in(language string) []string {
	return map[string][]string{"zh": d.zh, "en": d.en, "zh_Hant_TW": d.tw}[language]
}

func detail(zh, en, tw string) translations {
	return translations{[]string{zh}, []string{en}, []string{tw}}
}

var (
	nameRequired = detail("name为必填字段", "name is a required field", "name為必填欄位")
	nameBlank    = detail("name不能为空白", "name must not be blank", "name不能為空白")
	nameLong     = detail("name长度不能超过100个字符", "name must be a maximum of 100 characters in length", "name長度不能超過100個字元")
	nameString   = detail("name必须是字符串", "name must be a string", "name必須是字串")
	nameOnce     = detail("name只能出现一次", "name must be given only once", "name只能出現一次")
	stateOneOf   = detail("state必须是[0 1]中的一个", "state must be one of [0 1]", "state必須是[0 1]中的一個")
	stateInteger = detail("state必须是整数", "state must be an integer", "state必須是整數")
	stateOnce    = detail("state只能出现一次", "state must be given only once", "state只能出現一次")
	notObject    = detail("请求体必须是一个 JSON 对象", "the body must be a JSON object", "請求內容必須是一個 JSON 物件")
	notJSON      = detail("请求体不是合法的 JSON", "the body is not valid JSON", "請求內容不是合法的 JSON")
	notUTF8      = detail("内容必须是 UTF-8 编码", "the content must be UTF-8", "內容必須是 UTF-8 編碼")
	nameNull     = detail("name不能为 null", "name must not be null", "name不能為 null")
	nameControl  = detail("name不能包含控制字符: U+0000", "name must not contain control characters: U+0000", "name不能包含控制字元: U+0000")
	stateRange   = detail("state超出 64 位整数的范围", "state is beyond the range of 64-bit integers", "state超出 64 位元整數的範圍")
	tooDeep      = detail("JSON 最多只能嵌套32层", "the JSON must be nested at most 32 levels deep", "JSON 最多只能巢狀32層")
)

func join(first, second translations) translations {
	return translations{append(first.zh[:1:1], second.zh...), append(first.en[:1:1], second.en...), append(first.tw[:1:1], second.tw...)}
}

// TestInvalidBodies covers both encodings, for creating and for changing a tag.
func TestInvalidBodies(t *testing.T) {
	long, unicorns := strings.Repeat("字", 101), strings.Repeat("🦄", 101)
	cases := []struct {
		contentType, body string
		want              translations
	}{
		{jsonType, `{}`, nameRequired},
		{jsonType, `{"name":null}`, nameNull},
		{jsonType, `{"state":1}`, nameRequired},
		{jsonType, `{"name":""}`, nameBlank},
		{jsonType, `{"name":" \t\n　"}`, nameBlank},
		{jsonType, `{"name":"\u200b\ufeff"}`, nameBlank},
		{jsonType, `{"name":"\u0000"}`, nameControl},
		{jsonType, `{"name":"` + long + `"}`, nameLong},
		{jsonType, `{"name":"` + unicorns + `"}`, nameLong},
		{jsonType, `{"name":5}`, nameString},
		{jsonType, `{"name":true}`, nameString},
		{jsonType, `{"name":["a"]}`, nameString},
		{jsonType, `{"name":{}}`, nameString},
		{jsonType, `{"name":"a","state":9}`, stateOneOf},
		{jsonType, `{"name":"a","state":-1}`, stateOneOf},
		{jsonType, `{"name":"a","state":2}`, stateOneOf},
		{jsonType, `{"name":"a","state":4294967296}`, stateOneOf},
		{jsonType, `{"name":"a","state":256}`, stateOneOf},
		{jsonType, `{"name":"a","state":""}`, stateInteger},
		{jsonType, `{"name":"a","state":"1"}`, stateInteger},
		{jsonType, `{"name":"a","state":1.5}`, stateInteger},
		{jsonType, `{"name":"a","state":1e999}`, stateRange},
		{jsonType, `{"name":"a","state":99999999999999999999}`, stateRange},
		{jsonType, `{"name":"a","state":true}`, stateInteger},
		{jsonType, `{"name":"a","state":[1]}`, stateInteger},
		{jsonType, `{"name":" ","state":9}`, join(nameBlank, stateOneOf)},
		{jsonType, `{"state":9,"name":" "}`, join(nameBlank, stateOneOf)},
		{jsonType, `{"state":9}`, join(nameRequired, stateOneOf)},
		{jsonType, ``, notObject},
		{jsonType, `null`, notObject},
		{jsonType, `[]`, notObject},
		{jsonType, `"name"`, notObject},
		{jsonType, `name=a`, notObject},
		{jsonType, `{"name":"a"`, notJSON},
		{jsonType, `{"name":"a",}`, notJSON},
		{jsonType, `{"name":"a"}{"name":"b"}`, notJSON},
		{jsonType, `{'name':'a'}`, notJSON},
		{jsonType, `{"name":` + strings.Repeat("[", 40) + `}`, tooDeep},
		{jsonType, "{\"name\":\"\xff\"}", notUTF8},
		{formType, ``, nameRequired},
		{formType, `state=1`, nameRequired},
		{formType, `name`, nameBlank},
		{formType, `name=`, nameBlank},
		{formType, `name=+%09%0A%E3%80%80`, nameBlank},
		{formType, `name=%00`, nameControl},
		{formType, `name=` + long, nameLong},
		{formType, `name=` + unicorns, nameLong},
		{formType, `name=a&state=9`, stateOneOf},
		{formType, `name=a&state=-1`, stateOneOf},
		{formType, `name=a&state=4294967296`, stateOneOf},
		{formType, `name=a&state=`, stateInteger},
		{formType, `name=a&state`, stateInteger},
		{formType, `name=a&state=x`, stateInteger},
		{formType, `name=a&state=1.5`, stateInteger},
		{formType, `name=a&state=true`, stateInteger},
		{formType, `name=a&state=null`, stateInteger},
		{formType, `name=a&state=01`, stateInteger},
		{formType, `name=a&state=99999999999999999999`, stateRange},
		{formType, `name=a&name=b`, nameOnce},
		{formType, `name=a&state=1&state=1`, stateOnce},
		{formType, `name=a&name=b&state=x`, join(nameOnce, stateInteger)},
		{formType, `state=x&name=b&name=a`, join(nameOnce, stateInteger)},
		{formType, `state=9&name=+`, join(nameBlank, stateOneOf)},
		{jsonType, `{"name":"a","state":1.0e-1}`, stateInteger},
		{formType, `name=a&state=1;x`, stateInteger},
		{formType, `name=%FF`, notUTF8},
		{formType, `{"name":"a"}`, nameRequired},
	}
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		kept := s.create(t, fields{"name": "kept", "state": 0})
		for _, c := range cases {
			requests := []apitest.Case{{Method: http.MethodPost, Path: tagsPath}, {Method: http.MethodPut, Path: at(kept.ID)}}
			if slices.Contains(c.want.en, nameRequired.en[0]) { // for a new tag
				requests = requests[:1]
			}
			for _, request := range requests {
				request.ContentType, request.Body, request.Invalid = c.contentType, []byte(c.body), true
				for _, language := range []string{"zh", "en", "zh_Hant_TW"} {
					request.Header = in(language)
					t.Run(fmt.Sprintf("%s %.40s %s", request.Method, c.body, language), func(t *testing.T) {
						requireProblem(t, s.Do(t, request), errcode.InvalidParams, errcode.InvalidParams.Message(language), c.want.in(language))
					})
				}
			}
		}
		require.Equal(t, []string{"kept"}, names(s.list(t, "").List), "nothing was stored")
		require.Equal(t, kept, s.get(t, kept.ID), "nothing was changed")
	})
}

// The details of an invalid body are the same in each encoding.
func TestDetailsAreTheSameInEachEncoding(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	for _, f := range []fields{
		{}, {"name": " "}, {"name": strings.Repeat("x", 101)}, {"state": 9}, {"name": "", "state": 2}, {"name": "a", "state": -1},
	} {
		bodies := map[string]bool{}
		for _, encode := range encodings {
			request := encode(apitest.Case{Method: http.MethodPost, Path: tagsPath, Invalid: true}, f)
			bodies[string(s.Do(t, request).Body)] = true
		}
		require.Len(t, bodies, 1, "%v", f)
	}
}

// Messages and details are in the language of the header locale, or else of
// Accept-Language.
func TestLanguages(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	s.create(t, fields{"name": "taken"})
	for _, c := range []struct {
		locale, acceptLanguage, want string
	}{
		{"", "", "zh"},
		{"zh", "en", "zh"},
		{"en", "", "en"},
		{"en", "zh-TW", "en"},
		{"zh_Hant_TW", "en", "zh_Hant_TW"},
		{"zh-Hant-TW", "", "zh_Hant_TW"},
		{"fr", "", "zh"},
		{"fr", "en", "en"},
		{"", "en-GB,en;q=0.9", "en"},
		{"", "zh-TW,zh;q=0.9,en;q=0.8", "zh_Hant_TW"},
		{"", "zh-HK", "zh_Hant_TW"},
		{"", "zh-CN", "zh"},
		{"", "fr,de;q=0.5", "zh"},
		{"", "fr,en;q=0.5", "en"},
		{"", ";;;=", "zh"},
		{"", strings.Repeat("en,", 400), "zh"},
	} {
		t.Run(fmt.Sprintf("%s %.20s", c.locale, c.acceptLanguage), func(t *testing.T) {
			header := http.Header{}
			if c.locale != "" {
				header.Set("locale", c.locale)
			}
			if c.acceptLanguage != "" {
				header.Set("Accept-Language", c.acceptLanguage)
			}
			do := func(request apitest.Case) *apitest.Result {
				request.Header, request.Invalid = header, true
				return s.Do(t, request)
			}
			requireProblem(t, do(apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{}}), errcode.InvalidParams,
				map[string]string{"zh": "入参错误", "en": "invalid parameters", "zh_Hant_TW": "參數錯誤"}[c.want], nameRequired.in(c.want))
			requireProblem(t, do(apitest.Case{Path: at(99)}), errcode.TagNotFound,
				map[string]string{"zh": "标签不存在", "en": "no such tag", "zh_Hant_TW": "標籤不存在"}[c.want], nil)
			requireProblem(t, do(apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "taken"}}), errcode.TagNameExists,
				map[string]string{"zh": "标签名称已存在", "en": "a tag with this name already exists", "zh_Hant_TW": "標籤名稱已存在"}[c.want], []string{
					map[string]string{"zh": "name已被其他标签使用", "en": "another tag has this name", "zh_Hant_TW": "name已被其他標籤使用"}[c.want],
				})
			requireProblem(t, do(apitest.Case{Path: tagsPath + "/x"}), errcode.InvalidParams, errcode.InvalidParams.Message(c.want), []string{
				map[string]string{"zh": `id 必须是正整数: "x"`, "en": `id must be a positive integer: "x"`, "zh_Hant_TW": `id 必須是正整數: "x"`}[c.want],
			})
			var response listResponse
			do(apitest.Case{Path: tagsPath}).JSON(t, &response)
			require.Equal(t, map[string]string{"zh": "成功", "en": "success", "zh_Hant_TW": "成功"}[c.want], response.Msg)
		})
	}
}

// Setting up translators per request would be a data race.
func TestConcurrentValidation(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	var done sync.WaitGroup
	for i := range 8 {
		language := []string{"zh", "en", "zh_Hant_TW"}[i%3]
		done.Go(func() {
			for range 100 {
				result := s.Do(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": " ", "state": 9}, Header: in(language), Invalid: true})
				requireProblem(t, result, errcode.InvalidParams, errcode.InvalidParams.Message(language), join(nameBlank, stateOneOf).in(language))
			}
		})
	}
	done.Wait()
}
