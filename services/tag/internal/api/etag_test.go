package api_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// etag returns the current ETag of the tag.
func (s *service) etag(t *testing.T, id uint64) string {
	t.Helper()
	result := s.Do(t, apitest.Case{Path: at(id)})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	return result.Header.Get("ETag")
}

func ifMatch(tag string) http.Header { return http.Header{"If-Match": {tag}} }

func ifNoneMatch(tag string) http.Header { return http.Header{"If-None-Match": {tag}} }

func (s *service) rename(t *testing.T, id uint64, name string, header http.Header) *apitest.Result {
	t.Helper()
	return s.Do(t, apitest.Case{Method: http.MethodPut, Path: at(id), JSON: fields{"name": name}, Header: header})
}

func TestETagIdentifiesResponse(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		made := s.Do(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "a"}})
		var created tagResponse
		made.JSON(t, &created)
		id, first := created.Data.ID, made.Header.Get("ETag")
		require.Regexp(t, `^"[A-Za-z0-9_.-]{10,}"$`, first)
		require.Equal(t, first, s.etag(t, id), "GET has the ETag of the POST")
		require.Equal(t, first, s.etag(t, id), "the ETag is unchanged")

		changed := s.rename(t, id, "b", nil).Header.Get("ETag")
		require.NotEqual(t, first, changed)
		require.Equal(t, changed, s.etag(t, id))

		other := s.create(t, fields{"name": "c"})
		require.NotEqual(t, changed, s.etag(t, other.ID))
		english := s.Do(t, apitest.Case{Path: at(id), Header: in("en")}).Header.Get("ETag")
		require.NotEqual(t, changed, english, "the message is in another language")
	})
}

func TestNotModified(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		id := s.create(t, fields{"name": "a"}).ID
		for _, path := range []string{at(id), tagsPath, tagsPath + "?name=a"} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				tag := s.Do(t, apitest.Case{Method: method, Path: path}).Header.Get("ETag")
				require.NotEmpty(t, tag, "%s %s", method, path)
				for _, header := range []http.Header{
					ifNoneMatch(tag), ifNoneMatch("*"), ifNoneMatch(`"other", ` + tag), ifNoneMatch("W/" + strings.TrimPrefix(tag, "W/")),
					{"If-None-Match": {`"other"`, tag}},
				} {
					result := s.Do(t, apitest.Case{Method: method, Path: path, Header: header})
					require.Equal(t, http.StatusNotModified, result.Status, "%s %s %v", method, path, header)
					require.Empty(t, result.Body)
					require.Equal(t, tag, result.Header.Get("ETag"))
					require.Equal(t, "private, no-cache", result.Header.Get("Cache-Control"))
				}
				for _, header := range []http.Header{
					ifNoneMatch(`"other"`), ifNoneMatch(""), ifNoneMatch(","), ifNoneMatch(strings.Trim(tag, `W/"`)), ifNoneMatch(strings.ToUpper(tag)),
				} {
					result := s.Do(t, apitest.Case{Method: method, Path: path, Header: header})
					require.Equal(t, http.StatusOK, result.Status, "%s %s %v", method, path, header)
				}
			}
		}
		old := s.Do(t, apitest.Case{Path: tagsPath}).Header.Get("ETag")
		require.True(t, strings.HasPrefix(old, `W/"`), old)
		s.rename(t, id, "b", nil)
		require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Path: tagsPath, Header: ifNoneMatch(old)}).Status)
	})
}

func TestHeadIsGetWithoutTheBody(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	id := s.create(t, fields{"name": "a"}).ID
	for _, path := range []string{at(id), tagsPath, at(99), tagsPath + "/x"} {
		get := s.Do(t, apitest.Case{Path: path, Invalid: true})
		head := s.Do(t, apitest.Case{Method: http.MethodHead, Path: path, Invalid: true})
		require.Equal(t, get.Status, head.Status)
		require.Empty(t, head.Body)
		if length := head.Header.Get("Content-Length"); length != "" { // it may be omitted
			require.Equal(t, strconv.Itoa(len(get.Body)), length)
		}
		for _, name := range []string{"ETag", "Cache-Control", "Content-Type", "Vary"} {
			require.Equal(t, get.Header.Values(name), head.Header.Values(name), name)
		}
	}
}

func TestIfMatch(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		id := s.create(t, fields{"name": "a"}).ID
		old := s.etag(t, id)
		require.Equal(t, http.StatusOK, s.rename(t, id, "b", ifMatch(old)).Status)
		now := s.etag(t, id)

		for _, stale := range []string{old, `"other"`} {
			for language, detail := range map[string]string{
				"zh":         "对象已被修改 (If-Match 与当前 ETag 不符), 请用同一个 Token 重新获取后再试",
				"en":         "the object has changed since (If-Match does not match its current ETag); read it again with the token that you write with",
				"zh_Hant_TW": "物件已被修改 (If-Match 與目前 ETag 不符), 請用同一個 Token 重新取得後再試",
			} {
				header := ifMatch(stale)
				header.Set("Locale", language)
				requireProblem(t, s.rename(t, id, "c", header), errcode.PreconditionFailed, errcode.PreconditionFailed.Message(language), []string{detail})
				deletion := s.Do(t, apitest.Case{Method: http.MethodDelete, Path: at(id), Header: header})
				requireProblem(t, deletion, errcode.PreconditionFailed, errcode.PreconditionFailed.Message(language), []string{detail})
			}
		}
		for _, method := range []string{http.MethodPut, http.MethodDelete} {
			one := apitest.Case{Method: method, Path: at(id), Header: http.Header{"If-None-Match": {s.etag(t, id)}}}
			if method == http.MethodPut {
				one.JSON = fields{"name": "c"}
			}
			s.requireError(t, one, errcode.PreconditionFailed, "If-None-Match 与该对象相符, 因此不作更改")
		}
		require.Equal(t, "b", s.get(t, id).Name)
		require.Equal(t, errcode.TagNotFound, codeOf(t, s.rename(t, 99, "x", ifMatch(now))))

		english := s.Do(t, apitest.Case{Path: at(id), Header: in("en")}).Header.Get("ETag")
		require.Equal(t, http.StatusOK, s.rename(t, id, "d", ifMatch(english)).Status, "an ETag of another language matches")
		require.Equal(t, http.StatusOK, s.rename(t, id, "e", ifMatch("*")).Status)
		require.Equal(t, http.StatusOK, s.rename(t, id, "f", ifMatch(`"other", `+s.etag(t, id))).Status)
		last := apitest.Case{Method: http.MethodDelete, Path: at(id), Header: ifMatch(s.etag(t, id))}
		require.Equal(t, http.StatusOK, s.Do(t, last).Status)
	})
}

// If several clients change the revision they have read, one succeeds and the
// others get 412.
func TestNoLostUpdates(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		id := s.create(t, fields{"name": "0"}).ID
		const writers, rounds = 6, 10
		succeeded := 0
		for round := range rounds {
			tag := s.etag(t, id)
			results := make([]int, writers)
			var all sync.WaitGroup
			for w := range writers {
				all.Go(func() { results[w] = s.rename(t, id, fmt.Sprintf("%d by %d", round, w), ifMatch(tag)).Status })
			}
			all.Wait()
			name := s.get(t, id).Name
			for w, status := range results {
				if status == http.StatusOK {
					succeeded++
					require.Equal(t, fmt.Sprintf("%d by %d", round, w), name)
					continue
				}
				require.Equal(t, http.StatusPreconditionFailed, status)
			}
		}
		require.Equal(t, rounds, succeeded)
	})
}
