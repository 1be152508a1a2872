package requests_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
)

type post struct {
	Title  *string  `json:"title" validate:"required,notblank,max=5"`
	State  *int     `json:"state" validate:"omitempty,oneof=0 1"`
	URL    *string  `json:"url" validate:"omitempty,weburl"`
	TagIDs []uint64 `json:"tag_ids" validate:"omitempty,max=2,dive,min=1"`
}

func (p *post) Normalize() {
	if p.Title != nil {
		*p.Title = strings.TrimSpace(*p.Title)
	}
}

func newBinder(t testing.TB) *requests.Binder {
	binder, err := requests.NewBinder()
	require.NoError(t, err)
	return binder
}

// request returns the context of a POST with the body.
func request(contentType string, body io.Reader) *gin.Context {
	c := gin.CreateTestContextOnly(httptest.NewRecorder(), gin.New())
	c.Request = httptest.NewRequest(http.MethodPost, "/", body)
	c.Request.Header.Set("Content-Type", contentType)
	return c
}

const (
	asJSON = "application/json"
	asForm = "application/x-www-form-urlencoded"
)

func pointer[T any](v T) *T { return &v }

func TestValidBodies(t *testing.T) {
	cases := map[string]struct {
		contentType, body string
		want              post
	}{
		"JSON":                     {asJSON, `{"title":"a","state":0,"tag_ids":[1,2]}`, post{Title: pointer("a"), State: pointer(0), TagIDs: []uint64{1, 2}}},
		"JSON with charset":        {asJSON + "; charset=UTF-8", `{"title":"a"}`, post{Title: pointer("a")}},
		"form":                     {asForm, "title=a&state=0&tag_ids=1&tag_ids=2", post{Title: pointer("a"), State: pointer(0), TagIDs: []uint64{1, 2}}},
		"form, empty list":         {asForm, "title=a&tag_ids=", post{Title: pointer("a"), TagIDs: []uint64{}}},
		"null is absent":           {asJSON, `{"title":"a","state":null}`, post{Title: pointer("a")}},
		"other fields ignored":     {asJSON, `{"title":"a","id":9,"created_by":"x"}`, post{Title: pointer("a")}},
		"normalized, then checked": {asForm, "title=++abcde++", post{Title: pointer("abcde")}},
		"a URL":                    {asJSON, `{"title":"a","url":"https://example.org/x.png"}`, post{Title: pointer("a"), URL: pointer("https://example.org/x.png")}},
		"a URL removed":            {asForm, "title=a&url=", post{Title: pointer("a"), URL: pointer("")}},
		"escaped":                  {asJSON, `{"title":"\ud83d\ude00\\\\u\u00e9"}`, post{Title: pointer("😀\\\\ué")}},
		"characters, not bytes":    {asJSON, `{"title":"😀😀😀😀😀"}`, post{Title: pointer("😀😀😀😀😀")}},
	}
	binder := newBinder(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got post
			require.NoError(t, binder.Body(request(c.contentType, strings.NewReader(c.body)), &got))
			require.Equal(t, c.want, got)
		})
	}
}

func TestInvalidBodies(t *testing.T) {
	cases := map[string]struct {
		contentType, body string
		code              errcode.Code
		details           []string
	}{
		"no title":               {asJSON, `{}`, errcode.InvalidParams, []string{"title is a required field"}},
		"empty form":             {asForm, ``, errcode.InvalidParams, []string{"title is a required field"}},
		"blank":                  {asJSON, `{"title":"  "}`, errcode.InvalidParams, []string{"title must not be blank"}},
		"invisible":              {asJSON, `{"title":"\u200b\u2060"}`, errcode.InvalidParams, []string{"title must not be blank"}},
		"too long":               {asJSON, `{"title":"abcdef"}`, errcode.InvalidParams, []string{"title must be a maximum of 5 characters in length"}},
		"all fields, in order":   {asJSON, `{"url":"x","state":9,"title":""}`, errcode.InvalidParams, []string{"title must not be blank", "state must be one of [0 1]", "url must be an http or https URL"}},
		"form, in order":         {asForm, "url=x&state=9&title=", errcode.InvalidParams, []string{"title must not be blank", "state must be one of [0 1]", "url must be an http or https URL"}},
		"script as URL":          {asJSON, `{"title":"a","url":"javascript:alert(1)"}`, errcode.InvalidParams, []string{"url must be an http or https URL"}},
		"empty state in a form":  {asForm, "title=a&state=", errcode.InvalidParams, []string{"state must be an integer"}},
		"word for a number":      {asForm, "title=a&state=on&tag_ids=x", errcode.InvalidParams, []string{"state must be an integer", "tag_ids must be a positive integer"}},
		"types and rules, JSON":  {asJSON, `{"url":"x","tag_ids":"x","state":"1","title":5}`, errcode.InvalidParams, []string{"title must be a string", "state must be an integer", "url must be an http or https URL", "tag_ids must be an array"}},
		"types and rules, form":  {asForm, "url=x&tag_ids=x&state=on", errcode.InvalidParams, []string{"title is a required field", "state must be an integer", "url must be an http or https URL", "tag_ids must be a positive integer"}},
		"lone surrogate":         {asJSON, `{"title":"a\\\ud83d"}`, errcode.InvalidParams, []string{"the content must be UTF-8"}},
		"swapped surrogates":     {asJSON, `{"title":"\udE00\ud83d"}`, errcode.InvalidParams, []string{"the content must be UTF-8"}},
		"another case":           {asJSON, `{"TITLE":"a"}`, errcode.InvalidParams, []string{"title is a required field"}},
		"string for a number":    {asJSON, `{"title":"a","state":"1"}`, errcode.InvalidParams, []string{"state must be an integer"}},
		"number for a string":    {asJSON, `{"title":5}`, errcode.InvalidParams, []string{"title must be a string"}},
		"negative id":            {asJSON, `{"title":"a","tag_ids":[-1]}`, errcode.InvalidParams, []string{"tag_ids must be a positive integer"}},
		"id zero":                {asJSON, `{"title":"a","tag_ids":[0]}`, errcode.InvalidParams, []string{"tag_ids[0] must be 1 or greater"}},
		"too many":               {asJSON, `{"title":"a","tag_ids":[1,2,3]}`, errcode.InvalidParams, []string{"tag_ids must contain at most 2 items"}},
		"scalar twice in a form": {asForm, "title=a&title=b", errcode.InvalidParams, []string{"title must be given only once"}},
		"field twice in JSON":    {asJSON, `{"title":"a","title":"a"}`, errcode.InvalidParams, []string{"title must be given only once"}},
		"no name":                {asJSON, `{1:2}`, errcode.InvalidParams, []string{"the body is not valid JSON"}},
		"invalid array elements": {asJSON, `{"tag_ids":[1,"x",{"y":[2]}],"title":"  ","state":{}}`, errcode.InvalidParams, []string{"title must not be blank", "state must be an integer", "tag_ids must be a positive integer"}},
		"array for an object":    {asJSON, `[]`, errcode.InvalidParams, []string{"the body must be a JSON object"}},
		"null for an object":     {asJSON, `null`, errcode.InvalidParams, []string{"the body must be a JSON object"}},
		"empty body":             {asJSON, ``, errcode.InvalidParams, []string{"the body must be a JSON object"}},
		"cut short":              {asJSON, `{"title":"a"`, errcode.InvalidParams, []string{"the body is not valid JSON"}},
		"two objects":            {asJSON, `{"title":"a"}{"title":"b"}`, errcode.InvalidParams, []string{"the body is not valid JSON"}},
		"not UTF-8":              {asJSON, "{\"title\":\"\xff\"}", errcode.InvalidParams, []string{"the content must be UTF-8"}},
		"form not UTF-8":         {asForm, "title=%ff", errcode.InvalidParams, []string{"the content must be UTF-8"}},
		"form badly encoded":     {asForm, "title=%zz", errcode.InvalidParams, []string{"the form or query is not valid URL encoding"}},
		"XML":                    {"application/xml", `<a/>`, errcode.UnsupportedMediaType, nil},
		"another charset":        {asJSON + "; charset=gbk", `{"title":"a"}`, errcode.UnsupportedMediaType, nil},
		"no content type":        {"", `{"title":"a"}`, errcode.UnsupportedMediaType, nil},
		"invalid content type":   {"///;;", `{"title":"a"}`, errcode.UnsupportedMediaType, nil},
	}
	binder := newBinder(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got post
			var coded *errcode.Error
			require.ErrorAs(t, binder.Body(request(c.contentType, strings.NewReader(c.body)), &got), &coded)
			require.Equal(t, c.code, coded.Code)
			if c.details != nil {
				require.Equal(t, c.details, english(coded))
			}
		})
	}
}

func english(err *errcode.Error) []string {
	var texts []string
	for _, d := range err.Details {
		texts = append(texts, d.EN)
	}
	return texts
}

func TestDetailsAreTranslated(t *testing.T) {
	var coded *errcode.Error
	require.ErrorAs(t, newBinder(t).Body(request(asJSON, strings.NewReader(`{"title":"abcdef","state":7}`)), &post{}), &coded)
	require.Equal(t, []errcode.Text{
		{ZH: "title长度不能超过5个字符", EN: "title must be a maximum of 5 characters in length", ZHHantTW: "title長度不能超過5個字元"},
		{ZH: "state必须是[0 1]中的一个", EN: "state must be one of [0 1]", ZHHantTW: "state必須是[0 1]中的一個"},
	}, coded.Details)
}

func TestCompressedBodyIsUnsupported(t *testing.T) {
	c := request(asJSON, strings.NewReader(`{"title":"a"}`))
	c.Request.Header.Set("Content-Encoding", "gzip")
	var coded *errcode.Error
	require.ErrorAs(t, newBinder(t).Body(c, &post{}), &coded)
	require.Equal(t, errcode.UnsupportedMediaType, coded.Code)
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestBodyReadErrors(t *testing.T) {
	cases := map[string]struct {
		err  error
		want errcode.Code
	}{
		"over the limit": {&http.MaxBytesError{Limit: 3}, errcode.TooLarge},
		"too slow":       {os.ErrDeadlineExceeded, errcode.SlowRequest},
		"cut off":        {io.ErrUnexpectedEOF, errcode.InvalidParams},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var coded *errcode.Error
			require.ErrorAs(t, newBinder(t).Body(request(asJSON, failingReader{c.err}), &post{}), &coded)
			require.Equal(t, c.want, coded.Code)
		})
	}
}

func TestQuery(t *testing.T) {
	type filter struct {
		State *int `json:"state" validate:"omitempty,oneof=0 1"`
	}
	cases := map[string]struct {
		query string
		want  *int
		fails bool
	}{
		"absent":        {"", nil, false},
		"given":         {"state=1", pointer(1), false},
		"other filters": {"state=0&x=1", pointer(0), false},
		"empty":         {"state=", nil, true},
		"out of range":  {"state=9", nil, true},
		"twice":         {"state=1&state=0", nil, true},
		"bad encoding":  {"state=%", nil, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			ctx := request("", nil)
			ctx.Request.URL.RawQuery = c.query
			var got filter
			err := newBinder(t).Query(ctx, &got)
			if c.fails {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got.State)
		})
	}
}

// FuzzBody requires that Body returns an error with a code, or a value that satisfies
// every rule. A form must have the same result as JSON with the same fields.
func FuzzBody(f *testing.F) {
	f.Add(true, []byte(`{"title":"a","state":1,"tag_ids":[1]}`))
	f.Add(false, []byte("title=a&state=1&tag_ids=1&tag_ids=2"))
	f.Add(true, []byte(`{"title":{"title":[]}}`))
	binder := newBinder(f)
	f.Fuzz(func(t *testing.T, isJSON bool, body []byte) {
		contentType := asForm
		if isJSON {
			contentType = asJSON
		}
		var first, second post
		if err := binder.Body(request(contentType, strings.NewReader(string(body))), &first); err != nil {
			var coded *errcode.Error
			if !errors.As(err, &coded) || coded.Code.Status() >= 500 {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		again, err := json.Marshal(first)
		require.NoError(t, err)
		require.NoError(t, binder.Body(request(asJSON, strings.NewReader(string(again))), &second), "%s", again)
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("%q bound to %s, and that to %+v", body, again, second)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("title=a&state=1")
	f.Add("title=a;b=c&%gg")
	binder := newBinder(f)
	f.Fuzz(func(t *testing.T, query string) {
		c := request("", nil)
		c.Request.URL = &url.URL{RawQuery: query}
		var coded *errcode.Error
		if err := binder.Query(c, &post{}); err != nil && (!errors.As(err, &coded) || coded.Code.Status() != 400) {
			t.Fatalf("%q: %v", query, err)
		}
	})
}
