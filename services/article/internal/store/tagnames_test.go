package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

func TestTagNamed(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2))
		require.NoError(t, s.apply(t.Context(), put(2, 2, "运维 100%")))
		found, err := s.TagNamed(t.Context(), "运维 100%")
		require.NoError(t, err)
		require.Equal(t, article.Tag{ID: 2, Name: "运维 100%", State: article.Enabled}, found)
		for _, name := range []string{"", "tag", "Tag 1", "tag 2", "tag 1 ", "tag%", "运维 100_", "ｔａｇ 1", "' OR 1=1", "\x00"} {
			_, err := s.TagNamed(t.Context(), name)
			requireCode(t, err, errcode.TagNotFound)
		}
	})
}
