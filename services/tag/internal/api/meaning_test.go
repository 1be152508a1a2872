package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// A change without a new value changes nothing, not even the time and the ETag, and
// the feed has no change. So a tag that was read can be written back.
func TestUpdateWithoutChange(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		was := s.create(t, fields{"name": "e\u0301", "state": 0})
		read := s.Do(t, apitest.Case{Path: at(was.ID)})
		var body struct{ Data fields }
		read.JSON(t, &body)
		require.Equal(t, "\u00e9", body.Data["name"], "in the normalization form C")
		require.Eventually(t, func() bool { return time.Since(was.UpdatedAt) > 5*time.Millisecond }, patience, time.Millisecond)
		other := s.anonymous.With(apitest.Token(t, s.keySet, "other", auth.ScopeWrite))
		for _, same := range []fields{body.Data, {}, {"state": 0}, {"name": "\u00e9"}, {"name": " e\u0301 ", "state": 0}} {
			result := other.Do(t, apitest.Case{Method: http.MethodPut, Path: at(was.ID), JSON: same, Invalid: true})
			require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
			require.Equal(t, read.Header.Get("ETag"), result.Header.Get("ETag"))
			require.Empty(t, result.Header.Get("X-Ignored-Fields"))
		}
		require.Equal(t, was, s.get(t, was.ID))
		changes, err := s.store.Changes(t.Context(), 0, 10)
		require.NoError(t, err)
		require.Len(t, changes.Changes, 1)
		stale := apitest.Case{Method: http.MethodPut, Path: at(was.ID), JSON: fields{"name": "\u00e9"}, Header: http.Header{"If-Match": {`"9.x.en"`}}}
		require.Equal(t, http.StatusPreconditionFailed, other.Do(t, stale).Status)

		other.Do(t, apitest.Case{Method: http.MethodPut, Path: at(was.ID), JSON: fields{"name": "\u00e9", "state": 1}})
		require.NotEqual(t, was.UpdatedAt, s.get(t, was.ID).UpdatedAt)
		changes, err = s.store.Changes(t.Context(), 0, 10)
		require.NoError(t, err)
		require.Len(t, changes.Changes, 2)
	})
}

func TestMisspeltNames(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	for name, detail := range map[string]string{
		"Name": `没有字段"Name", 是否指name`, "names": `没有字段"names", 是否指name`, "nmae": `没有字段"nmae", 是否指name`,
		"status": `没有字段"status", 是否指state`, "states": `没有字段"states", 是否指state`,
	} {
		s.requireError(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "a", name: "b"}, Invalid: true}, errcode.InvalidParams, detail)
		s.requireError(t, apitest.Case{Path: tagsPath + "?" + name + "=1", Invalid: true}, errcode.InvalidParams, detail)
	}
	require.Empty(t, s.list(t, "").List)
	created := s.Do(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "a", "color": "b", "id": 7}, Invalid: true})
	require.Equal(t, http.StatusCreated, created.Status)
	require.Equal(t, "color", created.Header.Get("X-Ignored-Fields"))
}

// A default that is written out means the same under an Idempotency-Key.
func TestKeyOfEqualMeaning(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	for i, same := range []fields{{"name": "a"}, {"name": " a ", "state": 1}} {
		result := s.post(t, withKey("k", "en"), same)
		require.Equal(t, http.StatusCreated, result.Status, "%s", result.Body)
		require.Equal(t, i > 0, result.Header.Get("Idempotency-Replayed") == "true")
	}
	require.Equal(t, http.StatusUnprocessableEntity, s.post(t, withKey("k", "en"), fields{"name": "a", "state": 0}).Status)
}

func TestBodiesWithoutTokenAreNotRead(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	for _, client := range []*apitest.Client{s.anonymous, s.anonymous.With(http.Header{"Authorization": {"Bearer x"}})} {
		result := client.Do(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, Body: make([]byte, 60<<10), ContentType: jsonType, Invalid: true})
		require.Equal(t, http.StatusUnauthorized, result.Status, "before the size of the body counts")
	}
}
