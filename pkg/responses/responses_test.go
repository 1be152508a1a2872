package responses_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
	c.Request = request.WithContext(locale.NewContext(request.Context(), language))
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
			`{"code":10000001,"msg":"invalid parameters","details":["too long"]}`, "",
		},
		"coded, wrapped": {
			fmt.Errorf("outer: %w", errcode.New(errcode.TagNotFound)), "zh_Hant_TW", 404,
			`{"code":20010007,"msg":"標籤不存在","details":[]}`, "",
		},
		"retry after is rounded up": {
			&errcode.Error{Code: errcode.Unavailable, RetryAfter: 1200 * time.Millisecond}, "en", 503,
			`{"code":10000014,"msg":"temporarily unavailable, try again later","details":[]}`, "2",
		},
		"unknown errors are hidden": {
			errors.New("password=hunter2"), "zh", 500,
			`{"code":10000000,"msg":"服务内部错误","details":[]}`, "",
		},
		"deadline": {
			fmt.Errorf("query: %w", context.DeadlineExceeded), "en", 504,
			`{"code":10000015,"msg":"the request took too long to process","details":[]}`, "1",
		},
		"client disconnected": {
			context.Canceled, "en", 499,
			`{"code":10000017,"msg":"the client closed the connection","details":[]}`, "",
		},
		"body too large": {
			&http.MaxBytesError{Limit: 1}, "en", 413,
			`{"code":10000010,"msg":"request body too large","details":[]}`, "",
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

func TestErrorOr(t *testing.T) {
	got := record("en", func(c *gin.Context) { responses.ErrorOr(c, errors.New("x"), errcode.CreateTagFailed) })
	require.JSONEq(t, `{"code":20010002,"msg":"creating the tag failed","details":[]}`, got.Body.String())
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
		responses.OK(c, 1)
		responses.Error(c, errors.New("late"))
	})
	require.JSONEq(t, `{"code":0,"msg":"success","data":1}`, got.Body.String())
}

func TestSuccess(t *testing.T) {
	created := record("zh", func(c *gin.Context) {
		responses.Created(c, "/api/v1/tags/1", tag7, map[string]int{"id": 1}, false)
	})
	require.Equal(t, 201, created.Code)
	require.Equal(t, "/api/v1/tags/1", created.Header().Get("Location"))
	require.JSONEq(t, `{"code":0,"msg":"成功","data":{"id":1}}`, created.Body.String())
	require.Empty(t, created.Header().Get("Idempotency-Replayed"))
	replayed := record("zh", func(c *gin.Context) { responses.Created(c, "/api/v1/tags/1", tag7, map[string]int{"id": 1}, true) })
	require.Equal(t, "true", replayed.Header().Get("Idempotency-Replayed"))
	require.Equal(t, created.Body.String(), replayed.Body.String())

	empty := record("en", func(c *gin.Context) { responses.List[int](c, nil, responses.Pager{Page: 1, PageSize: 10}) })
	require.JSONEq(t, `{"code":0,"msg":"success","list":[],"pager":{"page":1,"page_size":10,"total_rows":0}}`, empty.Body.String())
}
