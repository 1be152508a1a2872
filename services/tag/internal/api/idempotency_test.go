package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

func withKey(key, language string) http.Header {
	return http.Header{"Idempotency-Key": {key}, "Locale": {language}}
}

func (s *service) post(t *testing.T, header http.Header, f fields) *apitest.Result {
	t.Helper()
	return s.Do(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: f, Header: header})
}

// A repeated request gets the tag as it was created, in the language of the
// repeat. The encoding of the body may differ.
func TestRepeatReturnsCreatedTag(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		first := s.post(t, withKey("k", "en"), fields{"name": "a"})
		require.Equal(t, http.StatusCreated, first.Status, "%s", first.Body)
		require.Empty(t, first.Header.Get("Idempotency-Replayed"))
		eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
			c := apitest.Case{Method: http.MethodPost, Path: tagsPath, Header: withKey("k", "zh")}
			again := s.Do(t, encode(c, fields{"name": "a"}))
			require.Equal(t, http.StatusCreated, again.Status, "%s", again.Body)
			require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
			require.Equal(t, strings.Replace(string(first.Body), `"msg":"success"`, `"msg":"成功"`, 1), string(again.Body))
			require.Equal(t, strings.Replace(first.Header.Get("ETag"), ".en", ".zh", 1), again.Header.Get("ETag"))
			for _, name := range []string{"Location", "Content-Type"} {
				require.NotEmpty(t, first.Header.Get(name))
				require.Equal(t, first.Header.Get(name), again.Header.Get(name))
			}
		})
		require.Equal(t, []string{"a"}, names(s.list(t, "").List))
		s.delete(t, 1)
		require.Equal(t, http.StatusCreated, s.post(t, withKey("k", "en"), fields{"name": "a"}).Status)
		require.Empty(t, s.list(t, "").List, "the deleted tag is not created again")
	})
}

func TestReusedKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		s.post(t, withKey("k", "en"), fields{"name": "a"})
		for language, detail := range map[string]string{
			"zh":         "请原样重发第一个请求, 或为新的请求使用新的 Idempotency-Key",
			"en":         "repeat the first request unchanged, or use a new Idempotency-Key",
			"zh_Hant_TW": "請原樣重送第一個請求, 或為新的請求使用新的 Idempotency-Key",
		} {
			for _, other := range []fields{{"name": "b"}, {"name": "a", "state": 0}} {
				result := s.post(t, withKey("k", language), other)
				requireProblem(t, result, errcode.KeyReused, errcode.KeyReused.Message(language), []string{detail})
			}
		}
		require.Equal(t, []string{"a"}, names(s.list(t, "").List))
		require.Equal(t, http.StatusCreated, s.post(t, withKey("K", "en"), fields{"name": "b"}).Status, "keys differ by case")
	})
}

func TestInvalidKeys(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	const detail = "Idempotency-Key 只能出现一次, 且必须是 1 到 255 个可打印的 ASCII 字符, 例如 UUID"
	for _, keys := range [][]string{{""}, {strings.Repeat("k", 256)}, {"钥匙"}, {"a\tb"}, {"a", "a"}, {"a", "b"}} {
		c := apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "a"}, Invalid: true, Header: http.Header{"Idempotency-Key": keys}}
		s.requireError(t, c, errcode.InvalidParams, detail)
	}
	require.Empty(t, s.list(t, "").List)
	require.Equal(t, http.StatusCreated, s.post(t, withKey(strings.Repeat("k", 255), "en"), fields{"name": "a"}).Status)
}

// After an error, the key can be used again.
func TestErrorsAreNotStored(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		taken := s.create(t, fields{"name": "a"})
		require.Equal(t, errcode.TagNameExists, codeOf(t, s.post(t, withKey("k", "en"), fields{"name": "a"})))
		require.Equal(t, http.StatusBadRequest, s.Do(t, apitest.Case{
			Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": ""}, Header: withKey("k", "en"), Invalid: true,
		}).Status)
		s.delete(t, taken.ID)
		result := s.post(t, withKey("k", "en"), fields{"name": "a"})
		require.Equal(t, http.StatusCreated, result.Status)
		require.Empty(t, result.Header.Get("Idempotency-Replayed"))
	})
}

// Of concurrent requests with one key, one creates a tag. The others get this tag,
// or a 409 with Retry-After.
func TestConcurrentRepeats(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		for round := range 10 {
			key, name := fmt.Sprintf("key %d", round), fmt.Sprintf("tag %d", round)
			results := make([]*apitest.Result, 12)
			var all sync.WaitGroup
			for i := range results {
				all.Go(func() { results[i] = s.post(t, withKey(key, "en"), fields{"name": name}) })
			}
			all.Wait()
			bodies, firsts := map[string]bool{}, 0
			for _, result := range results {
				if result.Status == http.StatusConflict {
					require.Equal(t, errcode.RequestInProgress, codeOf(t, result))
					require.NotEmpty(t, result.Header.Get("Retry-After"))
					continue
				}
				require.Equal(t, http.StatusCreated, result.Status, "%s", result.Body)
				bodies[string(result.Body)] = true
				if result.Header.Get("Idempotency-Replayed") == "" {
					firsts++
				}
			}
			require.Len(t, bodies, 1)
			require.Equal(t, 1, firsts)
		}
		require.EqualValues(t, 10, s.list(t, "").Pager.TotalRows)
	})
}
