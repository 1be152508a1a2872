package store_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// An article has the names of its tags as they are, whatever they contain, and as many as
// it may have.
func TestNamesOfTags(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		names := []string{"", " ", ",", "1 1 1 x", "a,2 1 1 b", "\n\x00\"\\'", strings.Repeat("𝄞", 100), "标签"}
		for len(names) < article.MaxTags {
			names = append(names, strings.Repeat("字", 100))
		}
		var changes []tagfeed.Change
		var ids []uint64
		for i, name := range names {
			id := uint64(i + 1) // #nosec G115 -- small
			changes, ids = append(changes, put(id+1, id, name)), append(ids, id)
		}
		s.replace(t, snapshot(1))
		require.NoError(t, s.apply(t.Context(), changes...))
		created := s.create(t, "a", ids...)
		got, err := s.get(t.Context(), created.ID)
		require.NoError(t, err)
		list, _, err := s.List(t.Context(), article.Filter{}, article.Page{Limit: 10})
		require.NoError(t, err)
		for _, a := range []article.Article{got, list[0]} {
			for i, tag := range a.Tags {
				assert.Equal(t, article.Tag{ID: ids[i], Name: names[i], State: article.Enabled}, tag)
			}
			require.Len(t, a.Tags, len(names))
		}
	})
}

func TestTagsThatAreCutOff(t *testing.T) {
	whole := "1 1 1 a,2 0 3 标"
	tags, err := store.ParseTags(whole)
	require.NoError(t, err)
	require.Equal(t, []article.Tag{{ID: 1, Name: "a", State: 1}, {ID: 2, Name: "标"}}, tags)
	for n := range len(whole) {
		if n == 0 || n == len("1 1 1 a") || n == len("1 1 1 a,") {
			continue // looks like fewer tags
		}
		_, err := store.ParseTags(whole[:n])
		require.Error(t, err, whole[:n])
	}
}
