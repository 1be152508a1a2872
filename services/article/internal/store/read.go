package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// Get implements article.Store. Calls that wait at the same time share a query.
func (s *Store) Get(ctx context.Context, id uint64) (*article.Shared, error) {
	return get(ctx, s.articles, id)
}

// GetWithoutContent implements article.Store. Calls that wait at the same time share a
// query.
func (s *Store) GetWithoutContent(ctx context.Context, id uint64) (*article.Shared, error) {
	return get(ctx, s.withoutContent, id)
}

func get(ctx context.Context, group *coalesce.Group[uint64, *article.Shared], id uint64) (*article.Shared, error) {
	if id > largestID { // would fail the query of others
		return nil, errcode.New(errcode.ArticleNotFound)
	}
	found, ok, err := group.Get(ctx, id)
	if err == nil && !ok {
		err = errcode.New(errcode.ArticleNotFound)
	}
	return found, err
}

const (
	// noContent is a SQL expression that reads no content.
	noContent = "NULL"
	// contentSize is a SQL expression of the size of the content in bytes, which doesn't
	// read the content.
	contentSize = "OCTET_LENGTH(content)"
)

// sharedContent returns a SQL expression of the content, NULL if it is too large to be
// read for many articles at once.
func sharedContent() string {
	return fmt.Sprintf("CASE WHEN %s <= %d THEN content END", contentSize, article.MaxSharedContent)
}

// shared returns a group that reads articles with a content expression.
func (s *Store) shared(content string) *coalesce.Group[uint64, *article.Shared] {
	return coalesce.New(coalesce.Config{Timeout: s.db.Timeout()}, func(ctx context.Context, ids []uint64) (map[uint64]*article.Shared, error) {
		return s.read(ctx, content, ids)
	})
}

// read returns the articles that are not deleted, with their tags. It is one statement, so
// that they agree with each other.
func (s *Store) read(ctx context.Context, content string, ids []uint64) (map[uint64]*article.Shared, error) {
	marks, values := database.In(ids)
	query := "SELECT id, revision, state, title, `desc`, cover_image_url, created_at, created_by, updated_at, updated_by, " + content + ", " + s.tagsOf("a") +
		" FROM " + s.db.Table("article") + " AS a WHERE id IN (" + marks + ") AND is_deleted = 0"
	articles := make(map[uint64]*article.Shared, len(ids))
	var row articleRow // of each article in turn
	var text, tags sql.NullString
	return articles, s.db.Query(ctx, query, values, func(rows *sql.Rows) error {
		if err := rows.Scan(&row.ID, &row.Revision, &row.State, &row.Title, &row.Desc, &row.CoverImageURL,
			&row.CreatedAt, &row.CreatedBy, &row.UpdatedAt, &row.UpdatedBy, &text, &tags); err != nil {
			return err
		}
		row.Content = text.String
		parsed, err := parseTags(tags.String)
		articles[row.ID] = article.NewShared(row.article(parsed), !text.Valid)
		return err
	})
}
