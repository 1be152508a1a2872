package responses_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/locale"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// record calls handle with a GET request in the language and returns the response.
func record(language string, handle func(*gin.Context)) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	c := gin.CreateTestContextOnly(recorder, gin.New())
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	c.Request = request.WithContext(context.WithValue(request.Context(), locale.Key{}, language))
	handle(c)
	return recorder
}

func TestError(t *testing.T) {
	detail := errcode.Text{ZH: "太长", EN: "too long", ZHHantTW: "太長"}
	cases := map[string]struct {
		err        error
		language   string
		status     int
		body       string
		retryAfter string
	}{
		"coded, with details": {
			errcode.New(errcode.InvalidParams, detail), "en", 400,
			`{"code":10000001,"msg":"invalid parameters","details":["too long"],"errors":[]}`, "",
		},
		"coded, with fields": {
			&errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{{Text: detail, Field: "title", Reason: errcode.TooLong}}}, "zh", 400,
			`{"code":10000001,"msg":"入参错误","details":["太长"],"errors":[{"field":"title","code":"too_long","message":"太长"}]}`, "",
		},
		"coded, wrapped": {
			fmt.Errorf("outer: %w", errcode.New(errcode.TagNotFound)), "zh_Hant_TW", 404,
			`{"code":20010007,"msg":"標籤不存在","details":[],"errors":[]}`, "",
		},
		"retry after is rounded up": {
			&errcode.Error{Code: errcode.Unavailable, RetryAfter: 1200 * time.Millisecond}, "en", 503,
			`{"code":10000014,"msg":"temporarily unavailable, try again later","details":[],"errors":[]}`, "2",
		},
		"unknown errors are hidden": {
			errors.New("password=hunter2"), "zh", 500,
			`{"code":10000000,"msg":"服务内部错误","details":[],"errors":[]}`, "",
		},
		"deadline": {
			fmt.Errorf("query: %w", context.DeadlineExceeded), "en", 504,
			`{"code":10000015,"msg":"the request took too long to process","details":[],"errors":[]}`, "1",
		},
		"client disconnected": {
			context.Canceled, "en", 499,
			`{"code":10000017,"msg":"the client closed the connection","details":[],"errors":[]}`, "",
		},
		"body too large": {
			&http.MaxBytesError{Limit: 1}, "en", 413,
			`{"code":10000010,"msg":"request body too large","details":[],"errors":[]}`, "",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := record(c.language, func(ctx *gin.Context) { responses.Error(ctx, c.err) })
			require.Equal(t, c.status, got.Code)
			require.JSONEq(t, c.body, got.Body.String())
			require.Equal(t, c.retryAfter, got.Header().Get("Retry-After"))
		})
	}
}

func TestProblemDetails(t *testing.T) {
	long := "/" + strings.Repeat("x", 2000)
	for name, c := range map[string]struct{ path, accept, instance string }{
		"asked for":           {"/api/v1/tags/1", "application/problem+json", "/api/v1/tags/1"},
		"beside JSON":         {"/a%20b", "application/json, application/problem+json", "/a%20b"},
		"preferred":           {"/x", "application/json;q=0.5,application/problem+json;q=0.9, */*", "/x"},
		"upper case":          {"/x", "Application/Problem+JSON", "/x"},
		"not another host":    {"//evil.example/x", "application/problem+json", "/evil.example/x"},
		"no long instance":    {long, "application/problem+json", ""},
		"JSON preferred":      {"/x", "application/json, application/problem+json;q=0.9", "envelope"},
		"refused":             {"/x", "application/problem+json;q=0", "envelope"},
		"malformed weight":    {"/x", "application/problem+json;q=x", "envelope"},
		"anything":            {"/x", "*/*", "envelope"},
		"nothing":             {"/x", "", "envelope"},
		"other":               {"/x", "text/html,application/xml", "envelope"},
		"not a media type":    {"/x", ";;,,=", "envelope"},
		"another problem":     {"/x", "application/problem+xml", "envelope"},
		"in an unlikely list": {"/x", ",,application/problem+json,", "/x"},
	} {
		t.Run(name, func(t *testing.T) {
			text := errcode.Text{ZH: "太长", EN: "too long", ZHHantTW: "太長"}
			got := record("en", func(ctx *gin.Context) {
				ctx.Request.URL.Path, ctx.Request.URL.RawPath = strings.ReplaceAll(c.path, "%20", " "), c.path
				ctx.Request.Header.Set("Accept", c.accept)
				responses.Error(ctx, &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{
					errcode.Invalid("title", errcode.TooLong, text), errcode.Invalid("", errcode.Malformed, text),
				}})
			})
			require.Equal(t, 400, got.Code)
			require.Equal(t, []string{"Accept"}, got.Header().Values("Vary"))
			if c.instance == "envelope" {
				require.Equal(t, "application/json; charset=utf-8", got.Header().Get("Content-Type"))
				require.Contains(t, got.Body.String(), `"msg"`)
				return
			}
			require.Equal(t, "application/problem+json", got.Header().Get("Content-Type"))
			var details responses.ProblemDetails
			require.NoError(t, json.Unmarshal(got.Body.Bytes(), &details))
			require.Equal(t, responses.ProblemDetails{
				Type:  "https://github.com/achilles-blog/achilles/blob/main/docs/errors.md#10000001",
				Title: "invalid parameters", Status: 400, Detail: "too long; too long", Instance: c.instance, Code: 10000001,
				Errors: []responses.FieldError{{Field: "title", Code: "too_long", Message: "too long"}, {Code: "malformed", Message: "too long"}},
			}, details)
		})
	}
}

func TestErrorOr(t *testing.T) {
	got := record("en", func(c *gin.Context) { responses.ErrorOr(c, errors.New("x"), errcode.CreateTagFailed) })
	require.JSONEq(t, `{"code":20010002,"msg":"creating the tag failed","details":[],"errors":[]}`, got.Body.String())
}

func TestErrorIsLogged(t *testing.T) {
	var logged string
	record("en", func(c *gin.Context) {
		responses.Error(c, errors.New("the real reason"))
		logged = c.Errors.String()
	})
	require.Contains(t, logged, "the real reason")
}

func TestErrorAfterResponse(t *testing.T) {
	got := record("en", func(c *gin.Context) {
		responses.OK(c, 1, nil)
		responses.Error(c, errors.New("late"))
	})
	require.JSONEq(t, `{"code":0,"msg":"success","data":1}`, got.Body.String())
}

func TestSuccess(t *testing.T) {
	created := record("zh", func(c *gin.Context) {
		responses.Created(c, "/api/v1/tags/1", tag7, map[string]int{"id": 1}, false, nil)
	})
	require.Equal(t, 201, created.Code)
	require.Equal(t, "/api/v1/tags/1", created.Header().Get("Location"))
	require.JSONEq(t, `{"code":0,"msg":"成功","data":{"id":1}}`, created.Body.String())
	require.Empty(t, created.Header().Get("Idempotency-Replayed"))
	replayed := record("zh", func(c *gin.Context) { responses.Created(c, "/api/v1/tags/1", tag7, map[string]int{"id": 1}, true, nil) })
	require.Equal(t, "true", replayed.Header().Get("Idempotency-Replayed"))
	require.Equal(t, created.Body.String(), replayed.Body.String())

	empty := record("en", func(c *gin.Context) {
		responses.NewEncoder[int]().List(c, tag7, nil, responses.Pager{Page: 1, PageSize: 10, TotalRelation: responses.Exact}, nil)
	})
	require.JSONEq(t, `{"code":0,"msg":"success","list":[],"pager":{"page":1,"page_size":10,"total_rows":0,"total_relation":"eq"}}`, empty.Body.String())
}
