package requests_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
)

type post struct {
	Title  *string   `json:"title" validate:"required,notblank,max=5" text:"nfc,trim,line"`
	Desc   *string   `json:"desc" null:"clear" text:"nfc"`
	State  *int      `json:"state" validate:"omitempty,oneof=0 1"`
	URL    *string   `json:"cover_url" validate:"omitempty,weburl" null:"clear"`
	TagIDs []uint64  `json:"tag_ids" validate:"omitempty,max=2,dive,min=1" null:"clear"`
	Tags   *[]uint64 `json:"tags" validate:"omitempty,dive,min=1" null:"clear" element:"id"`
}

func (p *post) ReadOnly() []string { return []string{"id", "created_by"} }

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
		"null clears":              {asJSON, `{"title":"a","desc":null,"cover_url":null,"tag_ids":null,"tags":null}`, post{Title: pointer("a"), Desc: pointer(""), URL: pointer(""), TagIDs: []uint64{}, Tags: &[]uint64{}}},
		"read back":                {asJSON, `{"title":"a","id":9,"created_by":null}`, post{Title: pointer("a")}},
		"byte order mark":          {asJSON, "\ufeff{\"title\":\"a\"}", post{Title: pointer("a")}},
		"form, byte order mark":    {asForm, "\ufefftitle=a", post{Title: pointer("a")}},
		"charset utf8":             {asJSON + "; charset=utf8", `{"title":"a"}`, post{Title: pointer("a")}},
		"integers":                 {asJSON, `{"title":"a","state":1.0,"tag_ids":[1e0,12.30e1]}`, post{Title: pointer("a"), State: pointer(1), TagIDs: []uint64{1, 123}}},
		"zeros":                    {asJSON, `{"title":"a","state":-0.0e999999999999}`, post{Title: pointer("a"), State: pointer(0)}},
		"form, integers":           {asForm, "title=a&state=10e-1&tag_ids=2.00", post{Title: pointer("a"), State: pointer(1), TagIDs: []uint64{2}}},
		"largest id":               {asJSON, `{"title":"a","tag_ids":[18446744073709551615]}`, post{Title: pointer("a"), TagIDs: []uint64{1<<64 - 1}}},
		"form, brackets":           {asForm, "title=a&tag_ids[]=1&tag_ids%5B%5D=2", post{Title: pointer("a"), TagIDs: []uint64{1, 2}}},
		"form, indexes":            {asForm, "title=a&tag_ids[0]=1&tag_ids[1]=2", post{Title: pointer("a"), TagIDs: []uint64{1, 2}}},
		"objects":                  {asJSON, `{"title":"a","tags":[{"id":1,"name":"x","id2":{"id":3}}, {"name":[{"id":7}] , "id" : 2}]}`, post{Title: pointer("a"), Tags: &[]uint64{1, 2}}},
		"semicolon":                {asForm, "title=a;b&state=1", post{Title: pointer("a;b"), State: pointer(1)}},
		"lone percent":             {asForm, "title=9%&desc=%zz%4%41%", post{Title: pointer("9%"), Desc: pointer("%zz%4A%")}},
		"empty pairs":              {asForm, "&&title=a&", post{Title: pointer("a")}},
		"composed":                 {asJSON, `{"title":"e\u0301e\u0301e\u0301e\u0301e\u0301","desc":"e\u0301\n"}`, post{Title: pointer("ééééé"), Desc: pointer("é\n")}},
		"line break around":        {asJSON, `{"title":"a\n"}`, post{Title: pointer("a")}},
		"normalized, then checked": {asForm, "title=++abcde++", post{Title: pointer("abcde")}},
		"a URL":                    {asJSON, `{"title":"a","cover_url":"https://example.org/x.png"}`, post{Title: pointer("a"), URL: pointer("https://example.org/x.png")}},
		"a URL removed":            {asForm, "title=a&cover_url=", post{Title: pointer("a"), URL: pointer("")}},
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
		"all fields, in order":   {asJSON, `{"cover_url":"x","state":9,"title":""}`, errcode.InvalidParams, []string{"title must not be blank", "state must be one of [0 1]", "cover_url must be an http or https URL"}},
		"form, in order":         {asForm, "cover_url=x&state=9&title=", errcode.InvalidParams, []string{"title must not be blank", "state must be one of [0 1]", "cover_url must be an http or https URL"}},
		"script as URL":          {asJSON, `{"title":"a","cover_url":"javascript:alert(1)"}`, errcode.InvalidParams, []string{"cover_url must be an http or https URL"}},
		"empty state in a form":  {asForm, "title=a&state=", errcode.InvalidParams, []string{"state must be an integer"}},
		"word for a number":      {asForm, "title=a&state=on&tag_ids=x", errcode.InvalidParams, []string{"state must be an integer", "tag_ids[0] must be a positive integer"}},
		"types and rules, JSON":  {asJSON, `{"cover_url":"x","tag_ids":"x","state":"1","title":5}`, errcode.InvalidParams, []string{"title must be a string", "state must be an integer", "cover_url must be an http or https URL", "tag_ids must be an array"}},
		"types and rules, form":  {asForm, "cover_url=x&tag_ids=x&state=on", errcode.InvalidParams, []string{"title is a required field", "state must be an integer", "cover_url must be an http or https URL", "tag_ids[0] must be a positive integer"}},
		"lone surrogate":         {asJSON, `{"title":"a\\\ud83d"}`, errcode.InvalidParams, []string{`\ud83d in the JSON is half of a surrogate pair, not a character`}},
		"swapped surrogates":     {asJSON, `{"title":"\udE00\ud83d"}`, errcode.InvalidParams, []string{`\udE00 in the JSON is half of a surrogate pair, not a character`}},
		"another case":           {asJSON, `{"TITLE":"a"}`, errcode.InvalidParams, []string{`there is no field "TITLE"; did you mean title?`}},
		"string for a number":    {asJSON, `{"title":"a","state":"1"}`, errcode.InvalidParams, []string{"state must be an integer"}},
		"number for a string":    {asJSON, `{"title":5}`, errcode.InvalidParams, []string{"title must be a string"}},
		"negative id":            {asJSON, `{"title":"a","tag_ids":[1,-1]}`, errcode.InvalidParams, []string{"tag_ids[1] must be a positive integer"}},
		"id zero":                {asJSON, `{"title":"a","tag_ids":[0]}`, errcode.InvalidParams, []string{"tag_ids[0] must be 1 or greater"}},
		"too many":               {asJSON, `{"title":"a","tag_ids":[1,2,3]}`, errcode.InvalidParams, []string{"tag_ids must contain at most 2 items"}},
		"scalar twice in a form": {asForm, "title=a&title=b", errcode.InvalidParams, []string{"title must be given only once"}},
		"member twice in JSON":   {asJSON, `{"title":"a","tags":[{"id":2},{"id":1,"name":"x","id":1,"name":"x"}]}`, errcode.InvalidParams, []string{"tags[1].id must be given only once"}},
		"field twice in JSON":    {asJSON, `{"title":"a","title":"a"}`, errcode.InvalidParams, []string{"title must be given only once"}},
		"no name":                {asJSON, `{1:2}`, errcode.InvalidParams, []string{"the body is not valid JSON"}},
		"invalid array elements": {asJSON, `{"tag_ids":[1,"x",{"y":[2]}],"title":"  ","state":{}}`, errcode.InvalidParams, []string{"title must not be blank", "state must be an integer", "tag_ids[1] must be a positive integer"}},
		"array for an object":    {asJSON, `[]`, errcode.InvalidParams, []string{"the body must be a JSON object"}},
		"null for an object":     {asJSON, `null`, errcode.InvalidParams, []string{"the body must be a JSON object"}},
		"empty body":             {asJSON, ``, errcode.InvalidParams, []string{"the body must be a JSON object"}},
		"cut short":              {asJSON, `{"title":"a"`, errcode.InvalidParams, []string{"the body is not valid JSON"}},
		"two objects":            {asJSON, `{"title":"a"}{"title":"b"}`, errcode.InvalidParams, []string{"the body is not valid JSON"}},
		"not UTF-8":              {asJSON, "{\"title\":\"\xff\"}", errcode.InvalidParams, []string{"the content must be UTF-8"}},
		"form not UTF-8":         {asForm, "title=%ff", errcode.InvalidParams, []string{"the content must be UTF-8"}},
		"null":                   {asJSON, `{"title":null,"state":null}`, errcode.InvalidParams, []string{"title must not be null", "state must not be null"}},
		"null in a list":         {asJSON, `{"title":"a","tag_ids":[1,null]}`, errcode.InvalidParams, []string{"tag_ids[1] must be a positive integer"}},
		"not integral":           {asJSON, `{"title":"a","state":1.5,"tag_ids":[1e-1]}`, errcode.InvalidParams, []string{"state must be an integer", "tag_ids[0] must be a positive integer"}},
		"beyond 64 bits":         {asJSON, `{"title":"a","state":1e999999999999,"tag_ids":[1,18446744073709551616]}`, errcode.InvalidParams, []string{"state is beyond the range of 64-bit integers", "tag_ids[1] is beyond the range of 64-bit integers"}},
		"form, beyond 64 bits":   {asForm, `title=a&state=9223372036854775808`, errcode.InvalidParams, []string{"state is beyond the range of 64-bit integers"}},
		"objects without an id":  {asJSON, `{"title":"a","tags":[{"id":1},{"name":"x"}]}`, errcode.InvalidParams, []string{"tags[1].id must be a positive integer"}},
		"no objects":             {asJSON, `{"title":"a","tags":["x"]}`, errcode.InvalidParams, []string{"tags[0].id must be a positive integer"}},
		"form, objects":          {asForm, "title=a&tags=1", errcode.InvalidParams, []string{`there is no field "tags"; did you mean tag_ids?`}},
		"form, nested":           {asForm, "title=a&tags[0][id]=1", errcode.InvalidParams, []string{`there is no field "tags[0][id]"; did you mean tag_ids?`}},
		"brackets":               {asForm, "title[]=a", errcode.InvalidParams, []string{`there is no field "title[]"; did you mean title?`}},
		"misspelt":               {asJSON, `{"titel":"a","status":"draft","Desc":"x","description":"x"}`, errcode.InvalidParams, []string{`there is no field "titel"; did you mean title?`, `there is no field "Desc"; did you mean desc?`, `there is no field "status"; did you mean state?`}},
		"misspelt, beside":       {asJSON, `{"title":"a","titles":"b","cover":"x","tag":1}`, errcode.InvalidParams, []string{`there is no field "titles"; did you mean title?`, `there is no field "cover"; did you mean cover_url?`, `there is no field "tag"; did you mean tags?`}},
		"control character":      {asJSON, `{"title":"a\u0000b"}`, errcode.InvalidParams, []string{"title must not contain control characters: U+0000"}},
		"form, control":          {asForm, "title=a%0Ab", errcode.InvalidParams, []string{"title must not contain control characters: U+000A"}},
		"too deep":               {asJSON, `{"title":"a","x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, errcode.InvalidParams, []string{"the JSON must be nested at most 32 levels deep"}},
		"too many values":        {asJSON, `{"title":"a","x":[1` + strings.Repeat(",1", 999) + `]}`, errcode.InvalidParams, []string{"the content must have at most 1000 values"}},
		"form, too many values":  {asForm, "title=a" + strings.Repeat("&x=1", 1000), errcode.InvalidParams, []string{"the content must have at most 1000 values"}},
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
	require.Equal(t, []errcode.Detail{
		errcode.Invalid("title", errcode.TooLong,
			errcode.Text{ZH: "title长度不能超过5个字符", EN: "title must be a maximum of 5 characters in length", ZHHantTW: "title長度不能超過5個字元"}),
		errcode.Invalid("state", errcode.NotAllowed,
			errcode.Text{ZH: "state必须是[0 1]中的一个", EN: "state must be one of [0 1]", ZHHantTW: "state必須是[0 1]中的一個"}),
	}, coded.Details)
}

// U+1D160 is three times as long in normalization form C. Other letters are as before.
func TestTextThatGrows(t *testing.T) {
	var coded *errcode.Error
	body := `{"title":"a","desc":"` + strings.Repeat("\U0001D160", 10_000) + `"}`
	require.ErrorAs(t, newBinder(t).Body(large(request(asJSON, strings.NewReader(body))), &post{}), &coded)
	require.Len(t, coded.Details, 1)
	require.Equal(t, errcode.Invalid("desc", errcode.TooLong, coded.Details[0].Text), coded.Details[0])
	var read post
	body = `{"title":"a","desc":"` + strings.Repeat("\U0001D160", 50) + strings.Repeat("e\u0301", 10_000) + `"}`
	require.NoError(t, newBinder(t).Body(large(request(asJSON, strings.NewReader(body))), &read))
	require.Equal(t, strings.Repeat("é", 10_000), (*read.Desc)[len(*read.Desc)-20_000:])
}

// Programs get a field and a reason for whatever is wrong with a field.
func TestReasons(t *testing.T) {
	for body, want := range map[string]errcode.Detail{
		`{}`:                              {Field: "title", Reason: errcode.Required},
		`{"title":" "}`:                   {Field: "title", Reason: errcode.Required},
		`{"title":null}`:                  {Field: "title", Reason: errcode.Required},
		`{"title":"abcdef"}`:              {Field: "title", Reason: errcode.TooLong},
		`{"title":5}`:                     {Field: "title", Reason: errcode.InvalidType},
		`{"title":"a\nb"}`:                {Field: "title", Reason: errcode.Malformed},
		`{"title":"a","title":"a"}`:       {Field: "title", Reason: errcode.Duplicate},
		`{"title":"a","Desc":"b"}`:        {Field: "Desc", Reason: errcode.UnknownField},
		`{"title":"a","state":9}`:         {Field: "state", Reason: errcode.NotAllowed},
		`{"title":"a","state":1e99}`:      {Field: "state", Reason: errcode.OutOfRange},
		`{"title":"a","tag_ids":[1,0]}`:   {Field: "tag_ids[1]", Reason: errcode.OutOfRange},
		`{"title":"a","tag_ids":[1,2,3]}`: {Field: "tag_ids", Reason: errcode.TooLong},
		`{"title":"a","cover_url":"x"}`:   {Field: "cover_url", Reason: errcode.Malformed},
	} {
		t.Run(body, func(t *testing.T) {
			var coded *errcode.Error
			require.ErrorAs(t, newBinder(t).Body(request(asJSON, strings.NewReader(body)), &post{}), &coded)
			require.Len(t, coded.Details, 1)
			coded.Details[0].Text = errcode.Text{}
			require.Equal(t, want, coded.Details[0])
		})
	}
}

func TestCompressedBodyIsUnsupported(t *testing.T) {
	c := request(asJSON, strings.NewReader(`{"title":"a"}`))
	c.Request.Header.Set("Content-Encoding", "gzip")
	var coded *errcode.Error
	require.ErrorAs(t, newBinder(t).Body(c, &post{}), &coded)
	require.Equal(t, errcode.UnsupportedMediaType, coded.Code)
}

func TestSlug(t *testing.T) {
	for text, ok := range map[string]bool{
		"a": true, "7": true, "rolling-restarts-2": true, strings.Repeat("a", 100): true,
		"": false, "-": false, "a-": false, "-a": false, "a--b": false, "A": false, "a_b": false, "é": false, "a\n": false, "a\x00": false, "\xff": false, strings.Repeat("a", 101): false,
	} {
		c := request(asJSON, nil)
		c.AddParam("slug", text)
		got, err := requests.Slug(c)
		if ok {
			require.NoError(t, err, text)
			require.Equal(t, text, got)
			continue
		}
		var coded *errcode.Error
		require.ErrorAs(t, err, &coded, text)
		require.Equal(t, errcode.InvalidParams, coded.Code)
		require.Equal(t, "slug", coded.Details[0].Field)
	}
}

func TestMergePatch(t *testing.T) {
	for contentType, accepted := range map[string]bool{
		"application/merge-patch+json": true, "Application/Merge-Patch+JSON; charset=utf-8": true, asJSON: true,
		asForm: false, "application/json-patch+json": false, "application/merge-patch+json; charset=gbk": false, "": false,
	} {
		c := request(contentType, strings.NewReader(`{"title":"a","desc":null}`))
		var got post
		err := newBinder(t).MergePatch(c, &got)
		if accepted {
			require.NoError(t, err, contentType)
			require.Equal(t, post{Title: pointer("a"), Desc: pointer("")}, got)
			continue
		}
		var coded *errcode.Error
		require.ErrorAs(t, err, &coded, contentType)
		require.Equal(t, errcode.UnsupportedMediaType, coded.Code)
		require.Equal(t, "application/merge-patch+json, application/json", c.Writer.Header().Get("Accept-Patch"))
	}
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
		"lone percent":  {"state=%", nil, true},
		"semicolon":     {"x=1;state=1", nil, false},
		"case":          {"State=1", nil, true},
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
		again := encode(t, first)
		require.NoError(t, binder.Body(request(asJSON, strings.NewReader(string(again))), &second), "%s", again)
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("%q bound to %s, and that to %+v", body, again, second)
		}
	})
}

// encode returns the JSON that is decoded into p.
func encode(t *testing.T, p post) []byte {
	encoded, err := json.Marshal(p)
	require.NoError(t, err)
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&fields))
	maps.DeleteFunc(fields, func(_ string, value any) bool { return value == nil })
	if tags, ok := fields["tags"].([]any); ok {
		for i := range tags {
			tags[i] = map[string]any{"id": tags[i]}
		}
	}
	encoded, err = json.Marshal(fields)
	require.NoError(t, err)
	return encoded
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

// Bodies at the bounds are valid.
func TestBounds(t *testing.T) {
	for name, c := range map[string]struct{ contentType, body string }{
		"values":       {asJSON, `{"title":"a,,{[","x":[1` + strings.Repeat(",1", 998) + `]}`},
		"depth":        {asJSON, `{"title":"a,,{[","x":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`},
		"form, values": {asForm, "title=a" + strings.Repeat("&x=1", 999)},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, newBinder(t).Body(request(c.contentType, strings.NewReader(c.body)), &post{}))
		})
	}
}

// A body that has more than the fields of the request costs no more memory than its
// own bytes.
func TestMemoryOfHostileBodies(t *testing.T) {
	const size = 6 << 20
	fill := func(before, each, after string) string {
		return before + strings.Repeat(each, (size-len(before)-len(after))/len(each)) + after
	}
	var keys strings.Builder
	for i := 0; keys.Len() < size; i++ {
		fmt.Fprintf(&keys, `"a%d":0,`, i)
	}
	binder := newBinder(t)
	for name, c := range map[string]struct{ contentType, body string }{
		"keys":           {asJSON, "{" + keys.String() + `"title":"a"}`},
		"equal keys":     {asJSON, fill(`{"title":"a"`, `,"title":"a"`, "}")},
		"array":          {asJSON, fill(`{"tag_ids":[1`, ",1", "]}")},
		"skipped array":  {asJSON, fill(`{"x":[[]`, ",[]", "]}")},
		"depth":          {asJSON, fill("{", `"x":{`, "")},
		"a key":          {asJSON, fill(`{"`, "x", `":1,"title":"a"}`)},
		"a skipped text": {asJSON, fill(`{"x":"`, `\"`, `","title":"a"}`)},
		"pairs":          {asForm, fill("title=a", "&a=1", "")},
		"separators":     {asForm, fill("title=a", "&", "")},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			body := strings.NewReader(c.body)
			runtime.ReadMemStats(&before)
			_ = binder.Body(request(c.contentType, body), &post{})
			runtime.ReadMemStats(&after)
			// Reading takes twice the size, and a name that is kept once.
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4*size))
		})
	}
}

func TestIgnoredFieldsAreReported(t *testing.T) {
	many := ""
	for i := range 20 {
		many += fmt.Sprintf(`,"unknown%c":0`, 'a'+i)
	}
	for body, want := range map[string]string{
		`{"title":"a","id":1}`:                                         "",
		`{"title":"a","slug":1,"lang":"x","slug":2}`:                   "slug, lang",
		`{"title":"a","content_type":1,"title_en":2,"date":3}`:         "content_type, title_en, date",
		`{"title":"a","ö, x\r\ny":1}`:                                  "%C3%B6%2C+x%0D%0Ay",
		`{"title":"a","` + strings.Repeat("x", 1000) + `":1}`:          strings.Repeat("x", 40),
		`{"title":"a"` + many + `}`:                                    "unknowna, unknownb, unknownc, unknownd, unknowne, unknownf, unknowng, unknownh, unknowni, unknownj, ...",
		`{"title":"a","":1,"x":2}`:                                     `"", x`,
		`{"title":"a","":1}`:                                           `""`,
		`{"desc":"without a title is invalid, but reported","slug":1}`: "slug",
	} {
		recorder := httptest.NewRecorder()
		c, _ := gin.CreateTestContext(recorder)
		c.Request = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		c.Request.Header.Set("Content-Type", asJSON)
		err := newBinder(t).Body(c, &post{})
		require.Equal(t, strings.Contains(body, `"title"`), err == nil, body)
		require.Equal(t, want, recorder.Header().Get(requests.IgnoredHeader), body)
	}
}
