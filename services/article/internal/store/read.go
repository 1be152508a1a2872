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
	return found(ctx, group, id)
}

// found reads the article with a key, together with others that wait.
func found[K comparable](ctx context.Context, group *coalesce.Group[K, *article.Shared], key K) (*article.Shared, error) {
	a, ok, err := group.Get(ctx, key)
	if err == nil && !ok {
		err = errcode.New(errcode.ArticleNotFound)
	}
	return a, err
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
	query := "SELECT " + s.readColumns(s.now()) + content + ", " + s.tagsOf("a") +
		" FROM " + s.db.Table("article") + " AS a WHERE id IN (" + marks + ") AND is_deleted = 0"
	articles := make(map[uint64]*article.Shared, len(ids))
	var row readRow // of each article in turn
	columns := row.columns()
	return articles, s.db.Query(ctx, query, values, func(rows *sql.Rows) error {
		if err := rows.Scan(columns...); err != nil {
			return err
		}
		found, err := row.shared()
		articles[row.ID] = found
		return err
	})
}

// readColumns returns the first columns of an article that is read, as it is at a time.
func (s *Store) readColumns(now string) string {
	return "a.id, a.revision, " + currentState("a", now) + ", a.title, a.slug, a.`desc`, a.cover_image_url, a.cover_file_id, a.published_at, a.created_at, a.created_by, a.updated_at, a.updated_by, "
}

// readRow is an article that is read, with a content, which is NULL if it is omitted, and
// with a value of tagsOf.
type readRow struct {
	articleRow
	text, tags sql.NullString
}

// columns returns the destinations of readColumns, the content and the tags.
func (r *readRow) columns() []any {
	return []any{
		&r.ID, &r.Revision, &r.State, &r.Title, &r.Slug, &r.Desc, &r.CoverImageURL, &r.CoverFileID,
		&r.PublishedAt, &r.CreatedAt, &r.CreatedBy, &r.UpdatedAt, &r.UpdatedBy, &r.text, &r.tags,
	}
}

func (r *readRow) shared() (*article.Shared, error) {
	r.Content = r.text.String
	tags, err := parseTags(r.tags.String)
	return article.NewShared(r.article(tags), !r.text.Valid), err
}
