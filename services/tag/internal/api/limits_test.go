package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// TestTooManyRequests requires the documented 429 in every language.
func TestTooManyRequests(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg, func(o *options) {
			o.config.Limits.ReadPerSecond, o.config.Limits.ReadBurst = 1, 1
			o.config.Limits.WritePerSecond, o.config.Limits.WriteBurst = 1, 1
		})
		s.create(t, fields{"name": "a"})
		for language, details := range map[string][2]string{
			"zh": {"写入请求过多, 请在 1 秒后重试", "读取请求过多, 请在 1 秒后重试"}, "en": {"too many writes, try again in 1 s", "too many reads, try again in 1 s"},
			"zh_Hant_TW": {"寫入請求過多, 請在 1 秒後重試", "讀取請求過多, 請在 1 秒後重試"},
		} {
			for i, one := range []apitest.Case{{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": language}}, {Path: tagsPath}} {
				one.Header = in(language)
				var limited *apitest.Result
				for range 100 { // on a slow machine, more than one request may succeed
					if limited = s.Do(t, one); limited.Status == http.StatusTooManyRequests {
						break
					}
				}
				requireProblem(t, limited, errcode.TooManyRequests, errcode.TooManyRequests.Message(language), []string{details[i]})
				require.Equal(t, "1", limited.Header.Get("Retry-After"))
				require.Regexp(t, `^"(read|write)";r=0;t=1$`, limited.Header.Get("RateLimit"))
			}
		}
	})
}

// Lists with a prefix have a lower limit of their own.
func TestPrefixesAreLimited(t *testing.T) {
	s := start(t, dbtest.SQLite(t), func(o *options) { o.config.Limits.SearchPerSecond, o.config.Limits.SearchBurst = 1, 1 })
	var limited *apitest.Result
	for range 100 { // on a slow machine, more than one request may succeed
		if limited = s.Do(t, apitest.Case{Path: tagsPath + "?prefix=a"}); limited.Status == http.StatusTooManyRequests {
			break
		}
	}
	require.Equal(t, http.StatusTooManyRequests, limited.Status)
	require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Path: tagsPath}).Status)
}

// The pages of Swagger UI are limited like reads.
func TestSwaggerIsLimited(t *testing.T) {
	s := start(t, dbtest.SQLite(t), func(o *options) { o.config.Limits.ReadPerSecond, o.config.Limits.ReadBurst = 1, 1 })
	for _, path := range []string{"/swagger", "/swagger/tag/", "/swagger/tag/swagger-ui-bundle.js", "/swagger/tag/openapi.json"} {
		limited := false
		for range 100 { // on a slow machine, more than one request may succeed
			if limited = s.Do(t, apitest.Case{Path: path, Undescribed: true}).Status == http.StatusTooManyRequests; limited {
				break
			}
		}
		require.True(t, limited, path)
	}
}
