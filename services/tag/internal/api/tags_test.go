package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

func TestCreate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
			for _, c := range []struct {
				about, name, stored string
				state               any
				wantState           int
			}{
				{about: "enabled by default", name: "Go", wantState: 1},
				{about: "enabled", name: "Kubernetes", state: 1, wantState: 1},
				{about: "disabled", name: "已停用", state: 0, wantState: 0},
				{about: "one character", name: "C", wantState: 1},
				{about: "100 characters", name: strings.Repeat("x", 100), wantState: 1},
				{about: "100 emoji of 4 bytes each", name: strings.Repeat("🦄", 100), wantState: 1},
				{about: "emoji of several code points", name: "👩‍👩‍👧‍👦 家庭", wantState: 1},
				{about: "quoted in SQL, HTML and JSON", name: `'; DROP TABLE blog_tag; -- <b>&"\`, wantState: 1},
				{about: "surrounding white space is trimmed", name: " \t 前后空格 　\n", stored: "前后空格", wantState: 1},
				{about: "upper and lower case differ", name: "GO", wantState: 1},
				{about: "accents differ", name: "Gö", wantState: 1},
			} {
				t.Run(c.about, func(t *testing.T) {
					f := fields{"name": c.name}
					if c.state != nil {
						f["state"] = c.state
					}
					if c.stored == "" {
						c.stored = c.name
					}
					before := time.Now().UTC().Add(-time.Millisecond)
					request := encode(apitest.Case{Method: http.MethodPost, Path: tagsPath}, f)
					result := s.Do(t, request)
					require.Equal(t, http.StatusCreated, result.Status, "%s", result.Body)
					var response tagResponse
					result.JSON(t, &response)
					require.Equal(t, "成功", response.Msg)
					created := response.Data
					require.Equal(t, c.stored, created.Name)
					require.Equal(t, c.wantState, created.State)
					require.Equal(t, at(created.ID), result.Header.Get("Location"))
					require.Equal(t, created, s.get(t, created.ID), "the response is the stored tag")
					require.Equal(t, created.CreatedAt, created.UpdatedAt)
					require.WithinRange(t, created.CreatedAt, before, time.Now())
					require.Equal(t, time.UTC, created.CreatedAt.Location())
					require.Contains(t, string(result.Body), created.CreatedAt.Format("2006-01-02T15:04:05.000Z"))
					s.delete(t, created.ID)
				})
			}
		})
	})
}

func TestUpdate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		other := s.create(t, fields{"name": "other"})
		eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
			for _, state := range []int{0, 1} {
				t.Run(fmt.Sprintf("state %d", state), func(t *testing.T) {
					created := s.create(t, fields{"name": "before", "state": state})
					put := func(f fields) apitest.Case {
						return encode(apitest.Case{Method: http.MethodPut, Path: at(created.ID)}, f)
					}
					renamed := s.expectTag(t, http.StatusOK, put(fields{"name": " after "}))
					require.Equal(t, "after", renamed.Name)
					require.Equal(t, state, renamed.State, "a state that is not sent is unchanged")
					require.Equal(t, created.CreatedAt, renamed.CreatedAt)
					require.False(t, renamed.UpdatedAt.Before(created.UpdatedAt))
					require.Equal(t, renamed, s.get(t, created.ID))

					switched := s.expectTag(t, http.StatusOK, put(fields{"name": "after", "state": 1 - state}))
					require.Equal(t, 1-state, switched.State)
					require.Equal(t, switched, s.get(t, created.ID))

					require.Equal(t, renamed.State, s.expectTag(t, http.StatusOK, put(fields{"state": state})).State)
					switched = s.expectTag(t, http.StatusOK, put(fields{"state": 1 - state}))
					require.Equal(t, "after", switched.Name, "a name that is not sent is unchanged")

					again := s.expectTag(t, http.StatusOK, put(fields{"name": "after", "state": 1 - state}))
					require.Equal(t, switched.Name, again.Name, "a PUT that changes nothing succeeds")

					s.requireError(t, put(fields{"name": "other"}), errcode.TagNameExists, "name已被其他标签使用")
					require.Equal(t, "after", s.get(t, created.ID).Name)
					require.Equal(t, other, s.get(t, other.ID))
					s.delete(t, created.ID)
				})
			}
		})
	})
}

func TestUpdatedAt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		created := s.create(t, fields{"name": "a"})
		require.Eventually(t, func() bool { return time.Since(created.UpdatedAt) > 5*time.Millisecond }, patience, time.Millisecond)
		updated := s.expectTag(t, http.StatusOK, apitest.Case{Method: http.MethodPut, Path: at(created.ID), JSON: fields{"name": "b"}})
		require.True(t, updated.UpdatedAt.After(created.UpdatedAt))
		require.Equal(t, created.CreatedAt, updated.CreatedAt)
	})
}

func TestDelete(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		kept := s.create(t, fields{"name": "kept"})
		for _, contentType := range []string{"", "application/json", "application/x-www-form-urlencoded", "text/plain"} {
			created := s.create(t, fields{"name": "deleted"})
			request := apitest.Case{Method: http.MethodDelete, Path: at(created.ID), ContentType: contentType}
			result := s.Do(t, request)
			require.Equal(t, http.StatusOK, result.Status, "with the content type %q: %s", contentType, result.Body)
			require.JSONEq(t, `{"code":0,"msg":"成功","data":{}}`, string(result.Body))

			s.requireError(t, request, errcode.TagNotFound)
			s.requireError(t, apitest.Case{Path: at(created.ID)}, errcode.TagNotFound)
			s.requireError(t, apitest.Case{Method: http.MethodPut, Path: at(created.ID), JSON: fields{"name": "x"}}, errcode.TagNotFound)
		}
		require.Equal(t, []string{"kept"}, names(s.list(t, "").List))
		require.Equal(t, kept, s.get(t, kept.ID))
	})
}

func TestNameOfDeletedTagIsFree(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		last := uint64(0)
		for range 5 {
			created := s.create(t, fields{"name": "phoenix"})
			require.Greater(t, created.ID, last, "an id is never reused")
			last = created.ID
			s.requireError(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "phoenix"}}, errcode.TagNameExists, "name已被其他标签使用")
			// Names are compared after their white space is trimmed.
			s.requireError(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": " phoenix "}}, errcode.TagNameExists, "name已被其他标签使用")
			require.Equal(t, []string{"phoenix"}, names(s.list(t, "name=phoenix").List))
			s.delete(t, created.ID)
			require.Empty(t, s.list(t, "name=phoenix").List)
		}
		// The old name of a renamed tag is free, too.
		renamed := s.create(t, fields{"name": "phoenix"})
		s.expectTag(t, http.StatusOK, apitest.Case{Method: http.MethodPut, Path: at(renamed.ID), JSON: fields{"name": "ash"}})
		s.create(t, fields{"name": "phoenix"})
	})
}

func TestConcurrentCreatesOfOneName(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		const clients = 32
		statuses := concurrently(clients, func(int) int {
			return s.Do(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "contended"}}).Status
		})
		require.Equal(t, map[int]int{http.StatusCreated: 1, http.StatusConflict: clients - 1}, count(statuses))
		require.Equal(t, []string{"contended"}, names(s.list(t, "").List))
	})
}

func TestConcurrentDeletesOfOneTag(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		created := s.create(t, fields{"name": "contended"})
		const clients = 16
		statuses := concurrently(clients, func(int) int {
			return s.Do(t, apitest.Case{Method: http.MethodDelete, Path: at(created.ID)}).Status
		})
		require.Equal(t, map[int]int{http.StatusOK: 1, http.StatusNotFound: clients - 1}, count(statuses))
	})
}

// concurrently runs n calls at the same time and returns their results.
func concurrently(n int, call func(i int) int) []int {
	results := make([]int, n)
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			results[i] = call(i)
		})
	}
	done.Wait()
	return results
}

// count returns the number of responses by status.
func count(statuses []int) map[int]int {
	counted := map[int]int{}
	for _, status := range statuses {
		counted[status]++
	}
	return counted
}

// An id in the query or the body is ignored.
func TestIDIsReadFromPathOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		first, second := s.create(t, fields{"name": "first"}), s.create(t, fields{"name": "second"})
		eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
			request := encode(apitest.Case{
				Method: http.MethodPut, Path: at(first.ID) + fmt.Sprintf("?id=%d", second.ID), Invalid: true,
			}, fields{"name": "changed", "id": int(second.ID), "created_at": "2001-01-01T00:00:00Z", "is_deleted": 1})
			changed := s.expectTag(t, http.StatusOK, request)
			require.Equal(t, first.ID, changed.ID)
			require.Equal(t, "changed", changed.Name)
			require.Equal(t, first.CreatedAt, changed.CreatedAt)
			require.Equal(t, second, s.get(t, second.ID))
		})
		created := s.expectTag(t, http.StatusCreated, apitest.Case{
			Method: http.MethodPost, Path: tagsPath + "?id=7&state=0", Invalid: true, JSON: fields{"name": "new", "id": 1000},
		})
		require.Equal(t, 1, created.State, "the query is ignored")
		require.NotEqual(t, uint64(1000), created.ID)

		result := s.Do(t, apitest.Case{Method: http.MethodDelete, Path: at(created.ID) + fmt.Sprintf("?id=%d", second.ID), Invalid: true})
		require.Equal(t, http.StatusOK, result.Status)
		require.Equal(t, second, s.get(t, second.ID))
	})
}

func TestIDs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		for _, name := range []string{"one", "two", "three"} {
			s.create(t, fields{"name": name})
		}
		const invalid = "id 必须是正整数: "
		for id, detail := range map[string]string{
			"4":                     "",
			"4294967298":            "", // 2 in 32 bits
			"18446744073709551618":  "", // 2 in 64 bits
			"9223372036854775807":   "",
			"9223372036854775808":   "",
			"18446744073709551615":  "",
			strings.Repeat("9", 99): "",
			"0":                     invalid + `"0"`,
			"-2":                    invalid + `"-2"`,
			"+2":                    invalid + `"+2"`,
			"02":                    invalid + `"02"`,
			"2.0":                   invalid + `"2.0"`,
			"2e0":                   invalid + `"2e0"`,
			"0x2":                   invalid + `"0x2"`,
			"2%20":                  invalid + `"2 "`,
			"2%20OR%201=1":          invalid + `"2 OR 1=1"`,
			"%D9%A2":                invalid + `"٢"`, // an Arabic digit
			"abc":                   invalid + `"abc"`,
			"标签":                    invalid + `"标签"`,
			"null":                  invalid + `"null"`,
		} {
			t.Run(id, func(t *testing.T) {
				code, details := errcode.TagNotFound, []string(nil)
				if detail != "" {
					code, details = errcode.InvalidParams, []string{detail}
				}
				for _, request := range []apitest.Case{
					{Method: http.MethodGet},
					{Method: http.MethodPut, JSON: fields{"name": "x"}},
					{Method: http.MethodPatch, JSON: fields{"name": "x"}},
					{Method: http.MethodDelete},
				} {
					request.Path, request.Invalid = tagsPath+"/"+id, true
					s.requireError(t, request, code, details...)
				}
			})
		}
		require.Equal(t, []string{"one", "two", "three"}, names(s.list(t, "").List))
	})
}
