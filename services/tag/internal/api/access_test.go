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

// Reads are open, writes need the scope, and a wrong token is refused where none
// is needed.
func TestWhoMayDoWhat(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	id := s.create(t, fields{"name": "a"}).ID
	reader := s.anyone.With(apitest.Token(t, s.keySet, "reader"))
	stranger := s.anyone.With(apitest.Token(t, apitest.KeySet(t), "stranger", auth.ScopeWrite))
	for name, write := range map[string]apitest.Case{
		"create": {Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "b"}},
		"update": {Method: http.MethodPut, Path: at(id), JSON: fields{"name": "b"}},
		"delete": {Method: http.MethodDelete, Path: at(id)},
	} {
		t.Run(name, func(t *testing.T) {
			anybody := s.anyone.Do(t, write)
			require.Equal(t, http.StatusUnauthorized, anybody.Status)
			require.Equal(t, errcode.UnauthorizedToken, codeOf(t, anybody))
			require.Equal(t, auth.Challenge, anybody.Header.Get("WWW-Authenticate"))
			refused := reader.Do(t, write)
			require.Equal(t, http.StatusForbidden, refused.Status)
			require.Equal(t, errcode.Forbidden, codeOf(t, refused))
			require.Equal(t, errcode.UnauthorizedToken, codeOf(t, stranger.Do(t, write)))
		})
	}
	for _, path := range []string{tagsPath, at(id)} {
		require.Equal(t, http.StatusOK, s.anyone.Do(t, apitest.Case{Path: path}).Status)
		require.Equal(t, http.StatusOK, reader.Do(t, apitest.Case{Path: path}).Status)
		require.Equal(t, http.StatusUnauthorized, stranger.Do(t, apitest.Case{Path: path}).Status)
	}
	require.Equal(t, []string{"a"}, names(s.list(t, "").List))
}

func TestDisabledTagsNeedAToken(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		s.create(t, fields{"name": "shown"})
		hidden := s.create(t, fields{"name": "hidden", "state": 0})
		gone := s.anyone.Do(t, apitest.Case{Path: at(hidden.ID)})
		problemOf(t, gone, errcode.TagNotFound, "", nil)
		for query, want := range map[string][]string{"": {"shown"}, "?state=1": {"shown"}, "?name=hidden": {}, "?name=shown": {"shown"}} {
			var list listAnswer
			s.anyone.Do(t, apitest.Case{Path: tagsPath + query}).JSON(t, &list)
			require.Equal(t, want, names(list.List), query)
			require.EqualValues(t, len(want), list.Pager.TotalRows, "the count tells nothing either")
		}
		refused := s.anyone.Do(t, apitest.Case{Path: tagsPath + "?state=0"})
		require.Equal(t, http.StatusUnauthorized, refused.Status)
		require.Equal(t, auth.Challenge, refused.Header.Get("WWW-Authenticate"))

		reader := s.anyone.With(apitest.Token(t, s.keySet, "reader"))
		require.Equal(t, http.StatusOK, reader.Do(t, apitest.Case{Path: at(hidden.ID)}).Status)
		require.Equal(t, []string{"shown", "hidden"}, names(s.list(t, "").List))
		require.Equal(t, []string{"hidden"}, names(s.list(t, "state=0").List))
	})
}

func TestWhoWroteIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		created := s.create(t, fields{"name": "a"})
		require.Equal(t, "test", created.CreatedBy)
		require.Equal(t, "test", created.UpdatedBy)
		editor := s.anyone.With(apitest.Token(t, s.keySet, "editor", auth.ScopeWrite))
		result := editor.Do(t, apitest.Case{Method: http.MethodPut, Path: at(created.ID), JSON: fields{"name": "b", "created_by": "me", "updated_by": "me"}, Invalid: true})
		var changed tagAnswer
		result.JSON(t, &changed)
		require.Equal(t, "test", changed.Data.CreatedBy)
		require.Equal(t, "editor", changed.Data.UpdatedBy)
		require.Equal(t, changed.Data, s.get(t, created.ID))
	})
}

// The keys of two apps are two keys.
func TestKeysBelongToTheirApp(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		other := s.anyone.With(apitest.Token(t, s.keySet, "other", auth.ScopeWrite))
		header := http.Header{"Idempotency-Key": {"k"}}
		require.Equal(t, http.StatusCreated, s.post(t, header, fields{"name": "a"}).Status)
		result := other.Do(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "b"}, Header: header})
		require.Equal(t, http.StatusCreated, result.Status, "%s", result.Body)
		require.Empty(t, result.Header.Get("Idempotency-Replayed"))
	})
}
