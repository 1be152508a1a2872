package store

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// tagsOf returns a SQL expression of the tags of an article, for parseTags. A join would
// have a row for each tag, and in it the article with its content.
func (s *Store) tagsOf(articles string) string {
	return "(SELECT GROUP_CONCAT(CONCAT_WS(' ', tags.id, tags.state, OCTET_LENGTH(tags.name), tags.name)) FROM " + s.db.Table("article_tag") +
		" AS own JOIN " + s.db.Table("tag_projection") + " AS tags ON tags.id = own.tag_id WHERE own.article_id = " + articles + ".id)"
}

// parseTags returns the tags in a value of tagsOf, ordered by id. A name follows its size in
// bytes, so it may contain any character.
func parseTags(text string) (tags []article.Tag, err error) {
	if text != "" {
		tags = make([]article.Tag, 0, 4)
	}
	for rest := text; rest != ""; {
		var numbers [3]uint64
		for i := range numbers {
			digits, after, _ := strings.Cut(rest, " ")
			if numbers[i], err = strconv.ParseUint(digits, 10, 64); err != nil {
				return nil, fmt.Errorf("the tags %q of an article: %w", text, err)
			}
			rest = after
		}
		size := numbers[2]
		if size > uint64(len(rest)) {
			return nil, fmt.Errorf("the tags %q of an article are cut off", text)
		}
		tags = append(tags, article.Tag{ID: numbers[0], State: article.State(numbers[1]), Name: rest[:size]}) // #nosec G115 -- 0 or 1
		rest = strings.TrimPrefix(rest[size:], ",")
	}
	slices.SortFunc(tags, func(a, b article.Tag) int { return cmp.Compare(a.ID, b.ID) })
	return tags, nil
}
