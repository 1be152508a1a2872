package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// Reads are open, writes need the scope, and a wrong token is refused where none
// is needed.
func TestWhoMayDoWhat(t *testing.T) {
	s := embedded(t)
	id := s.create(t, fields{"title": "a"}).ID
	reader := s.anyone.With(apitest.Token(t, s.keySet, "reader"))
	stranger := s.anyone.With(apitest.Token(t, apitest.KeySet(t), "stranger", auth.ScopeWrite))
	for name, write := range map[string]apitest.Case{
		"create": {Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "b"}},
		"update": {Method: http.MethodPut, Path: at(id), JSON: fields{"title": "b"}},
		"state":  {Method: http.MethodPatch, Path: stateOf(id), JSON: fields{"state": 0}},
		"delete": {Method: http.MethodDelete, Path: at(id)},
	} {
		t.Run(name, func(t *testing.T) {
			anybody := s.anyone.Do(t, write)
			require.Equal(t, http.StatusUnauthorized, anybody.Status)
			require.Equal(t, auth.Challenge, anybody.Header.Get("WWW-Authenticate"))
			require.Equal(t, http.StatusForbidden, reader.Do(t, write).Status)
			require.Equal(t, http.StatusUnauthorized, stranger.Do(t, write).Status)
		})
	}
	for _, path := range []string{articlesPath, at(id)} {
		require.Equal(t, http.StatusOK, s.anyone.Do(t, apitest.Case{Path: path}).Status)
		require.Equal(t, http.StatusOK, reader.Do(t, apitest.Case{Path: path}).Status)
		require.Equal(t, http.StatusUnauthorized, stranger.Do(t, apitest.Case{Path: path}).Status)
	}
	require.Equal(t, []string{"a"}, titles(s.list(t, "").List))
}

func TestWhatIsDisabledNeedsAToken(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		require.NoError(t, s.changes(t.Context(), tagfeed.Change{Kind: tagfeed.Put, TagID: 2, Name: "hidden", State: 0}))
		shown := s.create(t, fields{"title": "shown", "tag_ids": []int{1, 2}})
		hidden := s.create(t, fields{"title": "hidden", "state": 0, "tag_ids": []int{1}})

		s.anyoneRefused(t, apitest.Case{Path: at(hidden.ID)}, errcode.ArticleNotFound)
		s.anyoneRefused(t, apitest.Case{Path: articlesPath + "?state=0"}, errcode.UnauthorizedToken)
		var one articleAnswer
		s.anyone.Do(t, apitest.Case{Path: at(shown.ID)}).JSON(t, &one)
		require.Equal(t, []uint64{1}, tagIDs(one.Data))
		for query, want := range map[string][]string{
			"": {"shown"}, "?state=1": {"shown"}, "?title=hidden": {}, "?tag_id=1": {"shown"}, "?tag_id=1&state=1": {"shown"},
			"?tag_id=2": {}, "?tag_id=2&state=1": {},
		} {
			var list listAnswer
			s.anyone.Do(t, apitest.Case{Path: articlesPath + query}).JSON(t, &list)
			require.Equal(t, want, titles(list.List), query)
			require.EqualValues(t, len(want), list.Pager.TotalRows, "the count tells nothing either")
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

func (s *service) anyoneRefused(t *testing.T, c apitest.Case, code errcode.Code) {
	t.Helper()
	result := s.anyone.Do(t, c)
	require.Equal(t, code.Status(), result.Status, "%s", result.Body)
	require.Contains(t, string(result.Body), fmt.Sprintf(`"code":%d,`, int(code)))
}

func TestWhoWroteIt(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		created := s.create(t, fields{"title": "a"})
		require.Equal(t, "test", created.CreatedBy)
		require.Equal(t, "test", created.UpdatedBy)
		editor := s.anyone.With(apitest.Token(t, s.keySet, "editor", auth.ScopeWrite))
		result := editor.Do(t, apitest.Case{Method: http.MethodPatch, Path: stateOf(created.ID), JSON: fields{"state": 0}})
		var changed articleAnswer
		result.JSON(t, &changed)
		require.Equal(t, "test", changed.Data.CreatedBy)
		require.Equal(t, "editor", changed.Data.UpdatedBy)
		require.Equal(t, changed.Data, s.get(t, created.ID))
	})
}
