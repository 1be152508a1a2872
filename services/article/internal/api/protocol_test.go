package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zapcore"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

func TestUnknownRoutes(t *testing.T) {
	s := embedded(t)
	s.create(t, fields{"title": "one"})
	for _, target := range []string{
		"GET /", "GET /api", "GET /api/v1", "GET /api/v1/tags", "GET /api/v2/articles", "GET /api/v1/articles/", "POST /api/v1/articles/",
		"GET /api/v1/articles/1/", "DELETE /api/v1/articles/1/", "PATCH /api/v1/articles/1/state/", "PATCH /api/v1/articles/1/title",
		"GET /api/v1//articles", "GET /api/v1/Articles", "GET /internal/v1/tag-changes", "GET /metrics", "GET /debug/pprof/",
		"GET /api/v1/../../etc/passwd",
	} {
		for language, message := range map[string]string{"zh": "找不到", "en": "not found", "zh_Hant_TW": "找不到"} {
			t.Run(target+" "+language, func(t *testing.T) {
				method, path, _ := strings.Cut(target, " ")
				apitest.RequireProblem(t, s.Do(t, apitest.Case{Method: method, Path: path, Header: in(language), Undescribed: true}), errcode.NotFound, message)
			})
		}
	}
	require.Equal(t, []string{"one"}, titles(s.list(t, "").List))
}

func TestWrongMethods(t *testing.T) {
	s := embedded(t)
	one := s.create(t, fields{"title": "one"})
	for path, allowed := range map[string][]string{
		articlesPath: {"GET", "HEAD", "POST"}, at(one.ID): {"GET", "HEAD", "PUT", "PATCH", "DELETE"}, stateOf(one.ID): {"PATCH"},
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"} {
			if slices.Contains(allowed, method) {
				continue
			}
			t.Run(method+" "+path, func(t *testing.T) {
				for language, message := range map[string]string{"zh": "不允许的请求方法", "en": "method not allowed", "zh_Hant_TW": "不允許的請求方法"} {
					result := s.Do(t, apitest.Case{Method: method, Path: path, Undescribed: true, Header: in(language)})
					require.ElementsMatch(t, allowed, strings.Split(result.Header.Get("Allow"), ", "))
					apitest.RequireProblem(t, result, errcode.MethodNotAllowed, message)
				}
			})
		}
	}
	require.Equal(t, one, s.get(t, one.ID))
}

func TestLanguages(t *testing.T) {
	s := embedded(t)
	for name, c := range map[string]struct {
		header http.Header
		want   string
	}{
		"none":                  {nil, "文章不存在"},
		"zh":                    {in("zh"), "文章不存在"},
		"en":                    {in("en"), "no such article"},
		"zh_Hant_TW":            {in("zh_Hant_TW"), "文章不存在"},
		"unknown":               {in("fr"), "文章不存在"},
		"Accept-Language":       {http.Header{"Accept-Language": {"fr;q=1, en-GB;q=0.9, zh;q=0.1"}}, "no such article"},
		"locale has precedence": {http.Header{"Locale": {"zh"}, "Accept-Language": {"en"}}, "文章不存在"},
		"an unknown locale":     {http.Header{"Locale": {"fr"}, "Accept-Language": {"en"}}, "no such article"},
		"invalid":               {http.Header{"Accept-Language": {";;;==,q="}}, "文章不存在"},
	} {
		t.Run(name, func(t *testing.T) {
			apitest.RequireProblem(t, s.Do(t, apitest.Case{Path: at(99), Header: c.header, Invalid: true}), errcode.ArticleNotFound, c.want)
		})
	}
	for language, want := range map[string]string{"zh": "成功", "en": "success", "zh_Hant_TW": "成功"} {
		var response articleResponse
		s.Do(t, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "a"}, Header: in(language)}).JSON(t, &response)
		require.Equal(t, want, response.Msg)
		var list listResponse
		s.Do(t, apitest.Case{Path: articlesPath, Header: in(language)}).JSON(t, &list)
		require.Equal(t, want, list.Msg)
	}
}

func TestRequestID(t *testing.T) {
	s := embedded(t)
	result := s.Do(t, apitest.Case{Path: at(99), Header: http.Header{"X-Request-Id": {"from-the-client.1"}}})
	require.Equal(t, "from-the-client.1", result.Header.Get("X-Request-Id"))
	require.NotEmpty(t, s.Do(t, apitest.Case{Path: at(99)}).Header.Get("X-Request-Id"))
}

// The log has one line per request, without any value that the client sent.
func TestLogHasNoSecrets(t *testing.T) {
	s := embedded(t)
	created := s.create(t, fields{"title": "hush-title", "desc": "hush-desc", "content": "hush-content", "cover_image_url": "https://hush-cover"})
	s.put(t, created.ID, fields{"title": "hush-title"})
	s.list(t, "title=hush-query")
	s.Do(t, apitest.Case{Path: at(created.ID), Invalid: true, Header: http.Header{"Authorization": {"Bearer hush-token"}, "Cookie": {"a=hush-cookie"}}})
	s.Do(t, apitest.Case{Path: articlesPath + "/hush-id", Invalid: true})
	s.Do(t, apitest.Case{Method: http.MethodPost, Path: articlesPath, Body: []byte(`{"title":"hush`), ContentType: asJSON, Invalid: true})
	require.Eventually(t, func() bool { return s.logs.FilterMessage("request").Len() == 6 }, patience, 1)
	for _, line := range s.logs.All() {
		text, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "m"}).EncodeEntry(line.Entry, line.Context)
		require.NoError(t, err)
		require.NotContains(t, text.String(), "hush")
	}
}

func TestProblemDetails(t *testing.T) {
	s := embedded(t)
	apitest.RequireProblemDetails(t, s.Client, s.anonymous, articlesPath)
}

func TestProblemDetailsOfFailures(t *testing.T) {
	s := embedded(t)
	limited := func(o *options) { o.limits.ReadPerSecond, o.limits.ReadBurst = 1, 1 }
	late := func(o *options) { o.server.RequestTimeout = time.Nanosecond }
	apitest.RequireFailureProblems(t, articlesPath, map[int]*apitest.Client{
		429: serve(t, s.db, limited).Client, 500: serve(t, dbtest.Open(t, dbtest.SQLite(t))).Client,
		503: serve(t, s.db.WithTimeout(time.Nanosecond)).Client, 504: serve(t, s.db, late).Client,
	})
}

func TestHeadWhereverGet(t *testing.T) { apitest.RequireHeads(t, embedded(t).handler) }
