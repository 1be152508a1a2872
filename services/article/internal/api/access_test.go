package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// Reads need no token, writes need the scope write. An invalid token is an error
// for reads, too.
func TestAuthorization(t *testing.T) {
	s := embedded(t)
	id := s.create(t, fields{"title": "a"}).ID
	reader := s.anonymous.With(apitest.Token(t, s.keySet, "reader"))
	invalid := s.anonymous.With(apitest.Token(t, apitest.KeySet(t), "other", auth.ScopeWrite))
	for name, write := range map[string]apitest.Case{
		"create": {Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "b"}},
		"update": {Method: http.MethodPut, Path: at(id), JSON: fields{"title": "b"}},
		"patch":  {Method: http.MethodPatch, Path: at(id), JSON: fields{"title": "b"}},
		"state":  {Method: http.MethodPatch, Path: stateOf(id), JSON: fields{"state": 0}},
		"delete": {Method: http.MethodDelete, Path: at(id)},
	} {
		t.Run(name, func(t *testing.T) {
			unauthorized := s.anonymous.Do(t, write)
			require.Equal(t, http.StatusUnauthorized, unauthorized.Status)
			require.Equal(t, auth.Challenge, unauthorized.Header.Get("WWW-Authenticate"))
			require.Equal(t, http.StatusForbidden, reader.Do(t, write).Status)
			require.Equal(t, http.StatusUnauthorized, invalid.Do(t, write).Status)
		})
	}
	for _, path := range []string{articlesPath, at(id)} {
		require.Equal(t, http.StatusOK, s.anonymous.Do(t, apitest.Case{Path: path}).Status)
		require.Equal(t, http.StatusOK, reader.Do(t, apitest.Case{Path: path}).Status)
		require.Equal(t, http.StatusUnauthorized, invalid.Do(t, apitest.Case{Path: path}).Status)
	}
	require.Equal(t, []string{"a"}, titles(s.list(t, "").List))
}

func TestDisabledObjectsRequireToken(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		require.NoError(t, s.applyChange(t.Context(), tagfeed.Change{Kind: changefeed.Put, TagID: 2, Name: "hidden", State: 0}))
		shown := s.create(t, fields{"title": "shown", "tag_ids": []int{1, 2}})
		hidden := s.create(t, fields{"title": "hidden", "state": 0, "tag_ids": []int{1}})

		s.requireAnonymousError(t, apitest.Case{Path: at(hidden.ID)}, errcode.ArticleNotFound)
		s.requireAnonymousError(t, apitest.Case{Path: articlesPath + "?state=0"}, errcode.UnauthorizedToken)
		var one articleResponse
		s.anonymous.Do(t, apitest.Case{Path: at(shown.ID)}).JSON(t, &one)
		require.Equal(t, []uint64{1}, tagIDs(one.Data))
		for query, want := range map[string][]string{
			"": {"shown"}, "?state=1": {"shown"}, "?title=hidden": {}, "?tag_id=1": {"shown"}, "?tag_id=1&state=1": {"shown"},
			"?tag_id=2": {}, "?tag_id=2&state=1": {},
		} {
			var list listResponse
			s.anonymous.Do(t, apitest.Case{Path: articlesPath + query}).JSON(t, &list)
			require.Equal(t, want, titles(list.List), query)
			require.EqualValues(t, len(want), list.Pager.TotalRows, "hidden articles are not counted")
			for _, found := range list.List {
				require.Equal(t, []uint64{1}, tagIDs(found))
			}
		}

		require.Equal(t, []uint64{1, 2}, tagIDs(s.get(t, shown.ID)))
		require.Equal(t, []string{"hidden", "shown"}, titles(s.list(t, "").List))
		require.Equal(t, []string{"shown"}, titles(s.list(t, "tag_id=2").List))
		require.Equal(t, []string{"hidden"}, titles(s.list(t, "state=0").List))
	})
}

func (s *service) requireAnonymousError(t *testing.T, c apitest.Case, code errcode.Code) {
	t.Helper()
	result := s.anonymous.Do(t, c)
	require.Equal(t, code.Status(), result.Status, "%s", result.Body)
	require.Contains(t, string(result.Body), fmt.Sprintf(`"code":%d,`, int(code)))
}

func TestCreatedByAndUpdatedBy(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		created := s.create(t, fields{"title": "a"})
		require.Equal(t, "test", created.CreatedBy)
		require.Equal(t, "test", created.UpdatedBy)
		editor := s.anonymous.With(apitest.Token(t, s.keySet, "editor", auth.ScopeWrite))
		result := editor.Do(t, apitest.Case{Method: http.MethodPatch, Path: stateOf(created.ID), JSON: fields{"state": 0}})
		var changed articleResponse
		result.JSON(t, &changed)
		require.Equal(t, "test", changed.Data.CreatedBy)
		require.Equal(t, "editor", changed.Data.UpdatedBy)
		require.Equal(t, changed.Data, s.get(t, created.ID))
	})
}
