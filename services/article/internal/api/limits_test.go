package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
)

// TestTooManyRequests requires the documented 429 in every language.
func TestTooManyRequests(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		one := ratelimit.Config{
			Enabled: true, ReadPerSecond: 1, ReadBurst: 1, SearchPerSecond: 1, SearchBurst: 1, WritePerSecond: 1, WriteBurst: 1, AuthPerMinute: 60, AuthBurst: 1,
		}
		articles := start(t, cfg, func(o *options) { o.limits = one })
		for language, details := range map[string][2]string{
			"zh":         {"写入请求过多, 请在 1 秒后重试", "读取请求过多, 请在 1 秒后重试"},
			"en":         {"too many writes, try again in 1 s", "too many reads, try again in 1 s"},
			"zh_Hant_TW": {"寫入請求過多, 請在 1 秒後重試", "讀取請求過多, 請在 1 秒後重試"},
		} {
			requireTooManyRequests(t, articles.Client, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "a"}}, language, details[0])
			requireTooManyRequests(t, articles.Client, apitest.Case{Path: articlesPath}, language, details[1])
		}
	})
}

// requireTooManyRequests repeats a request until the response is a 429: on a slow
// machine, more than one request may succeed.
func requireTooManyRequests(t *testing.T, client *apitest.Client, c apitest.Case, language, details string) {
	t.Helper()
	c.Header = in(language)
	var limited *apitest.Result
	for range 100 {
		if limited = client.Do(t, c); limited.Status == http.StatusTooManyRequests {
			break
		}
	}
	apitest.RequireProblem(t, limited, errcode.TooManyRequests, errcode.TooManyRequests.Message(language), details)
	require.Equal(t, "1", limited.Header.Get("Retry-After"))
	require.Regexp(t, `^"(read|write)";r=0;t=1$`, limited.Header.Get("RateLimit"))
}

// Searches, lists with content and lists that scan have a limit of their own, beside that of reads.
func TestSearchesAreLimited(t *testing.T) {
	limits := unlimited()
	limits.SearchPerSecond, limits.SearchBurst = 1, 1
	s := start(t, dbtest.SQLite(t), func(o *options) { o.limits = limits })
	for _, query := range []string{"?title=a", "?q=a", "?include=content", "?fields=content", "?tag_id=1,2", "?tag_id=1&order_by=title", "?created_from=2026-01-02", "?order_by=title&page=200", "/tags"} {
		c := apitest.Case{Path: articlesPath + query, Header: in("en")}
		var limited *apitest.Result
		for range 100 { // on a slow machine, more than one request may succeed
			if limited = s.Do(t, c); limited.Status == http.StatusTooManyRequests {
				break
			}
		}
		apitest.RequireProblem(t, limited, errcode.TooManyRequests, errcode.TooManyRequests.Message("en"), "too many searches or lists with content, try again in 1 s")
		require.Equal(t, `"search";r=0;t=1`, limited.Header.Get("RateLimit"))
		require.Equal(t, `"search";q=1;w=1`, limited.Header.Get("RateLimit-Policy"))
		require.Contains(t, s.Do(t, apitest.Case{Path: articlesPath + "?state=1"}).Header.Get("RateLimit"), `"read";r=`)
		for _, query := range []string{"?order_by=title", "?order_by=title&state=1&page=200", "?tag_id=1", "?tag=a&state=1", "?created_from=2026-01-02&order_by=created_at", "/tags?order_by=name"} {
			require.Contains(t, s.Do(t, apitest.Case{Path: articlesPath + query}).Header.Get("RateLimit"), `"read";r=`, query)
		}
	}
}

// The pages of Swagger UI are limited like reads.
func TestSwaggerIsLimited(t *testing.T) {
	limits := unlimited()
	limits.ReadPerSecond, limits.ReadBurst = 1, 1
	s := start(t, dbtest.SQLite(t), func(o *options) { o.limits = limits })
	for _, path := range []string{"/swagger", "/swagger/article/", "/swagger/article/swagger-ui-bundle.js", "/swagger/article/openapi.json"} {
		limited := false
		for range 100 { // on a slow machine, more than one request may succeed
			if limited = s.Do(t, apitest.Case{Path: path, Undescribed: true}).Status == http.StatusTooManyRequests; limited {
				break
			}
		}
		require.True(t, limited, path)
	}
}
