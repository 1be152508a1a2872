package spelling_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/spelling"
)

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"title", "title", 0}, {"titel", "title", 1}, {"nmae", "name", 1},
		{"status", "state", 2}, {"stat", "state", 1}, {"states", "state", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"abcd", "badc", 2},
	} {
		require.Equal(t, c.want, spelling.Distance(c.from, c.to), "%s %s", c.from, c.to)
		require.Equal(t, c.want, spelling.Distance(c.to, c.from), "%s %s", c.to, c.from)
	}
}

func TestNearest(t *testing.T) {
	of := []string{"serve", "migrate", "version"}
	for word, want := range map[string]string{"srve": "serve", "SERVE": "serve", "migrat": "migrate", "verison": "version", "deploy": "", "": ""} {
		require.Equal(t, want, spelling.Nearest(word, of), word)
	}
}

func TestNearestField(t *testing.T) {
	of := []string{"title", "state", "content", "tag_id", "tag_ids", "desc"}
	for name, want := range map[string]string{
		"Title": "title", "titel": "title", "titles": "title", "title[]": "title", "status": "state", "contents": "content", "description": "desc",
		"tags": "tag_ids", "tag": "tag_id", "tagIds": "tag_ids", "dsc": "desc", "dc": "", "color": "", "": "", strings.Repeat("title", 20): "",
		"content_type": "", "contentType": "", "content type": "content", "title_en": "",
	} {
		require.Equal(t, want, spelling.NearestField(name, of), name)
	}
}
