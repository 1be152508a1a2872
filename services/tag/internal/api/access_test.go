package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Reads need no token, writes need the scope write. An invalid token is an error
// for reads, too.
func TestAuthorization(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	id := s.create(t, fields{"name": "a"}).ID
	reader := s.anonymous.With(apitest.Token(t, s.keySet, "reader"))
	invalid := s.anonymous.With(apitest.Token(t, apitest.KeySet(t), "other", auth.ScopeWrite))
	for name, write := range map[string]apitest.Case{
		"create": {Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "b"}},
		"update": {Method: http.MethodPut, Path: at(id), JSON: fields{"name": "b"}},
		"patch":  {Method: http.MethodPatch, Path: at(id), JSON: fields{"name": "b"}},
		"delete": {Method: http.MethodDelete, Path: at(id)},
	} {
		t.Run(name, func(t *testing.T) {
			unauthorized := s.anonymous.Do(t, write)
			require.Equal(t, http.StatusUnauthorized, unauthorized.Status)
			require.Equal(t, errcode.UnauthorizedToken, codeOf(t, unauthorized))
			require.Equal(t, auth.Challenge, unauthorized.Header.Get("WWW-Authenticate"))
			forbidden := reader.Do(t, write)
			require.Equal(t, http.StatusForbidden, forbidden.Status)
			require.Equal(t, errcode.Forbidden, codeOf(t, forbidden))
			require.Equal(t, errcode.UnauthorizedToken, codeOf(t, invalid.Do(t, write)))
		})
	}
	for _, path := range []string{tagsPath, at(id)} {
		require.Equal(t, http.StatusOK, s.anonymous.Do(t, apitest.Case{Path: path}).Status)
		require.Equal(t, http.StatusOK, reader.Do(t, apitest.Case{Path: path}).Status)
		require.Equal(t, http.StatusUnauthorized, invalid.Do(t, apitest.Case{Path: path}).Status)
	}
	require.Equal(t, []string{"a"}, names(s.list(t, "").List))
}

func TestDisabledTagsRequireToken(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		s.create(t, fields{"name": "shown"})
		hidden := s.create(t, fields{"name": "hidden", "state": 0})
		result := s.anonymous.Do(t, apitest.Case{Path: at(hidden.ID)})
		requireProblem(t, result, errcode.TagNotFound, "", nil)
		for query, want := range map[string][]string{"": {"shown"}, "?state=1": {"shown"}, "?name=hidden": {}, "?name=shown": {"shown"}} {
			var list listResponse
			s.anonymous.Do(t, apitest.Case{Path: tagsPath + query}).JSON(t, &list)
			require.Equal(t, want, names(list.List), query)
			require.EqualValues(t, len(want), list.Pager.TotalRows, "hidden tags are not counted")
		}
		unauthorized := s.anonymous.Do(t, apitest.Case{Path: tagsPath + "?state=0"})
		require.Equal(t, http.StatusUnauthorized, unauthorized.Status)
		require.Equal(t, auth.Challenge, unauthorized.Header.Get("WWW-Authenticate"))

		reader := s.anonymous.With(apitest.Token(t, s.keySet, "reader"))
		require.Equal(t, http.StatusOK, reader.Do(t, apitest.Case{Path: at(hidden.ID)}).Status)
		require.Equal(t, []string{"shown", "hidden"}, names(s.list(t, "").List))
		require.Equal(t, []string{"hidden"}, names(s.list(t, "state=0").List))
	})
}

func TestCreatedByAndUpdatedBy(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		created := s.create(t, fields{"name": "a"})
		require.Equal(t, "test", created.CreatedBy)
		require.Equal(t, "test", created.UpdatedBy)
		editor := s.anonymous.With(apitest.Token(t, s.keySet, "editor", auth.ScopeWrite))
		result := editor.Do(t, apitest.Case{Method: http.MethodPut, Path: at(created.ID), JSON: fields{"name": "b", "created_by": "me", "updated_by": "me"}, Invalid: true})
		var changed tagResponse
		result.JSON(t, &changed)
		require.Equal(t, "test", changed.Data.CreatedBy)
		require.Equal(t, "editor", changed.Data.UpdatedBy)
		require.Equal(t, changed.Data, s.get(t, created.ID))
	})
}

// Two clients can use the same Idempotency-Key.
func TestKeysArePerClient(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		other := s.anonymous.With(apitest.Token(t, s.keySet, "other", auth.ScopeWrite))
		header := http.Header{"Idempotency-Key": {"k"}}
		require.Equal(t, http.StatusCreated, s.post(t, header, fields{"name": "a"}).Status)
		result := other.Do(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "b"}, Header: header})
		require.Equal(t, http.StatusCreated, result.Status, "%s", result.Body)
		require.Empty(t, result.Header.Get("Idempotency-Replayed"))
	})
}
