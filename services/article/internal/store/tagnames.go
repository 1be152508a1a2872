package store

import (
	"context"
	"database/sql"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// TagNamed implements article.Store. Calls that wait at the same time share a query.
func (s *Store) TagNamed(ctx context.Context, name string) (article.Tag, error) {
	found, ok, err := s.tagNames.Get(ctx, name)
	if err == nil && !ok {
		err = errcode.New(errcode.TagNotFound)
	}
	return found, err
}

func newTagNames(s *Store) *coalesce.Group[string, article.Tag] {
	return coalesce.New(coalesce.Config{Timeout: s.db.Timeout()}, s.readTagsByName)
}

func (s *Store) readTagsByName(ctx context.Context, names []string) (map[string]article.Tag, error) {
	marks, values := database.In(names)
	tags := make(map[string]article.Tag, len(names))
	return tags, s.db.Query(ctx, "SELECT id, name, state FROM "+s.db.Table("tag_projection")+" WHERE name IN ("+marks+")", values, func(rows *sql.Rows) error {
		var t article.Tag
		err := rows.Scan(&t.ID, &t.Name, &t.State)
		tags[t.Name] = t
		return err
	})
}
